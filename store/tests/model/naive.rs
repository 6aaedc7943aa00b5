//! The naive model: the whole history in one vector, every question a scan. Obviously right.
//!
//! Nothing is ever erased here: a compaction raises the floor, and whoever can see a difference has
//! found a bug.
use std::collections::BTreeMap;

use bramble_store::codec::encode_key_value;
use bramble_store::command::{Action, AuthChange, Origin};
use bramble_store::error::Refusal;
use bramble_store::store::{Outcome, Reply};
use bramble_store::types::*;
use bytes::Bytes;

use crate::users::Office;

#[derive(Clone, Debug)]
pub struct Record {
    pub at: Revision,
    pub live: bool,
    pub kv: KeyValue,
}

#[derive(Clone, Debug)]
pub struct Naive {
    pub main: i64,
    pub floor: i64,
    pub history: Vec<Record>,
    pub leases: BTreeMap<LeaseId, Lease>,
    pub office: Office,
}

impl Default for Naive {
    fn default() -> Self {
        Naive { main: 1, floor: -1, history: Vec::new(), leases: BTreeMap::new(), office: Office::default() }
    }
}

impl Naive {
    /// The newest change of a key at or below `main`.
    fn newest(&self, key: &[u8], main: i64) -> Option<&Record> {
        self.history.iter().rev().find(|record| record.kv.key == key && record.at.main <= main)
    }

    pub fn get(&self, key: &[u8], main: i64) -> Option<KeyValue> {
        self.newest(key, main).filter(|record| record.live).map(|record| record.kv.clone())
    }

    pub fn live(&self, range: &KeyRange, main: i64) -> Vec<KeyValue> {
        let mut keys: Vec<_> = self.history.iter().map(|record| record.kv.key.clone()).collect();
        keys.retain(|key| range.contains(key));
        keys.sort();
        keys.dedup();
        keys.iter().filter_map(|key| self.get(key, main)).collect()
    }

    /// What is still needed once everything below the floor was erased.
    pub fn kept(&self) -> usize {
        let needed = |record: &&Record| {
            let newest = self.newest(&record.kv.key, self.floor);
            self.floor <= record.at.main || (record.live && newest.map(|newest| newest.at) == Some(record.at))
        };
        self.history.iter().filter(needed).count()
    }

    pub fn on_lease(&self, id: LeaseId) -> Vec<Bytes> {
        let live = self.live(&KeyRange::all(), self.main);
        live.into_iter().filter(|kv| kv.lease == id).map(|kv| kv.key).collect()
    }

    /// The entry with `index`, asked for by `origin`, or by the leader if `fenced`.
    pub fn apply(&mut self, index: u64, origin: &Origin, fenced: bool, action: &Action) -> Outcome {
        let before = self.clone();
        let admitted = self.office.admit(origin, fenced, action, &|id| self.on_lease(id));
        let outcome = admitted.and_then(|()| self.act(index, origin, action));
        if outcome.is_err() {
            *self = before;
        }
        outcome
    }

    fn act(&mut self, index: u64, origin: &Origin, action: &Action) -> Outcome {
        let old = self.main;
        Ok(match action {
            Action::Put(put) => {
                self.check_lease(put.lease)?;
                Reply::Put(self.put(put, old + 1)?)
            }
            Action::Delete(delete) => Reply::Delete(self.delete(delete, old + 1)),
            Action::Txn(txn) => {
                let before = self.clone();
                before.check_puts(txn, &before, &mut Vec::new())?;
                before.check_ranges(txn, &before)?;
                let reply = self.txn(txn, &before, old + 1)?;
                Reply::Txn(TxnReply { revision: self.main, ..reply })
            }
            Action::Compact { revision } if *revision <= self.floor => {
                return Err(Refusal::Compacted { wanted: *revision, compacted: self.floor });
            }
            Action::Compact { revision } if *revision > self.main => {
                return Err(Refusal::Future { wanted: *revision, current: self.main });
            }
            Action::Compact { revision } => {
                self.floor = *revision;
                Reply::Compacted { revision: self.main }
            }
            Action::LeaseGrant { id, ttl_s } => {
                let lease = Lease { id: *id, ttl_s: *ttl_s, remaining_s: 0 };
                if self.leases.insert(*id, lease).is_some() {
                    return Err(Refusal::LeaseExists);
                }
                Reply::LeaseGranted { revision: self.main, id: *id, ttl_s: *ttl_s }
            }
            Action::LeaseRevoke { id } => {
                self.leases.remove(id).ok_or(Refusal::LeaseNotFound)?;
                for key in self.on_lease(*id) {
                    self.delete(&DeleteRequest { range: KeyRange::single(key), prev_kv: false }, old + 1);
                }
                Reply::LeaseRevoked { revision: self.main }
            }
            Action::Auth(change) => {
                let token = self.office.change(change, index, origin)?;
                match change {
                    AuthChange::Authenticate { .. } => {
                        let auth_revision = self.office.revision();
                        Reply::Authenticated { revision: self.main, token, auth_revision }
                    }
                    _ => Reply::AuthChanged { revision: self.main },
                }
            }
            Action::Alarm(change) => {
                let alarms = self.office.change_alarm(*change);
                Reply::Alarms { revision: self.main, alarms }
            }
            Action::LeaseCheckpoint { remaining } => {
                for (id, remaining_s) in remaining {
                    self.leases.entry(*id).and_modify(|lease| lease.remaining_s = *remaining_s);
                }
                Reply::LeaseCheckpointed { revision: self.main }
            }
            Action::Downgrade(change) => {
                self.office.change_downgrade(change)?;
                Reply::Downgrade { revision: self.main }
            }
        })
    }

    fn check_lease(&self, id: LeaseId) -> Result<(), Refusal> {
        if id == LeaseId::NONE || self.leases.contains_key(&id) {
            Ok(())
        } else {
            Err(Refusal::LeaseNotFound)
        }
    }

    fn write(&mut self, main: i64, live: bool, kv: KeyValue) {
        let sub = self.history.iter().filter(|record| record.at.main == main).count() as i64;
        self.history.push(Record { at: Revision { main, sub }, live, kv });
        self.main = main;
    }

    fn put(&mut self, put: &PutRequest, main: i64) -> Result<PutReply, Refusal> {
        let old = self.get(&put.key, main);
        if (put.ignore_value || put.ignore_lease) && old.is_none() {
            return Err(Refusal::KeyNotFound);
        }
        let was = old.clone().unwrap_or(KeyValue { create_revision: main, ..KeyValue::default() });
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: was.create_revision,
            mod_revision: main,
            version: was.version + 1,
            value: if put.ignore_value { was.value } else { put.value.clone() },
            lease: if put.ignore_lease { was.lease } else { put.lease },
        };
        self.write(main, true, kv);
        Ok(PutReply { revision: main, prev_kv: old.filter(|_| put.prev_kv) })
    }

    fn delete(&mut self, delete: &DeleteRequest, main: i64) -> DeleteReply {
        let old = self.live(&delete.range, main);
        for kv in &old {
            let gone = KeyValue { key: kv.key.clone(), mod_revision: main, ..KeyValue::default() };
            self.write(main, false, gone);
        }
        let deleted = old.len() as i64;
        DeleteReply { revision: self.main, deleted, prev_kvs: if delete.prev_kv { old } else { vec![] } }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, Refusal> {
        let wanted = request.revision;
        if wanted > self.main {
            return Err(Refusal::Future { wanted, current: self.main });
        }
        let main = if wanted <= 0 { self.main } else { wanted };
        if main < self.floor {
            return Err(Refusal::Compacted { wanted, compacted: self.floor });
        }
        let mut kvs = self.live(&request.range, main);
        let count = kvs.len() as i64;
        if request.detail == Detail::CountOnly {
            return Ok(RangeReply { revision: self.main, count, ..RangeReply::default() });
        }
        let limit = if request.limit <= 0 { usize::MAX - 1 } else { request.limit as usize };
        let f = request.filter;
        if request.order == SortOrder::None && f == RevisionFilter::default() {
            kvs.truncate(limit + 1);
        }
        kvs.retain(|kv| {
            (f.min_mod == 0 || kv.mod_revision >= f.min_mod)
                && (f.max_mod == 0 || kv.mod_revision <= f.max_mod)
                && (f.min_create == 0 || kv.create_revision >= f.min_create)
                && (f.max_create == 0 || kv.create_revision <= f.max_create)
        });
        kvs.sort_by(|a, b| {
            let order = match request.target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            };
            if request.order == SortOrder::Descend { order.reverse() } else { order }
        });
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.detail == Detail::KeysOnly {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeReply { revision: self.main, kvs, more, count })
    }

    /// The branch taken; `before` is the state before the outermost transaction.
    fn taken<'t>(txn: &'t TxnRequest, before: &Naive) -> (bool, &'t [Op]) {
        let holds = txn.compare.iter().all(|compare| {
            let kvs = before.live(&compare.range, before.main);
            let absent = matches!(compare.target, CompareTarget::Value(_)) && kvs.is_empty();
            let kvs = if kvs.is_empty() { vec![KeyValue::default()] } else { kvs };
            !absent && kvs.iter().all(|kv| matches(compare, kv))
        });
        (holds, if holds { &txn.success } else { &txn.failure })
    }

    fn check_puts(&self, txn: &TxnRequest, before: &Naive, gone: &mut Vec<KeyRange>) -> Result<(), Refusal> {
        for op in Self::taken(txn, before).1 {
            match op {
                Op::Delete(delete) => gone.push(delete.range.clone()),
                Op::Put(put) if put.ignore_value || put.ignore_lease => {
                    if gone.iter().any(|range| range.contains(&put.key))
                        || self.get(&put.key, self.main).is_none()
                    {
                        return Err(Refusal::KeyNotFound);
                    }
                    self.check_lease(put.lease)?;
                }
                Op::Put(put) => self.check_lease(put.lease)?,
                Op::Txn(nested) => self.check_puts(nested, before, gone)?,
                Op::Range(_) => {}
            }
        }
        Ok(())
    }

    fn check_ranges(&self, txn: &TxnRequest, before: &Naive) -> Result<(), Refusal> {
        for op in Self::taken(txn, before).1 {
            match op {
                Op::Range(range) if range.revision > self.main => {
                    return Err(Refusal::Future { wanted: range.revision, current: self.main });
                }
                Op::Range(range) if range.revision != 0 && range.revision < self.floor => {
                    return Err(Refusal::Compacted { wanted: range.revision, compacted: self.floor });
                }
                Op::Txn(nested) => self.check_ranges(nested, before)?,
                Op::Range(_) | Op::Put(_) | Op::Delete(_) => {}
            }
        }
        Ok(())
    }

    pub fn txn(&mut self, txn: &TxnRequest, before: &Naive, main: i64) -> Result<TxnReply, Refusal> {
        let (succeeded, ops) = Self::taken(txn, before);
        let mut replies = Vec::new();
        for op in ops {
            replies.push(match op {
                Op::Range(range) => OpReply::Range(self.range(range)?),
                Op::Put(put) => OpReply::Put(self.put(put, main)?),
                Op::Delete(delete) => OpReply::Delete(self.delete(delete, main)),
                Op::Txn(nested) => OpReply::Txn(self.txn(nested, before, main)?),
            });
        }
        Ok(TxnReply { revision: 0, succeeded, replies })
    }

    /// etcd's hash, from its own description.
    pub fn hash_kv(&self, main: i64) -> u32 {
        // A key that the revision itself has deleted counts as deleted, though it has put it again.
        let deleted = |key: &Bytes, main| {
            self.history.iter().any(|record| record.at.main == main && !record.live && record.kv.key == *key)
        };
        let kept = |record: &Record, main| {
            let newest = self.newest(&record.kv.key, main).map(|newest| newest.at);
            record.live && newest == Some(record.at) && !deleted(&record.kv.key, main)
        };
        let keeps_any = self.history.iter().any(|record| kept(record, main));
        let kept_at = if keeps_any { main } else { self.floor };
        let mut bytes = b"key".to_vec();
        for record in self.history.iter().filter(|record| record.at.main <= main) {
            let Record { at, live, kv } = record;
            if at.main <= self.floor && !kept(record, kept_at) {
                continue;
            }
            bytes.extend([&at.main.to_be_bytes()[..], b"_", &at.sub.to_be_bytes()].concat());
            let stored = if *live { kv.clone() } else { KeyValue { mod_revision: 0, ..kv.clone() } };
            bytes.extend(if *live { &b""[..] } else { b"t" });
            bytes.extend(encode_key_value(&stored));
        }
        crc32c::crc32c(&bytes)
    }
}

fn matches(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(given) => kv.version.cmp(given),
        CompareTarget::Create(given) => kv.create_revision.cmp(given),
        CompareTarget::Mod(given) => kv.mod_revision.cmp(given),
        CompareTarget::Value(given) => kv.value.cmp(given),
        CompareTarget::Lease(given) => kv.lease.cmp(given),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
