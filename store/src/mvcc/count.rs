//! How many live keys a range has: exact, and cheap on millions of keys.
//!
//! Now: whole fences between the ends of the range, plus a scan of the part of a fence at either end.
//! At an older revision: the count now, corrected by what the history since then created and deleted;
//! or a scan, when that history is longer than the range.
use std::ops::Bound;

use super::moment::Moment;
use super::room::{Cut, Going, Room};
use crate::codec::peek_key_value;
use crate::codec::rows::{parse_rev_row, rev_row};
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{KeyRange, RangeEnd, Revision};

/// History that is always walked rather than scanning the range, in rows.
const WALK_MIN: i64 = 1_000;

impl<R: Read> Moment<'_, R> {
    /// Live keys of `range` at main revision `main`, which the caller has checked.
    pub(crate) fn count(&self, range: &KeyRange, main: i64, room: Room<'_>) -> Result<i64, Cut> {
        if range.is_empty() {
            return Ok(0);
        }
        if range.end == RangeEnd::Single {
            return self.scan(range, main, room);
        }
        let now = self.count_now(range, room)?;
        if main == self.revision {
            return Ok(now);
        }
        match self.grown_since(range, main, now.max(WALK_MIN), room)? {
            Some(grown) => Ok(now - grown),
            None => self.scan(range, main, room),
        }
    }

    /// Live keys of `range` at main revision `main` behind the last of `read`, which are its first ones.
    ///
    /// Nothing is read again where a page ends in a fence that it has from the beginning: what the fence counts
    /// beyond the page is behind it.
    pub(crate) fn count_behind<K: AsRef<[u8]>>(
        &self,
        range: &KeyRange,
        read: &[K],
        main: i64,
        room: Room<'_>,
    ) -> Result<i64, Cut> {
        let Some(last) = read.last().map(AsRef::as_ref) else { return self.count(range, main, room) };
        let rest = range.rest_behind(last);
        let next = self.fences.get_next(&rest.start).map(|(next, _)| next);
        let ends_within = match (&range.end, next) {
            (RangeEnd::Open, _) => true,
            (RangeEnd::Before(end), Some(next)) => next <= end,
            (RangeEnd::Before(_), None) | (RangeEnd::Single, _) => false,
        };
        match self.fences.get_prev(last) {
            Some((start, live)) if ends_within && *start >= range.start && main == self.revision => {
                let read = read.len() - read.partition_point(|key| key.as_ref() < &start[..]);
                let behind = match next {
                    Some(next) => self.count(&KeyRange { start: next.clone(), end: rest.end }, main, room)?,
                    None => 0,
                };
                Ok(*live as i64 - read as i64 + behind)
            }
            Some(_) | None => self.count(&rest, main, room),
        }
    }

    fn scan(&self, range: &KeyRange, main: i64, room: Room<'_>) -> Result<i64, Cut> {
        let (mut live, mut going) = (self.live_keys(range, main)?, Going::on(room));
        let mut count = 0;
        while live.next_version()?.is_some() {
            going.row()?;
            count += 1;
        }
        Ok(count)
    }

    fn count_now(&self, range: &KeyRange, room: Room<'_>) -> Result<i64, Cut> {
        let end = match &range.end {
            RangeEnd::Before(end) => Some(end),
            RangeEnd::Single | RangeEnd::Open => None,
        };
        let from_start = (Bound::Included(range.start.clone()), Bound::Unbounded);
        let mut fences = self.fences.range(from_start).peekable();
        let part = |start, end| self.scan(&KeyRange { start, end }, self.revision, room);

        let Some((first, _)) = fences.peek().filter(|(first, _)| end.is_none_or(|end| *first < end)) else {
            return self.scan(range, self.revision, room);
        };
        let mut count = 0;
        if **first != range.start {
            count += part(range.start.clone(), RangeEnd::Before((*first).clone()))?;
        }
        while let Some((start, live)) = fences.next() {
            let whole = match (fences.peek(), end) {
                (_, None) => true,
                (Some((next, _)), Some(end)) => *next <= end,
                (None, Some(_)) => false,
            };
            if !whole {
                return Ok(count + part(start.clone(), range.end.clone())?);
            }
            count += *live as i64;
            if fences.peek().is_some_and(|(next, _)| end.is_some_and(|end| *next >= end)) {
                break;
            }
        }
        Ok(count)
    }

    /// Live keys now minus live keys at `main`, from the history in between: a put of version 1 made a
    /// key, a tombstone ended one. `None` when that history has more than `rows_max` rows.
    fn grown_since(
        &self,
        range: &KeyRange,
        main: i64,
        rows_max: i64,
        room: Room<'_>,
    ) -> Result<Option<i64>, Cut> {
        let mut cursor = self.rows.cursor(Family::Rev);
        cursor.seek(&rev_row(Revision { main: main + 1, sub: 0 }, false))?;
        let (mut grown, mut rows, mut going) = (0, 0, Going::on(room));
        while let Some((row, record)) = cursor.row() {
            going.row()?;
            rows += 1;
            if rows > rows_max {
                return Ok(None);
            }
            grown += growth(row, record, range)?;
            cursor.next()?;
        }
        Ok(Some(grown))
    }
}

/// By how much one row of history changed the number of live keys in `range`.
pub(super) fn growth(row: &[u8], record: &[u8], range: &KeyRange) -> Result<i64, Fatal> {
    let unreadable = || Fatal::Inconsistent(format!("history row {row:02x?} cannot be read"));
    let (_, tombstone) = parse_rev_row(row).ok_or_else(unreadable)?;
    let (key, version) = peek_key_value(record).ok_or_else(unreadable)?;
    Ok(match (tombstone, version) {
        _ if !range.contains(key) => 0,
        (true, _) => -1,
        (false, 1) => 1,
        (false, _) => 0,
    })
}
