//! Watchers grouped by what they want, and found by key.
//!
//! Watchers with the same range, filters and wish for `prev_kv` are one group: what a change means to
//! them is worked out once and shared. Groups on a single key are found through a hash map, groups on
//! ranges through an interval tree, so watchers on other keys cost a change nothing.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::intervals::{End, Interval, Intervals};
use super::{WatchSpec, WatcherId};
use crate::types::{EventKind, KeyRange, RangeEnd};

/// A group's number; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(u64);

/// A [`WatchSpec`] without its start: what decides which events a watcher gets, and how they look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needs {
    range: KeyRange,
    no_put: bool,
    no_delete: bool,
    pub(super) prev_kv: bool,
}

impl Needs {
    pub(super) fn of(spec: &WatchSpec) -> Needs {
        let range = spec.range.clone();
        Needs { range, no_put: spec.no_put, no_delete: spec.no_delete, prev_kv: spec.prev_kv }
    }

    /// Whether the filters let a change of this kind through.
    pub(super) fn wants(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// Watchers that want the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) needs: Needs,
    pub(super) members: BTreeSet<WatcherId>,
}

/// A set of watchers in groups. No group is empty.
#[derive(Debug, Default)]
pub(super) struct Groups {
    last: u64,
    by_needs: BTreeMap<Needs, GroupId>,
    groups: BTreeMap<GroupId, Group>,
    /// Groups on a single key. Only looked up, never walked: the order of a hash map is chance.
    exact: HashMap<Bytes, Vec<GroupId>>,
    ranges: Intervals,
}

impl Groups {
    /// Puts a watcher in.
    pub(super) fn add(&mut self, needs: &Needs, watcher: WatcherId) {
        let id = match self.by_needs.get(needs) {
            Some(id) => *id,
            None => self.open(needs),
        };
        let group = self.groups.get_mut(&id).expect("by_needs names only groups there are");
        group.members.insert(watcher);
    }

    /// Takes a watcher out; whether it was in.
    pub(super) fn remove(&mut self, needs: &Needs, watcher: WatcherId) -> bool {
        let Some(id) = self.by_needs.get(needs).copied() else { return false };
        let group = self.groups.get_mut(&id).expect("by_needs names only groups there are");
        let was_in = group.members.remove(&watcher);
        if group.members.is_empty() {
            self.close(needs, id);
        }
        was_in
    }

    /// Calls `found` with every group that has `key` in its range.
    pub(super) fn find(&self, key: &[u8], found: &mut impl FnMut(GroupId)) {
        self.exact.get(key).into_iter().flatten().for_each(|id| found(*id));
        self.ranges.find(key, &mut |owner| found(GroupId(owner)));
    }

    /// A group that `find` named.
    pub(super) fn group(&self, id: GroupId) -> &Group {
        self.groups.get(&id).expect("found groups are there until a member leaves")
    }

    /// Whether there is nobody in it.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether this watcher is in.
    pub(super) fn contains(&self, needs: &Needs, watcher: WatcherId) -> bool {
        self.by_needs.get(needs).is_some_and(|id| self.group(*id).members.contains(&watcher))
    }

    fn open(&mut self, needs: &Needs) -> GroupId {
        self.last += 1;
        let id = GroupId(self.last);
        match interval(needs, id) {
            None => self.exact.entry(needs.range.start.clone()).or_default().push(id),
            Some(interval) => self.ranges.insert(interval),
        }
        self.by_needs.insert(needs.clone(), id);
        self.groups.insert(id, Group { needs: needs.clone(), members: BTreeSet::new() });
        id
    }

    fn close(&mut self, needs: &Needs, id: GroupId) {
        match interval(needs, id) {
            None => {
                let same_key = self.exact.get_mut(&needs.range.start).expect("an open group is listed");
                same_key.retain(|other| *other != id);
                if same_key.is_empty() {
                    self.exact.remove(&needs.range.start);
                }
            }
            Some(interval) => self.ranges.remove(&interval),
        }
        self.by_needs.remove(needs);
        self.groups.remove(&id);
    }
}

/// The interval of a group on a range; `None` for a single key.
fn interval(needs: &Needs, id: GroupId) -> Option<Interval> {
    let end = match &needs.range.end {
        RangeEnd::Single => return None,
        RangeEnd::Before(end) => End::Before(end.clone()),
        RangeEnd::Open => End::Open,
    };
    Some(Interval { start: needs.range.start.clone(), end, owner: id.0 })
}
