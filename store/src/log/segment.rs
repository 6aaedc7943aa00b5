//! A segment: a file of the ring, written with zeros once and overwritten in place for ever.
//!
//! Its header takes the first alignment unit and is written, and synced, when the segment is opened for
//! a new epoch, before any frame. It repeats what must outlive the segments before it: vote, committed
//! and purged position, so that no frame is ever needed for them once its segment is freed.
//!
//! ```text
//!   0 magic "BrambleL"            48 CRC of the frame before u32   72 vote: term, node u64
//!   8 format u16 = 1, 0 u16       52 start of the process u32      88 committed: term, index u64
//!  12 frame alignment u32         56 oldest epoch needed u32      104 purged: term, index u64
//!  16 number of the file u32      60 flags u32: 1 vote is there,  120 last: term, index u64
//!  20 epoch u32                      2 it is committed, 4 there   136 zeros
//!  24 capacity u64                   is a committed position,     508 CRC u32 of 0..508
//!  32 length of the file u64         8 a purged, 16 a last one    512 zeros to the end of the unit
//!  40 first sequence u64          64 zeros
//! ```
use std::path::PathBuf;
use std::sync::Arc;

use super::Vote;
use super::frame::BLOCK;
use super::options::SEGMENT_BYTES_MAX;
use super::record::INDEX_MAX;
use crate::disk::{AlignedBuf, File};
use crate::error::Fatal;
use crate::types::LogId;

/// The format of segments this version writes, and the newest it reads.
pub(crate) const FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"BrambleL";
const SIZE: usize = 512;

/// What a segment's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Alignment of its frames.
    pub align: u32,
    /// Number of its file.
    pub number: u32,
    /// Which use of a segment this is.
    pub epoch: u32,
    /// Frames end here at the latest.
    pub capacity: u64,
    /// Length of the file when the header was written; it never shrinks.
    pub file_bytes: u64,
    /// Sequence of its first frame.
    pub first_sequence: u64,
    /// CRC of the frame before its first one.
    pub previous_crc: u32,
    /// Which start of the process wrote it.
    pub start: u32,
    /// The oldest epoch that was still needed.
    pub oldest_epoch: u32,
    /// What the segments before it say in the end.
    pub standing: Standing,
}

/// What the log says beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The newest vote.
    pub vote: Option<Vote>,
    /// The newest committed position.
    pub committed: Option<LogId>,
    /// Entries up to here are gone.
    pub purged: Option<LogId>,
    /// The last entry, or `purged`.
    pub last: Option<LogId>,
}

impl Standing {
    fn positions(&self) -> impl Iterator<Item = LogId> {
        [self.committed, self.purged, self.last].into_iter().flatten()
    }
}

/// A segment's file.
pub(crate) struct Segment {
    /// Its number, from 0.
    pub number: u32,
    /// Its path.
    pub path: PathBuf,
    /// The open file.
    pub file: Arc<dyn File>,
    /// Bytes that are on the device: zeros, or frames.
    pub file_bytes: u64,
    /// Its newest epoch; 0 = never used, or unreadable.
    pub epoch: u32,
}

/// The name of segment `number`.
pub(crate) fn file_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// The number of a segment's name.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 8)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a file of this name is a segment.
pub(crate) fn is_name(name: &str) -> bool {
    number_of(name).is_some()
}

impl Header {
    /// Its bytes, one alignment unit.
    pub(crate) fn encode(&self) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(self.align as usize);
        let s = &self.standing;
        let flags = u32::from(s.vote.is_some())
            | u32::from(s.vote.is_some_and(|v| v.committed)) << 1
            | u32::from(s.committed.is_some()) << 2
            | u32::from(s.purged.is_some()) << 3
            | u32::from(s.last.is_some()) << 4;
        let vote = s.vote.unwrap_or_default();
        buf[0..8].copy_from_slice(&MAGIC);
        buf[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        let words = [(12, self.align), (16, self.number), (20, self.epoch), (48, self.previous_crc)];
        for (at, word) in words.into_iter().chain([(52, self.start), (56, self.oldest_epoch), (60, flags)]) {
            buf[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let numbers = [(24, self.capacity), (32, self.file_bytes), (40, self.first_sequence)];
        for (at, number) in numbers.into_iter().chain([(72, vote.term), (80, vote.node)]) {
            buf[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        for (at, id) in [(88, s.committed), (104, s.purged), (120, s.last)] {
            let id = id.unwrap_or_default();
            buf[at..at + 8].copy_from_slice(&id.term.to_le_bytes());
            buf[at + 8..at + 16].copy_from_slice(&id.index.to_le_bytes());
        }
        let crc = crc32fast::hash(&buf[..SIZE - 4]);
        buf[SIZE - 4..SIZE].copy_from_slice(&crc.to_le_bytes());
        buf
    }

    /// Reads a header: `None` when these bytes are none, or no longer one.
    ///
    /// # Errors
    /// `Fatal::Unknown` for a whole header of a newer format.
    pub(crate) fn decode(block: &[u8]) -> Result<Option<Header>, Fatal> {
        let word =
            |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes were sliced"));
        let number =
            |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes were sliced"));
        if block[0..8] != MAGIC || word(SIZE - 4) != crc32fast::hash(&block[..SIZE - 4]) {
            return Ok(None);
        }
        let format = u16::from_le_bytes([block[8], block[9]]);
        if format != FORMAT {
            return Err(Fatal::Unknown { what: format!("log segment format {format}") });
        }
        let flags = word(60);
        let id = |bit: u32, at: usize| {
            (flags & bit != 0).then(|| LogId { term: number(at), index: number(at + 8) })
        };
        let vote = Vote { term: number(72), node: number(80), committed: flags & 2 != 0 };
        let header = Header {
            align: word(12),
            number: word(16),
            epoch: word(20),
            capacity: number(24),
            file_bytes: number(32),
            first_sequence: number(40),
            previous_crc: word(48),
            start: word(52),
            oldest_epoch: word(56),
            standing: Standing {
                vote: (flags & 1 != 0).then_some(vote),
                committed: id(4, 88),
                purged: id(8, 104),
                last: id(16, 120),
            },
        };
        Ok(header.is_sound().then_some(header))
    }

    /// Whether its numbers fit together, so that nothing computed from them can overflow.
    fn is_sound(&self) -> bool {
        (BLOCK as u32..=1 << 20).contains(&self.align)
            && self.align.is_power_of_two()
            && self.capacity <= SEGMENT_BYTES_MAX
            && self.capacity.is_multiple_of(u64::from(self.align))
            && self.capacity >= 4 * u64::from(self.align)
            && (1..u32::MAX).contains(&self.epoch)
            && self.oldest_epoch >= 1
            && self.oldest_epoch <= self.epoch
            && self.first_sequence < u64::MAX / 2
            && self.standing.positions().all(|id| id.index <= INDEX_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_does() {
        let id = |term, index| Some(LogId { term, index });
        let header = Header {
            align: 4096,
            number: 3,
            epoch: 9,
            capacity: 1 << 20,
            file_bytes: 1 << 19,
            first_sequence: 77,
            previous_crc: 0xdead_beef,
            start: 5,
            oldest_epoch: 7,
            standing: Standing {
                vote: Some(Vote { term: 4, node: 2, committed: true }),
                committed: id(3, 8),
                purged: None,
                last: id(4, 10),
            },
        };
        let mut buf = header.encode();
        assert_eq!(Header::decode(&buf).expect("known format"), Some(header));
        for bit in 0..SIZE * 8 {
            buf[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&buf).expect("never a newer format"), None, "bit {bit}");
            buf[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(number_of("00000012.seg"), Some(12));
        assert_eq!(
            (number_of("12.seg"), number_of("+0000012.seg"), number_of("00000012.tmp")),
            (None, None, None)
        );
    }
}
