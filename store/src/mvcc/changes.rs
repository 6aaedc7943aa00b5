//! History as watchers see it: the changes of whole main revisions, and a key just before one of them.
use bytes::Bytes;

use super::history::{older_version, record};
use super::moment::Moment;
use crate::codec::decode_key_value;
use crate::codec::rows::{parse_rev_row, rev_row};
use crate::engine::{Cursor, Family, Read};
use crate::error::{Fatal, ReadError, Refusal};
use crate::types::{ChangedKey, Changes, EventKind, KeyValue, Revision};

impl<R: Read> Moment<'_, R> {
    /// Whole main revisions from `from_main` on, at least one if there is any, until `rows_max` is reached.
    pub(crate) fn changes(&self, from_main: i64, rows_max: usize) -> Result<Vec<Changes>, ReadError> {
        if from_main < self.floor {
            return Err(Refusal::Compacted { wanted: from_main, compacted: self.floor }.into());
        }
        let mut found: Vec<Changes> = Vec::new();
        let mut rows = 0;
        let mut cursor = self.rows.cursor(Family::Rev);
        cursor.seek(&rev_row(Revision { main: from_main.max(0), sub: 0 }, false))?;
        while let Some((row, record)) = cursor.row() {
            let (main, change) = changed_key(row, record)?;
            match found.last_mut() {
                Some(last) if last.main == main => last.changes.push(change),
                Some(_) if rows >= rows_max => break,
                Some(_) | None => found.push(Changes { main, changes: vec![change] }),
            }
            rows += 1;
            cursor.next()?;
        }
        Ok(found)
    }

    /// `key` at main revision `main - 1`; `main` has changed it.
    pub(crate) fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal> {
        let before = main.saturating_sub(1);
        if before < self.floor {
            return Ok(None);
        }
        // What was there is among the older ones: `main` replaced it.
        older_version(self.rows, key, before)?.map(|version| record(self.rows, &version)).transpose()
    }
}

/// The change that one row of history is, and its main revision.
fn changed_key(row: &[u8], record: &[u8]) -> Result<(i64, ChangedKey), Fatal> {
    let unreadable = || Fatal::Inconsistent(format!("history row {row:02x?} cannot be read"));
    let (at, tombstone) = parse_rev_row(row).ok_or_else(unreadable)?;
    let mut kv = decode_key_value(&Bytes::copy_from_slice(record)).ok_or_else(unreadable)?;
    let kind = if tombstone { EventKind::Delete } else { EventKind::Put };
    // A tombstone's record is the key alone; watchers are told when it went.
    kv.mod_revision = at.main;
    Ok((at.main, ChangedKey { sub: at.sub, kind, kv }))
}
