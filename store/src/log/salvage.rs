//! What can still be read of a log that is damaged: frame by frame, each by its own checksums.
//!
//! [`Log::open`](super::Log::open) follows the chain and stops where it breaks. Here every block of every
//! segment is looked at, also of segments that were let go and not written over yet, and what is whole is
//! put in order by sequence:
//!
//! ```text
//!   frames by sequence   41  42  43  ░░  45  46        ░░ = damaged
//!   their entries        7-9 10  11  ░░  14  15-16     after 9: 10, 11; 12 and 13 are lost, so what
//!                                                      follows them has no state to be applied to
//!                                                      after 13 (the engine has it): 14, 15, 16
//! ```
//! A frame that is lost could have taken back entries of an earlier one. Only a member of a cluster ever
//! takes entries back, and it is not repaired but replaced. Nothing here writes.
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{self, BLOCK, Head};
use super::reader::standing_entries;
use super::record::{self, Record};
use super::ring::io_error;
use super::scan::{self, window::Window};
use super::segment::{Segment, number_of};
use super::{LogOptions, Vote};
use crate::command::Entry;
use crate::disk::{AlignedBuf, Disk, Open};
use crate::error::Fatal;
use crate::types::LogId;

/// The frames of a log that are whole.
pub struct Salvage {
    segments: Vec<Segment>,
    /// By sequence.
    frames: BTreeMap<u64, Frame>,
    /// Which frame has which entries; ascending, holes where frames are lost.
    runs: Vec<Run>,
    vote: Option<Vote>,
    /// The newest one in a whole frame.
    note: Option<Bytes>,
    /// The newest entry that was seen in any frame.
    highest: Option<LogId>,
    options: LogOptions,
    damage: Option<Fatal>,
    ends_whole: bool,
    /// The highest sequence of a frame that was written, though no more than a block of it may be whole.
    seen: u64,
    /// Of a log that is whole: entries up to here may be gone, and are the engine's.
    purged: Option<LogId>,
}

struct Frame {
    segment: usize,
    offset: u64,
    start: u32,
    length: usize,
    extent: usize,
}

#[derive(Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    sequence: u64,
}

impl Salvage {
    /// Looks through the log in `dir`.
    ///
    /// # Errors
    /// `Fatal::Io` when the directory or a file cannot be opened; `Fatal::Unknown` for a newer format.
    pub fn read(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Salvage, Fatal> {
        let (mut damage, mut whole) = (None, None);
        if disk.exists(dir).map_err(io_error("look for", dir))? {
            match scan::recover(disk, dir, 0) {
                Ok(found) => whole = found.log.map(|log| (log.index.last, log.index.purged)),
                Err(newer @ Fatal::Unknown { .. }) => return Err(newer),
                Err(broken) => damage = Some(broken),
            }
        }
        let segments = open_segments(disk, dir)?;
        let options = options_of(&segments)?;
        let mut salvage = Salvage {
            segments,
            frames: BTreeMap::new(),
            runs: Vec::new(),
            vote: None,
            note: None,
            highest: None,
            options,
            damage,
            ends_whole: true,
            seen: 0,
            purged: None,
        };
        for segment in 0..salvage.segments.len() {
            salvage.look_through(segment)?;
        }
        salvage.index()?;
        if let Some((last, purged)) = whole {
            // A whole frame behind a torn one was acknowledged to nobody.
            (salvage.highest, salvage.purged) = (last, purged);
        }
        Ok(salvage)
    }

    /// What keeps the log from being opened, if anything does.
    pub fn damage(&self) -> Option<&Fatal> {
        self.damage.as_ref()
    }

    /// The newest note in a whole frame.
    pub fn note(&self) -> Option<&Bytes> {
        self.note.as_ref()
    }

    /// The newest vote in a whole frame or header.
    pub fn vote(&self) -> Option<Vote> {
        self.vote
    }

    /// The newest entry in a whole frame: there were at least so many.
    pub fn highest(&self) -> Option<LogId> {
        self.highest
    }

    /// What an engine that belongs to this log has at least; only a whole log says it.
    pub fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// Whether nothing was ever written, or everything is gone.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.vote.is_none()
    }

    /// The oldest entry in a whole frame.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.first)
    }

    /// Whether nothing followed the last whole frame: neither another one, of which something remains, nor
    /// another segment, nor the end of the file, which may be cut off.
    pub fn ends_whole(&self) -> bool {
        self.ends_whole
    }

    /// The sizes that the log was made with, as far as a header says them.
    pub fn options(&self) -> &LogOptions {
        &self.options
    }

    /// The entries that can be applied to a state in which `applied` was the last one.
    pub fn follow(&self, applied: Option<LogId>) -> Option<RangeInclusive<u64>> {
        let first = applied.map_or(0, |id| id.index + 1);
        let mut next = first;
        for run in &self.runs {
            if run.first > next {
                break;
            }
            next = next.max(run.last + 1);
        }
        (next > first).then(|| first..=next - 1)
    }

    /// The entry with this index and those behind it in its frame. Empty when it is in none.
    ///
    /// # Errors
    /// `Fatal` when the bytes are no longer what they were a moment ago.
    pub fn entries_from(&self, index: u64) -> Result<Vec<Entry>, Fatal> {
        let Some(run) = self.runs.iter().rev().find(|run| (run.first..=run.last).contains(&index)) else {
            return Ok(Vec::new());
        };
        let records = records(&self.segments, &self.frames[&run.sequence])?;
        Ok(standing_entries(records, index, run.last).into())
    }

    /// Adds the whole frames of one segment.
    fn look_through(&mut self, at: usize) -> Result<(), Fatal> {
        let segment = &self.segments[at];
        if let Ok(Some(header)) = scan::read_header(segment) {
            self.vote = self.vote.max_by_term(header.standing.vote);
            // It was written when the frame before its first one was synced.
            self.seen = self.seen.max(header.first_sequence.saturating_sub(1));
        }
        let mut window = Window::new(segment, segment.file_bytes);
        let mut offset = 0;
        while offset + BLOCK as u64 <= segment.file_bytes {
            if let Some(block) = get(&mut window, segment, offset, BLOCK) {
                self.seen = self.seen.max(sequence_of(block, offset));
            }
            let Some((head, extent)) = whole_frame(&mut window, segment, offset, self.options.frame_align)
            else {
                offset += BLOCK as u64;
                continue;
            };
            refuse_newer(segment, offset, &head)?;
            let Head { stamp, length, .. } = head;
            let frame = Frame { segment: at, offset, start: stamp.start, length: length as usize, extent };
            // A frame that replaced a torn one is of a later start.
            if self.frames.get(&stamp.sequence).is_none_or(|other| other.start < frame.start) {
                self.frames.insert(stamp.sequence, frame);
            }
            offset += extent as u64;
        }
        Ok(())
    }

    /// Works out which frame has which entry.
    fn index(&mut self) -> Result<(), Fatal> {
        for (sequence, frame) in &self.frames {
            let records = records(&self.segments, frame)?;
            self.ends_whole = !records.iter().any(|record| matches!(record, Record::Next { .. }));
            for record in &records {
                match record {
                    Record::Entry(entry) => self.highest = self.highest.max(Some(entry.id)),
                    Record::Vote(vote) => self.vote = self.vote.max_by_term(Some(*vote)),
                    Record::Truncate(kept) => cut_runs(&mut self.runs, kept.map_or(0, |id| id.index + 1)),
                    // Also how a purge of all entries is recorded.
                    Record::Reset(id) => cut_runs(&mut self.runs, id.index + 1),
                    Record::Note(note) => self.note = Some(Bytes::copy_from_slice(note)),
                    // What was purged is still there as long as its frame is.
                    Record::Committed(_) | Record::Purge(_) | Record::Next { .. } | Record::Seal => {}
                }
            }
            let entries = standing_entries(records, 0, u64::MAX);
            if let (Some(first), Some(last)) = (entries.front(), entries.back()) {
                cut_runs(&mut self.runs, first.id.index);
                let (first, last) = (first.id.index, last.id.index);
                self.runs.push(Run { first, last, sequence: *sequence });
            }
        }
        match self.frames.last_key_value() {
            // Sequences go on from one use of a segment to the next: what an older one left is below.
            Some((sequence, last)) => {
                let segment = &self.segments[last.segment];
                self.ends_whole &= self.seen <= *sequence && is_clean_behind(segment, last, *sequence);
            }
            // Nobody knows how many there were.
            None => self.ends_whole = self.damage.is_none(),
        }
        Ok(())
    }
}

/// The sequence of the frame that a block of a segment belongs to; 0 when that cannot be told.
fn sequence_of(block: &[u8], offset: u64) -> u64 {
    let is_stamped = frame::head(block, offset).is_some() || frame::block_is_whole(block, offset);
    if is_stamped { frame::stamp(block).sequence } else { 0 }
}

/// The frame that begins at `offset`, if it is whole, and its extent.
fn whole_frame<'s>(
    window: &mut Window<'s>,
    segment: &'s Segment,
    offset: u64,
    align: u32,
) -> Option<(Head, usize)> {
    let block = get(window, segment, offset, BLOCK)?;
    let head = frame::head(block, offset).filter(|_| frame::block_is_whole(block, offset))?;
    let extent = frame::extent(head.length as usize, align);
    let bytes = get(window, segment, offset, extent)?;
    frame::verify(bytes, offset, &head).is_ok().then_some((head, extent))
}

/// Whether the block behind frame `sequence` was never written, or is an older one.
fn is_clean_behind(segment: &Segment, frame: &Frame, sequence: u64) -> bool {
    let offset = frame.offset + frame.extent as u64;
    let mut window = Window::new(segment, segment.file_bytes);
    match window.get(offset, BLOCK) {
        Ok(Some(block)) => {
            let is_older = || frame::block_is_whole(block, offset) && frame::stamp(block).sequence < sequence;
            block.iter().all(|byte| *byte == 0) || is_older()
        }
        // The file ends here. It may have grown since its header was written, so nobody knows whether it was
        // longer and is cut off.
        Ok(None) | Err(_) => false,
    }
}

fn records(segments: &[Segment], at: &Frame) -> Result<Vec<Record>, Fatal> {
    let segment = &segments[at.segment];
    let mut bytes = AlignedBuf::zeroed(at.extent);
    segment.file.read_at(at.offset, &mut bytes).map_err(io_error("read", &segment.path))?;
    let end = at.offset + at.extent as u64;
    record::decode(frame::payload(&bytes, at.length)).map_err(|bad| bad.fatal(&segment.path, at.offset, end))
}

/// Of two votes the one of the higher term, and the granted one in the same term.
trait Newer {
    fn max_by_term(self, other: Self) -> Self;
}

impl Newer for Option<Vote> {
    fn max_by_term(self, other: Self) -> Self {
        let rank = |vote: &Vote| (vote.term, vote.committed);
        if other.as_ref().map(rank) > self.as_ref().map(rank) { other } else { self }
    }
}

/// Forgets the entries from `first` on.
fn cut_runs(runs: &mut Vec<Run>, first: u64) {
    while runs.last().is_some_and(|run| run.first >= first) {
        runs.pop();
    }
    if let Some(run) = runs.last_mut() {
        run.last = run.last.min(first.saturating_sub(1));
    }
}

/// Bytes of a segment; a block that the device cannot read is a damaged one like any other.
fn get<'a, 's>(
    window: &'a mut Window<'s>,
    segment: &'s Segment,
    offset: u64,
    bytes: usize,
) -> Option<&'a [u8]> {
    if window.get(offset, bytes).is_err() {
        // A fresh window reads these bytes and no more.
        *window = Window::alone(segment, offset, bytes as u64);
    }
    window.get(offset, bytes).ok().flatten()
}

fn refuse_newer(segment: &Segment, offset: u64, head: &Head) -> Result<(), Fatal> {
    let (format, codec, key) = head.coding;
    if head.coding == (frame::FORMAT, 0, 0) {
        return Ok(());
    }
    let path = segment.path.display();
    Err(Fatal::Unknown {
        what: format!("log frame format {format}, codec {codec}, key {key} at {offset} of {path}"),
    })
}

/// All files that are segments by name; some may be missing.
fn open_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<Segment>, Fatal> {
    if !disk.exists(dir).map_err(io_error("look for", dir))? {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    for name in disk.list(dir).map_err(io_error("list", dir))? {
        let Some(number) = number_of(&name) else { continue };
        let path = dir.join(&name);
        let file = disk.open(&path, Open::Read).map_err(io_error("open", &path))?;
        let file_bytes = file.len().map_err(io_error("length", &path))?;
        segments.push(Segment { number, path, file, file_bytes, epoch: 0 });
    }
    Ok(segments)
}

/// Alignment and size of the segments, from the newest header that can be read.
fn options_of(segments: &[Segment]) -> Result<LogOptions, Fatal> {
    let headers = segments.iter().filter_map(|segment| match scan::read_header(segment) {
        Ok(header) => header.map(Ok),
        Err(newer @ Fatal::Unknown { .. }) => Some(Err(newer)),
        Err(_) => None,
    });
    let headers = headers.collect::<Result<Vec<_>, Fatal>>()?;
    let newest = headers.into_iter().max_by_key(|header| header.epoch);
    let options = newest.map(|header| LogOptions {
        frame_align: header.align,
        segment_bytes: header.capacity,
        ..LogOptions::default()
    });
    Ok(options.filter(|options| options.check().is_ok()).unwrap_or_default())
}
