//! Recovery: reads the ring back, and tells a torn tail from damage.
//!
//! Frames form one chain of sequences and CRCs through the segments in order of epoch. The chain of an
//! older segment ends in a `next` record, whose segment must be there; where it breaks otherwise, the
//! segment is damaged. Where it ends in the newest segment, the tail rule decides ([`tail`]).
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, BLOCK, Head};
use super::index::{Index, Place};
use super::note::Note;
use super::record::{self, Record};
use super::ring::{Live, io_error};
use super::segment::{Header, Segment, Standing, number_of};
use crate::disk::{Disk, Open};
use crate::error::Fatal;

mod tail;
pub(super) mod window;

use window::Window;

/// Alignments at which a segment's first frame can lie.
const ALIGNS: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// What the files say.
pub(crate) struct Found {
    pub segments: Vec<Segment>,
    /// `None`: no log was ever finished being made here.
    pub log: Option<FoundLog>,
}

/// A log as it was found.
pub(crate) struct FoundLog {
    pub live: VecDeque<Live>,
    pub index: Index,
    pub standing: Standing,
    pub position: u64,
    pub next_sequence: u64,
    pub previous_crc: u32,
    /// Highest start number seen anywhere.
    pub start: u32,
    /// Whether the last frame is a seal.
    pub sealed: bool,
    /// The newest note.
    pub note: Option<Note>,
    /// Where what a cut left of an unacknowledged batch ends; it begins at `position`. 0: nothing.
    pub torn_until: u64,
    /// A passing on to another segment that a cut stopped before its header: (segment, epoch).
    pub unfinished: Option<(usize, u32)>,
}

/// Opens every segment in `dir` and reads the log out of them. Writes nothing.
pub(crate) fn recover(disk: &Arc<dyn Disk>, dir: &Path, recent_bytes: usize) -> Result<Found, Fatal> {
    let segments = open_segments(disk, dir)?;
    let mut headers: BTreeMap<u32, (usize, Header)> = BTreeMap::new();
    for (at, segment) in segments.iter().enumerate() {
        let Some(header) = read_header(segment)? else { continue };
        if header.number != segment.number {
            let what = format!("it is segment {}, not {}", header.number, segment.number);
            return Err(damaged(segment, 0, BLOCK as u64, what));
        }
        if let Some((other, _)) = headers.insert(header.epoch, (at, header)) {
            let what = format!("it has the same epoch as {}", segments[other].path.display());
            return Err(damaged(segment, 0, BLOCK as u64, what));
        }
    }
    let Some((newest, _)) = headers.last_key_value().map(|(epoch, found)| (*epoch, found)) else {
        refuse_lost_headers(&segments, 0)?;
        if let Some(second) = segments.get(1) {
            // The second file is only made once the first has its header.
            let what = format!("no segment has a readable header, {} neither", second.path.display());
            return Err(damaged(&segments[0], 0, BLOCK as u64, what));
        }
        if let Some(first) = segments.first() {
            refuse_frames(first, 0)?;
        }
        return Ok(Found { segments, log: None });
    };
    refuse_lost_headers(&segments, newest)?;
    let log = Scan::new(&segments, dir, recent_bytes).run(&headers, newest)?;
    let mut segments = segments;
    for (epoch, (at, _)) in &headers {
        segments[*at].epoch = *epoch;
    }
    Ok(Found { segments, log: Some(log) })
}

fn damaged(segment: &Segment, offset: u64, end: u64, what: impl Into<String>) -> Fatal {
    Fatal::Damaged { path: segment.path.clone(), offset, end, what: what.into() }
}

fn open_segments(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<Segment>, Fatal> {
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    let mut segments = Vec::new();
    for name in names {
        let Some(number) = number_of(&name) else { continue };
        let path: PathBuf = dir.join(&name);
        if number as usize != segments.len() {
            let missing = dir.join(super::segment::file_name(segments.len() as u32));
            let what = format!("the segment is missing, though {name} is there");
            return Err(Fatal::Damaged { path: missing, offset: 0, end: 0, what });
        }
        let file = disk.open(&path, Open::Write).map_err(io_error("open", &path))?;
        // An earlier process may have ended between its write and its sync: what is read must be durable.
        file.settle().map_err(io_error("sync", &path))?;
        let file_bytes = file.len().map_err(io_error("length", &path))?;
        segments.push(Segment { number, path, file, file_bytes, epoch: 0 });
    }
    disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;
    Ok(segments)
}

pub(super) fn read_header(segment: &Segment) -> Result<Option<Header>, Fatal> {
    let mut window = Window::new(segment, segment.file_bytes);
    match window.get(0, BLOCK)? {
        Some(block) => Header::decode(block),
        None => Ok(None),
    }
}

/// A segment that was opened has a header that was synced before its first frame. So a first frame of
/// an epoch above `newest`, the highest that any header names, means that a header was lost.
fn refuse_lost_headers(segments: &[Segment], newest: u32) -> Result<(), Fatal> {
    for segment in segments {
        let mut window = Window::new(segment, segment.file_bytes);
        for at in ALIGNS {
            let Some(block) = window.get(at, BLOCK)? else { break };
            let epoch = frame::head(block, at).map(|head| head.stamp.epoch);
            if let Some(epoch) = epoch.filter(|epoch| *epoch > newest) {
                let what = format!("the header is not readable, but frames of epoch {epoch} follow it");
                return Err(damaged(segment, 0, at, what));
            }
        }
    }
    Ok(())
}

/// A segment that is taken for one whose header was never written is about to be written over, so it is
/// looked through: a part of a frame of an epoch above `newest` anywhere in it, even where it does not belong,
/// means that header and first frame were lost. Costs a segment's reading, and only after a cut in the middle
/// of a first start or of passing on.
fn refuse_frames(segment: &Segment, newest: u32) -> Result<(), Fatal> {
    let mut window = Window::new(segment, segment.file_bytes);
    let mut offset = BLOCK as u64;
    while let Some(block) = window.get(offset, BLOCK)? {
        let epoch = frame::stamp(block).epoch;
        if epoch > newest && (frame::begins_frame(block) || frame::block_is_whole(block, offset)) {
            let what = format!("header and first frame are not readable, but frames of epoch {epoch} follow");
            return Err(damaged(segment, 0, offset, what));
        }
        offset += BLOCK as u64;
    }
    Ok(())
}

/// Where the chain of one segment ends.
enum End {
    /// In a `next` record: segment, epoch, length its file had.
    Next { segment: u32, epoch: u32, length: u64 },
    /// Before the frame that would lie here.
    Open,
}

struct Scan<'a> {
    segments: &'a [Segment],
    dir: &'a Path,
    recent_bytes: usize,
    found: FoundLog,
}

impl<'a> Scan<'a> {
    fn new(segments: &'a [Segment], dir: &'a Path, recent_bytes: usize) -> Self {
        let files = segments.iter().map(|segment| (segment.file.clone(), segment.path.clone())).collect();
        let found = FoundLog {
            live: VecDeque::new(),
            index: Index::over(files),
            standing: Standing::default(),
            position: 0,
            next_sequence: 0,
            previous_crc: 0,
            start: 0,
            sealed: false,
            note: None,
            torn_until: 0,
            unfinished: None,
        };
        Scan { segments, dir, recent_bytes, found }
    }

    fn run(mut self, headers: &BTreeMap<u32, (usize, Header)>, newest: u32) -> Result<FoundLog, Fatal> {
        let oldest = headers[&newest].1.oldest_epoch;
        // A cut may have torn the header that was being written over the oldest, no longer needed segment.
        let oldest_lost = !headers.contains_key(&oldest) && oldest < newest;
        let from = if oldest_lost { oldest + 1 } else { oldest };
        for epoch in from..=newest {
            let (at, header) = headers.get(&epoch).ok_or_else(|| self.missing(epoch))?;
            if epoch == from {
                self.begin(header);
            } else {
                self.enter(*at, header)?;
            }
            let live =
                Live { segment: *at, epoch, align: header.align, capacity: header.capacity, end: None };
            self.found.live.push_back(live);
            let end = self.read_segment(*at, header)?;
            self.leave(*at, header, end, epoch == newest)?;
        }
        let target = self.found.unfinished.map(|(segment, _)| segment);
        let header_torn = |at: usize| headers.values().all(|(with_header, _)| *with_header != at);
        if oldest_lost && !target.is_some_and(header_torn) || !self.found.index.is_covered() {
            return Err(self.missing(oldest));
        }
        self.found.start = self.found.start.max(headers.values().map(|(_, h)| h.start).max().unwrap_or(0));
        Ok(self.found)
    }

    fn missing(&self, epoch: u32) -> Fatal {
        let what = format!("the segment with epoch {epoch} is missing, or its header is not readable");
        let unreadable = self.segments.iter().find(|s| read_header(s).is_ok_and(|header| header.is_none()));
        match unreadable {
            Some(segment) => damaged(segment, 0, BLOCK as u64, what),
            None => Fatal::Damaged { path: self.dir.to_owned(), offset: 0, end: 0, what },
        }
    }

    /// Takes over what the segments before the oldest one said in the end.
    fn begin(&mut self, header: &Header) {
        self.found.standing = header.standing;
        self.found.index.purged = header.standing.purged;
        self.found.index.last = header.standing.last;
        self.found.next_sequence = header.first_sequence;
        self.found.previous_crc = header.previous_crc;
    }

    /// Compares a later segment's header with the end of the chain so far.
    fn enter(&mut self, at: usize, header: &Header) -> Result<(), Fatal> {
        let found = &self.found;
        if (header.first_sequence, header.previous_crc) != (found.next_sequence, found.previous_crc) {
            return Err(damaged(
                &self.segments[at],
                0,
                BLOCK as u64,
                "it does not continue the segment before it",
            ));
        }
        Ok(())
    }

    fn leave(&mut self, at: usize, header: &Header, end: End, is_newest: bool) -> Result<(), Fatal> {
        let segment = &self.segments[at];
        let live = self.found.live.back_mut().expect("run pushed it");
        match end {
            End::Next { segment: next, epoch, length } => {
                let known = self.segments.get(next as usize).filter(|file| file.file_bytes >= length);
                let Some(known) = known else {
                    let path = self.dir.join(super::segment::file_name(next));
                    let what = format!("the segment is missing or shorter than {length} bytes");
                    return Err(Fatal::Damaged { path, offset: 0, end: length, what });
                };
                if epoch != header.epoch + 1 {
                    return Err(damaged(
                        segment,
                        0,
                        self.found.position,
                        "its last record names a wrong epoch",
                    ));
                }
                live.end = self.found.index.last;
                if is_newest {
                    refuse_frames(known, header.epoch)?;
                    self.found.unfinished = Some((known.number as usize, epoch));
                }
                Ok(())
            }
            End::Open if is_newest => {
                let tail = tail::judge(segment, header, self.found.position, self.found.next_sequence)?;
                self.found.torn_until = tail.torn_until;
                self.found.start = self.found.start.max(tail.start);
                Ok(())
            }
            End::Open => {
                let (from, unit) = (self.found.position, u64::from(header.align));
                let what = "a frame is not readable, though the log goes on after it";
                Err(damaged(segment, from, from + unit, what))
            }
        }
    }

    /// Reads frames along the chain until it ends.
    fn read_segment(&mut self, at: usize, header: &Header) -> Result<End, Fatal> {
        let segment = &self.segments[at];
        if segment.file_bytes < header.file_bytes {
            let what = format!("the file is shorter than the {} bytes it had", header.file_bytes);
            return Err(damaged(segment, segment.file_bytes, header.file_bytes, what));
        }
        let mut window = Window::new(segment, segment.file_bytes.min(header.capacity));
        let mut offset = u64::from(header.align);
        self.found.position = offset;
        while let Some((head, crc, extent)) = self.next_frame(&mut window, segment, header, offset)? {
            let bytes = window.get(offset, extent)?.expect("next_frame had it");
            let payload = frame::payload(bytes, head.length as usize);
            let end = offset + extent as u64;
            let records = record::decode(payload).map_err(|bad| bad.fatal(&segment.path, offset, end))?;
            let sequence = head.stamp.sequence;
            let place = Place {
                segment: segment.number,
                epoch: header.epoch,
                sequence,
                offset,
                extent: extent as u32,
            };
            self.found.next_sequence = sequence + 1;
            self.found.previous_crc = crc;
            self.found.start = self.found.start.max(head.stamp.start);
            self.found.position = end;
            let next = self.replay(records, place).map_err(|what| damaged(segment, offset, end, what))?;
            if let Some(next) = next {
                return Ok(next);
            }
            offset = end;
        }
        Ok(End::Open)
    }

    /// The frame at `offset` with its CRC and extent, if it is whole and the next one of the chain.
    fn next_frame(
        &self,
        window: &mut Window<'_>,
        segment: &Segment,
        header: &Header,
        offset: u64,
    ) -> Result<Option<(Head, u32, usize)>, Fatal> {
        let Some(head) = window.get(offset, BLOCK)?.and_then(|block| frame::head(block, offset)) else {
            return Ok(None);
        };
        let is_next = head.stamp.epoch == header.epoch
            && head.stamp.sequence == self.found.next_sequence
            && head.stamp.start >= self.found.start
            && head.previous_crc == self.found.previous_crc;
        let extent = frame::extent(head.length as usize, header.align);
        if !is_next || extent as u64 > header.capacity - offset {
            return Ok(None);
        }
        let Some(bytes) = window.get(offset, extent)? else { return Ok(None) };
        let Ok(crc) = frame::verify(bytes, offset, &head) else { return Ok(None) };
        let (format, codec, key) = head.coding;
        if head.coding != (frame::FORMAT, 0, 0) {
            let path = segment.path.display();
            let what = format!("log frame format {format}, codec {codec}, key {key} at {offset} of {path}");
            return Err(Fatal::Unknown { what });
        }
        Ok(Some((head, crc, extent)))
    }

    /// Does what the records of one frame say.
    fn replay(&mut self, records: Vec<Record>, place: Place) -> Result<Option<End>, String> {
        let (mut run, mut next): (Option<(u64, u64)>, _) = (None, None);
        let found = &mut self.found;
        found.sealed = false;
        for record in records {
            if next.is_some() {
                return Err("records follow the last one of a segment".to_owned());
            }
            match record {
                Record::Entry(entry) => {
                    let (index, expected) = (entry.id.index, found.index.next());
                    if index != expected {
                        return Err(format!("entry {index} stands where entry {expected} belongs"));
                    }
                    run = Some((run.map_or(index, |(first, _)| first), index));
                    found.index.push(entry);
                }
                Record::Truncate(kept) => {
                    found.index.truncate(kept);
                    let next = found.index.next();
                    run = run
                        .filter(|(first, _)| *first < next)
                        .map(|(first, last)| (first, last.min(next - 1)));
                }
                Record::Reset(id) => {
                    found.index.reset(id);
                    run = None;
                }
                Record::Purge(id) => found.index.purge(id),
                Record::Vote(vote) => found.standing.vote = Some(vote),
                Record::Committed(id) => found.standing.committed = Some(id),
                Record::Next { segment, epoch, length } => next = Some(End::Next { segment, epoch, length }),
                Record::Seal => found.sealed = true,
                Record::Note(bytes) => {
                    // A copy: its frame is not kept in memory for it.
                    let bytes = bytes::Bytes::copy_from_slice(&bytes);
                    found.note = Some(Note { bytes, epoch: Some(place.epoch) });
                }
            }
        }
        if let Some((first, last)) = run.filter(|(_, last)| *last < found.index.next()) {
            found.index.add_run(first, last, place);
        }
        found.index.evict(self.recent_bytes);
        Ok(next)
    }
}
