//! The words of the log's callers: sizes going in, findings coming out.
use bytes::Bytes;

use super::frame::{BLOCK, HEAD, STAMP};
use super::record::ENTRY_HEAD_MAX;
use crate::error::Fatal;
use crate::types::LogId;

/// Largest segment.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Who this node voted for, and whether that leader was confirmed by a quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The candidate or leader.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// Sizes of the log. They may differ from one start to the next: segments opened from then on follow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Frames begin at multiples of this: a power of two from 4096 to 65536 bytes.
    pub frame_align: u32,
    /// Size of a segment: a multiple of `frame_align`, at least eight of it, at most 1 GiB.
    pub segment_bytes: u64,
    /// Segments of the ring, at least 2; it grows beyond rather than fail.
    pub ring_segments: u32,
    /// Zero bytes written before the first start answers; the rest comes from `Log::fill_ahead`.
    pub first_fill_bytes: u64,
    /// A batch above this is split into frames; a larger entry gets a frame of its own.
    pub frame_bytes_max: u32,
    /// Nothing is zero-filled ahead while the file system has less than this left: it is for others then, and
    /// for the log itself when it has nowhere else to go.
    pub keep_free_bytes: u64,
    /// Newest entries kept in memory, in bytes, beside those not flushed yet.
    pub recent_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            frame_align: 4096,
            segment_bytes: 16 << 20,
            ring_segments: 4,
            first_fill_bytes: 1 << 20,
            frame_bytes_max: 1 << 20,
            keep_free_bytes: 0,
            recent_bytes: 4 << 20,
        }
    }
}

impl LogOptions {
    pub(crate) fn check(&self) -> Result<(), Fatal> {
        let align = u64::from(self.frame_align);
        let sound = (4096..=65536).contains(&align)
            && align.is_power_of_two()
            && self.segment_bytes.is_multiple_of(align)
            && (8 * align..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            && self.ring_segments >= 2;
        if sound { Ok(()) } else { Err(Fatal::Inconsistent(format!("log options out of range: {self:?}"))) }
    }

    /// Payload that fits into the largest frame: a segment without its header and the unit kept at its end.
    fn payload_max(&self) -> usize {
        let blocks = (self.segment_bytes as usize - 2 * self.frame_align as usize) / BLOCK;
        blocks * BLOCK - HEAD - (blocks - 1) * STAMP
    }

    /// Payload at which a batch is split.
    pub(crate) fn frame_payload_max(&self) -> usize {
        self.payload_max().min(self.frame_bytes_max as usize)
    }

    pub(crate) fn entry_bytes_max(&self) -> u64 {
        (self.payload_max() - ENTRY_HEAD_MAX) as u64
    }
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest vote.
    pub vote: Option<Vote>,
    /// Entries up to here are gone on purpose.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when there is none after it.
    pub last: Option<LogId>,
    /// The newest committed position saved, never beyond `last`.
    pub committed: Option<LogId>,
    /// The newest note: see `Log::save_note`.
    pub note: Option<Bytes>,
    /// 1 when a cut had torn a batch that was never acknowledged, and it was left out; else 0.
    pub torn_frames: u64,
}

impl Recovered {
    /// Whether this log and an engine in which `applied` was the last entry belong together. The engine may
    /// be ahead of the log; a log that was never written to, or one that begins behind the engine, is not
    /// its own.
    ///
    /// # Errors
    /// `Fatal::Inconsistent` says which of the two is missing or older.
    pub fn fits(&self, applied: Option<LogId>) -> Result<(), Fatal> {
        let (purged, last) = (self.purged, self.last.or(self.purged));
        if let Some(applied) = applied.filter(|_| last.is_none() && self.vote.is_none()) {
            let what =
                format!("the engine has entry {}, but the log is empty: its files are gone", applied.index);
            return Err(Fatal::Inconsistent(what));
        }
        match purged.filter(|purged| applied.is_none_or(|applied| applied.index < purged.index)) {
            None => Ok(()),
            Some(purged) => {
                let has = applied.map_or("nothing".into(), |id| format!("entries up to {}", id.index));
                let what = format!(
                    "the log begins behind entry {}, but the engine has {has}: \
                                    files of it are gone",
                    purged.index
                );
                Err(Fatal::Inconsistent(what))
            }
        }
    }
}

/// What one flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Bytes written, padding included.
    pub bytes: u64,
    /// The last entry of the log, durable now.
    pub last: Option<LogId>,
    /// Segments opened on the way.
    pub rotations: u32,
}

/// How full the ring is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes from the oldest segment still needed to the write position.
    pub used_bytes: u64,
    /// The ring's budget: segments × size as configured, and what an earlier start with other sizes has left
    /// that is still needed. `used_bytes` may exceed it.
    pub ring_bytes: u64,
    /// Segments that exist.
    pub segments: u32,
    /// Segments opened since the log was made; above `segments` the ring has wrapped.
    pub epoch: u32,
    /// The last `Log::fill_ahead` found the disk full.
    pub disk_full: bool,
}
