//! Alarms: which are raised, and what they forbid.
//!
//! | raised by any member | refused |
//! |---|---|
//! | NOSPACE | puts, transactions with a put in the costlier branch, grants |
//! | CORRUPT | puts, deletes, transactions, compaction, grants, revokes |
use std::collections::BTreeSet;

use crate::codec::rows::{alarm_row, table};
use crate::codec::{decode_alarm, encode_alarm};
use crate::command::{Action, AlarmChange};
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::{Fatal, Refusal};
pub use crate::types::AlarmKind;
use crate::types::{Op, TxnRequest};

/// The alarms that are raised: member and kind, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms {
    raised: Vec<(u64, AlarmKind)>,
    /// Members whose NOSPACE their quota raised, and nobody else asked for.
    by_quota: BTreeSet<u64>,
}

/// Behind the message of an alarm that a quota raised: a field that etcd has not, and skips.
const BY_QUOTA: [u8; 2] = [15 << 3, 1];

impl Alarms {
    pub(crate) fn load<R: Read>(rows: &R) -> Result<Alarms, Fatal> {
        let mut alarms = Alarms::default();
        let mut cursor = rows.cursor(Family::Idx);
        cursor.seek(&[table::ALARMS])?;
        while let Some((_, value)) = cursor.row().filter(|(row, _)| row.first() == Some(&table::ALARMS)) {
            let alarm = decode_alarm(value);
            let alarm = alarm.ok_or_else(|| Fatal::Inconsistent("an alarm cannot be read".into()))?;
            alarms.raised.push(alarm);
            if value.ends_with(&BY_QUOTA) {
                alarms.by_quota.insert(alarm.0);
            }
            cursor.next()?;
        }
        Ok(alarms)
    }

    pub(crate) fn raised(&self) -> &[(u64, AlarmKind)] {
        &self.raised
    }

    fn any(&self, kind: AlarmKind) -> bool {
        self.raised.iter().any(|(_, raised)| *raised == kind)
    }

    /// Makes the change; which alarm the answer lists, none if there was nothing to clear.
    pub(crate) fn change<V: Read>(
        &mut self,
        rows: &mut Staged<V>,
        change: AlarmChange,
    ) -> Option<(u64, AlarmKind)> {
        match change {
            AlarmChange::Activate { member, kind } => {
                let known = self.raised.binary_search(&(member, kind));
                let asked_for_now = kind == AlarmKind::NoSpace && self.by_quota.remove(&member);
                if known.is_err() || asked_for_now {
                    self.raise(rows, (member, kind), &[]);
                }
                Some((member, kind))
            }
            AlarmChange::Deactivate { member, kind } => self.clear(rows, (member, kind)),
            AlarmChange::OverQuota { member } => {
                let alarm = (member, AlarmKind::NoSpace);
                if self.raised.binary_search(&alarm).is_err() {
                    self.by_quota.insert(member);
                    self.raise(rows, alarm, &BY_QUOTA);
                }
                Some(alarm)
            }
            AlarmChange::UnderQuota { member } if self.by_quota.contains(&member) => {
                self.clear(rows, (member, AlarmKind::NoSpace))
            }
            AlarmChange::UnderQuota { .. } => None,
        }
    }

    fn raise<V: Read>(&mut self, rows: &mut Staged<V>, alarm: (u64, AlarmKind), mark: &[u8]) {
        if let Err(at) = self.raised.binary_search(&alarm) {
            self.raised.insert(at, alarm);
        }
        let (member, kind) = alarm;
        rows.put(Family::Idx, alarm_row(member, kind), [&encode_alarm(member, kind), mark].concat());
    }

    fn clear<V: Read>(&mut self, rows: &mut Staged<V>, alarm: (u64, AlarmKind)) -> Option<(u64, AlarmKind)> {
        let at = self.raised.binary_search(&alarm).ok()?;
        let (member, kind) = alarm;
        if kind == AlarmKind::NoSpace {
            self.by_quota.remove(&member);
        }
        rows.delete(Family::Idx, alarm_row(member, kind));
        Some(self.raised.remove(at))
    }

    /// Whether this member's NOSPACE is its quota's doing alone.
    pub(crate) fn by_quota(&self, member: u64) -> bool {
        self.by_quota.contains(&member)
    }

    /// Whether what is raised lets `action` pass.
    pub(crate) fn permit(&self, action: &Action) -> Result<(), Refusal> {
        if self.raised.is_empty() {
            return Ok(());
        }
        if self.any(AlarmKind::Corrupt) && touches_keys_or_leases(action) {
            return Err(Refusal::Corrupt);
        }
        if self.any(AlarmKind::NoSpace) && takes_space(action) {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }
}

fn touches_keys_or_leases(action: &Action) -> bool {
    match action {
        Action::Put(_)
        | Action::Delete(_)
        | Action::Txn(_)
        | Action::Compact { .. }
        | Action::LeaseGrant { .. }
        | Action::LeaseRevoke { .. } => true,
        Action::Auth(_) | Action::Alarm(_) | Action::LeaseCheckpoint { .. } | Action::Downgrade(_) => false,
    }
}

fn takes_space(action: &Action) -> bool {
    cost_bytes(action) > 0
}

/// What a put takes beside its key and value, and a grant altogether, as etcd estimates it.
const PUT_BYTES: u64 = 256;
const GRANT_BYTES: u64 = 64;

/// Bytes that `action` will take, as etcd estimates them: of a transaction its costlier branch, nested ones
/// too. 0 = it takes none, or makes room.
pub fn cost_bytes(action: &Action) -> u64 {
    match action {
        Action::Put(put) => put_bytes(put.key.len(), put.value.len()),
        Action::Txn(txn) => txn_bytes(txn),
        Action::LeaseGrant { .. } => GRANT_BYTES,
        Action::Delete(_)
        | Action::Compact { .. }
        | Action::LeaseRevoke { .. }
        | Action::Auth(_)
        | Action::Alarm(_)
        | Action::LeaseCheckpoint { .. }
        | Action::Downgrade(_) => 0,
    }
}

fn put_bytes(key: usize, value: usize) -> u64 {
    PUT_BYTES + key as u64 + value as u64
}

fn txn_bytes(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[Op]| ops.iter().map(op_bytes).sum::<u64>();
    branch(&txn.success).max(branch(&txn.failure))
}

fn op_bytes(op: &Op) -> u64 {
    match op {
        Op::Put(put) => put_bytes(put.key.len(), put.value.len()),
        Op::Txn(txn) => txn_bytes(txn),
        Op::Range(_) | Op::Delete(_) => 0,
    }
}
