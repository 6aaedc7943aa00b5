//! The one-page model of the store: keys, their leases, and what operations do to them at a revision.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Compare, Event, KeyValue, Op, OpAnswer, Put, Range, Relation, Request, Span, Target};

/// The keys as they are at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    keys: BTreeMap<Bytes, KeyValue>,
    attached: BTreeMap<i64, BTreeSet<Bytes>>,
}

/// What a request comes down to in a state.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// Whether all compares held.
    pub succeeded: bool,
    /// One for each operation that ran.
    pub answers: Vec<OpAnswer>,
    /// What changed, in order.
    pub events: Vec<Event>,
}

impl State {
    /// The key, if it is there.
    pub fn get(&self, key: &Bytes) -> Option<&KeyValue> {
        self.keys.get(key)
    }

    /// The keys that hang on a lease.
    pub fn attached(&self, lease: i64) -> Option<&BTreeSet<Bytes>> {
        self.attached.get(&lease)
    }

    /// Leases that keys hang on.
    pub fn leases(&self) -> impl Iterator<Item = i64> {
        self.attached.keys().copied()
    }

    /// Whether all compares hold.
    pub fn holds(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| self.compares(compare))
    }

    fn compares(&self, compare: &Compare) -> bool {
        let kv = self.keys.get(&compare.key);
        let field = |pick: fn(&KeyValue) -> i64| kv.map_or(0, pick);
        let order = match &compare.target {
            Target::Create(given) => field(|kv| kv.create).cmp(given),
            Target::Mod(given) => field(|kv| kv.modified).cmp(given),
            Target::Version(given) => field(|kv| kv.version).cmp(given),
            Target::Lease(given) => field(|kv| kv.lease).cmp(given),
            Target::Value(given) => match kv {
                Some(kv) => kv.value.cmp(given),
                None => return false,
            },
        };
        match compare.relation {
            Relation::Equal => order.is_eq(),
            Relation::Greater => order.is_gt(),
            Relation::Less => order.is_lt(),
            Relation::NotEqual => order.is_ne(),
        }
    }

    /// Runs what reads or writes keys; its changes get this revision. Other requests do nothing here, except that
    /// a revoke ends its lease.
    pub fn run(&mut self, request: &Request, revision: i64) -> Ran {
        match request {
            Request::Op(op) => self.run_all(true, std::slice::from_ref(op), revision),
            Request::Txn(txn) => {
                let succeeded = self.holds(&txn.compares);
                let ops = if succeeded { &txn.success } else { &txn.failure };
                self.run_all(succeeded, ops, revision)
            }
            Request::Revoke(lease) => {
                Ran { succeeded: true, answers: Vec::new(), events: self.end_lease(*lease, revision) }
            }
            Request::Compact(_) | Request::Grant { .. } | Request::KeepAlive(_) => {
                Ran { succeeded: true, answers: Vec::new(), events: Vec::new() }
            }
        }
    }

    fn run_all(&mut self, succeeded: bool, ops: &[Op], revision: i64) -> Ran {
        let mut events = Vec::new();
        let answers = ops.iter().map(|op| self.run_op(op, revision, &mut events)).collect();
        Ran { succeeded, answers, events }
    }

    fn run_op(&mut self, op: &Op, revision: i64, events: &mut Vec<Event>) -> OpAnswer {
        match op {
            Op::Range(range) => self.range(range),
            Op::Put(put) => {
                let prev = self.put(put, revision, events);
                OpAnswer::Put(prev.filter(|_| put.prev_kv))
            }
            Op::Delete { keys, prev_kv } => {
                let prev = self.delete(keys, revision, events);
                OpAnswer::Delete { deleted: prev.len(), prev: if *prev_kv { prev } else { Vec::new() } }
            }
        }
    }

    /// Reads; which revision the state is of is the caller's business.
    pub fn range(&self, range: &Range) -> OpAnswer {
        let found = self.keys.range::<Bytes, _>(range.keys.bounds());
        let count = found.clone().count();
        let limit = if range.limit == 0 { count } else { range.limit };
        let kvs = found.take(limit).map(|(_, kv)| kv.clone()).collect();
        OpAnswer::Range { kvs, count, more: count > limit }
    }

    fn put(&mut self, put: &Put, revision: i64, events: &mut Vec<Event>) -> Option<KeyValue> {
        let prev = self.keys.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create: prev.as_ref().map_or(revision, |prev| prev.create),
            modified: revision,
            version: prev.as_ref().map_or(0, |prev| prev.version) + 1,
            lease: put.lease,
        };
        let event = Event { kv, delete: false, prev: prev.clone() };
        self.follow(&event);
        events.push(event);
        prev
    }

    fn delete(&mut self, keys: &Span, revision: i64, events: &mut Vec<Event>) -> Vec<KeyValue> {
        let gone: Vec<KeyValue> =
            self.keys.range::<Bytes, _>(keys.bounds()).map(|(_, kv)| kv.clone()).collect();
        for prev in &gone {
            let event = deletion(prev.clone(), revision);
            self.follow(&event);
            events.push(event);
        }
        gone
    }

    /// Deletes the keys of a lease, by key.
    pub fn end_lease(&mut self, lease: i64, revision: i64) -> Vec<Event> {
        let keys = self.attached.get(&lease).cloned().unwrap_or_default();
        let mut events = Vec::new();
        for key in keys {
            self.delete(&Span::Key(key), revision, &mut events);
        }
        events
    }

    /// Does what an event says.
    pub fn follow(&mut self, event: &Event) {
        let new = (!event.delete).then(|| event.kv.clone());
        self.set(&event.kv.key, new);
    }

    /// Takes events back, newest first.
    pub fn undo(&mut self, events: &[Event]) {
        for event in events.iter().rev() {
            self.set(&event.kv.key, event.prev.clone());
        }
    }

    fn set(&mut self, key: &Bytes, new: Option<KeyValue>) {
        let lease = new.as_ref().map_or(0, |kv| kv.lease);
        let old = match new {
            Some(kv) => self.keys.insert(key.clone(), kv),
            None => self.keys.remove(key),
        };
        let old = old.map_or(0, |kv| kv.lease);
        if old != 0
            && old != lease
            && let Some(keys) = self.attached.get_mut(&old)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.attached.remove(&old);
            }
        }
        if lease != 0 {
            self.attached.entry(lease).or_default().insert(key.clone());
        }
    }
}

/// The event of a deletion.
pub fn deletion(prev: KeyValue, revision: i64) -> Event {
    let kv = KeyValue {
        key: prev.key.clone(),
        value: Bytes::new(),
        create: 0,
        modified: revision,
        version: 0,
        lease: 0,
    };
    Event { kv, delete: true, prev: Some(prev) }
}
