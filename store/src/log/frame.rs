//! A frame: what one flush (or a part of a large one) puts on the device.
//!
//! Invariants:
//! - a frame begins at a multiple of its segment's alignment and fills whole alignment units;
//! - each of its 4 KiB blocks begins with a stamp that names the write it belongs to and the place it
//!   was meant for, so a block of another write, of an earlier use of the segment or of another place
//!   is never taken for part of it;
//! - its header names the CRC of the frame before it, so frames form one chain.
//!
//! ```text
//! stamp, at the start of every 4 KiB block            header, after the stamp of the first block
//!  0 epoch u32     which use of the segment            20 magic "BrLf"
//!  4 start u32     which start of the process          24 format u8 = 1, codec u8 = 0, key id u16 = 0
//!  8 sequence u64  which frame                         28 CRC of the previous frame u32
//! 16 CRC u32       of the block's number in the        32 payload length u32
//!                  segment (u32) and of its other      36 first sequence of the batch u64
//!                  bytes, 0..16 and 20..4096           44 CRC u32 of the block number, 0..16, 20..44
//! ```
//! The CRC of a frame is the CRC of its blocks' CRCs. Numbers are little-endian.
use crate::disk::AlignedBuf;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of the stamp that begins each block.
pub(crate) const STAMP: usize = 20;
/// Bytes of stamp and header in the first block.
pub(crate) const HEAD: usize = 48;
/// The format of frames this version writes, and the newest it reads.
pub(crate) const FORMAT: u8 = 1;

const MAGIC: [u8; 4] = *b"BrLf";

/// Which write a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts the uses of segments, from 1.
    pub epoch: u32,
    /// Counts the starts of the process, from 1: a frame that replaces a torn one differs in it.
    pub start: u32,
    /// Counts frames, from 1.
    pub sequence: u64,
}

/// What the header says beside the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The write it belongs to.
    pub stamp: Stamp,
    /// CRC of the frame before it; 0 before the first.
    pub previous_crc: u32,
    /// Payload bytes.
    pub length: u32,
    /// First frame of its batch: every frame before that one was synced before this one was written.
    pub batch_first: u64,
    /// Format, codec and key id as found.
    pub coding: (u8, u8, u16),
}

/// Bytes that a frame with `length` payload bytes takes up.
pub(crate) fn extent(length: usize, align: u32) -> usize {
    let first = BLOCK - HEAD;
    let blocks = if length <= first { 1 } else { 1 + (length - first).div_ceil(BLOCK - STAMP) };
    (blocks * BLOCK).next_multiple_of(align as usize)
}

/// Where the payload byte number `at` lies in the frame.
pub(crate) fn place(at: usize) -> usize {
    let first = BLOCK - HEAD;
    if at < first {
        return HEAD + at;
    }
    let (block, byte) = ((at - first) / (BLOCK - STAMP), (at - first) % (BLOCK - STAMP));
    (1 + block) * BLOCK + STAMP + byte
}

/// Copies `bytes` to payload position `at` of the frame that begins at `frame` in `buf`, which is long enough.
pub(crate) fn put(buf: &mut [u8], frame: usize, mut at: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let to = frame + place(at);
        let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - (to - frame) % BLOCK));
        buf[to..to + now.len()].copy_from_slice(now);
        at += now.len();
        bytes = rest;
    }
}

/// The payload of a whole frame, without the stamps.
pub(crate) fn payload(frame: &[u8], length: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(length);
    for (number, block) in frame.chunks(BLOCK).enumerate() {
        let from = if number == 0 { HEAD } else { STAMP };
        let take = (length - payload.len()).min(BLOCK - from);
        payload.extend_from_slice(&block[from..from + take]);
    }
    payload
}

/// Completes the frame in `buf[from..to]`, whose payload is in place, for byte `offset` of its segment.
/// Returns its CRC.
pub(crate) fn finish(buf: &mut AlignedBuf, from: usize, to: usize, offset: u64, head: &Head) -> u32 {
    let bytes = &mut buf[from..to];
    write_head(bytes, offset, head);
    let mut crc = crc32fast::Hasher::new();
    for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
        write_stamp(block, head.stamp);
        let block_crc = block_crc(block, offset + (number * BLOCK) as u64).to_le_bytes();
        block[16..20].copy_from_slice(&block_crc);
        crc.update(&block_crc);
    }
    crc.finalize()
}

fn write_stamp(block: &mut [u8], stamp: Stamp) {
    block[0..4].copy_from_slice(&stamp.epoch.to_le_bytes());
    block[4..8].copy_from_slice(&stamp.start.to_le_bytes());
    block[8..16].copy_from_slice(&stamp.sequence.to_le_bytes());
}

fn write_head(block: &mut [u8], offset: u64, head: &Head) {
    write_stamp(block, head.stamp);
    let (format, codec, key) = head.coding;
    block[20..24].copy_from_slice(&MAGIC);
    block[24] = format;
    block[25] = codec;
    block[26..28].copy_from_slice(&key.to_le_bytes());
    block[28..32].copy_from_slice(&head.previous_crc.to_le_bytes());
    block[32..36].copy_from_slice(&head.length.to_le_bytes());
    block[36..44].copy_from_slice(&head.batch_first.to_le_bytes());
    let crc = head_crc(block, offset).to_le_bytes();
    block[44..48].copy_from_slice(&crc);
}

fn block_number(offset: u64) -> [u8; 4] {
    ((offset / BLOCK as u64) as u32).to_le_bytes()
}

fn block_crc(block: &[u8], offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block_number(offset));
    crc.update(&block[0..16]);
    crc.update(&block[20..BLOCK]);
    crc.finalize()
}

fn head_crc(block: &[u8], offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block_number(offset));
    crc.update(&block[0..16]);
    crc.update(&block[20..44]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

/// The stamp as it stands, whether or not the block is whole.
pub(crate) fn stamp(block: &[u8]) -> Stamp {
    Stamp { epoch: u32_at(block, 0), start: u32_at(block, 4), sequence: u64_at(block, 8) }
}

/// Whether the block at `offset` of its segment is what was written there.
pub(crate) fn block_is_whole(block: &[u8], offset: u64) -> bool {
    // A block of zeros is common and never whole: epochs begin at 1.
    u32_at(block, 0) != 0 && u32_at(block, 16) == block_crc(block, offset)
}

/// The header of a frame that begins in this block at `offset`, when its bytes are what was written there.
pub(crate) fn head(block: &[u8], offset: u64) -> Option<Head> {
    if !begins_frame(block) || u32_at(block, 44) != head_crc(block, offset) {
        return None;
    }
    let key = u16::from_le_bytes([block[26], block[27]]);
    Some(Head {
        stamp: stamp(block),
        previous_crc: u32_at(block, 28),
        length: u32_at(block, 32),
        batch_first: u64_at(block, 36),
        coding: (block[24], block[25], key),
    })
}

/// Where in a segment of `capacity` bytes the frame belongs whose first block this is, wherever it lies. A
/// write that was torn leaves none that lies elsewhere; a device that mixed up two blocks does.
pub(crate) fn home(block: &[u8], capacity: u64) -> Option<u64> {
    let crc = u32_at(block, 44);
    let mut places = (0..capacity).step_by(BLOCK);
    if begins_frame(block) { places.find(|offset| head_crc(block, *offset) == crc) } else { None }
}

/// Whether this was the first block of a frame once, wherever it lies, and whatever happened to the rest.
pub(crate) fn begins_frame(block: &[u8]) -> bool {
    block[20..24] == MAGIC
}

/// Checks every block of the frame `bytes` at `offset`. `Ok`: its CRC. `Err`: its first bad block.
pub(crate) fn verify(bytes: &[u8], offset: u64, head: &Head) -> Result<u32, usize> {
    let mut crc = crc32fast::Hasher::new();
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        if stamp(block) != head.stamp || !block_is_whole(block, offset + (number * BLOCK) as u64) {
            return Err(number);
        }
        crc.update(&block[16..20]);
    }
    Ok(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_for(length: u32) -> Head {
        let stamp = Stamp { epoch: 3, start: 2, sequence: 9 };
        Head { stamp, previous_crc: 7, length, batch_first: 8, coding: (FORMAT, 0, 0) }
    }

    #[test]
    fn payloads_of_every_length_near_block_edges_come_back() {
        for length in [0, 1, 4047, 4048, 4049, 4048 + 4076, 4048 + 4076 + 1, 30_000] {
            for align in [4096, 16384] {
                let bytes: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8 + 1).collect();
                let size = extent(length, align);
                let mut buf = AlignedBuf::zeroed(size);
                // In two pieces, to cross a block edge in the middle of a copy.
                put(&mut buf, 0, 0, &bytes[..length / 3]);
                put(&mut buf, 0, length / 3, &bytes[length / 3..]);
                let crc = finish(&mut buf, 0, size, 65536, &head_for(length as u32));
                let head = head(&buf, 65536).expect("header is whole");
                assert_eq!(head, head_for(length as u32));
                assert_eq!(verify(&buf, 65536, &head), Ok(crc));
                assert_eq!(payload(&buf, length), bytes);
            }
        }
    }

    #[test]
    fn a_frame_is_only_whole_at_its_own_place_and_with_all_its_blocks() {
        let size = extent(10_000, 4096);
        let mut buf = AlignedBuf::zeroed(size);
        finish(&mut buf, 0, size, 8192, &head_for(10_000));
        assert!(head(&buf, 4096).is_none());
        let head = head(&buf, 8192).expect("header is whole");
        let (one, two) = (buf[4096..8192].to_vec(), buf[8192..12288].to_vec());
        buf[4096..8192].copy_from_slice(&two);
        buf[8192..12288].copy_from_slice(&one);
        assert_eq!(verify(&buf, 8192, &head), Err(1), "swapped blocks");
    }
}
