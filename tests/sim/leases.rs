//! When a lease may have ended: not before its time to live, counted from the last renewal or from the beginning
//! of the life that counts it. That is stricter than what clients are promised, who do not know of lives.
use std::collections::BTreeMap;

use bramble_server::node::error::{Error, Refusal};
use bramble_store::types::{LeaseId, Op as TxnOp};
use bramble_tests::history::Time;
use bramble_tests::history::replay::{Cause, Log};

use crate::record::{Call, Op, Outcome, Reply};
use crate::told::SECOND;

/// What the history says about leases.
pub struct Leases<'a> {
    calls: &'a [Call],
    leases: BTreeMap<LeaseId, Known>,
    /// When each life began and ended.
    lives: &'a [(Time, Time)],
}

#[derive(Default)]
struct Known {
    ttl: Time,
    /// The grant has an answer.
    granted: bool,
    /// When renewals began and ended.
    renewals: Vec<(Time, Time)>,
    /// When somebody first asked to revoke it.
    revoke: Option<Time>,
}

impl<'a> Leases<'a> {
    pub fn new(calls: &'a [Call], lives: &'a [(Time, Time)]) -> Leases<'a> {
        let mut leases = BTreeMap::<LeaseId, Known>::new();
        for call in calls {
            let times = (call.began, call.ended);
            match (&call.op, &call.outcome) {
                (Op::Grant { id, ttl_s }, outcome) => {
                    let lease = leases.entry(*id).or_default();
                    lease.ttl = *ttl_s as Time * SECOND;
                    lease.granted = matches!(outcome, Outcome::Answered(..));
                    lease.renewals.push(times);
                }
                (Op::KeepAlive(id), Outcome::Answered(Reply::KeptAlive(1..), _)) => {
                    leases.entry(*id).or_default().renewals.push(times);
                }
                (Op::Revoke(id), Outcome::Answered(..) | Outcome::Open) => {
                    leases.entry(*id).or_default().revoke.get_or_insert(call.began);
                }
                _ => {}
            }
        }
        Leases { calls, leases, lives }
    }

    /// How many were kept alive in a later life than the one that granted them.
    pub fn lived_through_restarts(&self) -> usize {
        let life = |at: Time| self.lives.partition_point(|(began, _)| *began <= at);
        let lived = |lease: &&Known| {
            let lives = lease.renewals.iter().map(|(began, _)| life(*began));
            lease.granted && lives.clone().min() != lives.max()
        };
        self.leases.values().filter(lived).count()
    }

    /// Whether those that ended by themselves, and those that somebody was told are not there, were over.
    pub fn check(&self, log: &Log) -> Result<(), String> {
        for change in log.changes() {
            if let Cause::LeaseEnd { lease, asked: false } = change.cause {
                self.may_have_ended(LeaseId(lease), change.seen)?;
            }
        }
        for call in self.calls {
            let gone = missing(call);
            let ended: Vec<_> = gone.iter().map(|id| self.may_have_ended(*id, call.ended)).collect();
            if !ended.is_empty() && ended.iter().all(Result::is_err) {
                return Err(format!("{call:?} was told that a lease is gone: {ended:?}"));
            }
        }
        Ok(())
    }

    /// Whether the lease may have ended at a moment.
    fn may_have_ended(&self, id: LeaseId, at: Time) -> Result<(), String> {
        let Some(lease) = self.leases.get(&id) else { return Err(format!("{id:?} never was")) };
        if !lease.granted || lease.revoke.is_some_and(|began| began <= at) {
            return Ok(());
        }
        let before = lease.renewals.iter().filter(|(_, ended)| *ended <= at);
        let renewed = before.map(|(began, _)| *began).max().unwrap_or(0);
        // It ended in any life since the one that renewed it last, if that was long enough.
        let lives = self.lives.iter().filter(|(began, ended)| *ended >= renewed && *began <= at);
        let counted: Vec<_> = lives.map(|(began, ended)| (renewed.max(*began), at.min(*ended))).collect();
        match counted.iter().any(|(from, to)| *to >= from + lease.ttl) {
            true => Ok(()),
            false => {
                let ttl = lease.ttl;
                Err(format!("{id:?} of {ttl} ended at {at}; counted in each life from, and to: {counted:?}"))
            }
        }
    }
}

/// The leases of which one, as the call was told, is not there.
fn missing(call: &Call) -> Vec<LeaseId> {
    let put = |op: &TxnOp| if let TxnOp::Put(put) = op { Some(put.lease) } else { None };
    match (&call.op, &call.outcome) {
        (Op::KeepAlive(id), Outcome::Answered(Reply::KeptAlive(0), _))
        | (Op::TimeToLive(id), Outcome::Answered(Reply::Left(-1), _)) => vec![*id],
        (op, Outcome::Refused(Error::Refused(Refusal::LeaseNotFound))) => match op {
            Op::Put(put) => vec![put.lease],
            Op::Txn(txn) => txn.success.iter().chain(&txn.failure).filter_map(put).collect(),
            Op::Revoke(id) => vec![*id],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}
