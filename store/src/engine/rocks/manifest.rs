//! Looks at RocksDB's list of tables before RocksDB does, for two kinds of damage that it does not refuse:
//!
//! - a record of a kind for recycled logs, one flipped bit away from every record, is read over and over, and
//!   opening never ends (`Reader::ReadPhysicalRecord` answers `kBadRecord` and does not go on);
//! - a record whose length reaches beyond the end of the file is taken for one that a power cut left
//!   unfinished, also when there are whole records after it: these would be forgotten.
//!
//! ```text
//! block of 32 KiB: [crc 4 | length 2 | kind 1 | payload]* and zeros where no header fits any more
//! ```
use std::fs;
use std::path::Path;

use crate::error::Fatal;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// A whole record, or the first, a middle or the last part of one.
const KINDS: std::ops::RangeInclusive<u8> = 1..=4;

/// Refuses what RocksDB would not. Everything else is left to it, a missing list included.
///
/// # Errors
/// `Fatal::Damaged`, or `Fatal::Io`.
pub(super) fn check(path: &Path) -> Result<(), Fatal> {
    let Ok(current) = fs::read_to_string(path.join("CURRENT")) else { return Ok(()) };
    let list = path.join(current.trim_end());
    if !list.is_file() {
        return Ok(());
    }
    let bytes = fs::read(&list).map_err(|source| Fatal::Io { call: "read", path: list.clone(), source })?;
    let Some((offset, what)) = damage(&bytes) else { return Ok(()) };
    let end = bytes.len() as u64;
    Err(Fatal::Damaged { path: list, offset: offset as u64, end, what: what.to_owned() })
}

/// How a record begins.
struct Header {
    crc: u32,
    length: usize,
    kind: u8,
}

impl Header {
    fn at(bytes: &[u8], offset: usize) -> Option<Header> {
        let header = bytes.get(offset..offset + HEADER)?.first_chunk::<HEADER>()?;
        let [crc @ .., _, _, _] = *header;
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        Some(Header { crc: u32::from_le_bytes(crc), length, kind: header[6] })
    }
}

/// Where the damage begins.
fn damage(bytes: &[u8]) -> Option<(usize, &'static str)> {
    let mut offset = 0;
    while let Some(header) = Header::at(bytes, offset) {
        let left = BLOCK - offset % BLOCK;
        if left < HEADER {
            offset += left;
            continue;
        }
        if header.kind == 0 && header.length == 0 {
            break;
        }
        if !KINDS.contains(&header.kind) {
            return Some((offset, "a record of a kind that is never written there"));
        }
        if offset + HEADER + header.length > bytes.len() {
            break;
        }
        if !whole(bytes, offset) {
            // RocksDB sees that, too.
            return None;
        }
        offset += HEADER + header.length;
    }
    // The end, or a record that was never finished: then there is none after it.
    let after = offset + 1..bytes.len();
    let follows = after.into_iter().any(|offset| whole(bytes, offset));
    follows.then_some((offset, "a record has a wrong length: there are whole ones after it"))
}

/// Whether a record with a right checksum begins here.
fn whole(bytes: &[u8], offset: usize) -> bool {
    let Some(header) = Header::at(bytes, offset) else { return false };
    let payload = bytes.get(offset + HEADER - 1..offset + HEADER + header.length);
    let inside = offset % BLOCK + HEADER + header.length <= BLOCK;
    inside && KINDS.contains(&header.kind) && payload.is_some_and(|payload| masked(payload) == header.crc)
}

/// The checksum of kind and payload, as RocksDB stores it: a checksum of bytes with checksums would be weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rocks::{Rocks, RocksOptions};
    use crate::engine::{Batch, Change, Engine, Family};

    /// An engine with some flushes behind it, and its list.
    fn filled(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
        let engine = Rocks::open(dir, RocksOptions::default()).expect("a fresh engine");
        for key in 0..8u8 {
            let value = Some(vec![key; 100].into());
            let change = Change { family: Family::Idx, key: vec![key].into(), value };
            engine.write(Batch { changes: vec![change] }).expect("written");
            engine.flush().expect("flushed");
        }
        drop(engine);
        let current = fs::read_to_string(dir.join("CURRENT")).expect("a list");
        let list = dir.join(current.trim_end());
        let bytes = fs::read(&list).expect("the list");
        (list, bytes)
    }

    /// Where each record begins.
    fn records(bytes: &[u8]) -> Vec<usize> {
        let mut offsets = Vec::new();
        let mut offset = 0;
        while let Some(header) = Header::at(bytes, offset) {
            offsets.push(offset);
            offset += HEADER + header.length;
        }
        offsets
    }

    #[test]
    fn a_list_is_sound_whole_or_unfinished_and_its_kinds_and_lengths_are_guarded() {
        let dir = tempfile::tempdir().expect("a folder");
        let (_, bytes) = filled(dir.path());
        let records = records(&bytes);
        assert!(records.len() > 8 && bytes.len() < BLOCK, "{} records", records.len());
        for end in 0..=bytes.len() {
            assert_eq!(damage(&bytes[..end]), None, "cut at {end}");
        }
        let mut zeros = bytes.clone();
        zeros.resize(bytes.len() + 5000, 0);
        assert_eq!(damage(&zeros), None);
        for (nth, offset) in records.iter().enumerate() {
            for bit in 0..8 {
                let mut kind = bytes.clone();
                kind[offset + 6] ^= 1 << bit;
                let known = KINDS.contains(&kind[offset + 6]);
                assert_eq!(damage(&kind).is_some(), !known, "record {nth}, bit {bit}");
            }
            let mut length = bytes.clone();
            length[offset + 5] ^= 0x40;
            assert_eq!(damage(&length).map(|(at, _)| at), Some(*offset).filter(|_| nth + 1 < records.len()));
        }
    }

    #[test]
    fn an_engine_with_such_damage_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let (list, bytes) = filled(dir.path());
        let third = records(&bytes)[2];
        for (at, bit) in [(third + 6, 2), (third + 5, 6)] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&list, damaged).expect("a file");
            let refused = Rocks::open(dir.path(), RocksOptions::default()).expect_err("damaged");
            assert!(refused.to_string().contains("MANIFEST-"), "{refused}");
        }
        fs::write(&list, bytes).expect("a file");
        Rocks::open(dir.path(), RocksOptions::default()).expect("it is as it was");
    }
}
