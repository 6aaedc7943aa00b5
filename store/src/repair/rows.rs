//! A state of which some rows cannot be read: what is left of it, and a new state made from that.
//!
//! ```text
//!   rev  ─── whole records, in order ──▶ rev, the version rows (k, o), and the keys on leases (a)
//!   idx  ─── facts, leases, users, … ──▶ idx as they are; what is derived from rev (k, o, a, f) is made anew
//! ```
//! A change that is lost counts as not made: the key is what it was before, or absent.
use bytes::Bytes;

use crate::codec::rows::{VersionRow, meta_row, parse_rev_row, rev_row, table};
use crate::codec::{decode_key_value, peek_key_value};
use crate::engine::bulk::Bulk;
use crate::engine::{Cursor, Engine, Family, Read};
use crate::error::Fatal;
use crate::facts::Facts;
use crate::types::{LogId, Revision};

/// Rows of `idx` that nothing else says.
const OWN_TABLES: [(u8, &str); 5] = [
    (table::META, "facts"),
    (table::LEASES, "leases"),
    (table::USERS, "users"),
    (table::ROLES, "roles"),
    (table::ALARMS, "alarms"),
];
/// Rows of `idx` that follow from `rev`.
const DERIVED_TABLES: [u8; 4] = [table::KEYS, table::OLDER, table::LEASE_KEYS, table::FENCES];

/// A stretch of history that cannot be read: what changed after one revision and before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last revision before it, which is there; 0: none is.
    pub after: i64,
    /// The first revision behind it, which is there; none when the history ends in the hole.
    pub before: Option<i64>,
}

/// What can be read of a state.
#[derive(Debug, Default)]
pub(super) struct Readable {
    /// How far it is applied and its revision; `None`: the facts cannot be read.
    pub(super) facts: Option<(Option<LogId>, i64)>,
    pub(super) holes: Vec<Hole>,
    /// Tables that lost some of their rows.
    pub(super) lost: Vec<&'static str>,
    /// What the engine said on the way, in its words; each once.
    pub(super) complaints: Vec<String>,
}

impl Readable {
    fn complain(&mut self, why: &Fatal) {
        let text = match why {
            Fatal::EngineDamaged(text) | Fatal::Engine(text) => text.clone(),
            other => other.to_string(),
        };
        if !self.complaints.contains(&text) {
            self.complaints.push(text);
        }
    }
}

/// Reads every row.
pub(super) fn look<R: Read>(rows: &R) -> Readable {
    let mut found = Readable::default();
    match Facts::load(rows) {
        Ok(None) => found.facts = Some((None, 1)),
        Ok(Some(facts)) => found.facts = Some((facts.applied, facts.revision)),
        Err(why) => found.complain(&why),
    }
    let nothing = |_: &[u8], _: &[u8]| Ok::<(), Fatal>(());
    for (table, name) in OWN_TABLES {
        if let Ok(Some(why)) = each_of(rows, table, nothing) {
            found.complain(&why);
            found.lost.push(name);
        }
    }
    for table in DERIVED_TABLES {
        if let Ok(Some(why)) = each_of(rows, table, nothing) {
            found.complain(&why);
        }
    }
    match history(rows, |_, _, _| Ok(())) {
        Ok(holes) => {
            for (hole, why) in holes {
                found.complain(&why);
                found.holes.push(hole);
            }
        }
        Err(why) => found.complain(&why),
    }
    found
}

/// Makes the state in `to`, which is empty, from what can be read.
pub(super) fn copy<R: Read, E: Engine>(rows: &R, to: &E) -> Result<(), Fatal> {
    let mut out = Bulk::into(to);
    for (table, _) in OWN_TABLES {
        each_of(rows, table, |row, value| {
            // Fences are counted anew.
            if row == meta_row("fences") {
                return Ok(());
            }
            out.put(Family::Idx, Bytes::copy_from_slice(row), Bytes::copy_from_slice(value))
        })?;
    }
    history(rows, |at, tombstone, record| {
        let unreadable = || Fatal::Inconsistent(format!("the record of {}.{} is none", at.main, at.sub));
        let record = Bytes::copy_from_slice(record);
        let (key, version) = match tombstone {
            true => (peek_key_value(&record).ok_or_else(unreadable)?.0.to_vec(), VersionRow::TOMBSTONE),
            false => {
                let kv = decode_key_value(&record).ok_or_else(unreadable)?;
                let row = VersionRow { create: kv.create_revision, version: kv.version, lease: kv.lease };
                (kv.key.to_vec(), row)
            }
        };
        out.put_version(&key, at, &version)?;
        out.put(Family::Rev, rev_row(at, tombstone), record)
    })?;
    out.attach()?;
    Ok(())
}

/// Calls `each` with the rows of a table that can be reached from either end. What kept it from reaching
/// all, if anything did; an error is one of `each`.
fn each_of<R: Read>(
    rows: &R,
    table: u8,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Fatal>,
) -> Result<Option<Fatal>, Fatal> {
    let mut last = vec![table];
    let mut cursor = rows.cursor(Family::Idx);
    let mut reached = cursor.seek(&last);
    let why = loop {
        if let Err(why) = reached {
            break why;
        }
        let Some((row, value)) = cursor.row().filter(|(row, _)| row.first() == Some(&table)) else {
            return Ok(None);
        };
        each(row, value)?;
        last = row.to_vec();
        reached = cursor.next();
    };
    let mut cursor = rows.cursor(Family::Idx);
    let mut reached = cursor.seek_back(&[table + 1]);
    while reached.is_ok()
        && let Some((row, value)) =
            cursor.row().filter(|(row, _)| row.first() == Some(&table) && *row > &last[..])
    {
        each(row, value)?;
        reached = cursor.prev();
    }
    Ok(Some(why))
}

/// Calls `each` with every record of the history that can be read, in order. What cannot; an error is one
/// of `each`.
fn history<R: Read>(
    rows: &R,
    mut each: impl FnMut(Revision, bool, &[u8]) -> Result<(), Fatal>,
) -> Result<Vec<(Hole, Fatal)>, Fatal> {
    let mut holes = Vec::new();
    let mut from = Revision { main: 0, sub: 0 };
    loop {
        let mut after = from.main.saturating_sub(1);
        let mut cursor = rows.cursor(Family::Rev);
        let mut reached = cursor.seek(&rev_row(from, false));
        let why = loop {
            if let Err(why) = reached {
                break why;
            }
            let Some((row, record)) = cursor.row() else { return Ok(holes) };
            let Some((at, tombstone)) = parse_rev_row(row) else {
                return Err(Fatal::Inconsistent(format!("history row {row:02x?} cannot be read")));
            };
            each(at, tombstone, record)?;
            after = at.main;
            reached = cursor.next();
        };
        let behind = readable_after(rows, after);
        holes.push((Hole { after, before: behind.map(|at| at.main) }, why));
        match behind {
            Some(at) => from = at,
            None => return Ok(holes),
        }
    }
}

/// The first record behind main revision `after` that can be read: found by steps that double, then halved.
fn readable_after<R: Read>(rows: &R, after: i64) -> Option<Revision> {
    let (mut unreadable, mut step) = (after, 1i64);
    let (mut readable, mut found) = loop {
        let main = after.saturating_add(step);
        match first_from(rows, main) {
            Ok(found) => break (main, found),
            Err(_) if main == i64::MAX => return None,
            Err(_) => unreadable = main,
        }
        step = step.saturating_mul(2);
    };
    while readable - unreadable > 1 {
        let main = unreadable + (readable - unreadable) / 2;
        match first_from(rows, main) {
            Ok(first) => (readable, found) = (main, first),
            Err(_) => unreadable = main,
        }
    }
    found
}

fn first_from<R: Read>(rows: &R, main: i64) -> Result<Option<Revision>, Fatal> {
    let mut cursor = rows.cursor(Family::Rev);
    cursor.seek(&rev_row(Revision { main, sub: 0 }, false))?;
    Ok(cursor.row().and_then(|(row, _)| parse_rev_row(row)).map(|(at, _)| at))
}
