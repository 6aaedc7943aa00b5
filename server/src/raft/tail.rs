//! The newest entries in memory, so that committing and replicating never read the disk.
//!
//! Entries stay until they are flushed; then the oldest go once the whole exceeds its bound. What
//! is gone from here is in the log, and the log thread reads it.
use std::collections::VecDeque;
use std::ops::Range;

use bramble_store::command::{Entry, Payload};

/// Entries of consecutive indexes.
pub(super) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// Index below which everything is flushed.
    flushed_end: u64,
}

impl Tail {
    /// An empty tail that keeps at most `bytes_max` bytes of flushed entries.
    pub(super) fn new(bytes_max: usize) -> Tail {
        Tail { entries: VecDeque::new(), bytes: 0, bytes_max, flushed_end: 0 }
    }

    /// Adds entries that follow those that are there.
    pub(super) fn push(&mut self, entries: &[Entry]) {
        for entry in entries {
            if self.entries.back().is_some_and(|last| last.id.index + 1 != entry.id.index) {
                self.clear();
            }
            self.bytes += entry_bytes(entry);
            self.entries.push_back(entry.clone());
        }
        self.evict();
    }

    /// Everything below `end` is flushed.
    pub(super) fn flushed(&mut self, end: u64) {
        self.flushed_end = self.flushed_end.max(end);
        self.evict();
    }

    /// Drops entries at `from` and above; others will take their places.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|last| last.id.index >= from) {
            self.drop_back();
        }
        self.flushed_end = self.flushed_end.min(from);
    }

    /// Drops entries below `end`.
    pub(super) fn purge(&mut self, end: u64) {
        while self.entries.front().is_some_and(|first| first.id.index < end) {
            self.drop_front();
        }
    }

    /// The first index it has, if it has any.
    pub(super) fn start(&self) -> Option<u64> {
        self.entries.front().map(|first| first.id.index)
    }

    /// The entries of `range`, which must begin at or above [`Tail::start`], as far as they are there:
    /// at least one, then as many as stay within `bytes_max`.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self.start().filter(|start| *start <= range.start) else { return Vec::new() };
        let mut out = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range((range.start - start).min(self.entries.len() as u64) as usize..) {
            bytes += entry_bytes(entry);
            if entry.id.index >= range.end || (bytes > bytes_max && !out.is_empty()) {
                break;
            }
            out.push(entry.clone());
        }
        out
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max && self.start().is_some_and(|start| start < self.flushed_end) {
            self.drop_front();
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry_bytes(&entry);
        }
    }

    fn drop_back(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            self.bytes -= entry_bytes(&entry);
        }
    }
}

/// Bytes an entry takes in memory, about.
pub fn entry_bytes(entry: &Entry) -> usize {
    64 + match &entry.payload {
        Payload::Blank => 0,
        Payload::Command(bytes) | Payload::Membership(bytes) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_store::types::LogId;

    fn entries(range: Range<u64>, term: u64) -> Vec<Entry> {
        let payload = || Payload::Command(vec![0; 36].into());
        range.map(|index| Entry { id: LogId { term, index }, payload: payload() }).collect()
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.id.index).collect()
    }

    #[test]
    fn unflushed_entries_stay_whatever_the_bound() {
        let mut tail = Tail::new(300);
        tail.push(&entries(5..15, 1));
        assert_eq!(tail.start(), Some(5));
        tail.flushed(9);
        assert_eq!(tail.start(), Some(9));
        tail.flushed(15);
        assert_eq!(tail.start(), Some(12));
        assert_eq!(indexes(&tail.read(12..20, usize::MAX)), [12, 13, 14]);
        assert_eq!(indexes(&tail.read(13..14, usize::MAX)), [13]);
        assert_eq!(indexes(&tail.read(12..15, 150)), [12]);
        assert!(tail.read(11..15, usize::MAX).is_empty());
        assert!(tail.read(15..16, usize::MAX).is_empty());
    }

    #[test]
    fn truncated_places_are_taken_by_others() {
        let mut tail = Tail::new(1 << 20);
        tail.push(&entries(0..10, 1));
        tail.truncate(6);
        tail.push(&entries(6..8, 2));
        let read = tail.read(5..9, usize::MAX);
        assert_eq!(
            read.iter().map(|e| (e.id.term, e.id.index)).collect::<Vec<_>>(),
            [(1, 5), (2, 6), (2, 7)]
        );
        tail.purge(7);
        assert_eq!(tail.start(), Some(7));
    }
}
