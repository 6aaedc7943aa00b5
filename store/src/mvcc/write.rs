//! One entry's writes: all at the next main revision, each at the next sub, seen by what follows them.
use bytes::Bytes;

use super::fences::Fences;
use super::history::{Version, record};
use super::live_keys::LiveKeys;
use super::moment::Moment;
use super::room::{Allowance, record_bytes};
use crate::codec::encode_key_value;
use crate::codec::rows::{VersionRow, encode_newest, newest_row, older_row, rev_row};
use crate::engine::staged::Staged;
use crate::engine::{Family, Read};
use crate::error::{Fatal, ReadError, Refusal};
use crate::types::*;

/// A key went from one lease to another; `LeaseId::NONE` stands for no lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseMove {
    pub(crate) key: Bytes,
    pub(crate) from: LeaseId,
    pub(crate) to: LeaseId,
}

/// Writes that belong to one main revision. Nothing is undone: what can be refused is refused before
/// the first write.
#[derive(Debug)]
pub(crate) struct WriteTxn<'a, V: Read> {
    rows: &'a mut Staged<V>,
    fences: &'a mut Fences,
    answers: &'a Allowance,
    /// The main revision before it.
    old: i64,
    floor: i64,
    changes: Vec<ChangedKey>,
    moves: Vec<LeaseMove>,
}

impl<'a, V: Read> WriteTxn<'a, V> {
    pub(crate) fn new(
        rows: &'a mut Staged<V>,
        fences: &'a mut Fences,
        answers: &'a Allowance,
        old: i64,
        floor: i64,
    ) -> Self {
        WriteTxn { rows, fences, answers, old, floor, changes: Vec::new(), moves: Vec::new() }
    }

    /// The state with what was written so far.
    pub(crate) fn moment(&self) -> Moment<'_, Staged<V>> {
        Moment { rows: self.rows, revision: self.revision(), floor: self.floor, fences: self.fences.map() }
    }

    /// The old main revision before the first write, the next one after it.
    pub(crate) fn revision(&self) -> i64 {
        self.old + i64::from(!self.changes.is_empty())
    }

    /// Ends it: its changes, if there are any, and the keys that moved between leases.
    pub(crate) fn finish(self) -> (Option<Changes>, Vec<LeaseMove>) {
        let changes =
            (!self.changes.is_empty()).then(|| Changes { main: self.old + 1, changes: self.changes });
        (changes, self.moves)
    }

    /// Reads a range with what was written so far; empty when there is no room for the answer.
    pub(crate) fn range(&self, range: &RangeRequest) -> Result<RangeReply, ReadError> {
        Ok(self.moment().range(range, &|bytes| self.answers.take(bytes))?.unwrap_or_default())
    }

    /// Writes a key. The lease, if any, must be known to exist.
    pub(crate) fn put(&mut self, put: &PutRequest) -> Result<PutReply, ReadError> {
        let old = self.live_now(&put.key)?;
        if old.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Refusal::KeyNotFound.into());
        }
        let old_record = match &old {
            Some(version) if put.prev_kv || put.ignore_value => Some(record(&*self.rows, version)?),
            Some(_) | None => None,
        };
        let old_lease = old.map_or(LeaseId::NONE, |version| version.row.lease);
        let at = self.next();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: old.map_or(at.main, |version| version.row.create),
            mod_revision: at.main,
            version: old.map_or(0, |version| version.row.version) + 1,
            value: match &old_record {
                Some(old) if put.ignore_value => old.value.clone(),
                Some(_) | None => put.value.clone(),
            },
            lease: if put.ignore_lease { old_lease } else { put.lease },
        };
        if old.is_none() {
            self.fences.grow(&kv.key, 1)?;
        }
        self.write(at, kv, old);
        let prev_kv = old_record.filter(|old| put.prev_kv && self.answers.take(record_bytes(old)));
        Ok(PutReply { revision: at.main, prev_kv })
    }

    /// Deletes a range of keys, in key order.
    pub(crate) fn delete(&mut self, delete: &DeleteRequest) -> Result<DeleteReply, Fatal> {
        let mut reply = DeleteReply::default();
        for (key, version) in self.live_in(&delete.range)? {
            if delete.prev_kv && !self.answers.cut() {
                let old = record(&*self.rows, &version)?;
                if self.answers.take(record_bytes(&old)) {
                    reply.prev_kvs.push(old);
                } else {
                    reply.prev_kvs = Vec::new();
                }
            }
            self.delete_live(key, version)?;
            reply.deleted += 1;
        }
        reply.revision = self.revision();
        Ok(reply)
    }

    /// Deletes single keys, in the order given; those that are not there are passed over.
    pub(crate) fn delete_keys(&mut self, keys: Vec<Bytes>) -> Result<(), Fatal> {
        for key in keys {
            if let Some(version) = self.live_now(&key)? {
                self.delete_live(key, version)?;
            }
        }
        Ok(())
    }

    fn delete_live(&mut self, key: Bytes, old: Version) -> Result<(), Fatal> {
        self.fences.grow(&key, -1)?;
        let at = self.next();
        self.write(at, KeyValue { key, ..KeyValue::default() }, Some(old));
        Ok(())
    }

    fn live_now(&self, key: &[u8]) -> Result<Option<Version>, Fatal> {
        self.moment().live(key)
    }

    fn live_in(&self, range: &KeyRange) -> Result<Vec<(Bytes, Version)>, Fatal> {
        let mut found = Vec::new();
        let mut live = LiveKeys::now(&*self.rows, range)?;
        while let Some(key) = live.next()? {
            found.push(key);
        }
        Ok(found)
    }

    fn next(&self) -> Revision {
        Revision { main: self.old + 1, sub: self.changes.len() as i64 }
    }

    /// Stages the rows of a version, and moves the one that it replaces to the older ones. A record of version
    /// 0 is a tombstone: the key alone.
    fn write(&mut self, at: Revision, mut kv: KeyValue, old: Option<Version>) {
        let tombstone = kv.version == 0;
        let row = VersionRow { create: kv.create_revision, version: kv.version, lease: kv.lease };
        self.rows.put(Family::Rev, rev_row(at, tombstone), encode_key_value(&kv));
        if let Some(old) = old {
            self.rows.put(Family::Idx, older_row(&kv.key, old.at), old.row.encode());
        }
        if tombstone {
            self.rows.delete(Family::Idx, newest_row(&kv.key));
            self.rows.put(Family::Idx, older_row(&kv.key, at), row.encode());
        } else {
            self.rows.put(Family::Idx, newest_row(&kv.key), encode_newest(at, &row));
        }
        let old_lease = old.map_or(LeaseId::NONE, |old| old.row.lease);
        if old_lease != kv.lease {
            self.moves.push(LeaseMove { key: kv.key.clone(), from: old_lease, to: kv.lease });
        }
        kv.mod_revision = at.main;
        let kind = if tombstone { EventKind::Delete } else { EventKind::Put };
        self.changes.push(ChangedKey { sub: at.sub, kind, kv });
    }
}
