//! When leases end: the leader's own knowledge, never replicated.
//!
//! Which leases exist is replicated; how much of each is left only the leader knows, by a monotonic clock
//! that it passes in as the time since some origin. A new leader knows nothing, so it gives every lease
//! its full time again: leases end late after an outage, never early.
//!
//! A heap of wake-up times finds what is due. A renewal does not touch the heap: the lease wakes at its
//! old time, is found to have more, and goes back with the new one. So a lease renewed a million times
//! costs one row in the heap.
//!
//! ```text
//!   heap (soonest first)     leases
//!   12 s  7a   ◄──────────►  7a  deadline 12 s, wakes at 12 s     due when 12 s have come
//!   15 s  9c   ◄──────────►  9c  deadline 25 s, wakes at 15 s     renewed: goes back with 25 s
//!   18 s  7a   (no lease wakes then: left over, dropped when it comes up)
//! ```
//!
//! With checkpoints on, what is left of a long lease is written down every so often, so that the next
//! leader starts from there. A second heap says when: one row for each lease that has more than an interval
//! to live.
//!
//! Invariants: every lease has one row in the heap at the time it wakes, at or before its deadline until
//! it was handed out; left-over rows never outnumber the leases by more than 64.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use crate::types::{Lease, LeaseId};

/// Leases that `due` hands out in one call at most.
pub const DUE_MAX: usize = 500;

/// How long after a lease was handed out as due it is handed out again, if it was not revoked.
pub const RETRY: Duration = Duration::from_secs(3);

/// Leases that may end within one second after a promotion; the rest is given more time. Below what can
/// be revoked in a second, so that leases which end in their own time are not held up behind these.
pub const ENDING_PER_SECOND: usize = 750;

/// Leases in one checkpoint at most.
pub const CHECKPOINT_MAX: usize = 1000;

/// Rows of the heap that nobody bothers to clear away.
const LEFT_OVER_MIN: usize = 64;

/// The deadlines of all leases while this node leads; nothing otherwise. All times are durations since
/// one origin, by one monotonic clock, and never go back from call to call.
#[derive(Debug, Default)]
pub struct Deadlines {
    leading: bool,
    leases: BTreeMap<LeaseId, Deadline>,
    heap: BinaryHeap<Reverse<(Duration, LeaseId)>>,
    /// Time between two checkpoints of a lease; none: there are no checkpoints.
    checkpoint_every: Option<Duration>,
    checkpoints: BTreeSet<(Duration, LeaseId)>,
    /// Leases whose checkpoint was handed out and may not be in the log yet.
    under_way: BTreeSet<LeaseId>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    ttl_s: i64,
    at: Duration,
    /// The time of its row in the heap.
    wakes: Duration,
    /// The time of its row among the checkpoints.
    checkpoint: Option<Duration>,
    /// Its replicated row says that less than the TTL is left, or will when a checkpoint under way is applied.
    checkpointed: bool,
}

impl Deadlines {
    /// Not leading, without checkpoints.
    pub fn new() -> Deadlines {
        Deadlines::default()
    }

    /// Not leading; once it leads, what is left of a lease is due to be written down so often, at most once
    /// a second.
    pub fn with_checkpoints(every: Duration) -> Deadlines {
        Deadlines { checkpoint_every: Some(every.max(Duration::from_secs(1))), ..Deadlines::default() }
    }

    /// Whether this node leads, that is, was promoted and not demoted since.
    pub fn leading(&self) -> bool {
        self.leading
    }

    /// How many leases there are; 0 when not leading.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Rows of the heap, left-over ones too: never more than twice the leases and 64.
    pub fn heap_rows(&self) -> usize {
        self.heap.len()
    }

    /// This node became the leader: every lease gets its full TTL, or what its last checkpoint left, and
    /// `grace` on top (the old leader may have renewed it until an election ago). If so many would end
    /// together that they could not be revoked in time, the later of them get more.
    pub fn promote(&mut self, leases: &[Lease], now: Duration, grace: Duration) {
        self.demote();
        self.leading = true;
        let whole = leases.iter().map(|lease| {
            let left_s = if lease.remaining_s > 0 { lease.remaining_s } else { lease.ttl_s };
            (now.saturating_add(grace).saturating_add(seconds(left_s)), lease.id, lease.ttl_s)
        });
        let mut order: Vec<_> = whole.collect();
        order.sort_unstable();
        for n in ENDING_PER_SECOND..order.len() {
            let full = order[n - ENDING_PER_SECOND].0.saturating_add(Duration::from_secs(1));
            order[n].0 = order[n].0.max(full);
        }
        for (at, id, ttl_s) in order {
            self.set(id, ttl_s, at);
        }
        for lease in leases {
            if let Some(known) = self.leases.get_mut(&lease.id) {
                known.checkpointed = lease.remaining_s > 0;
            }
            let next = self.next_checkpoint(lease.id, now);
            self.schedule(lease.id, next);
        }
    }

    /// This node no longer leads: it forgets all deadlines.
    pub fn demote(&mut self) {
        *self = Deadlines { checkpoint_every: self.checkpoint_every, ..Deadlines::default() };
    }

    /// A grant was applied. Nothing if this node does not lead.
    pub fn granted(&mut self, lease: &Lease, now: Duration) {
        if self.leading {
            self.set(lease.id, lease.ttl_s, now.saturating_add(seconds(lease.ttl_s)));
            self.checkpointed(lease, now);
        }
    }

    /// A checkpoint was applied, also one that only takes back an earlier one. The deadline stays: it is
    /// the next leader that starts from there. If it would start too early, because the lease was renewed
    /// while its checkpoint was under way, another one is due at once.
    pub fn checkpointed(&mut self, lease: &Lease, now: Duration) {
        if let Some(known) = self.leases.get_mut(&lease.id) {
            known.checkpointed = lease.remaining_s > 0;
            let too_early = known.checkpointed && now.saturating_add(seconds(lease.remaining_s)) < known.at;
            let next = if too_early { Some(now) } else { self.next_checkpoint(lease.id, now) };
            self.schedule(lease.id, next);
        }
    }

    /// A client renews: the lease has its full TTL again, which is the answer in seconds. `None`: the
    /// lease is unknown, or its deadline has passed; then a revoke is on its way and nothing can stop it.
    pub fn renew(&mut self, id: LeaseId, now: Duration) -> Option<i64> {
        let lease = *self.leases.get(&id).filter(|lease| now < lease.at)?;
        self.set(id, lease.ttl_s, now.saturating_add(seconds(lease.ttl_s)));
        if lease.checkpoint.is_none() {
            let next = self.next_checkpoint(id, now);
            self.schedule(id, next);
        }
        Some(lease.ttl_s)
    }

    /// Whether the replicated row says that less than the TTL is left, or is about to. Then a checkpoint of 0
    /// has to be applied before the lease is renewed: otherwise the next leader would end it too early.
    /// It must come after the one that was handed out before, so that has to be settled first.
    pub fn is_checkpointed(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.checkpointed)
    }

    /// Whether a checkpoint of the lease was handed out and is not settled yet.
    pub fn checkpoint_under_way(&self, id: LeaseId) -> bool {
        self.under_way.contains(&id)
    }

    /// The checkpoints that were handed out have an answer: each is applied, or will never be proposed, or
    /// comes before whatever is proposed from now on.
    pub fn checkpoints_settled(&mut self) {
        self.under_way.clear();
    }

    /// Leases whose checkpoint is due, with the seconds they have left, at most [`CHECKPOINT_MAX`]. Each
    /// comes again an interval later, as long as it has more than that to live. Those handed out before are
    /// settled by then.
    pub fn due_checkpoints(&mut self, now: Duration) -> Vec<(LeaseId, i64)> {
        let mut due = Vec::new();
        while due.len() < CHECKPOINT_MAX
            && let Some((_, id)) = self.checkpoints.first().copied().filter(|(at, _)| *at <= now)
        {
            let next = self.next_checkpoint(id, now);
            self.schedule(id, next);
            due.extend(self.checkpoint(id, now));
        }
        self.under_way = due.iter().map(|(id, _)| *id).collect();
        due
    }

    /// What is to be written down of a lease. An ended one is about to go; one that has its whole time is to
    /// have no checkpoint.
    fn checkpoint(&mut self, id: LeaseId, now: Duration) -> Option<(LeaseId, i64)> {
        let lease = self.leases.get_mut(&id)?;
        let left = lease.at.saturating_sub(now);
        let left_s = left.as_secs() as i64 + i64::from(left.subsec_nanos() > 0);
        match left_s {
            0 => None,
            _ if left_s < lease.ttl_s => {
                lease.checkpointed = true;
                Some((id, left_s))
            }
            _ => lease.checkpointed.then_some((id, 0)),
        }
    }

    /// A revoke was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        if let Some(Deadline { checkpoint: Some(at), .. }) = self.leases.remove(&id) {
            self.checkpoints.remove(&(at, id));
        }
        self.clear_left_overs();
    }

    /// What is left of a lease; zero once its deadline has passed. `None`: unknown.
    pub fn remaining(&self, id: LeaseId, now: Duration) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.at.saturating_sub(now))
    }

    /// Leases whose deadline has passed, to be revoked: the longest waiting first, at most `max` and at
    /// most [`DUE_MAX`]. Each is handed out again [`RETRY`] later unless it was revoked by then, or
    /// when that was [`Deadlines::refused`].
    pub fn due(&mut self, now: Duration, max: usize) -> Vec<LeaseId> {
        let mut due = Vec::new();
        while due.len() < max.min(DUE_MAX)
            && let Some((_, id)) = self.soonest().filter(|(at, _)| *at <= now)
        {
            due.push(id);
            self.wake(id, now.saturating_add(RETRY));
        }
        due
    }

    /// The revoke of a lease that was handed out was refused before anybody agreed on it: the lease is due again.
    pub fn refused(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.at < lease.wakes) else { return };
        lease.wakes = lease.at;
        self.heap.push(Reverse((lease.at, id)));
        self.clear_left_overs();
    }

    /// When `due` will next have something, if nothing is renewed, granted or revoked until then.
    pub fn next_due(&mut self) -> Option<Duration> {
        self.soonest().map(|(at, _)| at)
    }

    /// The deadlines of all leases, by id.
    pub fn all(&self) -> impl ExactSizeIterator<Item = (Duration, LeaseId)> {
        self.leases.iter().map(|(id, lease)| (lease.at, *id))
    }

    /// The lease to hand out next and when, with the top of the heap made true: rows without a lease are
    /// dropped, leases that wake before their deadline go back.
    fn soonest(&mut self) -> Option<(Duration, LeaseId)> {
        while let Some(Reverse((time, id))) = self.heap.peek().copied() {
            match self.leases.get(&id).copied().filter(|lease| lease.wakes == time) {
                Some(lease) if lease.at <= time => return Some((time, id)),
                Some(lease) => self.wake(id, lease.at),
                None => {
                    self.heap.pop();
                }
            }
        }
        None
    }

    /// Gives a lease a new deadline. Its row in the heap stays if that is soon enough.
    fn set(&mut self, id: LeaseId, ttl_s: i64, at: Duration) {
        let old = self.leases.get(&id).copied();
        let sooner = old.map(|lease| lease.wakes).filter(|wakes| *wakes <= at);
        let (checkpoint, checkpointed) =
            old.map_or((None, false), |lease| (lease.checkpoint, lease.checkpointed));
        let wakes = sooner.unwrap_or(at);
        self.leases.insert(id, Deadline { ttl_s, at, wakes, checkpoint, checkpointed });
        if sooner.is_none() {
            self.heap.push(Reverse((at, id)));
            self.clear_left_overs();
        }
    }

    /// An interval from now; none if the lease has no more than that to live.
    fn next_checkpoint(&self, id: LeaseId, now: Duration) -> Option<Duration> {
        let next = now.saturating_add(self.checkpoint_every?);
        self.leases.get(&id).filter(|lease| next < lease.at).map(|_| next)
    }

    /// Plans the next checkpoint of a lease, in place of the one planned.
    fn schedule(&mut self, id: LeaseId, next: Option<Duration>) {
        let (Some(_), Some(lease)) = (self.checkpoint_every, self.leases.get_mut(&id)) else {
            return;
        };
        if let Some(planned) = std::mem::replace(&mut lease.checkpoint, next) {
            self.checkpoints.remove(&(planned, id));
        }
        self.checkpoints.extend(next.map(|next| (next, id)));
    }

    /// Gives a lease a new row in the heap; the old one is left over, or on top and taken away.
    fn wake(&mut self, id: LeaseId, wakes: Duration) {
        self.heap.pop();
        self.heap.push(Reverse((wakes, id)));
        self.leases.get_mut(&id).expect("the row on top belongs to a lease").wakes = wakes;
    }

    /// Makes the heap anew when more than half of it belongs to nothing.
    fn clear_left_overs(&mut self) {
        if self.heap.len() > 2 * self.leases.len() + LEFT_OVER_MIN {
            let rows = self.leases.iter().map(|(id, lease)| Reverse((lease.wakes, *id)));
            self.heap = rows.collect();
        }
    }
}

/// A TTL is 1 to 9,000,000,000 s; a record that says otherwise must not end the process.
fn seconds(ttl_s: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0))
}
