//! What openraft must know of the state machine: the last entry applied, the last one durable, and
//! the memberships around them. The applier and the flush write it, openraft's tasks read it.
use std::sync::{Mutex, MutexGuard, PoisonError};

use bramble_store::types::LogId;

use super::types::{self, RaftMembership};

pub(super) struct AppliedState {
    inner: Mutex<Inner>,
}

struct Inner {
    applied: Option<LogId>,
    durable: Option<LogId>,
    /// In log order: the newest one at or before `durable`, and all after it. Never empty.
    memberships: Vec<RaftMembership>,
}

impl AppliedState {
    /// After opening: what is in the engine is durable.
    pub(super) fn new(applied: Option<LogId>, membership: RaftMembership) -> AppliedState {
        let inner = Inner { applied, durable: applied, memberships: vec![membership] };
        AppliedState { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_applied(&self, applied: LogId, memberships: Vec<RaftMembership>) {
        let mut inner = self.lock();
        inner.applied = Some(applied);
        inner.memberships.extend(memberships);
    }

    pub(super) fn note_durable(&self, durable: LogId) {
        let mut inner = self.lock();
        inner.durable = inner.durable.max(Some(durable));
        let older = inner.memberships.iter().take_while(|one| made_by(one) <= Some(durable)).count();
        inner.memberships.drain(..older.saturating_sub(1));
    }

    pub(super) fn durable(&self) -> Option<LogId> {
        self.lock().durable
    }

    /// The last entry applied and the newest membership.
    pub(super) fn applied(&self) -> (Option<LogId>, RaftMembership) {
        let inner = self.lock();
        (inner.applied, inner.memberships.last().cloned().unwrap_or_default())
    }

    /// The last entry that is durable and the membership as of it; `None` before the first flush.
    pub(super) fn snapshot(&self) -> Option<(LogId, RaftMembership)> {
        let inner = self.lock();
        let durable = inner.durable?;
        let membership = inner.memberships.iter().rev().find(|one| made_by(one) <= Some(durable));
        Some((durable, membership.cloned().unwrap_or_default()))
    }
}

fn made_by(membership: &RaftMembership) -> Option<LogId> {
    membership.log_id().as_ref().map(types::log_id)
}

#[cfg(test)]
mod tests {
    use super::super::members::Peer;
    use super::*;
    use openraft::Membership;
    use std::collections::{BTreeMap, BTreeSet};

    fn membership(index: u64) -> RaftMembership {
        let peers = BTreeMap::from([(index, Peer::default())]);
        let members = Membership::new(vec![BTreeSet::from([index])], peers).expect("one voter");
        RaftMembership::new(Some(types::raft_log_id(LogId { term: 1, index })), members)
    }

    #[test]
    fn a_snapshot_has_the_membership_of_its_own_time() {
        let state = AppliedState::new(None, RaftMembership::default());
        assert!(state.snapshot().is_none());
        state.note_applied(LogId { term: 1, index: 9 }, vec![membership(2), membership(8)]);
        state.note_durable(LogId { term: 1, index: 5 });
        assert_eq!(state.snapshot(), Some((LogId { term: 1, index: 5 }, membership(2))));
        assert_eq!(state.applied(), (Some(LogId { term: 1, index: 9 }), membership(8)));
        state.note_durable(LogId { term: 1, index: 9 });
        assert_eq!(state.snapshot(), Some((LogId { term: 1, index: 9 }, membership(8))));
    }
}
