//! Walking the keys of a range that are live at a main revision, in key order.
//!
//! Now is a walk over the live keys alone. Then is two walks side by side, of the keys that live now and of
//! those with older versions: a key that has not changed since is in the first, what it was otherwise is in
//! the second.
use bytes::Bytes;

use super::history::{Older, Version, newest_from};
use crate::codec::rows;
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{KeyRange, RangeEnd};

/// The walk.
pub(crate) enum LiveKeys<C> {
    /// At the newest revision.
    Now(Newest<C>),
    /// At an older one.
    Then(Then<C>),
}

impl<C: Cursor> LiveKeys<C> {
    /// The keys that live now.
    pub(crate) fn now<'a, R>(read: &'a R, range: &KeyRange) -> Result<Self, Fatal>
    where
        R: Read<Cursor<'a> = C> + 'a,
    {
        Ok(LiveKeys::Now(Newest::of(read, range)?))
    }

    /// The keys that lived at main revision `main`.
    pub(crate) fn then<'a, R>(read: &'a R, range: &KeyRange, main: i64) -> Result<Self, Fatal>
    where
        R: Read<Cursor<'a> = C> + 'a,
    {
        Ok(LiveKeys::Then(Then::of(read, range, main)?))
    }

    /// The next key and its version.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Version)>, Fatal> {
        match self {
            LiveKeys::Now(newest) => {
                let Some((key, version)) = newest.here()? else { return Ok(None) };
                let found = (Bytes::copy_from_slice(key), version);
                newest.cursor.next()?;
                Ok(Some(found))
            }
            LiveKeys::Then(then) => Ok(then.next()?.map(|version| (then.key.clone(), version))),
        }
    }

    /// As `next`, without the key.
    pub(crate) fn next_version(&mut self) -> Result<Option<Version>, Fatal> {
        match self {
            LiveKeys::Now(newest) => {
                let version = newest.here()?.map(|(_, version)| version);
                newest.cursor.next()?;
                Ok(version)
            }
            LiveKeys::Then(then) => then.next(),
        }
    }
}

/// A walk over the keys that live now.
pub(crate) struct Newest<C> {
    cursor: C,
    /// Rows from here on are outside.
    end: Option<Vec<u8>>,
}

impl<C: Cursor> Newest<C> {
    fn of<'a, R>(read: &'a R, range: &KeyRange) -> Result<Self, Fatal>
    where
        R: Read<Cursor<'a> = C> + 'a,
    {
        let end = match &range.end {
            RangeEnd::Single => Some([&rows::newest_row(&range.start)[..], b"\0"].concat()),
            RangeEnd::Before(end) => Some(rows::newest_row(end)),
            RangeEnd::Open => None,
        };
        let mut cursor = read.cursor(Family::Idx);
        cursor.seek(&rows::newest_row(&range.start))?;
        Ok(Newest { cursor, end })
    }

    fn here(&self) -> Result<Option<(&[u8], Version)>, Fatal> {
        let Some((row, value)) = self.cursor.row() else { return Ok(None) };
        match rows::key_of_newest(row) {
            Some(key) if self.end.as_deref().is_none_or(|end| row < end) => {
                Ok(Some((key, newest_from(row, value)?)))
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// A walk over the keys that lived at an older revision.
pub(crate) struct Then<C> {
    newest: Newest<C>,
    older: Older<C>,
    /// Rows of older versions from here on are outside.
    older_end: Option<Vec<u8>>,
    /// The key whose rows `older` stands at.
    older_key: Option<Bytes>,
    main: i64,
    /// Of the version given last.
    key: Bytes,
}

impl<C: Cursor> Then<C> {
    fn of<'a, R>(read: &'a R, range: &KeyRange, main: i64) -> Result<Self, Fatal>
    where
        R: Read<Cursor<'a> = C> + 'a,
    {
        let start = rows::older_of(&range.start);
        let older_end = match &range.end {
            RangeEnd::Single => Some(rows::behind(&start)),
            RangeEnd::Before(end) => Some(rows::older_of(end)),
            RangeEnd::Open => None,
        };
        let mut older = Older::new(read.cursor(Family::Idx));
        older.seek(&start)?;
        let newest = Newest::of(read, range)?;
        let mut then = Then { newest, older, older_end, older_key: None, main, key: Bytes::new() };
        then.enter_older()?;
        Ok(then)
    }

    fn next(&mut self) -> Result<Option<Version>, Fatal> {
        loop {
            let (newest, is_older) = match (self.newest.here()?, &self.older_key) {
                (None, None) => return Ok(None),
                (Some((key, version)), None) => (Some((key, version)), false),
                (Some((key, version)), Some(older)) if key <= older.as_ref() => {
                    (Some((key, version)), key == older.as_ref())
                }
                (_, Some(_)) => (None, true),
            };
            let newest = newest.map(|(key, version)| (Bytes::copy_from_slice(key), version));
            let mut found = None;
            if let Some((key, version)) = newest {
                self.newest.cursor.next()?;
                self.key = key;
                found = Some(version).filter(|version| version.at.main <= self.main);
            }
            if is_older {
                if found.is_none() {
                    found = self.older.at_or_below(self.main)?.filter(Version::is_live);
                }
                self.key = self.older_key.take().unwrap_or_default();
                self.older.leave_key()?;
                self.enter_older()?;
            }
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn enter_older(&mut self) -> Result<(), Fatal> {
        self.older_key = self.older.enter_key(self.older_end.as_deref())?;
        Ok(())
    }
}
