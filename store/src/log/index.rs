//! Where entries are: one row per frame, not per entry, and the newest entries themselves.
//!
//! Invariants: the entries of the log are `purged + 1 ..= last`, without a hole; each of them is in a
//! flushed frame that `runs` names, or in `recent`, or in both; `recent` ends with the last entry and
//! holds every entry that is in no flushed frame.
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::entry_bytes;
use crate::command::Entry;
use crate::disk::File;
use crate::types::LogId;

/// Most bytes that one read takes from the device, unless a single frame is larger.
const READ_MAX: u64 = 256 << 10;

/// A flushed frame that holds the entries `first..=last` as they now stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub first: u64,
    pub last: u64,
    pub place: Place,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub segment: u32,
    pub epoch: u32,
    pub sequence: u64,
    pub offset: u64,
    pub extent: u32,
}

/// Frames that lie side by side, read at once.
pub(crate) struct Stretch {
    pub file: Arc<dyn File>,
    pub path: PathBuf,
    pub runs: Vec<Run>,
}

/// Where the next entries come from.
pub(crate) enum Source {
    Memory(Vec<Entry>),
    Device(Stretch),
    Nowhere,
}

/// The index.
#[derive(Default)]
pub(crate) struct Index {
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    /// Why nothing can be read any more.
    pub failed: Option<String>,
    /// The files of the segments, by number.
    pub files: Vec<(Arc<dyn File>, PathBuf)>,
    /// The first entry of each term, oldest first.
    terms: VecDeque<LogId>,
    runs: VecDeque<Run>,
    recent: VecDeque<Entry>,
    recent_bytes: usize,
}

fn weight(entry: &Entry) -> usize {
    std::mem::size_of::<Entry>() + entry_bytes(entry).len()
}

impl Index {
    /// An empty index over these files.
    pub(crate) fn over(files: Vec<(Arc<dyn File>, PathBuf)>) -> Self {
        Index { files, ..Index::default() }
    }

    /// The index that the next entry has to have.
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// The lowest index that may be in the log.
    pub(crate) fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// Takes the next entry, which follows the last one.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.id.index, self.next(), "an entry that does not follow the last one");
        if self.terms.back().is_none_or(|first| first.term != entry.id.term) {
            self.terms.push_back(entry.id);
        }
        self.last = Some(entry.id);
        self.recent_bytes += weight(&entry);
        self.recent.push_back(entry);
    }

    /// Takes note that the frame at `place` is on the device with the entries `first..=last`.
    pub(crate) fn add_run(&mut self, first: u64, last: u64, place: Place) {
        let (first, last) = (first.max(self.first()), last);
        if first <= last {
            self.runs.push_back(Run { first, last, place });
        }
    }

    /// Drops the oldest entries in memory that are on the device too, down to `bytes_max`.
    pub(crate) fn evict(&mut self, bytes_max: usize) {
        let Some(flushed) = self.runs.back().map(|run| run.last) else { return };
        while self.recent_bytes > bytes_max && self.recent.front().is_some_and(|e| e.id.index <= flushed) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.recent.pop_front() {
            self.recent_bytes -= weight(&entry);
        }
    }

    /// Drops the entries after `kept`; `None` drops all.
    pub(crate) fn truncate(&mut self, kept: Option<LogId>) {
        let kept = kept.or(self.purged);
        let next = kept.map_or(0, |id| id.index + 1);
        while self.recent.back().is_some_and(|entry| entry.id.index >= next) {
            let entry = self.recent.pop_back().expect("the line above saw it");
            self.recent_bytes -= weight(&entry);
        }
        while self.runs.back().is_some_and(|run| run.first >= next) {
            self.runs.pop_back();
        }
        if let Some(run) = self.runs.back_mut() {
            run.last = run.last.min(next - 1);
        }
        while self.terms.back().is_some_and(|first| first.index >= next) {
            self.terms.pop_back();
        }
        self.last = kept;
    }

    /// Drops the entries up to `id`; beyond the last one the log goes on after `id`.
    pub(crate) fn purge(&mut self, id: LogId) {
        // A rotation may have said a later purge before the batch came to say this one.
        if self.purged.is_some_and(|purged| purged.index >= id.index) {
            return;
        }
        if self.last.is_none_or(|last| last.index <= id.index) {
            return self.reset(id);
        }
        while self.recent.front().is_some_and(|entry| entry.id.index <= id.index) {
            self.drop_oldest();
        }
        while self.runs.front().is_some_and(|run| run.last <= id.index) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(id.index + 1);
        }
        while self.terms.get(1).is_some_and(|first| first.index <= id.index + 1) {
            self.terms.pop_front();
        }
        self.purged = Some(id);
    }

    /// Drops everything; the log goes on after `id`.
    pub(crate) fn reset(&mut self, id: LogId) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.runs.clear();
        self.terms.clear();
        self.purged = Some(id);
        self.last = Some(id);
    }

    /// Whether every entry from the first to the last is in a flushed frame.
    pub(crate) fn is_covered(&self) -> bool {
        let mut next = self.first();
        for run in &self.runs {
            if run.first > next {
                return false;
            }
            next = run.last + 1;
        }
        next >= self.next()
    }

    /// The term of an entry, or of the purged position.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if let Some(id) = self.purged.filter(|id| id.index >= index) {
            return (id.index == index).then_some(id.term);
        }
        if index >= self.next() {
            return None;
        }
        let after = self.terms.partition_point(|first| first.index <= index);
        Some(self.terms.get(after.checked_sub(1)?)?.term)
    }

    /// Where the entries of `indexes`, which must be in the log, can be had: some of them, in order.
    pub(crate) fn find(&self, indexes: Range<u64>, bytes_max: u64) -> Source {
        let Some(oldest) = self.recent.front().map(|entry| entry.id.index) else {
            return self.on_device(indexes, bytes_max);
        };
        if indexes.start < oldest {
            return self.on_device(indexes.start..indexes.end.min(oldest), bytes_max);
        }
        let from = (indexes.start - oldest) as usize;
        let mut left = bytes_max;
        let mut entries = Vec::new();
        for entry in self.recent.range(from..).take((indexes.end - indexes.start) as usize) {
            let bytes = entry_bytes(entry).len() as u64;
            if !entries.is_empty() && bytes > left {
                break;
            }
            left = left.saturating_sub(bytes);
            entries.push(entry.clone());
        }
        Source::Memory(entries)
    }

    fn on_device(&self, indexes: Range<u64>, bytes_max: u64) -> Source {
        let from = self.runs.partition_point(|run| run.last < indexes.start);
        let Some(first) = self.runs.get(from).filter(|run| run.first <= indexes.start) else {
            return Source::Nowhere;
        };
        let (file, path) = self.files[first.place.segment as usize].clone();
        let (mut runs, mut bytes) = (vec![*first], u64::from(first.place.extent));
        for run in self.runs.range(from + 1..) {
            let before = runs[runs.len() - 1].place;
            let beside = run.place.segment == before.segment
                && run.place.epoch == before.epoch
                && run.place.offset == before.offset + u64::from(before.extent);
            bytes += u64::from(run.place.extent);
            if !beside || run.first >= indexes.end || bytes > READ_MAX.min(bytes_max) {
                break;
            }
            runs.push(*run);
        }
        Source::Device(Stretch { file, path, runs })
    }
}
