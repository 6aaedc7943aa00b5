//! Compaction: the floor is raised at once and everywhere alike; the rows below it are erased later,
//! in bounded steps, on each replica by itself.
//!
//! What goes: versions below the floor that a version at or below the floor replaced, and tombstones
//! below the floor. What stays, so that nobody can see how far the erasing has come: everything at
//! the floor and above it, and the newest version of each live key.
//!
//! A version is found by the one that replaced it. So a step walks the history, not the keys, and
//! only the part of it that is new since the last floor:
//!
//! ```text
//!   rev   …done… │ 7.0 put a │ 8.0 del b │ 9.0 put a │ …          target (the floor) = 9
//!                 next ▲       erases b's older version and itself; 9.0 then erases a at 7.0
//! ```
//! Invariant: every row at or above `next`, and every row at or above `target`, is still there.
use bytes::Bytes;

use super::history::{Version, Versions, live_version};
use crate::codec::peek_key_value;
use crate::codec::rows::{older_row, parse_rev_row, rev_row};
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::{Fatal, Refusal};
use crate::types::Revision;

/// Whether the floor may be raised to `wanted`.
pub(crate) fn check_floor(wanted: i64, floor: i64, revision: i64) -> Result<(), Refusal> {
    if wanted <= floor {
        return Err(Refusal::Compacted { wanted, compacted: floor });
    }
    if wanted > revision {
        return Err(Refusal::Future { wanted, current: revision });
    }
    Ok(())
}

/// How far the erasing has come. Kept in the same batches as what it erases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The floor it works towards.
    pub(crate) target: i64,
    /// The first row of history that it has not looked at.
    pub(crate) next: Revision,
}

impl Progress {
    /// Nothing was ever compacted.
    pub(crate) const NONE: Progress = Progress { target: -1, next: Revision { main: 0, sub: 0 } };

    pub(crate) fn is_done(&self) -> bool {
        self.next.main > self.target
    }

    /// Sets a higher target. Rows at the old one were spared for being at the floor: they are looked at again.
    pub(crate) fn raise(&mut self, target: i64) {
        self.next = self.next.min(Revision { main: self.target.max(0), sub: 0 });
        self.target = target;
    }

    /// From this main revision on, the history is whole.
    pub(crate) fn intact_from(&self) -> i64 {
        let looked_at = self.next.main + i64::from(self.next.sub > 0);
        looked_at.min(self.target)
    }
}

/// Whether a version is still there when all that goes at a floor is gone.
pub(crate) fn outlives<R: Read>(rows: &R, key: &[u8], at: Revision, floor: i64) -> Result<bool, Fatal> {
    if at.main >= floor {
        return Ok(true);
    }
    Ok(live_version(rows, key, floor)?.is_some_and(|newest| newest.at == at))
}

/// A row of history, as far as erasing cares.
struct Row {
    at: Revision,
    tombstone: bool,
    key: Bytes,
}

/// Looks at up to `rows_max` rows of history and stages the erasing of what they replaced. How many
/// versions that is.
pub(crate) fn scrub<V: Read>(
    rows: &mut Staged<V>,
    progress: &mut Progress,
    rows_max: usize,
) -> Result<u64, Fatal> {
    let history = next_rows(rows, progress, rows_max)?;
    let mut doomed = Vec::new();
    let mut versions = Versions::of(&*rows);
    for row in &history {
        doomed.extend(replaced_by(&mut versions, row, progress.target)?.map(|version| (&row.key, version)));
    }
    drop(versions);
    let mut erased = 0;
    for (key, version) in doomed {
        // A tombstone that was replaced is also found by itself, below.
        erased += u64::from(version.is_live());
        rows.delete(Family::Idx, older_row(key, version.at));
        rows.delete(Family::Rev, rev_row(version.at, !version.is_live()));
    }
    for tombstone in history.iter().filter(|row| row.tombstone && row.at.main < progress.target) {
        rows.delete(Family::Idx, older_row(&tombstone.key, tombstone.at));
        rows.delete(Family::Rev, rev_row(tombstone.at, true));
        erased += 1;
    }
    progress.next = match history.last() {
        Some(last) if history.len() == rows_max => Revision { main: last.at.main, sub: last.at.sub + 1 },
        Some(_) | None => Revision { main: progress.target + 1, sub: 0 },
    };
    Ok(erased)
}

fn next_rows<R: Read>(rows: &R, progress: &Progress, rows_max: usize) -> Result<Vec<Row>, Fatal> {
    let mut found = Vec::new();
    let mut cursor = rows.cursor(Family::Rev);
    cursor.seek(&rev_row(progress.next, false))?;
    while let Some((row, record)) = cursor.row().filter(|_| found.len() < rows_max) {
        let unreadable = || Fatal::Inconsistent(format!("history row {row:02x?} cannot be read"));
        let (at, tombstone) = parse_rev_row(row).ok_or_else(unreadable)?;
        if at.main > progress.target {
            break;
        }
        let (key, _) = peek_key_value(record).ok_or_else(unreadable)?;
        found.push(Row { at, tombstone, key: Bytes::copy_from_slice(key) });
        cursor.next()?;
    }
    Ok(found)
}

/// The version that `row` replaced, if it is below the floor. Those before it went, or go, with the
/// rows that replaced them.
fn replaced_by<R: Read>(
    versions: &mut Versions<'_, R>,
    row: &Row,
    target: i64,
) -> Result<Option<Version>, Fatal> {
    if versions.find_exactly(&row.key, row.at)?.is_none() {
        let Revision { main, sub } = row.at;
        return Err(Fatal::Inconsistent(format!("revision {main}.{sub} has a record but no version row")));
    }
    Ok(versions.older()?.filter(|older| older.at.main < target))
}
