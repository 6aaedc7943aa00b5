//! Fences: the key space cut into pieces of about 180 live keys, each with its exact live count.
//!
//! ```text
//!   ""──────612──────"/registry/pods/m"──────540──────"/registry/secrets"──────701──────▶
//! ```
//! They live in memory and go to disk with each flush, together with the revision they were true at.
//! After a restart they are brought up to date by walking the history behind that revision.
//!
//! Invariants:
//! - the first fence begins at the empty key, so every key is in exactly one;
//! - a fence's count is exact after every change; a split that finds another number of keys is fatal,
//!   since an answer would have been wrong.
use std::collections::BTreeSet;

use bytes::Bytes;
use imbl::OrdMap;

use super::compaction::Progress;
use super::count::growth;
use super::live_keys::LiveKeys;
use crate::codec::peek_key_value;
use crate::codec::rows::{decode_number, fence_row, rev_row, table};
use crate::codec::varint::put_u64;
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{KeyRange, RangeEnd, Revision};

/// First key → live keys up to the next fence.
pub(crate) type FenceMap = OrdMap<Bytes, u64>;

/// A fence with more live keys is split.
const KEYS_MAX: u64 = 256;
/// Live keys in each part after a split.
const KEYS_SPLIT: u64 = 128;
/// Neighbours with fewer live keys together become one.
const KEYS_MERGE: u64 = 64;

/// All fences, and what of them changed.
#[derive(Debug)]
pub(crate) struct Fences {
    map: FenceMap,
    /// Their counts changed since the last `rebalance`.
    touched: BTreeSet<Bytes>,
    /// They changed, came or went since they were last staged for disk.
    dirty: BTreeSet<Bytes>,
    /// The revision that the fences on disk were true at.
    on_disk: Option<i64>,
}

impl Fences {
    /// The fences at `revision`: those on disk, brought up to date; or a recount of everything when the
    /// history that leads from them to here is not whole any more, or there are none.
    pub(crate) fn load<R: Read>(
        rows: &R,
        on_disk: Option<i64>,
        progress: &Progress,
        revision: i64,
    ) -> Result<Self, Fatal> {
        let map = read_all(rows)?;
        let mut fences = Fences { map, touched: BTreeSet::new(), dirty: BTreeSet::new(), on_disk };
        match on_disk {
            Some(then) if then <= revision && progress.intact_from() <= then + 1 => {
                fences.catch_up(rows, then)?;
                fences.rebalance(rows)?;
            }
            Some(then) if then > revision => {
                let what = format!("fences of revision {then} in a state of revision {revision}");
                return Err(Fatal::Inconsistent(what));
            }
            Some(_) | None => fences.recount(rows)?,
        }
        Ok(fences)
    }

    pub(crate) fn map(&self) -> &FenceMap {
        &self.map
    }

    /// A key appeared (`by` = 1) or went (-1).
    pub(crate) fn grow(&mut self, key: &[u8], by: i64) -> Result<(), Fatal> {
        let grown = self.map.get_prev(key).map(|(start, live)| (start.clone(), live.checked_add_signed(by)));
        let Some((start, Some(live))) = grown else {
            return Err(Fatal::Inconsistent(format!("no fence has room for key {key:02x?} to grow by {by}")));
        };
        self.touched.insert(start.clone());
        self.map.insert(start, live);
        Ok(())
    }

    /// Splits the touched fences that grew too large and merges those that grew too small.
    pub(crate) fn rebalance<R: Read>(&mut self, rows: &R) -> Result<(), Fatal> {
        for start in std::mem::take(&mut self.touched) {
            self.dirty.insert(start.clone());
            match self.map.get(&start) {
                Some(live) if *live > KEYS_MAX => self.split(rows, start)?,
                Some(live) if *live < KEYS_MERGE => self.merge(&start),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Stages the rows that changed since the last time, and what revision they are true at.
    pub(crate) fn stage<V: Read>(&mut self, rows: &mut Staged<V>, revision: i64) -> bool {
        if self.dirty.is_empty() && self.on_disk == Some(revision) {
            return false;
        }
        for start in std::mem::take(&mut self.dirty) {
            match self.map.get(&start) {
                None => rows.delete(Family::Idx, fence_row(&start)),
                Some(live) => {
                    let mut value = Vec::new();
                    put_u64(&mut value, *live);
                    rows.put(Family::Idx, fence_row(&start), value);
                }
            }
        }
        self.on_disk = Some(revision);
        true
    }

    fn next_after(&self, start: &Bytes) -> Option<(Bytes, u64)> {
        let behind: Bytes = [start.as_ref(), b"\0"].concat().into();
        self.map.get_next(&behind).map(|(next, live)| (next.clone(), *live))
    }

    fn split<R: Read>(&mut self, rows: &R, start: Bytes) -> Result<(), Fatal> {
        let end = self.next_after(&start).map_or(RangeEnd::Open, |(next, _)| RangeEnd::Before(next));
        let counted = self.map.remove(&start).unwrap_or_default();
        let found = self.build(rows, KeyRange { start, end })?;
        if found != counted {
            return Err(Fatal::Inconsistent(format!("a fence counts {counted} keys and holds {found}")));
        }
        Ok(())
    }

    /// Makes fences over `range` by scanning it; how many live keys it has.
    fn build<R: Read>(&mut self, rows: &R, range: KeyRange) -> Result<u64, Fatal> {
        let mut live = LiveKeys::now(rows, &range)?;
        let (mut start, mut here, mut total) = (range.start, 0, 0);
        while let Some((key, _)) = live.next()? {
            if here == KEYS_SPLIT {
                self.set(std::mem::replace(&mut start, key), here);
                here = 0;
            }
            here += 1;
            total += 1;
        }
        self.set(start, here);
        Ok(total)
    }

    fn set(&mut self, start: Bytes, live: u64) {
        self.dirty.insert(start.clone());
        self.map.insert(start, live);
    }

    /// Joins a small fence with the next one, and with the one before, where both together stay small.
    fn merge(&mut self, start: &Bytes) {
        let Some(mut live) = self.map.get(start).copied() else {
            return;
        };
        if let Some((next, more)) = self.next_after(start).filter(|(_, more)| live + more < KEYS_MERGE) {
            live += more;
            self.map.remove(&next);
            self.dirty.insert(next);
            self.set(start.clone(), live);
        }
        let Some(before) = start.len().checked_sub(1).and_then(|_| self.before(start)) else {
            return;
        };
        if before.1 + live < KEYS_MERGE {
            self.map.remove(start);
            self.dirty.insert(start.clone());
            self.set(before.0, before.1 + live);
        }
    }

    fn before(&self, start: &Bytes) -> Option<(Bytes, u64)> {
        self.map.range(..start.clone()).next_back().map(|(before, live)| (before.clone(), *live))
    }

    fn catch_up<R: Read>(&mut self, rows: &R, then: i64) -> Result<(), Fatal> {
        let mut cursor = rows.cursor(Family::Rev);
        cursor.seek(&rev_row(Revision { main: then + 1, sub: 0 }, false))?;
        while let Some((row, record)) = cursor.row() {
            let by = growth(row, record, &KeyRange::all())?;
            if by != 0 {
                let key = peek_key_value(record).map_or(&[][..], |(key, _)| key);
                self.grow(key, by)?;
            }
            cursor.next()?;
        }
        Ok(())
    }

    fn recount<R: Read>(&mut self, rows: &R) -> Result<(), Fatal> {
        self.dirty.extend(self.map.keys().cloned());
        self.map = FenceMap::new();
        self.on_disk = None;
        self.build(rows, KeyRange::all()).map(|_| ())
    }
}

fn read_all<R: Read>(rows: &R) -> Result<FenceMap, Fatal> {
    let mut map = FenceMap::new();
    let mut cursor = rows.cursor(Family::Idx);
    cursor.seek(&[table::FENCES])?;
    while let Some((row, live)) = cursor.row() {
        let Some(start) = row.strip_prefix(&[table::FENCES]) else {
            break;
        };
        let live = decode_number(Bytes::copy_from_slice(live))
            .ok_or_else(|| Fatal::Inconsistent(format!("fence {start:02x?} cannot be read")))?;
        map.insert(Bytes::copy_from_slice(start), live);
        cursor.next()?;
    }
    Ok(map)
}
