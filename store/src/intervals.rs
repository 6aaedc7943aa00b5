//! A set of keys made of intervals: where deletes reach, and what permissions cover.
//!
//! Invariant: the intervals are disjoint and not empty, so a look-up is one step in a map and the
//! whole work on n ranges is n log n, however they overlap.
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::types::{KeyRange, RangeEnd};

/// Start → end; `None` = no end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intervals {
    ends: BTreeMap<Bytes, Option<Bytes>>,
}

impl Intervals {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn insert(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        let end = match &range.end {
            RangeEnd::Single => Some([&range.start[..], b"\0"].concat().into()),
            RangeEnd::Before(end) => Some(end.clone()),
            RangeEnd::Open => None,
        };
        self.insert_interval(range.start.clone(), end);
    }

    fn insert_interval(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        // Those that touch the new one become part of it.
        while let Some((at, its_end)) = self.last_before(&end)
            && its_end.as_ref().is_none_or(|its_end| *its_end >= start)
        {
            self.ends.remove(&at);
            start = start.min(at);
            end = match (end, its_end) {
                (Some(end), Some(its_end)) => Some(end.max(its_end)),
                _ => None,
            };
        }
        self.ends.insert(start, end);
    }

    /// The last interval that begins at or before `end`.
    fn last_before(&self, end: &Option<Bytes>) -> Option<(Bytes, Option<Bytes>)> {
        let upto = end.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let (start, end) = self.ends.range::<Bytes, _>((Bound::Unbounded, upto)).next_back()?;
        Some((start.clone(), end.clone()))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let upto = (Bound::Unbounded, Bound::Included(key));
        let last = self.ends.range::<[u8], _>(upto).next_back();
        last.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end.as_ref()))
    }

    /// Whether all of `start..end` is in the set; `end` above `start`, `None` = no end.
    pub(crate) fn covers(&self, start: &[u8], end: Option<&Bytes>) -> bool {
        let upto = (Bound::Unbounded, Bound::Included(start));
        let last = self.ends.range::<[u8], _>(upto).next_back();
        last.is_some_and(|(_, its_end)| match (its_end, end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(its_end), Some(end)) => end <= its_end,
        })
    }

    /// Adds all of `other`; the larger set stays where it is.
    pub(crate) fn join(&mut self, mut other: Intervals) {
        if other.len() > self.len() {
            std::mem::swap(self, &mut other);
        }
        for (start, end) in other.ends {
            self.insert_interval(start, end);
        }
    }

    /// Start and end of each, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.ends.iter().map(|(start, end)| (start, end.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &'static str, end: &'static str) -> KeyRange {
        KeyRange::from_wire(start.into(), end.into())
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let mut set = Intervals::default();
        for (start, end) in [("a", "c"), ("x", ""), ("c", "d"), ("m", "n"), ("b", "o"), ("z", "a")] {
            set.insert(&range(start, end));
        }
        assert_eq!(set.len(), 2, "{set:?}");
        for (key, inside) in
            [("a", true), ("n", true), ("o", false), ("x", true), ("x\0", false), ("A", false)]
        {
            assert_eq!(set.contains(key.as_bytes()), inside, "{key}");
        }
        set.insert(&range("y", "\0"));
        assert!(set.contains(b"zz") && !set.contains(b"w"));
        let mut other = Intervals::default();
        other.insert(&range("0", "\0"));
        set.join(other);
        assert_eq!(set.len(), 1);
    }
}
