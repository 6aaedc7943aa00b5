//! Applying entries: the only dispatcher. A pure function of the state and the entry; what depends on
//! a clock, a disk or a flag was decided before the entry was proposed.
//!
//! It composes what does not know each other: `mvcc` says which keys moved between leases, this tells
//! `lease`; a revoke asks `lease` for its keys and has `mvcc` delete them; `auth` says what a request needs,
//! and about the keys of a lease `lease` is asked again. Alarms are asked before permissions are, as in etcd.
use crate::auth::access::{Compiled, Gate};
use crate::auth::changes::Users;
use crate::auth::needs_of;
use crate::codec;
use crate::command::{Action, AlarmChange, AuthChange, Command, DowngradeChange, Entry, Origin, Payload};
use crate::engine::Read;
use crate::engine::staged::Staged;
use crate::error::{Fatal, ReadError, Refusal};
use crate::facts::Facts;
use crate::intervals::Intervals;
use crate::lease::replicated as lease;
use crate::mvcc::fences::Fences;
use crate::mvcc::{self, Allowance, Moment, WriteTxn};
use crate::store::{Applied, AppliedEntry, AuthEffect, LeaseEffect, Reply};
use crate::types::*;
use crate::view::permit;

/// The state while a group of entries is applied to it.
#[derive(Debug)]
pub(crate) struct State<'a, V: Read> {
    pub(crate) rows: Staged<V>,
    pub(crate) facts: Facts,
    pub(crate) fences: &'a mut Fences,
    /// What users may do at the auth revision in `facts`.
    pub(crate) compiled: &'a mut Compiled,
    /// The room for the answers of the group.
    pub(crate) answers: Allowance,
    /// What the group did so far.
    pub(crate) done: Applied,
}

impl<V: Read> State<'_, V> {
    /// Applies the entry that follows the last one.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<&AppliedEntry, Fatal> {
        self.check_follows(entry.id)?;
        let (mut request, mut op) = (None, None);
        let outcome = match &entry.payload {
            Payload::Blank => Ok(Reply::None),
            Payload::Membership(bytes) => {
                let membership = (entry.id, bytes.clone());
                self.facts.membership = Some(membership.clone());
                self.done.membership = Some(membership);
                Ok(Reply::None)
            }
            Payload::Command(bytes) => {
                let command = codec::decode(bytes.clone())?;
                (request, op) = (Some(command.request), Some(command.action.op()));
                self.command(entry.id, &command)
            }
        };
        let outcome = match outcome {
            Ok(reply) => Ok(reply),
            Err(ReadError::Refused(refusal)) => Err(refusal),
            Err(ReadError::Fatal(fatal)) => return Err(fatal),
        };
        self.facts.applied = Some(entry.id);
        let answers = &mut self.done.answers;
        answers.push(AppliedEntry { id: entry.id, request, op, outcome });
        Ok(&answers[answers.len() - 1])
    }

    fn check_follows(&self, id: LogId) -> Result<(), Fatal> {
        let follows = match self.facts.applied {
            None => id.index == 0,
            Some(applied) => applied.index.checked_add(1) == Some(id.index) && id.term >= applied.term,
        };
        if follows {
            return Ok(());
        }
        let what = format!("entry {id:?} was given to a state applied up to {:?}", self.facts.applied);
        Err(Fatal::Inconsistent(what))
    }

    /// A refusal has changed nothing.
    fn command(&mut self, id: LogId, command: &Command) -> Result<Reply, ReadError> {
        if command.fence_term.is_some_and(|term| term != id.term) {
            return Err(Refusal::Overtaken.into());
        }
        self.facts.alarms.permit(&command.action)?;
        self.permit(command)?;
        match &command.action {
            Action::Put(put) => self.put(put),
            Action::Delete(delete) => self.delete(delete),
            Action::Txn(txn) => self.txn(txn),
            Action::Compact { revision } => self.compact(*revision),
            Action::LeaseGrant { id, ttl_s } => self.grant(Lease { id: *id, ttl_s: *ttl_s, remaining_s: 0 }),
            Action::LeaseRevoke { id } => self.revoke(*id),
            Action::Auth(AuthChange::Authenticate { user, token }) => {
                self.authenticate(id, &command.origin, user, token)
            }
            Action::Auth(change) => self.change_auth(change),
            Action::Alarm(change) => Ok(self.change_alarm(*change)),
            Action::LeaseCheckpoint { remaining } => self.checkpoint(remaining),
            Action::Downgrade(change) => self.change_downgrade(change),
        }
    }

    /// Whether who asked may still do it. Nobody asked for what members do of themselves: expiry, which is
    /// fenced, and what keeps the cluster going.
    fn permit(&self, command: &Command) -> Result<(), ReadError> {
        let Command { origin, fence_term, action, .. } = command;
        let own = *origin == Origin::default() && (fence_term.is_some() || is_upkeep(action));
        if own || !self.facts.auth.enabled {
            return Ok(());
        }
        let gate = Gate { rows: &self.rows, status: self.facts.auth, compiled: self.compiled };
        needs_of(action).iter().try_for_each(|need| permit(&gate, origin, need))
    }

    fn put(&mut self, put: &PutRequest) -> Result<Reply, ReadError> {
        check_lease(&self.rows, put.lease)?;
        self.write(|txn| txn.put(put).map(Reply::Put))
    }

    fn delete(&mut self, delete: &DeleteRequest) -> Result<Reply, ReadError> {
        self.write(|txn| Ok(Reply::Delete(txn.delete(delete)?)))
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<Reply, ReadError> {
        self.write(|txn| {
            let verdicts = mvcc::verdicts(&txn.moment(), request)?;
            check_puts(&txn.moment(), request, &verdicts)?;
            mvcc::check_reads(&txn.moment(), request, &verdicts)?;
            let reply = mvcc::run(request, &verdicts, &mut |op| perform(txn, op))?;
            Ok(Reply::Txn(TxnReply { revision: txn.revision(), ..reply }))
        })
    }

    fn compact(&mut self, revision: i64) -> Result<Reply, ReadError> {
        mvcc::check_floor(revision, self.facts.floor, self.facts.revision)?;
        self.facts.floor = revision;
        self.facts.scrub.raise(revision);
        Ok(Reply::Compacted { revision: self.facts.revision })
    }

    fn grant(&mut self, granted: Lease) -> Result<Reply, ReadError> {
        if lease::find(&self.rows, granted.id)?.is_some() {
            return Err(Refusal::LeaseExists.into());
        }
        lease::grant(&mut self.rows, &granted);
        self.done.leases.push(LeaseEffect::Granted(granted));
        Ok(Reply::LeaseGranted { revision: self.facts.revision, id: granted.id, ttl_s: granted.ttl_s })
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Reply, ReadError> {
        if lease::find(&self.rows, id)?.is_none() {
            return Err(Refusal::LeaseNotFound.into());
        }
        let keys = lease::keys(&self.rows, id)?;
        lease::remove(&mut self.rows, id);
        self.done.leases.push(LeaseEffect::Revoked(id));
        self.write(|txn| {
            txn.delete_keys(keys)?;
            Ok(Reply::LeaseRevoked { revision: txn.revision() })
        })
    }

    fn checkpoint(&mut self, remaining: &[(LeaseId, i64)]) -> Result<Reply, ReadError> {
        for (id, remaining_s) in remaining {
            // One that was revoked meanwhile has nothing left.
            if let Some(lease) = lease::find(&self.rows, *id)? {
                let lease = Lease { remaining_s: *remaining_s, ..lease };
                lease::grant(&mut self.rows, &lease);
                self.done.leases.push(LeaseEffect::Checkpointed(lease));
            }
        }
        Ok(Reply::LeaseCheckpointed { revision: self.facts.revision })
    }

    fn change_auth(&mut self, change: &AuthChange) -> Result<Reply, ReadError> {
        let before = self.facts.auth.revision;
        let mut users = Users { rows: &mut self.rows, status: &mut self.facts.auth };
        let dropped = users.change(change)?;
        self.done.auth.extend(dropped);
        if self.facts.auth.revision != before {
            *self.compiled = Compiled::default();
        }
        Ok(Reply::AuthChanged { revision: self.facts.revision })
    }

    /// The position of the entry makes a token unique, whatever the member that asked came up with.
    fn authenticate(
        &mut self,
        id: LogId,
        origin: &Origin,
        user: &str,
        begin: &str,
    ) -> Result<Reply, ReadError> {
        let users = Users { rows: &mut self.rows, status: &mut self.facts.auth };
        users.authenticate(user, origin.auth_revision)?;
        let token = if begin.is_empty() { String::new() } else { format!("{begin}.{}", id.index) };
        if !token.is_empty() {
            let (user, token) = (user.to_owned(), token.clone());
            self.done.auth.push(AuthEffect::TokenAssigned { user, token });
        }
        let (revision, auth_revision) = (self.facts.revision, self.facts.auth.revision);
        Ok(Reply::Authenticated { revision, token, auth_revision })
    }

    fn change_alarm(&mut self, change: AlarmChange) -> Reply {
        let alarms = self.facts.alarms.change(&mut self.rows, change).into_iter().collect();
        Reply::Alarms { revision: self.facts.revision, alarms }
    }

    fn change_downgrade(&mut self, change: &DowngradeChange) -> Result<Reply, ReadError> {
        self.facts.downgrade = match (change, &self.facts.downgrade) {
            (DowngradeChange::Enable { .. }, Some(_)) => return Err(Refusal::DowngradeInProgress.into()),
            (DowngradeChange::Cancel, None) => return Err(Refusal::NoDowngrade.into()),
            (DowngradeChange::Enable { target_version }, None) => Some(target_version.clone()),
            (DowngradeChange::Cancel, Some(_)) => None,
        };
        Ok(Reply::Downgrade { revision: self.facts.revision })
    }

    /// Runs `body` at the next main revision, which is taken only if it changes something.
    fn write(
        &mut self,
        body: impl FnOnce(&mut WriteTxn<'_, V>) -> Result<Reply, ReadError>,
    ) -> Result<Reply, ReadError> {
        let Facts { revision, floor, .. } = self.facts;
        self.answers.begin();
        let mut txn = WriteTxn::new(&mut self.rows, self.fences, &self.answers, revision, floor);
        let mut reply = body(&mut txn)?;
        if self.answers.cut() {
            reply = Reply::LeftOut { revision: txn.revision() };
        }
        let (changes, moves) = txn.finish();
        for moved in moves {
            lease::move_key(&mut self.rows, &moved.key, moved.from, moved.to);
        }
        if let Some(changes) = changes {
            self.facts.revision = changes.main;
            self.done.changes.push(changes);
        }
        Ok(reply)
    }
}

/// What members do of themselves, whether they lead or not.
fn is_upkeep(action: &Action) -> bool {
    matches!(action, Action::Compact { .. } | Action::Alarm(_) | Action::LeaseCheckpoint { .. })
}

/// Performs one operation of a transaction that was found able to run.
fn perform<V: Read>(txn: &mut WriteTxn<'_, V>, op: &Op) -> Result<OpReply, ReadError> {
    let reply = match op {
        Op::Range(range) => txn.range(range).map(OpReply::Range),
        Op::Put(put) => txn.put(put).map(OpReply::Put),
        Op::Delete(delete) => Ok(OpReply::Delete(txn.delete(delete)?)),
        Op::Txn(_) => Err(Fatal::Inconsistent("a nested transaction is no operation".into()).into()),
    };
    // A refusal here would leave half a transaction behind.
    reply.map_err(|error| match error {
        ReadError::Refused(refusal) => {
            Fatal::Inconsistent(format!("refused after the check of the whole transaction: {refusal}")).into()
        }
        ReadError::Fatal(_) => error,
    })
}

/// Whether all puts of the taken branches can run, in etcd's order: in a transaction the missing key
/// is said before the missing lease. A key that an earlier delete of the same transaction reaches is
/// missing: found out before anything is written.
fn check_puts<R: Read>(moment: &Moment<'_, R>, txn: &TxnRequest, verdicts: &[bool]) -> Result<(), ReadError> {
    let mut deleted = Intervals::default();
    mvcc::walk_taken(txn, verdicts, &mut |op| match op {
        Op::Delete(delete) => {
            deleted.insert(&delete.range);
            Ok(())
        }
        Op::Put(put) => {
            let needs_key = put.ignore_value || put.ignore_lease;
            if needs_key && (deleted.contains(&put.key) || moment.live(&put.key)?.is_none()) {
                return Err(Refusal::KeyNotFound.into());
            }
            check_lease(moment.rows, put.lease)
        }
        Op::Range(_) | Op::Txn(_) => Ok(()),
    })
}

fn check_lease<R: Read>(rows: &R, id: LeaseId) -> Result<(), ReadError> {
    if id != LeaseId::NONE && lease::find(rows, id)?.is_none() {
        return Err(Refusal::LeaseNotFound.into());
    }
    Ok(())
}
