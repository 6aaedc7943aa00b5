//! A view with writes on top that the engine does not have yet.
//!
//! One group of entries is applied against this: each entry reads what the entries before it wrote,
//! and the whole group becomes one batch. Nothing here reaches the engine until someone writes
//! [`Staged::into_batch`].
//!
//! ```text
//!   view    a=1   b=2         d=4
//!   staged        b=∅   c=3
//!   read    a=1         c=3   d=4
//! ```
//! Invariant: at most one staged write for each key, the last one.
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{Batch, Change, Cursor, Family, Read};
use crate::error::Fatal;

/// New values by key; `None` = erased.
type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// A view plus staged writes; reads see both.
#[derive(Clone, Debug)]
pub struct Staged<V: Read> {
    view: V,
    rev: Writes,
    idx: Writes,
}

impl<V: Read> Staged<V> {
    /// Nothing staged yet on top of `view`.
    pub fn new(view: V) -> Self {
        Staged { view, rev: Writes::new(), idx: Writes::new() }
    }

    /// Stages a row.
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes_mut(family).insert(key.into(), Some(value.into()));
    }

    /// Stages the erasing of a row, whether it exists or not.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.writes_mut(family).insert(key.into(), None);
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.rev.is_empty() && self.idx.is_empty()
    }

    /// The view below, without the staged writes.
    pub fn view(&self) -> &V {
        &self.view
    }

    /// The staged writes as one batch, each family in key order.
    pub fn into_batch(self) -> Batch {
        let rows = |family, writes: Writes| {
            writes.into_iter().map(move |(key, value)| Change { family, key, value })
        };
        Batch { changes: rows(Family::Rev, self.rev).chain(rows(Family::Idx, self.idx)).collect() }
    }

    fn writes(&self, family: Family) -> &Writes {
        match family {
            Family::Rev => &self.rev,
            Family::Idx => &self.idx,
        }
    }

    fn writes_mut(&mut self, family: Family) -> &mut Writes {
        match family {
            Family::Rev => &mut self.rev,
            Family::Idx => &mut self.idx,
        }
    }
}

impl<V: Read> Read for Staged<V> {
    type Cursor<'a>
        = StagedCursor<'a, V::Cursor<'a>>
    where
        V: 'a;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        match self.writes(family).get(key) {
            Some(staged) => Ok(staged.clone()),
            None => self.view.get(family, key),
        }
    }

    fn get_many<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Bytes>>, Fatal> {
        let writes = self.writes(family);
        let below: Vec<&[u8]> =
            keys.iter().map(AsRef::as_ref).filter(|key| !writes.contains_key(*key)).collect();
        let mut below = self.view.get_many(family, &below)?.into_iter();
        let values = keys.iter().map(|key| match writes.get(key.as_ref()) {
            Some(staged) => staged.clone(),
            None => below.next().expect("each key that is not staged was asked for"),
        });
        Ok(values.collect())
    }

    fn cursor(&self, family: Family) -> Self::Cursor<'_> {
        StagedCursor {
            base: self.view.cursor(family),
            writes: self.writes(family),
            top: None,
            at: Side::Neither,
            way: Way::Forward,
        }
    }
}

/// A merging position in one family of a [`Staged`].
///
/// Invariant while it stands at a row: going forward, `base` and `top` each stand at their first row
/// at or after it; going backward, at their last row at or before it. `at` names the one it is.
#[derive(Debug)]
pub struct StagedCursor<'a, C> {
    base: C,
    writes: &'a Writes,
    top: Option<(&'a Bytes, &'a Option<Bytes>)>,
    at: Side,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Neither,
    Base,
    /// Staged; `base` stands at another key.
    Top,
    /// Staged, and covers a row of the same key in `base`.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

impl<C: Cursor> StagedCursor<'_, C> {
    /// Chooses the nearer of the two sides; steps over rows that are staged as erased.
    fn settle(&mut self) -> Result<(), Fatal> {
        loop {
            self.at = self.nearer();
            let erased = matches!(self.top, Some((_, None)));
            if !(erased && matches!(self.at, Side::Top | Side::Both)) {
                return Ok(());
            }
            self.step()?;
        }
    }

    fn nearer(&self) -> Side {
        let (base, top) = match (self.base.row(), self.top) {
            (None, None) => return Side::Neither,
            (Some(_), None) => return Side::Base,
            (None, Some(_)) => return Side::Top,
            (Some((base, _)), Some((top, _))) => (base, top.as_ref()),
        };
        let base_first = match self.way {
            Way::Forward => base < top,
            Way::Back => base > top,
        };
        match base_first {
            _ if base == top => Side::Both,
            true => Side::Base,
            false => Side::Top,
        }
    }

    /// Moves the side (or both) that it stands at one row on, the way it goes.
    fn step(&mut self) -> Result<(), Fatal> {
        if matches!(self.at, Side::Base | Side::Both) {
            match self.way {
                Way::Forward => self.base.next()?,
                Way::Back => self.base.prev()?,
            }
        }
        if matches!(self.at, Side::Top | Side::Both)
            && let Some((key, _)) = self.top
        {
            self.top = match self.way {
                Way::Forward => first_after(self.writes, key),
                Way::Back => last_before(self.writes, key),
            };
        }
        Ok(())
    }

    /// Goes the other way from here on: the side it does not stand at moves to the other side of it.
    fn turn(&mut self, way: Way) -> Result<(), Fatal> {
        if self.way == way {
            return Ok(());
        }
        self.way = way;
        match (self.at, self.base.row(), self.top) {
            (Side::Base, Some((key, _)), _) => {
                self.top = match way {
                    Way::Forward => first_after(self.writes, key),
                    Way::Back => last_before(self.writes, key),
                };
            }
            (Side::Top, _, Some((key, _))) => match way {
                Way::Forward => self.base.seek(key)?,
                Way::Back => self.base.seek_back(key)?,
            },
            _ => {}
        }
        Ok(())
    }
}

fn first_after<'a>(writes: &'a Writes, key: &[u8]) -> Option<(&'a Bytes, &'a Option<Bytes>)> {
    writes.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded)).next()
}

fn last_before<'a>(writes: &'a Writes, key: &[u8]) -> Option<(&'a Bytes, &'a Option<Bytes>)> {
    writes.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key))).next_back()
}

impl<C: Cursor> Cursor for StagedCursor<'_, C> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.way = Way::Forward;
        self.base.seek(key)?;
        self.top = self.writes.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next();
        self.settle()
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.way = Way::Back;
        self.base.seek_back(key)?;
        self.top = self.writes.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        self.settle()
    }

    fn next(&mut self) -> Result<(), Fatal> {
        if self.at == Side::Neither {
            return Ok(());
        }
        self.turn(Way::Forward)?;
        self.step()?;
        self.settle()
    }

    fn prev(&mut self) -> Result<(), Fatal> {
        if self.at == Side::Neither {
            return Ok(());
        }
        self.turn(Way::Back)?;
        self.step()?;
        self.settle()
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        match self.at {
            Side::Neither => None,
            Side::Base => self.base.row(),
            Side::Top | Side::Both => {
                let (key, value) = self.top?;
                value.as_ref().map(|value| (key.as_ref(), value.as_ref()))
            }
        }
    }
}
