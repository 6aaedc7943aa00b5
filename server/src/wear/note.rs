//! What is counted, as the bytes of the log's note.
//!
//! ```text
//! 1                  format
//! kinds              how many numbers a row of counts has
//! revision           keys are counted up to here
//! counts             of all time
//! days, {day, counts} newest first
//! rows, {length, prefix, bytes} largest first
//! ```
//! All numbers are LEB128 varints. A later version may have more kinds: then the further ones are 0 in older notes,
//! and an older version leaves out those it does not know. What does not fit into a note is left out from the end
//! of each list: the oldest days, the smallest prefixes.
use std::collections::VecDeque;

use bramble_store::log::NOTE_BYTES_MAX;
use bytes::Bytes;

use super::days::{COUNTS, Counts, DAYS_MAX, Days};
use super::prefixes::{PREFIX_BYTES_MAX, Prefixes};

const FORMAT: u64 = 1;
/// Prefixes in a note; of these the counts outlive a restart.
const PREFIXES_MAX: usize = 16;
/// Where the days end at the latest.
const DAYS_BYTES_MAX: usize = 2 << 10;

/// All that outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) days: Days,
    pub(super) prefixes: Prefixes,
    /// The newest revision whose keys are counted.
    pub(super) revision: u64,
}

impl Note {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(NOTE_BYTES_MAX);
        put(FORMAT, &mut out);
        put(COUNTS as u64, &mut out);
        put(self.revision, &mut out);
        put_counts(self.days.total(), &mut out);
        let days = self.days.newest_first().map(|(day, counts)| {
            let mut row = Vec::new();
            put(u64::from(*day), &mut row);
            put_counts(counts, &mut row);
            row
        });
        put_rows(days, DAYS_BYTES_MAX, &mut out);
        let prefixes = self.prefixes.top(PREFIXES_MAX).into_iter().map(|(prefix, bytes)| {
            let mut row = Vec::new();
            put(prefix.len() as u64, &mut row);
            row.extend_from_slice(prefix);
            put(bytes, &mut row);
            row
        });
        put_rows(prefixes, NOTE_BYTES_MAX, &mut out);
        out.into()
    }

    /// `None`: of another format, or no note at all.
    pub(super) fn decode(bytes: &[u8]) -> Option<Note> {
        let mut bytes = bytes;
        if number(&mut bytes)? != FORMAT {
            return None;
        }
        let kinds = number(&mut bytes)?;
        let revision = number(&mut bytes)?;
        let total = counts(kinds, &mut bytes)?;
        let mut days = VecDeque::new();
        for _ in 0..at_most(DAYS_MAX, number(&mut bytes)?)? {
            days.push_front((number(&mut bytes)?.try_into().ok()?, counts(kinds, &mut bytes)?));
        }
        let mut prefixes = Vec::new();
        for _ in 0..at_most(PREFIXES_MAX, number(&mut bytes)?)? {
            let length = at_most(PREFIX_BYTES_MAX, number(&mut bytes)?)?;
            let (prefix, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            prefixes.push((prefix.into(), number(&mut bytes)?));
        }
        let days = Days::restore(total, days)?;
        bytes.is_empty().then_some(Note { days, prefixes: Prefixes::restore(prefixes), revision })
    }
}

/// The number of rows and as many rows as fit: one byte is left for a number above 0, which is below 128.
fn put_rows(rows: impl Iterator<Item = Vec<u8>>, end: usize, out: &mut Vec<u8>) {
    let (at, mut fitting) = (out.len(), 0);
    out.push(0);
    for row in rows {
        if out.len() + row.len() >= end {
            break;
        }
        out.extend_from_slice(&row);
        fitting += 1;
    }
    out[at] = fitting;
}

fn put_counts(counts: &Counts, out: &mut Vec<u8>) {
    counts.0.iter().for_each(|count| put(*count, out));
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn counts(kinds: u64, bytes: &mut &[u8]) -> Option<Counts> {
    let mut counts = Counts::default();
    for kind in 0..kinds {
        let value = number(bytes)?;
        if let Some(count) = usize::try_from(kind).ok().and_then(|kind| counts.0.get_mut(kind)) {
            *count = value;
        }
    }
    Some(counts)
}

fn at_most(max: usize, value: u64) -> Option<usize> {
    usize::try_from(value).ok().filter(|value| *value <= max)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::days::Count;
    use super::*;

    fn note(value: u64, prefix: &str) -> Note {
        let mut note = Note { revision: value, ..Note::default() };
        for day in 0..40 {
            note.days.add(20_500 + day, &Counts([value; COUNTS]));
        }
        for n in 0..64_u64 {
            note.prefixes.add(format!("/registry/{prefix}{n:02}/x").as_bytes(), 1000 - n);
        }
        note
    }

    #[test]
    fn a_note_comes_back_and_every_cut_of_it_is_none() {
        let whole = note(1 << 33, "pods");
        let bytes = whole.encode();
        assert!(bytes.len() <= NOTE_BYTES_MAX, "{}", bytes.len());
        let back = Note::decode(&bytes).expect("whole");
        assert_eq!((&back.days, back.revision), (&whole.days, whole.revision));
        assert_eq!(back.prefixes.top(100), whole.prefixes.top(PREFIXES_MAX));
        for cut in 0..bytes.len() {
            assert_eq!(Note::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(Note::decode(&longer), None);
    }

    #[test]
    fn the_largest_numbers_and_prefixes_fit_without_the_oldest_and_smallest() {
        let large = note(u64::MAX, &"p".repeat(51));
        let bytes = large.encode();
        assert!(bytes.len() <= NOTE_BYTES_MAX, "{}", bytes.len());
        let back = Note::decode(&bytes).expect("whole");
        assert_eq!(back.days.total(), large.days.total());
        assert_eq!(back.days.last(7).get(Count::Log), large.days.last(7).get(Count::Log));
        assert_eq!(back.prefixes.top(10), large.prefixes.top(10));
    }

    #[test]
    fn kinds_that_are_not_there_are_nothing_and_unknown_ones_are_left_out() {
        let mut few = vec![FORMAT as u8, 2, 9, 5, 6];
        few.extend([0, 0]);
        let note = Note::decode(&few).expect("whole");
        assert_eq!((note.days.total().get(Count::Start), note.days.total().get(Count::Log)), (5, 6));
        assert_eq!((note.days.total().get(Count::RunningSeconds), note.revision), (0, 9));
        let mut many = vec![FORMAT as u8, COUNTS as u8 + 1, 9];
        many.extend((0..=COUNTS).map(|_| 7));
        many.extend([0, 0]);
        assert_eq!(Note::decode(&many).expect("whole").days.total(), &Counts([7; COUNTS]));
        assert_eq!(Note::decode(&[2, 0, 0, 0, 0]), None, "another format");
    }
}
