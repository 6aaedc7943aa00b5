//! What requests mean, on one page: a map of keys, and what each request does to it.
use std::collections::BTreeMap;

use bramble_store::types::{
    Compare, CompareResult, CompareTarget, DeleteReply, KeyRange, KeyValue, Op, OpReply, PutReply,
    PutRequest, RangeReply, RangeRequest, TxnReply, TxnRequest,
};
use bytes::Bytes;

use crate::truth::Change;

/// The keys at one revision.
#[derive(Clone, Default)]
pub struct Keys {
    pub revision: i64,
    pub live: BTreeMap<Bytes, KeyValue>,
}

/// A write under way on top of them.
pub struct Write<'a> {
    keys: &'a Keys,
    live: BTreeMap<Bytes, KeyValue>,
    pub changes: Vec<Change>,
}

impl Keys {
    /// Takes the changes of the next revision in.
    pub fn take(&mut self, revision: i64, changes: &[Change]) {
        self.revision = revision;
        for change in changes {
            match change.tombstone {
                true => drop(self.live.remove(&change.kv.key)),
                false => drop(self.live.insert(change.kv.key.clone(), change.kv.clone())),
            }
        }
    }

    pub fn write(&self) -> Write<'_> {
        Write { keys: self, live: self.live.clone(), changes: Vec::new() }
    }

    /// The range as it is here.
    pub fn range(&self, request: &RangeRequest) -> RangeReply {
        range(&self.live, self.revision, request)
    }
}

fn range(live: &BTreeMap<Bytes, KeyValue>, revision: i64, request: &RangeRequest) -> RangeReply {
    let all: Vec<_> = found(live, &request.range);
    let count = all.len();
    let limit = if request.limit > 0 { request.limit as usize } else { count };
    let kvs: Vec<_> = all.into_iter().take(limit).collect();
    RangeReply { revision, more: kvs.len() < count, kvs, count: count as i64 }
}

fn found(live: &BTreeMap<Bytes, KeyValue>, range: &KeyRange) -> Vec<KeyValue> {
    live.values().filter(|kv| range.contains(&kv.key)).cloned().collect()
}

impl Write<'_> {
    fn revision(&self) -> i64 {
        self.keys.revision + i64::from(!self.changes.is_empty())
    }

    fn change(&mut self, tombstone: bool, kv: KeyValue) {
        self.changes.push(Change { sub: self.changes.len() as i64, tombstone, kv });
    }

    pub fn put(&mut self, request: &PutRequest) -> PutReply {
        let main = self.keys.revision + 1;
        let old = self.live.get(&request.key).cloned();
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: old.as_ref().map_or(main, |old| old.create_revision),
            mod_revision: main,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            value: request.value.clone(),
            lease: request.lease,
        };
        self.live.insert(request.key.clone(), kv.clone());
        self.change(false, kv);
        PutReply { revision: main, prev_kv: old.filter(|_| request.prev_kv) }
    }

    pub fn delete(&mut self, range: &KeyRange, prev_kv: bool) -> DeleteReply {
        let main = self.keys.revision + 1;
        let gone = found(&self.live, range);
        for kv in &gone {
            self.live.remove(&kv.key);
            self.change(true, KeyValue { key: kv.key.clone(), mod_revision: main, ..KeyValue::default() });
        }
        let deleted = gone.len() as i64;
        DeleteReply { revision: self.revision(), deleted, prev_kvs: if prev_kv { gone } else { Vec::new() } }
    }

    pub fn txn(&mut self, request: &TxnRequest) -> TxnReply {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &request.success } else { &request.failure };
        let replies = ops.iter().map(|op| self.op(op)).collect();
        TxnReply { revision: self.revision(), succeeded, replies }
    }

    fn op(&mut self, op: &Op) -> OpReply {
        match op {
            Op::Range(request) => OpReply::Range(range(&self.live, self.revision(), request)),
            Op::Put(request) => OpReply::Put(self.put(request)),
            Op::Delete(request) => OpReply::Delete(self.delete(&request.range, request.prev_kv)),
            Op::Txn(request) => OpReply::Txn(self.txn(request)),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let absent = KeyValue::default();
        let kv = self.keys.live.get(&compare.range.start).unwrap_or(&absent);
        let order = match &compare.target {
            CompareTarget::Version(version) => kv.version.cmp(version),
            CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
            CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
            CompareTarget::Lease(lease) => kv.lease.cmp(lease),
            CompareTarget::Value(_) if kv.version == 0 => return false,
            CompareTarget::Value(value) => kv.value.cmp(value),
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        }
    }
}
