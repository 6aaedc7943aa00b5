//! The ring of segments: where the next frame goes, which segments are free, what is zero-filled.
//!
//! Invariants:
//! - segments are freed oldest first, and only when every entry written before the next one was
//!   opened is purged; a freed segment is reused only after that purge is on the device;
//! - to pass on to another segment takes two synced writes: a `next` record at the end of the old one,
//!   then the header of the new one; the last alignment unit of a segment is kept for the first;
//! - no synced byte is written again in its epoch; a file never shrinks and is never removed;
//! - frames are written over zeros that are on the device, and in a file that is not full yet a block of
//!   zeros lies behind the last: where there is none, the file was cut off.
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Head, Stamp};
use super::index::Place;
use super::record::{self, Record};
use super::segment::{Header, Segment, Standing, file_name};
use super::{LogOptions, Usage};
use crate::disk::{AlignedBuf, Disk, File, Open};
use crate::error::Fatal;
use crate::types::LogId;

/// Most bytes one filling step writes, so that little queues ahead of a sync.
const FILL_STEP: u64 = 256 << 10;

/// A segment that is still needed.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub segment: usize,
    pub epoch: u32,
    pub align: u32,
    pub capacity: u64,
    /// The last entry when the next segment was opened; unknown for the one being written.
    pub end: Option<LogId>,
}

/// The ring.
pub(crate) struct Ring {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub options: LogOptions,
    /// All files, by number.
    pub segments: Vec<Segment>,
    /// Those needed, oldest first; the last is being written.
    pub live: VecDeque<Live>,
    /// Where the next frame goes.
    pub position: u64,
    pub next_sequence: u64,
    pub previous_crc: u32,
    pub start: u32,
    pub disk_full: bool,
}

pub(crate) fn io_error<'a>(call: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Fatal + 'a {
    move |source| Fatal::Io { call, path: path.to_owned(), source }
}

/// No space, or too many open files: what is there is as good as before, and there may be room later.
fn is_want_of_room(fatal: &Fatal) -> bool {
    let Fatal::Io { source, .. } = fatal else { return false };
    let too_many_files =
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|errno| errno.raw_os_error());
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || source.raw_os_error().is_some_and(|errno| too_many_files.contains(&errno))
}

impl Ring {
    fn current(&self) -> &Live {
        self.live.back().expect("a ring has a segment being written from its making")
    }

    /// Makes the first segment: file, name, first zeros, header. Each step may have been done before a cut.
    pub(crate) fn make_first(&mut self) -> Result<(), Fatal> {
        if self.segments.is_empty() {
            self.add_segment()?;
        }
        let target = self.options.first_fill_bytes.min(self.options.segment_bytes);
        while self.segments[0].file_bytes < target {
            self.fill_segment(0, FILL_STEP, target)?;
        }
        self.open_segment(0, 1, Standing::default())
    }

    fn add_segment(&mut self) -> Result<usize, Fatal> {
        let number = self.segments.len() as u32;
        let path = self.dir.join(file_name(number));
        let file = self.disk.open(&path, Open::CreateNew).map_err(io_error("create", &path))?;
        // One that nobody knows of would be in the way of the next.
        let synced = self.disk.sync_dir(&self.dir).inspect_err(|_| drop(self.disk.unlink(&path)));
        synced.map_err(io_error("sync directory", &self.dir))?;
        self.segments.push(Segment { number, path, file, file_bytes: 0, epoch: 0 });
        Ok(number as usize)
    }

    /// Whether a frame of `bytes` fits before the unit that is kept for the way out.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let current = self.current();
        current.align == self.options.frame_align
            && self.position + bytes + u64::from(current.align) <= current.capacity
    }

    /// Writes frames that fit, at once, and syncs them. `frames` are (from, to, payload length) in `buf`.
    pub(crate) fn write(
        &mut self,
        buf: &mut AlignedBuf,
        frames: &[(usize, usize, usize)],
    ) -> Result<Vec<Place>, Fatal> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(Vec::new()) };
        let (from, to) = (first.0, last.1);
        let live = self.current().clone();
        let batch_first = self.next_sequence;
        let mut places = Vec::with_capacity(frames.len());
        for (start, end, length) in frames {
            let offset = self.position + (start - from) as u64;
            let stamp = Stamp { epoch: live.epoch, start: self.start, sequence: self.next_sequence };
            let length = u32::try_from(*length).expect("a frame fits into a segment, and that into 4 GiB");
            let coding = (frame::FORMAT, 0, 0);
            let head = Head { stamp, previous_crc: self.previous_crc, length, batch_first, coding };
            self.previous_crc = frame::finish(buf, *start, *end, offset, &head);
            let (segment, extent) = (live.segment as u32, (end - start) as u32);
            places.push(Place { segment, epoch: live.epoch, sequence: self.next_sequence, offset, extent });
            self.next_sequence += 1;
        }
        let end = self.position + (to - from) as u64;
        assert!(end <= live.capacity, "a frame beyond the end of its segment");
        self.fill_behind(live.segment, end, live.capacity)?;
        let segment = &mut self.segments[live.segment];
        segment
            .file
            .write_at(self.position, buf.slice(from, to))
            .map_err(io_error("write", &segment.path))?;
        segment.file.sync().map_err(io_error("sync", &segment.path))?;
        self.position = end;
        Ok(places)
    }

    /// Passes on to the next segment. `standing` is what the frames written so far say; its purged position
    /// may be ahead of them, and is on the device before a freed segment is reused.
    pub(crate) fn rotate(&mut self, standing: Standing) -> Result<(), Fatal> {
        self.free(standing.purged);
        let next = match self.free_segment() {
            Some(next) => next,
            None => self.add_segment()?,
        };
        let epoch = self.current().epoch.checked_add(1);
        let epoch = epoch.ok_or_else(|| Fatal::Inconsistent("the log has used up its epochs".to_owned()))?;
        let mut payload = Vec::new();
        if let Some(purged) = standing.purged {
            record::encode(&Record::Purge(purged), &mut payload);
        }
        let Segment { number, file_bytes, .. } = self.segments[next];
        record::encode(&Record::Next { segment: number, epoch, length: file_bytes }, &mut payload);
        let extent = frame::extent(payload.len(), self.current().align);
        let mut buf = AlignedBuf::zeroed(extent);
        frame::put(&mut buf, 0, 0, &payload);
        self.write(&mut buf, &[(0, extent, payload.len())])?;
        self.open_segment(next, epoch, standing)
    }

    /// Refuses to go on in a segment that is still needed: only damage can have named it.
    pub(crate) fn refuse_live(&self, next: usize) -> Result<(), Fatal> {
        if self.live.iter().all(|live| live.segment != next) {
            return Ok(());
        }
        let path = self.segments[next].path.clone();
        let what = "the log is to go on in this segment, but it is still needed".to_owned();
        Err(Fatal::Damaged { path, offset: 0, end: 0, what })
    }

    /// Writes and syncs the header that gives segment `next` to `epoch`, and goes on there.
    pub(crate) fn open_segment(&mut self, next: usize, epoch: u32, standing: Standing) -> Result<(), Fatal> {
        assert!(self.live.iter().all(|live| live.segment != next), "segment {next} is still needed");
        if let Some(current) = self.live.back_mut() {
            current.end = standing.last;
        }
        let LogOptions { frame_align: align, segment_bytes: capacity, .. } = self.options;
        self.fill_behind(next, u64::from(align), capacity)?;
        let segment = &mut self.segments[next];
        let header = Header {
            align,
            number: segment.number,
            epoch,
            capacity,
            file_bytes: segment.file_bytes,
            first_sequence: self.next_sequence,
            previous_crc: self.previous_crc,
            start: self.start,
            oldest_epoch: self.live.front().map_or(epoch, |live| live.epoch),
            standing,
        };
        let buf = header.encode();
        segment.file.write_at(0, buf.slice(0, buf.len())).map_err(io_error("write", &segment.path))?;
        segment.file.sync().map_err(io_error("sync", &segment.path))?;
        segment.epoch = epoch;
        self.live.push_back(Live { segment: next, epoch, align, capacity, end: None });
        self.position = u64::from(align);
        Ok(())
    }

    /// Lets go of the oldest segments whose entries are all purged.
    pub(crate) fn free(&mut self, purged: Option<LogId>) {
        while self.live.len() > 1 && is_dispensable(&self.live[0], purged) {
            self.live.pop_front();
        }
    }

    /// Overwrites with zeros what a cut left of a batch, from the position on: nothing there was ever synced.
    pub(crate) fn erase_until(&mut self, end: u64) -> Result<(), Fatal> {
        let current = self.current().segment;
        let segment = &mut self.segments[current];
        let mut from = self.position;
        while from < end {
            let bytes = (end - from).min(FILL_STEP) as usize;
            let zeros = AlignedBuf::zeroed(bytes);
            segment.file.write_at(from, zeros.slice(0, bytes)).map_err(io_error("erase", &segment.path))?;
            segment.file.sync().map_err(io_error("sync", &segment.path))?;
            from += bytes as u64;
        }
        segment.file_bytes = segment.file_bytes.max(end);
        Ok(())
    }

    /// Whether no frame was written to the current segment yet.
    pub(crate) fn is_untouched(&self) -> bool {
        let current = self.current();
        self.position == u64::from(current.align) && current.align == self.options.frame_align
    }

    /// Whether a purge to `purged` would let go of a segment.
    pub(crate) fn would_free(&self, purged: LogId) -> bool {
        self.live.len() > 1 && is_dispensable(&self.live[0], Some(purged))
    }

    /// The files of the segments, by number.
    pub(crate) fn files(&self) -> Vec<(Arc<dyn File>, PathBuf)> {
        self.segments.iter().map(|segment| (segment.file.clone(), segment.path.clone())).collect()
    }

    /// The best segment that is not needed: wholly filled, then longest unused.
    fn free_segment(&self) -> Option<usize> {
        let free = (0..self.segments.len()).filter(|at| self.live.iter().all(|live| live.segment != *at));
        free.min_by_key(|at| {
            let segment = &self.segments[*at];
            (segment.file_bytes < self.options.segment_bytes, segment.epoch)
        })
    }

    /// One bounded step of filling; true = more to do.
    pub(crate) fn fill_ahead(&mut self, bytes_max: u64) -> Result<bool, Fatal> {
        self.disk_full = self.is_short_of_space();
        if self.disk_full {
            return Ok(false);
        }
        match self.fill_step(bytes_max.clamp(frame::BLOCK as u64, FILL_STEP)) {
            Err(fatal) if is_want_of_room(&fatal) => {
                // Nothing is lost: what is filled stays usable, and the caller sees the flag.
                self.disk_full = true;
                Ok(false)
            }
            done => done,
        }
    }

    /// A file system that does not say what it has left has no bound.
    fn is_short_of_space(&self) -> bool {
        let keep = self.options.keep_free_bytes;
        keep > 0 && self.disk.free_bytes(&self.dir).unwrap_or(u64::MAX) < keep
    }

    fn fill_step(&mut self, bytes_max: u64) -> Result<bool, Fatal> {
        let current = self.current().segment;
        let ring = (0..self.segments.len()).filter(|at| *at != current);
        let mut order = std::iter::once(current).chain(ring);
        let target = self.options.segment_bytes;
        if let Some(at) = order.find(|at| self.segments[*at].file_bytes < target) {
            self.fill_segment(at, bytes_max, target)?;
        } else if self.segments.len() < self.options.ring_segments as usize {
            self.add_segment()?;
        }
        Ok(self.segments.len() < self.options.ring_segments as usize
            || self.segments.iter().any(|segment| segment.file_bytes < target))
    }

    /// Fills a segment until zeros lie behind `end`, where frames are about to end.
    fn fill_behind(&mut self, at: usize, end: u64, capacity: u64) -> Result<(), Fatal> {
        let needed = (end + frame::BLOCK as u64).min(capacity);
        while self.segments[at].file_bytes < needed {
            self.fill_segment(at, FILL_STEP, capacity)?;
        }
        Ok(())
    }

    fn fill_segment(&mut self, at: usize, bytes_max: u64, target: u64) -> Result<(), Fatal> {
        let segment = &mut self.segments[at];
        let block = frame::BLOCK as u64;
        // A cut may have left a length that is no multiple of a block; the rest of that block is written again.
        let from = segment.file_bytes / block * block;
        let bytes = bytes_max.min(target - from).next_multiple_of(block) as usize;
        let zeros = AlignedBuf::zeroed(bytes);
        segment.file.fill_at(from, zeros.slice(0, bytes)).map_err(io_error("fill", &segment.path))?;
        segment.file.sync().map_err(io_error("sync", &segment.path))?;
        segment.file_bytes = from + bytes as u64;
        Ok(())
    }

    pub(crate) fn usage(&self) -> Usage {
        let LogOptions { frame_align, segment_bytes, ring_segments, .. } = self.options;
        let full: u64 = self.live.iter().rev().skip(1).map(|live| live.capacity).sum();
        // Left by a start with other sizes, part-filled perhaps: not of this ring, and no reason to call it full.
        let others =
            self.live.iter().filter(|live| (live.align, live.capacity) != (frame_align, segment_bytes));
        let left: u64 = others.map(|live| live.capacity).sum();
        Usage {
            used_bytes: full + self.position,
            ring_bytes: u64::from(ring_segments) * segment_bytes + left,
            segments: self.segments.len() as u32,
            epoch: self.current().epoch,
            disk_full: self.disk_full,
        }
    }
}

fn is_dispensable(live: &Live, purged: Option<LogId>) -> bool {
    match (live.end, purged) {
        (None, _) => true,
        (Some(end), Some(purged)) => end.index <= purged.index,
        (Some(_), None) => false,
    }
}
