//! Walking rows: the version of a key at a revision, the live keys of a range, the record of a version.
use bytes::Bytes;

use crate::codec::decode_key_value;
use crate::codec::rows::{self, VersionRow};
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{KeyRange, KeyValue, RangeEnd, Revision};

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

/// A newest-first walk over the versions of keys.
pub(crate) struct Versions<C> {
    cursor: C,
    /// What the rows of the key in hand begin with.
    prefix: Vec<u8>,
}

impl<C: Cursor> Versions<C> {
    pub(crate) fn new(cursor: C) -> Self {
        Versions { cursor, prefix: Vec::new() }
    }

    /// The newest version of `key` at or below main revision `main`; a tombstone too.
    pub(crate) fn find(&mut self, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
        self.prefix = rows::versions_of(key);
        self.seek_to(Revision { main, sub: i64::MAX })?;
        self.here()
    }

    /// The version of `key` made at exactly this revision.
    pub(crate) fn find_exactly(&mut self, key: &[u8], at: Revision) -> Result<Option<Version>, Fatal> {
        self.prefix = rows::versions_of(key);
        self.seek_to(at)?;
        Ok(self.here()?.filter(|version| version.at == at))
    }

    /// The version just older than the one `find` or `older` gave.
    pub(crate) fn older(&mut self) -> Result<Option<Version>, Fatal> {
        self.cursor.next()?;
        self.here()
    }

    /// The version the cursor stands at, if it is one of the key in hand.
    fn here(&self) -> Result<Option<Version>, Fatal> {
        let Some((row, value)) = self.cursor.row().filter(|(row, _)| row.starts_with(&self.prefix)) else {
            return Ok(None);
        };
        let (_, at) = rows::split_version_row(row).ok_or_else(|| damaged(row))?;
        let row = VersionRow::decode(value).ok_or_else(|| damaged(row))?;
        Ok(Some(Version { at, row }))
    }

    fn seek_to(&mut self, at: Revision) -> Result<(), Fatal> {
        let mut row = self.prefix.clone();
        rows::push_revision(&mut row, at);
        self.cursor.seek(&row)
    }

    /// To the newest version at or below `main`, standing at any row of the key in hand.
    fn newest(&mut self, main: i64) -> Result<Option<Version>, Fatal> {
        for _ in 0..STEPS_MAX {
            match self.here()? {
                Some(version) if version.at.main > main => self.cursor.next()?,
                found => return Ok(found),
            }
        }
        self.seek_to(Revision { main, sub: i64::MAX })?;
        self.here()
    }

    /// To the first row behind the key in hand.
    fn leave_key(&mut self) -> Result<(), Fatal> {
        for _ in 0..STEPS_MAX {
            if !self.cursor.row().is_some_and(|(row, _)| row.starts_with(&self.prefix)) {
                return Ok(());
            }
            self.cursor.next()?;
        }
        self.cursor.seek(&rows::behind(&self.prefix))
    }
}

fn damaged(row: &[u8]) -> Fatal {
    Fatal::Inconsistent(format!("version row {row:02x?} cannot be read"))
}

/// The newest version of one key at or below main revision `main`, if it is live.
pub(crate) fn live_version<R: Read>(read: &R, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
    Ok(Versions::new(read.cursor(Family::Idx)).find(key, main)?.filter(Version::is_live))
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

/// The live keys of a range at a main revision, in key order.
pub(crate) struct LiveKeys<C> {
    versions: Versions<C>,
    /// Rows from here on are outside.
    end: Option<Vec<u8>>,
    main: i64,
}

impl<C: Cursor> LiveKeys<C> {
    pub(crate) fn of<'a, R>(read: &'a R, range: &KeyRange, main: i64) -> Result<Self, Fatal>
    where
        R: Read<Cursor<'a> = C> + 'a,
    {
        let start = rows::versions_of(&range.start);
        let end = match &range.end {
            RangeEnd::Single => Some(rows::behind(&start)),
            RangeEnd::Before(end) => Some(rows::versions_of(end)),
            RangeEnd::Open => None,
        };
        let mut versions = Versions::new(read.cursor(Family::Idx));
        versions.cursor.seek(&start)?;
        Ok(LiveKeys { versions, end, main })
    }

    /// The next key and its version.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Version)>, Fatal> {
        match self.next_version()? {
            None => Ok(None),
            Some(version) => {
                let prefix = &self.versions.prefix;
                let key = rows::key_of(prefix).ok_or_else(|| damaged(prefix))?;
                Ok(Some((key, version)))
            }
        }
    }

    /// As `next`, without making the key.
    pub(crate) fn next_version(&mut self) -> Result<Option<Version>, Fatal> {
        while self.enter_key()? {
            let version = self.versions.newest(self.main)?;
            self.versions.leave_key()?;
            if let Some(version) = version.filter(Version::is_live) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Takes the key of the row the cursor stands at in hand; false at the end of the range.
    fn enter_key(&mut self) -> Result<bool, Fatal> {
        let Some((row, _)) = self.versions.cursor.row() else {
            return Ok(false);
        };
        if row.first() != Some(&rows::table::KEYS) || self.end.as_deref().is_some_and(|end| row >= end) {
            return Ok(false);
        }
        let (prefix, _) = rows::split_version_row(row).ok_or_else(|| damaged(row))?;
        self.versions.prefix.clear();
        self.versions.prefix.extend_from_slice(prefix);
        Ok(true)
    }
}
