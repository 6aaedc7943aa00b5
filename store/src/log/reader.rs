//! Reading entries beside the writer: from memory while they are young, else from their frames.
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::frame;
use super::index::{Index, Run, Source, Stretch};
use super::record::{self, Record, entry_bytes};
use crate::command::Entry;
use crate::disk::AlignedBuf;
use crate::error::Fatal;
use crate::types::LogId;

/// Reads entries beside the writer, also while a flush is under way. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    index: Arc<RwLock<Index>>,
}

impl Reader {
    pub(crate) fn new(index: Index) -> Self {
        Reader { index: Arc::new(RwLock::new(index)) }
    }

    // A panic elsewhere leaves the index whole: every change of it is complete before anything can panic.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of `indexes` that are in the log, in order, at least one if there is any, until about
    /// `bytes_max` bytes. Purged ones and those after the last are left out.
    ///
    /// # Errors
    /// `Fatal::Io` or `Fatal::Damaged` when the bytes cannot be read back.
    pub fn read(&self, indexes: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut left = bytes_max;
        loop {
            let mut wanted = indexes.clone();
            if let Some(last) = entries.last() {
                wanted.start = last.id.index + 1;
            }
            let more = match self.find(wanted.clone(), left)? {
                Source::Nowhere => return Ok(entries),
                Source::Memory(more) => more,
                Source::Device(stretch) => match read_stretch(&stretch) {
                    Ok(more) => more,
                    // The writer may have purged and reused the frame since; then the purge explains it.
                    Err(_) if self.is_purged(&stretch) => continue,
                    Err(e) => return Err(e),
                },
            };
            for entry in more.into_iter().filter(|entry| wanted.contains(&entry.id.index)) {
                let bytes = entry_bytes(&entry).len() as u64;
                if !entries.is_empty() && bytes > left {
                    return Ok(entries);
                }
                left = left.saturating_sub(bytes);
                entries.push(entry);
            }
        }
    }

    /// Looks where the first of `indexes` can be had. Entries read so far stay good when a purge overtakes.
    fn find(&self, indexes: Range<u64>, bytes_max: u64) -> Result<Source, Fatal> {
        let index = self.index();
        refuse_if_failed(&index)?;
        let there = indexes.start.max(index.first())..indexes.end.min(index.next());
        Ok(if there.is_empty() { Source::Nowhere } else { index.find(there, bytes_max) })
    }

    fn is_purged(&self, stretch: &Stretch) -> bool {
        let first = self.index().first();
        stretch.runs.iter().any(|run| run.first < first)
    }

    /// The term of an entry in the log, or of the purged position; `None` for any other.
    pub fn term_of(&self, index: u64) -> Option<u64> {
        self.index().term_of(index)
    }

    /// The last entry, flushed or not; without entries the purged position; or nothing.
    pub fn last(&self) -> Option<LogId> {
        self.index().last
    }

    /// Whether a call to the disk has failed: nothing can be read any more.
    pub fn has_failed(&self) -> bool {
        self.index().failed.is_some()
    }

    /// Entries up to here are gone.
    pub fn purged(&self) -> Option<LogId> {
        self.index().purged
    }
}

pub(crate) fn refuse_if_failed(index: &Index) -> Result<(), Fatal> {
    match &index.failed {
        None => Ok(()),
        Some(why) => Err(Fatal::Inconsistent(format!("the log refuses all work since a call failed: {why}"))),
    }
}

/// Reads the frames of a stretch and returns their entries as they now stand.
fn read_stretch(stretch: &Stretch) -> Result<Vec<Entry>, Fatal> {
    let extents = stretch.runs.iter().map(|run| run.place.extent as usize);
    let mut buf = AlignedBuf::zeroed(extents.sum());
    let io = |source| Fatal::Io { call: "read", path: stretch.path.clone(), source };
    stretch.file.read_at(stretch.runs[0].place.offset, &mut buf).map_err(io)?;
    let (mut entries, mut at) = (Vec::new(), 0);
    for run in &stretch.runs {
        let extent = run.place.extent as usize;
        entries.extend(frame_entries(stretch, run, &buf[at..at + extent])?);
        at += extent;
    }
    Ok(entries)
}

fn frame_entries(stretch: &Stretch, run: &Run, bytes: &[u8]) -> Result<VecDeque<Entry>, Fatal> {
    let place = &run.place;
    let end = place.offset + u64::from(place.extent);
    let damaged = |what: &str| Fatal::Damaged {
        path: stretch.path.clone(),
        offset: place.offset,
        end,
        what: what.to_owned(),
    };
    let head = frame::head(bytes, place.offset).ok_or_else(|| damaged("a frame's header is not readable"))?;
    if (head.stamp.epoch, head.stamp.sequence) != (place.epoch, place.sequence) {
        return Err(damaged("another frame lies where one was written"));
    }
    frame::verify(bytes, place.offset, &head)
        .map_err(|_| damaged("a block of a frame fails its checksum"))?;
    let records = record::decode(frame::payload(bytes, head.length as usize));
    let records = records.map_err(|bad| bad.fatal(&stretch.path, place.offset, end))?;
    let entries = standing_entries(records, run.first, run.last);
    if entries.len() as u64 != run.last + 1 - run.first {
        return Err(damaged("a frame does not hold the entries it was indexed for"));
    }
    Ok(entries)
}

/// The entries `first..=last` of a frame as its later records leave them.
pub(super) fn standing_entries(records: Vec<Record>, first: u64, last: u64) -> VecDeque<Entry> {
    let mut entries: VecDeque<Entry> = VecDeque::new();
    for record in records {
        match record {
            Record::Entry(entry) => entries.push_back(entry),
            Record::Truncate(kept) => {
                while entries.back().is_some_and(|e| kept.is_none_or(|kept| e.id.index > kept.index)) {
                    entries.pop_back();
                }
            }
            Record::Reset(_) => entries.clear(),
            Record::Purge(id) => {
                // A purge beyond the last entry lets the log go on elsewhere, as a reset does.
                if entries.back().is_some_and(|entry| entry.id.index <= id.index) {
                    entries.clear();
                }
            }
            Record::Vote(_) | Record::Committed(_) | Record::Next { .. } | Record::Seal | Record::Note(_) => {
            }
        }
    }
    entries.retain(|entry| (first..=last).contains(&entry.id.index));
    entries
}
