//! When a lease may have ended: not before its time to live, on the clock of the member that ends it,
//! counted from the last renewal or from the beginning of the life that counts it.
use std::collections::BTreeMap;
use std::time::Duration;

use bramble_store::types::LeaseId;

use crate::record::{History, Op, Outcome, Reply};
use crate::truth::Now;

/// What the history says about leases.
pub struct Leases<'a> {
    history: &'a History,
    leases: BTreeMap<LeaseId, Known>,
    /// When each life began and ended.
    lives: &'a [(Now, Now)],
}

#[derive(Default)]
struct Known {
    ttl: Duration,
    /// The grant has an answer.
    granted: bool,
    /// When renewals began and ended.
    renewals: Vec<(Now, Now)>,
    /// When somebody first asked to revoke it.
    revoke: Option<Now>,
}

impl<'a> Leases<'a> {
    pub fn new(history: &'a History, lives: &'a [(Now, Now)]) -> Leases<'a> {
        let mut leases = BTreeMap::<LeaseId, Known>::new();
        for call in &history.calls {
            let times = (call.begun, call.ended);
            match (&call.op, &call.outcome) {
                (Op::Grant { id, ttl_s }, outcome) => {
                    let lease = leases.entry(*id).or_default();
                    lease.ttl = Duration::from_secs(*ttl_s as u64);
                    lease.granted = matches!(outcome, Outcome::Answered(..));
                    lease.renewals.push(times);
                }
                (Op::KeepAlive(id), Outcome::Answered(Reply::KeptAlive(1..), _)) => {
                    leases.entry(*id).or_default().renewals.push(times);
                }
                (Op::Revoke(id), Outcome::Answered(..) | Outcome::Open) => {
                    leases.entry(*id).or_default().revoke.get_or_insert(call.begun);
                }
                _ => {}
            }
        }
        Leases { history, leases, lives }
    }

    /// The highest compaction that anybody asked for.
    pub fn floor(&self) -> i64 {
        self.history.floor
    }

    /// How many were kept alive in a later life than the one that granted them.
    pub fn lived_through_restarts(&self) -> usize {
        let lived = |lease: &&Known| {
            let lives = lease.renewals.iter().map(|(begun, _)| begun.life);
            lease.granted && lives.clone().min() != lives.max()
        };
        self.leases.values().filter(lived).count()
    }

    /// Whether the lease may have ended at `now`.
    pub fn may_have_ended(&self, id: LeaseId, now: Now) -> Result<(), String> {
        let Some(lease) = self.leases.get(&id) else { return Err(format!("{id:?} never was")) };
        if !lease.granted || lease.revoke.is_some_and(|begun| begun.at <= now.at) {
            return Ok(());
        }
        let before: Vec<_> = lease.renewals.iter().filter(|(_, ended)| ended.at <= now.at).collect();
        let last_life = before.iter().map(|(begun, _)| begun.life).max().unwrap_or(now.life);
        // It ended in any life since the one that renewed it last, if that was long enough.
        let mut tried = Vec::new();
        for life in last_life..=now.life {
            let Some((begun, ended)) = life.checked_sub(1).and_then(|life| self.lives.get(life)) else {
                continue;
            };
            let here = before.iter().filter(|(begun, _)| begun.life == life);
            let renewed = here.map(|(begun, _)| begun.clock).fold(begun.clock, Duration::max);
            let end = if life == now.life { now.clock } else { ended.clock };
            if end >= renewed + lease.ttl {
                return Ok(());
            }
            tried.push((life, renewed, end));
        }
        Err(format!(
            "{id:?} of {:?} ended at {now:?}; in each life renewed at, and the end: {tried:?}",
            lease.ttl
        ))
    }
}
