//! The lease clock: the leader alone decides when a lease ends, by its monotonic clock, and proposes
//! the revoke like any client. The apply thread tells it of grants and revokes.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_store::auth::Need;
use bramble_store::command::Action;
use bramble_store::error::ReadError;
use bramble_store::lease::deadlines::Deadlines;
use bramble_store::seams::Clock;
use bramble_store::store::{LeaseEffect, Room};
use bramble_store::types::LeaseId;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;

use super::access::Asker;
use super::core::{Core, View};
use super::error::Error;
use crate::raft::Standing;
use crate::threads::away;

/// Time between two looks for expired leases.
const SCAN_EVERY: Duration = Duration::from_millis(500);
/// What a lease takes while all are listed: its deadline and id, and its id.
const LISTED_BYTES: usize = size_of::<(Duration, LeaseId)>() + size_of::<LeaseId>();
/// Leases revoked in one look. Nobody waits for them, so they are no reason to write more often than that.
const SCAN_MAX: usize = 500;
/// Time between two checkpoints of a lease; etcd's number.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// Checkpoints in one look, of up to a thousand leases each.
const CHECKPOINTS_MAX: usize = 10;

/// The deadlines, shared between the apply thread, the scan and those who ask.
pub(super) struct LeaseClock {
    deadlines: Mutex<Deadlines>,
    clock: Arc<dyn Clock>,
    /// A lease was revoked, or this node began or ceased to lead.
    changed: Notify,
}

/// What a renewal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Renewed for so many seconds.
    Renewed(i64),
    /// It has ended and its revoke is under way.
    Ending,
    /// What is left of it is about to be written down: what takes that back has to come after it.
    Checkpointing,
    /// The next leader would give it less than its full time: that has to be taken back first.
    Checkpointed,
    /// There is no such lease.
    Unknown,
    /// This node does not lead.
    NotLeading,
}

impl LeaseClock {
    pub(super) fn new(clock: Arc<dyn Clock>, checkpoints: bool) -> LeaseClock {
        let deadlines = match checkpoints {
            true => Deadlines::with_checkpoints(CHECKPOINT_EVERY),
            false => Deadlines::new(),
        };
        LeaseClock { deadlines: Mutex::new(deadlines), clock, changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Deadlines> {
        self.deadlines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the apply thread, before anybody gets the answer.
    pub(super) fn take_effects(&self, effects: &[LeaseEffect]) {
        if effects.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut deadlines = self.lock();
        for effect in effects {
            match effect {
                LeaseEffect::Granted(lease) => deadlines.granted(lease, now),
                LeaseEffect::Revoked(id) => deadlines.revoked(*id),
                LeaseEffect::Checkpointed(lease) => deadlines.checkpointed(lease, now),
            }
        }
        drop(deadlines);
        self.changed.notify_waiters();
    }

    pub(super) fn renew(&self, id: LeaseId) -> Renewal {
        let now = self.clock.now();
        let mut deadlines = self.lock();
        if !deadlines.leading() {
            return Renewal::NotLeading;
        }
        // One that has ended is not worth a command.
        if deadlines.is_checkpointed(id) && deadlines.remaining(id, now).is_some_and(|left| !left.is_zero()) {
            return match deadlines.checkpoint_under_way(id) {
                true => Renewal::Checkpointing,
                false => Renewal::Checkpointed,
            };
        }
        match deadlines.renew(id, now) {
            Some(ttl_s) => Renewal::Renewed(ttl_s),
            None if deadlines.remaining(id, now).is_some() => Renewal::Ending,
            None => Renewal::Unknown,
        }
    }

    /// Whether this node leads, and what is left of the lease.
    pub(super) fn remaining(&self, id: LeaseId) -> (bool, Option<Duration>) {
        let deadlines = self.lock();
        (deadlines.leading(), deadlines.remaining(id, self.clock.now()))
    }

    /// All leases, soonest to end first, as far as there is room for them; `None` when this node does not
    /// lead. The apply thread waits for the lock: it is held to copy, not to sort.
    fn by_expiry(&self, room: Room<'_>) -> Option<Option<Vec<LeaseId>>> {
        let deadlines = self.lock();
        if !deadlines.leading() {
            return None;
        }
        if !room(deadlines.len() * LISTED_BYTES) {
            return Some(None);
        }
        let mut order: Vec<_> = deadlines.all().collect();
        drop(deadlines);
        order.sort_unstable();
        Some(Some(order.into_iter().map(|(_, id)| id).collect()))
    }

    /// Waits until a lease was revoked, leading changed or checkpoints were settled, or a little while.
    pub(super) async fn changed(&self) {
        let _ = tokio::time::timeout(Duration::from_millis(100), self.changed.notified()).await;
    }
}

/// The scan, for as long as the node runs.
pub(super) async fn run(core: Arc<Core>) {
    let mut standing = Standing::default();
    loop {
        let change = core.raft.standing_change(standing);
        match tokio::time::timeout(SCAN_EVERY, change).await {
            Ok(None) => return,
            Ok(Some(now)) => {
                if now.leader.is_some() {
                    // It differs from the one before in the leader or, elected again, in the term.
                    core.metrics.agreement.leader_changes.inc();
                }
                standing = now;
                core.leases.lock().demote();
            }
            Err(_) => {}
        }
        if standing.leader == Some(core.ids.member) {
            if !core.leases.lock().leading() {
                take_over(&core).await;
            }
            revoke_due(&core, standing.term).await;
            checkpoint_due(&core, standing.term).await;
        }
    }
}

/// A new leader gives every lease its time again, once it has applied what came before it.
async fn take_over(core: &Arc<Core>) {
    if core.barrier().await.is_err() {
        return;
    }
    let asking = core.clone();
    let promoted = away(&*core.threads, move || {
        // Under the lock, so that a grant or revoke applied meanwhile comes after.
        let mut deadlines = asking.leases.lock();
        let leases = asking.view()?.leases().map_err(|fatal| asking.failed(&fatal))?;
        deadlines.promote(&leases, asking.clock.now(), asking.timing.election);
        Ok::<(), super::error::NotNow>(())
    });
    let _ = promoted.await;
    core.leases.changed.notify_waiters();
}

async fn revoke_due(core: &Arc<Core>, term: u64) {
    let due = core.leases.lock().due(core.clock.now(), SCAN_MAX);
    // All at once: what is proposed before Raft's task looks again is one append, and one flush.
    let revokes = futures_util::stream::iter(due);
    revokes
        .for_each_concurrent(SCAN_MAX, async |id| {
            let revoked = core.propose_fenced(Action::LeaseRevoke { id }, term).await;
            match &revoked {
                Ok(_) => core.metrics.agreement.leases_expired.inc(),
                // The log had no room: nobody knows of it, and the next look tries again.
                Err(Error::NotNow(_)) => core.leases.lock().refused(id),
                // One that is lost comes again in 3 s if the lease is still there.
                Err(_) => {}
            }
            tracing::debug!(lease = id.0, ok = revoked.is_ok(), "lease expired");
        })
        .await;
}

/// Writes down what is left of long leases. One that is lost is made again an interval later.
async fn checkpoint_due(core: &Arc<Core>, term: u64) {
    for _ in 0..CHECKPOINTS_MAX {
        let remaining = core.leases.lock().due_checkpoints(core.clock.now());
        if remaining.is_empty() {
            return;
        }
        let leases = remaining.len();
        let written = core.propose_fenced(Action::LeaseCheckpoint { remaining }, term).await;
        core.leases.lock().checkpoints_settled();
        core.leases.changed.notify_waiters();
        match written {
            Ok(_) => tracing::debug!(leases, "what is left of leases was written down"),
            Err(error) => {
                return tracing::debug!(%error, leases, "what is left of leases was not written down");
            }
        }
    }
}

/// Takes back what was written down of a lease, so that it can be renewed.
pub(super) async fn take_back_checkpoint(core: &Core, id: LeaseId) -> Result<(), Error> {
    let term = core.raft.standing().term;
    let forget = Action::LeaseCheckpoint { remaining: vec![(id, 0)] };
    core.propose_fenced(forget, term).await.map(drop)
}

/// All leases for who asks, soonest to end first where that is known, as far as there is room for them.
pub(super) fn list(
    clock: &LeaseClock,
    view: &View,
    asker: &Asker,
    room: Room<'_>,
) -> Result<Option<Vec<LeaseId>>, ReadError> {
    let ordered = match clock.by_expiry(room) {
        Some(None) => return Ok(None),
        Some(Some(ids)) => Some(ids),
        None => None,
    };
    if asker.is_none() && ordered.is_some() {
        return Ok(ordered);
    }
    let Some(leases) = view.leases_within(room)? else { return Ok(None) };
    if let Some(origin) = asker {
        leases.iter().try_for_each(|lease| view.permit(origin, &Need::ReadLease(lease.id)))?;
    }
    Ok(ordered.or_else(|| Some(leases.iter().map(|lease| lease.id).collect())))
}

/// The keys on a lease for who asks, as far as there is room for them.
pub(super) fn read_keys(
    view: &View,
    asker: &Asker,
    id: LeaseId,
    room: Room<'_>,
) -> Result<Option<Vec<Bytes>>, ReadError> {
    if let Some(origin) = asker {
        view.permit(origin, &Need::ReadLease(id))?;
    }
    Ok(view.lease_keys_within(id, room)?)
}

/// The shortest time to live: one and a half election timeouts, in whole seconds.
pub(super) fn ttl_min_s(election: Duration) -> i64 {
    (election * 3 / 2).as_secs_f64().ceil() as i64
}

#[cfg(test)]
mod tests {
    use bramble_store::types::Lease;

    use super::*;

    struct Still(Duration);

    impl Clock for Still {
        fn now(&self) -> Duration {
            self.0
        }
    }

    #[test]
    fn a_renewal_waits_while_the_checkpoint_is_on_its_way() {
        let (id, now) = (LeaseId(1), CHECKPOINT_EVERY);
        let clock = LeaseClock::new(Arc::new(Still(now)), true);
        let lease = Lease { id, ttl_s: 3600, remaining_s: 0 };
        clock.lock().promote(&[lease], Duration::ZERO, Duration::ZERO);
        assert_eq!(clock.lock().due_checkpoints(now), [(id, 3300)]);
        assert_eq!(clock.renew(id), Renewal::Checkpointing);
        clock.lock().checkpoints_settled();
        assert_eq!(clock.renew(id), Renewal::Checkpointed);
        clock.lock().checkpointed(&lease, now);
        assert_eq!(clock.renew(id), Renewal::Renewed(3600));
    }

    #[test]
    fn the_shortest_ttl_is_etcds() {
        assert_eq!(ttl_min_s(Duration::from_millis(1000)), 2);
        assert_eq!(ttl_min_s(Duration::from_millis(2000)), 3);
        assert_eq!(ttl_min_s(Duration::from_millis(5000)), 8);
    }
}
