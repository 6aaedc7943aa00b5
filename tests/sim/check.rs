//! The history against the truth: every revision was made once, by a request or by a lease that ended, and
//! every answer is what the model says at the revision it claims, no older than what was known before it
//! was asked for. That is strict serialisability, with the revisions as the order.
use std::collections::{BTreeMap, BTreeSet};

use bramble_server::node::client::Consistency;
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::types::{LeaseId, Op as TxnOp, OpReply, TxnReply};

use crate::leases::Leases;
use crate::model::Keys;
use crate::record::{Call, History, Op, Outcome, Reply};
use crate::truth::{Change, Moment, Truth};

/// What came to light besides.
pub struct Findings {
    /// Requests without an answer that were carried out, and that were not.
    pub open_done: usize,
    pub open_not_done: usize,
    pub expired_with_keys: usize,
}

/// Checks the whole history.
pub fn check(history: &History, truth: &Truth, leases: &Leases) -> Result<Findings, String> {
    let mut walk = Walk::new(history, leases);
    walk.refusals()?;
    walk.read(1)?;
    for (main, moment) in &truth.moments {
        walk.step(*main, moment)?;
        walk.read(*main)?;
    }
    match walk.authors.keys().chain(walk.readers.keys()).find(|main| **main > truth.revision()) {
        Some(main) => Err(format!("revision {main} was acknowledged and never made")),
        None => Ok(walk.findings()),
    }
}

struct Walk<'a> {
    leases: &'a Leases<'a>,
    keys: Keys,
    /// Answered writes by the revision they say they made.
    authors: BTreeMap<i64, Vec<&'a Call>>,
    /// Everything else that was answered, by the revision to look at.
    readers: BTreeMap<i64, Vec<&'a Call>>,
    open: BTreeMap<usize, &'a Call>,
    refused: Vec<&'a Call>,
    open_done: usize,
    expired_with_keys: usize,
    /// Leases that a change of theirs showed to have ended.
    ended: BTreeSet<LeaseId>,
}

impl<'a> Walk<'a> {
    fn new(history: &'a History, leases: &'a Leases<'a>) -> Walk<'a> {
        let keys = Keys { revision: 1, ..Keys::default() };
        let (mut authors, mut readers) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        let (mut open, mut refused) = (BTreeMap::new(), Vec::new());
        for (number, call) in history.calls.iter().enumerate() {
            match &call.outcome {
                Outcome::Open => drop(open.insert(number, call)),
                Outcome::Refused(_) => refused.push(call),
                Outcome::Answered(reply, revision) if wrote(reply) => {
                    authors.entry(*revision).or_default().push(call);
                }
                Outcome::Answered(_, revision) => {
                    let at = match &call.op {
                        Op::Range(request, _) if request.revision > 0 => request.revision,
                        _ => *revision,
                    };
                    readers.entry(at).or_default().push(call);
                }
            }
        }
        let (open_done, expired_with_keys) = (0, 0);
        let ended = BTreeSet::new();
        Walk { leases, keys, authors, readers, open, refused, open_done, expired_with_keys, ended }
    }

    fn findings(&self) -> Findings {
        let writes = self.open.values().filter(|call| matches!(call.op, Op::Put(_) | Op::Txn(_)));
        Findings {
            open_done: self.open_done,
            open_not_done: writes.count(),
            expired_with_keys: self.expired_with_keys,
        }
    }

    /// One revision: who made it, and whether rightly.
    fn step(&mut self, main: i64, moment: &Moment) -> Result<(), String> {
        if main != self.keys.revision + 1 {
            return Err(format!("revision {main} follows {}", self.keys.revision));
        }
        match self.authors.remove(&main).unwrap_or_default().as_slice() {
            [] => self.unanswered(main, moment)?,
            [call] => self.answered(main, moment, call)?,
            calls => return Err(format!("revision {main} was acknowledged to several: {calls:?}")),
        }
        self.keys.take(main, &moment.changes);
        Ok(())
    }

    fn answered(&self, main: i64, moment: &Moment, call: &Call) -> Result<(), String> {
        let (changes, reply) = self.carried_out(&call.op);
        if changes != moment.changes {
            return Err(format!(
                "revision {main} is {:?}, and should be {changes:?} by {call:?}",
                moment.changes
            ));
        }
        let Outcome::Answered(told, _) = &call.outcome else { return Ok(()) };
        if !same(told, &reply) {
            return Err(format!("revision {main}: {call:?} should have been told {reply:?}"));
        }
        if call.known >= main {
            return Err(format!("{} was known before {call:?} began, which made {main}", call.known));
        }
        Ok(())
    }

    /// What the operation does to the keys as they are, and what it is told. Nothing for what writes none.
    fn carried_out(&self, op: &Op) -> (Vec<Change>, Option<Reply>) {
        let mut write = self.keys.write();
        let reply = match op {
            Op::Put(request) => Some(Reply::Put(write.put(request))),
            Op::Delete(request) => Some(Reply::Delete(write.delete(&request.range, request.prev_kv))),
            Op::Txn(request) => Some(Reply::Txn(write.txn(request))),
            Op::Revoke(id) => {
                let held: Vec<_> = self.keys.live.values().filter(|kv| kv.lease == *id).collect();
                for kv in held {
                    write.delete(&bramble_store::types::KeyRange::single(kv.key.clone()), false);
                }
                Some(Reply::Revoked)
            }
            _ => None,
        };
        (write.changes, reply)
    }

    /// A revision that nobody was told of: a request without an answer made it, or a lease that ended.
    fn unanswered(&mut self, main: i64, moment: &Moment) -> Result<(), String> {
        let fits = |call: &Call| call.begun.at <= moment.at && self.carried_out(&call.op).0 == moment.changes;
        if let Some(number) = self.open.iter().find(|(_, call)| fits(call)).map(|(number, _)| *number) {
            self.open.remove(&number);
            self.open_done += 1;
            return Ok(());
        }
        let nobody = || format!("revision {main} was made by nobody: {moment:?}");
        let first = moment.changes.first().ok_or_else(nobody)?;
        let lease = self.keys.live.get(&first.kv.key).map_or(LeaseId::NONE, |kv| kv.lease);
        if lease == LeaseId::NONE || self.carried_out(&Op::Revoke(lease)).0 != moment.changes {
            return Err(nobody());
        }
        // A revoke that has an answer is told with the revision of its keys' end.
        let revoked = self.readers.get(&main).into_iter().flatten();
        if revoked.filter(|call| matches!(call.op, Op::Revoke(id) if id == lease)).count() == 0 {
            let now = crate::truth::Now { at: moment.at, clock: moment.clock, life: moment.life };
            self.leases.may_have_ended(lease, now)?;
            self.expired_with_keys += 1;
        }
        if !self.ended.insert(lease) {
            return Err(format!("revision {main}: {lease:?} ended twice"));
        }
        Ok(())
    }

    /// What was read at a revision.
    fn read(&mut self, main: i64) -> Result<(), String> {
        for call in self.readers.remove(&main).unwrap_or_default() {
            let Outcome::Answered(reply, revision) = &call.outcome else { continue };
            let current = !matches!(call.op, Op::Range(_, Consistency::Serializable));
            if current && *revision < call.known {
                return Err(format!("{} was known before {call:?} began", call.known));
            }
            let as_told = match (&call.op, reply) {
                (Op::Range(request, _), Reply::Range(told)) => {
                    let right = self.keys.range(request);
                    (&right.kvs, right.count, right.more) == (&told.kvs, told.count, told.more)
                }
                (Op::Delete(_) | Op::Txn(_), told) => {
                    let (changes, right) = self.carried_out(&call.op);
                    changes.is_empty() && same(told, &right)
                }
                (Op::KeepAlive(id), Reply::KeptAlive(0)) | (Op::TimeToLive(id), Reply::Left(-1)) => {
                    self.leases.may_have_ended(*id, call.ended)?;
                    true
                }
                _ => true,
            };
            if !as_told {
                return Err(format!("at revision {main} {call:?} is wrong: {:?}", self.keys.live));
            }
        }
        Ok(())
    }

    /// Whether those who were refused were so rightly. What they asked for is in no revision, or the walk
    /// finds it made by nobody.
    fn refusals(&self) -> Result<(), String> {
        for call in &self.refused {
            let Outcome::Refused(error) = &call.outcome else { continue };
            let rightly = match (error, &call.op) {
                (Error::NotNow(NotNow::Unsupported(_) | NotNow::TooLarge), _) => false,
                (Error::NotNow(_), _) => true,
                (Error::Refused(Refusal::LeaseNotFound), Op::Put(put)) => {
                    self.leases.may_have_ended(put.lease, call.ended)?;
                    true
                }
                (Error::Refused(Refusal::LeaseNotFound), Op::Txn(txn)) => {
                    let ops = txn.success.iter().chain(&txn.failure);
                    let put =
                        ops.filter_map(|op| if let TxnOp::Put(put) = op { Some(put.lease) } else { None });
                    put.map(|lease| self.leases.may_have_ended(lease, call.ended)).any(|ended| ended.is_ok())
                }
                (Error::Refused(Refusal::LeaseNotFound), Op::Revoke(id)) => {
                    self.leases.may_have_ended(*id, call.ended)?;
                    true
                }
                (Error::Refused(Refusal::Compacted { wanted, compacted }), Op::Range(request, _)) => {
                    wanted < compacted && request.revision == *wanted && *compacted <= self.leases.floor()
                }
                (Error::Refused(Refusal::Compacted { compacted, .. }), Op::Compact { .. }) => {
                    *compacted <= self.leases.floor()
                }
                _ => false,
            };
            if !rightly {
                return Err(format!("{call:?} was refused wrongly"));
            }
        }
        Ok(())
    }
}

fn wrote(reply: &Reply) -> bool {
    match reply {
        Reply::Put(_) => true,
        Reply::Delete(reply) => reply.deleted > 0,
        Reply::Txn(reply) => txn_wrote(reply),
        _ => false,
    }
}

fn txn_wrote(reply: &TxnReply) -> bool {
    reply.replies.iter().any(|reply| match reply {
        OpReply::Put(_) => true,
        OpReply::Delete(reply) => reply.deleted > 0,
        OpReply::Txn(reply) => txn_wrote(reply),
        OpReply::Range(_) => false,
    })
}

fn same(told: &Reply, right: &Option<Reply>) -> bool {
    match (told, right) {
        (Reply::Put(told), Some(Reply::Put(right))) => told == right,
        (Reply::Delete(told), Some(Reply::Delete(right))) => told == right,
        (Reply::Txn(told), Some(Reply::Txn(right))) => told == right,
        _ => true,
    }
}
