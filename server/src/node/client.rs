//! The in-process client: etcd's API with the wire's semantics in the store's words. The gRPC
//! services are this client plus conversion, so embedders and the wire cannot drift apart.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bramble_store::auth::{Need, needs_of_txn};
use bramble_store::command::Action;
use bramble_store::error::{Invalid, ReadError, Refusal};
use bramble_store::mvcc::check::{self, TxnLimits};
use bramble_store::store::{Reply, Room};
use bramble_store::types::{
    DeleteReply, DeleteRequest, LeaseId, PutReply, PutRequest, RangeReply, RangeRequest, TxnReply, TxnRequest,
};
use bramble_store::watch::StreamId;
use tokio::time::{Instant, sleep, timeout_at};

use super::access::Seen;
pub use super::answers::{
    Answer, Caller, Consistency, Granted, HashKv, Header, Identity, Member, Myself, Remaining, Status,
    WatchCreate, WatchResponse,
};
use super::budget::Kind;
pub use super::contest::ContestError;
use super::core::{Core, View};
use super::desks::Desks;
pub use super::elections::{LeaderKey, Observed};
use super::error::{Error, NotNow, Unknown};
use super::leases::{self, Renewal, ttl_min_s};
pub use super::maintenance::Alarm;
pub use super::range_stream::{RangeChunk, RangeEndOfStream, RangeStream};
use super::reads::Size;
pub use super::snapshots::{Blob, SnapshotStream};
pub use super::streams::{WatchRequests, WatchResponses, WatchStream};
pub use super::users::NewPassword;
use super::{members, status};
use crate::metrics::Metrics;
use crate::trace;

/// Pause before a flush is asked for again that found no place in the queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(10);
/// The longest time to live of a lease, seconds; etcd's number.
const TTL_MAX_S: i64 = 9_000_000_000;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) core: Arc<Core>,
}

impl Client {
    pub(super) fn new(core: Arc<Core>) -> Client {
        Client { core }
    }

    /// What this member counts.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.core.metrics
    }

    /// What there is to say of wear.
    pub(crate) fn wear(&self) -> crate::wear::Report {
        self.core.wear()
    }

    /// Cluster and member id, term and current revision, for answers that carry only a header.
    pub fn header(&self) -> Header {
        self.core.header(self.core.view().map_or(0, |view| view.revision()))
    }

    /// Reads a range.
    ///
    /// # Errors
    /// `Invalid::EmptyKey`; `Refusal::Compacted`, `Refusal::Future`; [`NotNow`].
    pub async fn range(
        &self,
        caller: &Caller,
        request: RangeRequest,
        consistency: Consistency,
    ) -> Result<Answer<RangeReply>, Error> {
        check::range(&request)?;
        let asked = self.core.metrics.agreement.request("Range");
        let place = self.core.place(caller, Kind::Requests)?;
        let Seen { view, asker } = self.fresh(caller, consistency, || range_needs(&request)).await?;
        let size = Size::of(&request);
        let metrics = self.core.metrics.clone();
        let read =
            move |view: &View, room: Room<'_>| metrics.reads.range(|| view.range_within(&request, room));
        let body = self.core.read(&place, view, size, read).await?;
        asked.answered();
        self.core.metrics.reads.ops.range();
        trace::step("range keys");
        self.core.still(caller, &asker)?;
        Ok(self.answer(body.revision, body))
    }

    /// Writes one key.
    ///
    /// # Errors
    /// What is wrong with the request; `Refusal::KeyNotFound`, `Refusal::LeaseNotFound`; [`NotNow`]; [`Unknown`].
    pub async fn put(&self, caller: &Caller, request: PutRequest) -> Result<Answer<PutReply>, Error> {
        check::put(&request)?;
        match self.core.propose(caller, Action::Put(request)).await? {
            Reply::Put(body) => Ok(self.answer(body.revision, body)),
            other => Err(self.mismatch(&other)),
        }
    }

    /// Deletes a range.
    ///
    /// # Errors
    /// `Invalid::EmptyKey`; [`NotNow`]; [`Unknown`].
    pub async fn delete(
        &self,
        caller: &Caller,
        request: DeleteRequest,
    ) -> Result<Answer<DeleteReply>, Error> {
        check::delete(&request)?;
        match self.core.propose(caller, Action::Delete(request)).await? {
            Reply::Delete(body) => Ok(self.answer(body.revision, body)),
            other => Err(self.mismatch(&other)),
        }
    }

    /// Runs a transaction. One without writes is a read: serializable only if `consistency` says so
    /// (the wire: every range in it is serializable, an empty one too).
    ///
    /// # Errors
    /// What is wrong with the request, or refused by its operations; [`NotNow`]; [`Unknown`].
    pub async fn txn(
        &self,
        caller: &Caller,
        request: TxnRequest,
        consistency: Consistency,
    ) -> Result<Answer<TxnReply>, Error> {
        let limits = TxnLimits { ops_max: self.core.config.txn_ops_max, ..TxnLimits::default() };
        check::txn(&request, &limits)?;
        if request.is_read_only() {
            let asked = self.core.metrics.agreement.request("ReadonlyTxn");
            let place = self.core.place(caller, Kind::Requests)?;
            let Seen { view, asker } = self.fresh(caller, consistency, || needs_of_txn(&request)).await?;
            let read = move |view: &View, room: Room<'_>| view.txn_within(&request, room);
            let body = self.core.read(&place, view, Size::Large, read).await?;
            asked.answered();
            self.core.metrics.reads.ops.txn(&body);
            trace::step("read");
            self.core.still(caller, &asker)?;
            return Ok(self.answer(body.revision, body));
        }
        match self.core.propose(caller, Action::Txn(request)).await? {
            Reply::Txn(body) => Ok(self.answer(body.revision, body)),
            other => Err(self.mismatch(&other)),
        }
    }

    /// Raises the compaction floor; `physical` waits until the erasing is done and flushed.
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; [`NotNow`]; [`Unknown`].
    pub async fn compact(&self, caller: &Caller, revision: i64, physical: bool) -> Result<Answer<()>, Error> {
        let at = match self.core.propose(caller, Action::Compact { revision }).await? {
            Reply::Compacted { revision } => revision,
            other => return Err(self.mismatch(&other)),
        };
        if physical {
            self.erased(revision).await?;
        }
        Ok(self.answer(at, ()))
    }

    /// Waits for physical compaction up to `revision`, then for a flush. Takes as long as it takes.
    async fn erased(&self, revision: i64) -> Result<(), Error> {
        let mut scrubbed = self.core.scrubbed.clone();
        tokio::select! {
            waited = scrubbed.wait_for(|done| *done >= revision) => waited.map(drop).map_err(|_| Unknown::Stopped)?,
            () = self.stopped() => return Err(Unknown::Stopped.into()),
        }
        // It is applied: a full queue is no refusal any more.
        let flushed = loop {
            match self.core.chores.flush() {
                Some(flushed) => break flushed,
                None if self.core.alive().is_err() => return Err(Unknown::Stopped.into()),
                None => sleep(QUEUE_FULL_PAUSE).await,
            }
        };
        Ok(flushed.await.map_err(|_| Unknown::Stopped)?)
    }

    /// Makes a lease; id 0 = the server chooses. A time to live below one and a half election
    /// timeouts is raised to it.
    ///
    /// # Errors
    /// `Invalid::TtlTooLarge`; `Refusal::LeaseExists`; [`NotNow`]; [`Unknown`].
    pub async fn lease_grant(
        &self,
        caller: &Caller,
        id: LeaseId,
        ttl_s: i64,
    ) -> Result<Answer<Granted>, Error> {
        if ttl_s > TTL_MAX_S {
            return Err(Invalid::TtlTooLarge { ttl_s }.into());
        }
        let ttl_s = ttl_s.max(ttl_min_s(self.core.timing.election));
        loop {
            let chosen = if id == LeaseId::NONE { self.choose_lease()? } else { id };
            let granted = self.core.propose(caller, Action::LeaseGrant { id: chosen, ttl_s }).await;
            return match granted {
                Err(Error::Refused(Refusal::LeaseExists)) if id == LeaseId::NONE => continue,
                Ok(Reply::LeaseGranted { revision, id, ttl_s }) => {
                    Ok(self.answer(revision, Granted { id, ttl_s }))
                }
                Ok(other) => Err(self.mismatch(&other)),
                Err(error) => Err(error),
            };
        }
    }

    /// A positive id that no lease has now.
    fn choose_lease(&self) -> Result<LeaseId, Error> {
        let view = self.core.view()?;
        loop {
            let id = LeaseId((self.core.entropy.next_u64() >> 1).max(1) as i64);
            if view.lease(id).map_err(|fatal| self.core.failed(&fatal))?.is_none() {
                return Ok(id);
            }
        }
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// `Refusal::LeaseNotFound`; [`NotNow`]; [`Unknown`].
    pub async fn lease_revoke(&self, caller: &Caller, id: LeaseId) -> Result<Answer<()>, Error> {
        // The command needs nothing when the lease has no keys; nobody may do it all the same.
        self.core.permitted(caller, &[Need::User]).await?;
        match self.core.propose(caller, Action::LeaseRevoke { id }).await? {
            Reply::LeaseRevoked { revision } => Ok(self.answer(revision, ())),
            other => Err(self.mismatch(&other)),
        }
    }

    /// Renews a lease: its full TTL, or 0 when it is unknown or expired.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn lease_keep_alive(&self, caller: &Caller, id: LeaseId) -> Result<Answer<i64>, Error> {
        let deadline = self.core.deadline();
        loop {
            // Before the renewal, so that it is never newer than a revoke that came between.
            let seen = self.core.permitted(caller, &[Need::User, Need::WriteLease(id)]).await?;
            let revision = seen.view.revision();
            match self.core.leases.renew(id) {
                Renewal::Renewed(ttl_s) => {
                    self.core.metrics.agreement.leases_renewed.inc();
                    return Ok(self.answer(revision, ttl_s));
                }
                Renewal::Checkpointed => match leases::take_back_checkpoint(&self.core, id).await {
                    // Another leads by now, or nobody: seen in the next round.
                    Ok(()) | Err(Error::Refused(Refusal::Overtaken)) => {}
                    Err(error) => return Err(error),
                },
                Renewal::Unknown => return Ok(self.answer(revision, 0)),
                Renewal::Ending | Renewal::Checkpointing if Instant::now() >= deadline => {
                    return Err(NotNow::ReadTimedOut.into());
                }
                Renewal::NotLeading if Instant::now() >= deadline => return Err(NotNow::NoLeader.into()),
                Renewal::Ending | Renewal::Checkpointing | Renewal::NotLeading => {
                    self.core.leases.changed().await;
                }
            }
        }
    }

    /// What is left of a lease.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn lease_time_to_live(
        &self,
        caller: &Caller,
        id: LeaseId,
        keys: bool,
    ) -> Result<Answer<Remaining>, Error> {
        self.core.permitted(caller, &[Need::User]).await?;
        let deadline = self.core.deadline();
        let left = loop {
            self.core.admit(caller)?;
            match self.core.leases.remaining(id) {
                (true, left) => break left,
                (false, _) if Instant::now() >= deadline => return Err(NotNow::NoLeader.into()),
                (false, _) => self.core.leases.changed().await,
            }
        };
        let Seen { view, asker } = self.core.permitted(caller, &[]).await?;
        let read = move |view: &View, room: Room<'_>| {
            let keys = if keys { leases::read_keys(view, &asker, id, room)? } else { Some(Vec::new()) };
            let Some(keys) = keys else { return Ok(None) };
            let body = match left.zip(view.lease(id)?) {
                None => Remaining { ttl_s: -1, ..Remaining::default() },
                Some((left, lease)) => {
                    Remaining { ttl_s: left.as_secs() as i64, granted_ttl_s: lease.ttl_s, keys }
                }
            };
            Ok(Some((view.revision(), body)))
        };
        let place = self.core.place(caller, Kind::Requests)?;
        let size = if keys { Size::Large } else { Size::Small };
        let (revision, body) = self.core.read(&place, view, size, read).await?;
        Ok(self.answer(revision, body))
    }

    /// All leases, soonest to expire first on the leader.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn leases(&self, caller: &Caller) -> Result<Answer<Vec<LeaseId>>, Error> {
        let Seen { view, asker } = self.core.permitted(caller, &[Need::User]).await?;
        let clock = self.core.leases.clone();
        let read = move |view: &View, room: Room<'_>| {
            let ids = leases::list(&clock, view, &asker, room)?;
            Ok(ids.map(|ids| (view.revision(), ids)))
        };
        let place = self.core.place(caller, Kind::Requests)?;
        let (revision, ids) = self.core.read(&place, view, Size::Large, read).await?;
        Ok(self.answer(revision, ids))
    }

    /// The members, by id. The header has no revision, as in etcd.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn members(
        &self,
        caller: &Caller,
        consistency: Consistency,
    ) -> Result<Answer<Vec<Member>>, Error> {
        let Seen { view, .. } = self.fresh(caller, consistency, || vec![Need::User]).await?;
        Ok(self.answer(0, members::list(&self.core, &view)?))
    }

    /// This member's status; local, needs no leader.
    ///
    /// # Errors
    /// `NotNow::Stopped`.
    pub async fn status(&self, caller: &Caller) -> Result<Answer<Status>, Error> {
        let Seen { view, .. } = self.core.permitted(caller, &[Need::Root]).await?;
        Ok(self.answer(view.revision(), status::of(&self.core, &view)?))
    }

    /// The hash of the history up to a revision; 0 = current.
    ///
    /// # Errors
    /// `Refusal::Compacted`, `Refusal::Future`; [`NotNow`].
    pub async fn hash_kv(&self, caller: &Caller, revision: i64) -> Result<Answer<HashKv>, Error> {
        let Seen { view, .. } = self.core.permitted(caller, &[Need::Root]).await?;
        let (at, compact_revision) = (view.revision(), view.compacted());
        let metrics = self.core.metrics.clone();
        let hash =
            move |view: &View, room: Room<'_>| metrics.reads.hash_kv(|| view.hash_kv_within(revision, room));
        let (hash, hash_revision) = self.core.scan(view, hash).await?;
        Ok(self.answer(at, HashKv { hash, compact_revision, hash_revision }))
    }

    /// Opens a watch stream.
    ///
    /// # Errors
    /// [`NotNow`].
    pub async fn watch(&self, caller: &Caller) -> Result<WatchStream, Error> {
        self.core.admit(caller)?;
        let place = self.core.place(caller, Kind::WatchStreams)?;
        let stream = StreamId(self.core.streams.fetch_add(1, Ordering::Relaxed));
        Ok(WatchStream::open(&self.core, caller, stream, place)?)
    }

    /// Runs until the member stops; streams that the pump does not end (keep-alives) end by it.
    pub async fn stopped(&self) {
        tokio::select! {
            () = self.core.stop.cancelled() => {}
            _ = self.core.failure.wait() => {}
        }
    }

    /// Runs until the member has lost its leader for three election timeouts (for `hasleader` streams).
    pub async fn leader_lost(&self) {
        let mut seen = self.core.raft.standing();
        loop {
            let given_up = match seen.leader {
                Some(_) => None,
                None => Some(Instant::now() + self.core.timing.election * 3),
            };
            seen = loop {
                let change = self.core.raft.standing_change(seen);
                let changed = match given_up {
                    None => change.await,
                    Some(deadline) => timeout_at(deadline, change).await.ok().flatten(),
                };
                match changed {
                    None => return,
                    // Terms come and go without a leader: the patience goes on running out.
                    Some(now) if now.leader.is_none() && given_up.is_some() => seen = now,
                    Some(now) => break now,
                }
            };
        }
    }

    /// Whether the caller may have what an RPC needs; the wire asks before it looks at the request.
    pub(crate) async fn admits(&self, caller: &Caller, needs: &[Need]) -> Result<(), Error> {
        self.core.permitted(caller, needs).await.map(drop)
    }

    /// Whether auth is on, as far as this member knows.
    pub(crate) fn auth_is_on(&self) -> Result<bool, Error> {
        Ok(self.core.view()?.auth().enabled)
    }

    /// Whether this member serves, and has the leader that the caller asked for.
    pub(crate) fn has_leader(&self, caller: &Caller) -> Result<(), Error> {
        Ok(self.core.admit(caller)?)
    }

    /// The newest state, or one at least as new as every acknowledged write, for a caller that may
    /// see what it asks for.
    pub(super) async fn fresh(
        &self,
        caller: &Caller,
        consistency: Consistency,
        needs: impl FnOnce() -> Vec<Need>,
    ) -> Result<Seen, Error> {
        self.core.admit(caller)?;
        match consistency {
            Consistency::Linearizable => {
                self.core.barrier().await?;
                trace::step("agreement among raft nodes before linearized reading");
            }
            Consistency::Serializable => {}
        }
        let seen = self.core.seen(caller).await?;
        if seen.asker.is_some() {
            self.core.permit(&seen, &needs())?;
        }
        Ok(seen)
    }

    /// Runs a read that may be long away from the async threads; as many at once as there are processors.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        view: View,
        read: impl FnOnce(View) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.core.aside(self.core.deadline(), move || read(view)).await?;
        done.map_err(|error| self.core.read_error(error))
    }

    /// Where large requests and answers are worked on.
    pub fn desks(&self) -> Desks {
        self.core.desks.clone()
    }

    pub(super) fn answer<T>(&self, revision: i64, body: T) -> Answer<T> {
        Answer { header: self.core.header(revision), body }
    }

    /// The store answered one kind of command with the reply of another.
    pub(super) fn mismatch(&self, reply: &Reply) -> Error {
        let what = format!("a command was answered with {reply:?}");
        self.core.failed(&bramble_store::error::Fatal::Inconsistent(what)).into()
    }
}

fn range_needs(request: &RangeRequest) -> Vec<Need> {
    vec![Need::Read(request.range.clone())]
}
