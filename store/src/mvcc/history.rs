//! Where versions are found: of a key at a revision, and the record of a version.
//!
//! ```text
//!   k  a ─▶ 9.0            the newest version of each live key
//!   o  a ─▶ 7.0  4.0       versions that were replaced, newest first, and tombstones
//!      b ─▶ 8.0t 5.0
//! ```
//! Now is found by one look-up, and the keys of now by walking the live ones alone, however long their
//! history is. An older revision asks the first table and then the second one.
use bytes::Bytes;

use crate::codec::decode_key_value;
use crate::codec::rows::{self, VersionRow};
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{KeyValue, Revision};

/// One version of a key, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// When it was made.
    pub(crate) at: Revision,
    /// What it is.
    pub(crate) row: VersionRow,
}

impl Version {
    pub(crate) fn is_live(&self) -> bool {
        self.row.version > 0
    }

    /// The record without its value.
    pub(crate) fn without_value(&self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            create_revision: self.row.create,
            mod_revision: self.at.main,
            version: self.row.version,
            value: Bytes::new(),
            lease: self.row.lease,
        }
    }
}

/// Rows that a reader steps over one by one before it seeks instead.
const STEPS_MAX: usize = 4;

/// A newest-first walk over the older versions of keys.
pub(crate) struct Older<C> {
    cursor: C,
    /// What the rows of the key in hand begin with.
    prefix: Vec<u8>,
}

impl<C: Cursor> Older<C> {
    pub(crate) fn new(cursor: C) -> Self {
        Older { cursor, prefix: Vec::new() }
    }

    /// To the first row at or behind `row`.
    pub(crate) fn seek(&mut self, row: &[u8]) -> Result<(), Fatal> {
        self.cursor.seek(row)
    }

    /// Takes the key in hand that the cursor stands at, if that row is before `end`.
    pub(crate) fn enter_key(&mut self, end: Option<&[u8]>) -> Result<Option<Bytes>, Fatal> {
        let Some((row, _)) = self.cursor.row() else { return Ok(None) };
        if row.first() != Some(&rows::table::OLDER) || end.is_some_and(|end| row >= end) {
            return Ok(None);
        }
        let (prefix, _) = rows::split_older_row(row).ok_or_else(|| damaged(row))?;
        let key = rows::key_of(prefix).ok_or_else(|| damaged(row))?;
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        Ok(Some(key))
    }

    /// To the first row behind the key in hand.
    pub(crate) fn leave_key(&mut self) -> Result<(), Fatal> {
        for _ in 0..STEPS_MAX {
            if !self.cursor.row().is_some_and(|(row, _)| row.starts_with(&self.prefix)) {
                return Ok(());
            }
            self.cursor.next()?;
        }
        self.cursor.seek(&rows::behind(&self.prefix))
    }

    /// The newest at or below `main`, standing at any row of the key in hand.
    pub(crate) fn at_or_below(&mut self, main: i64) -> Result<Option<Version>, Fatal> {
        for _ in 0..STEPS_MAX {
            match self.here()? {
                Some(version) if version.at.main > main => self.cursor.next()?,
                found => return Ok(found),
            }
        }
        self.seek_to(Revision { main, sub: i64::MAX })?;
        self.here()
    }

    /// The newest of `key` at or below `at`.
    fn find(&mut self, key: &[u8], at: Revision) -> Result<Option<Version>, Fatal> {
        self.prefix = rows::older_of(key);
        self.seek_to(at)?;
        self.here()
    }

    fn next(&mut self) -> Result<Option<Version>, Fatal> {
        self.cursor.next()?;
        self.here()
    }

    /// The version the cursor stands at, if it is one of the key in hand.
    fn here(&self) -> Result<Option<Version>, Fatal> {
        let Some((row, value)) = self.cursor.row().filter(|(row, _)| row.starts_with(&self.prefix)) else {
            return Ok(None);
        };
        let (_, at) = rows::split_older_row(row).ok_or_else(|| damaged(row))?;
        let row = VersionRow::decode(value).ok_or_else(|| damaged(row))?;
        Ok(Some(Version { at, row }))
    }

    fn seek_to(&mut self, at: Revision) -> Result<(), Fatal> {
        let mut row = self.prefix.clone();
        rows::push_revision(&mut row, at);
        self.cursor.seek(&row)
    }
}

/// All versions of keys, newest first.
pub(crate) struct Versions<'a, R: Read + 'a> {
    read: &'a R,
    older: Older<R::Cursor<'a>>,
    /// The version given last is the newest one; older ones are not looked at yet.
    at_newest: bool,
}

impl<'a, R: Read> Versions<'a, R> {
    pub(crate) fn of(read: &'a R) -> Self {
        Versions { read, older: Older::new(read.cursor(Family::Idx)), at_newest: false }
    }

    /// The newest version of `key` at or below main revision `main`; a tombstone too.
    pub(crate) fn find(&mut self, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
        let newest = unreplaced_at(self.read, key, main)?;
        self.at_newest = newest.is_some();
        match newest {
            Some(newest) => {
                self.older.prefix = rows::older_of(key);
                Ok(Some(newest))
            }
            None => self.older.find(key, Revision { main, sub: i64::MAX }),
        }
    }

    /// The version of `key` made at exactly this revision.
    pub(crate) fn find_exactly(&mut self, key: &[u8], at: Revision) -> Result<Option<Version>, Fatal> {
        let older = self.older.find(key, at)?.filter(|version| version.at == at);
        if older.is_some() {
            self.at_newest = false;
            return Ok(older);
        }
        self.at_newest = true;
        Ok(newest_version(self.read, key)?.filter(|newest| newest.at == at))
    }

    /// The version just older than the one that was given last.
    pub(crate) fn older(&mut self) -> Result<Option<Version>, Fatal> {
        if std::mem::take(&mut self.at_newest) {
            self.older.cursor.seek(&self.older.prefix)?;
            return self.older.here();
        }
        self.older.next()
    }
}

fn damaged(row: &[u8]) -> Fatal {
    Fatal::Inconsistent(format!("version row {row:02x?} cannot be read"))
}

/// Reads the row of a live key.
pub(crate) fn newest_from(row: &[u8], value: &[u8]) -> Result<Version, Fatal> {
    let (at, row) = rows::decode_newest(value).ok_or_else(|| damaged(row))?;
    Ok(Version { at, row })
}

/// The newest version of a key, if the key is there now.
pub(crate) fn newest_version<R: Read>(read: &R, key: &[u8]) -> Result<Option<Version>, Fatal> {
    let row = rows::newest_row(key);
    read.get(Family::Idx, &row)?.map(|value| newest_from(&row, &value)).transpose()
}

/// The newest version of a key, if the key is there now and was made at or below main revision `main`.
fn unreplaced_at<R: Read>(read: &R, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
    Ok(newest_version(read, key)?.filter(|newest| newest.at.main <= main))
}

/// The newest at or below main revision `main` among the versions of a key that were replaced, if it is live.
pub(crate) fn older_version<R: Read>(read: &R, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
    let mut older = Older::new(read.cursor(Family::Idx));
    Ok(older.find(key, Revision { main, sub: i64::MAX })?.filter(Version::is_live))
}

/// The newest version of one key at or below main revision `main`, if it is live.
pub(crate) fn live_version<R: Read>(read: &R, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
    match unreplaced_at(read, key, main)? {
        Some(newest) => Ok(Some(newest)),
        None => older_version(read, key, main),
    }
}

/// The record of a live version, with its value.
pub(crate) fn record<R: Read>(read: &R, version: &Version) -> Result<KeyValue, Fatal> {
    record_from(version, read.get(Family::Rev, &rows::rev_row(version.at, false))?)
}

/// The records of many live versions, in their order.
pub(crate) fn records<'a, R: Read>(
    read: &R,
    versions: impl Iterator<Item = &'a Version> + Clone,
) -> Result<Vec<KeyValue>, Fatal> {
    let names: Vec<_> = versions.clone().map(|version| rows::rev_row(version.at, false)).collect();
    if let [name] = &names[..] {
        // For one row the way that reads many is the longer one.
        let found = read.get(Family::Rev, name)?;
        return versions.map(|version| record_from(version, found.clone())).collect();
    }
    let found = read.get_many(Family::Rev, &names)?;
    versions.zip(found).map(|(version, bytes)| record_from(version, bytes)).collect()
}

fn record_from(version: &Version, bytes: Option<Bytes>) -> Result<KeyValue, Fatal> {
    let at = version.at;
    bytes.as_ref().and_then(decode_key_value).ok_or_else(|| {
        Fatal::Inconsistent(format!("revision {}.{} has a version row but no record", at.main, at.sub))
    })
}
