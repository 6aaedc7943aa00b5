//! What all parts of a running node share, and the two things everything is made of: propose and read.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bramble_store::alarm::cost_bytes;
use bramble_store::codec;
use bramble_store::command::{Action, Command, Origin, RequestId};
use bramble_store::data_dir::Ids;
use bramble_store::engine::any::{AnyEngine, AnyView};
use bramble_store::engine::{EngineSize, EngineWork};
use bramble_store::error::{Fatal, ReadError};
use bramble_store::seams::{Clock, Entropy};
use bramble_store::store::{Flusher, ReadView, Reader, Reply};
use bramble_store::types::LogId;
use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, admission};
use super::answers::{Caller, Header};
use super::background::Chores;
use super::budget::{Budget, Kind, Place, Share};
use super::desks::Desks;
use super::error::{Error, NotNow, Unknown};
use super::leases::LeaseClock;
use super::outbox::Backlog;
use super::pump;
use super::reads;
use super::snapshots::Snapshots;
use super::space::Space;
use super::waiters::{Settled, Waiters};
use crate::auth::passwords::Passwords;
use crate::auth::tokens::Tokens;
use crate::config::Config;
use crate::failure::Failure;
use crate::media::{Choice, Timing};
use crate::metrics::Metrics;
use crate::raft::{Consensus, Setback};
use crate::threads::Threads;
use crate::trace;
use crate::wear::{self, Wear};

/// A pinned state.
pub(super) type View = ReadView<AnyView>;

/// Linearizable reads waiting for a barrier. The next one is refused.
pub(super) const READS_MAX: usize = 65_536;
/// Pause before a proposal is made again that Raft did not take.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// How long a proposal is slowed down when the ring is three quarters full.
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// How long a request may wait for its commit or read barrier: etcd's 5 s + 2 election timeouts.
fn request_timeout(election: Duration) -> Duration {
    Duration::from_secs(5) + 2 * election
}

/// A command on its way into the log.
struct Proposal {
    op: &'static str,
    /// By which its answer is known.
    counter: u64,
    bytes: Bytes,
}

pub(super) struct Core {
    pub(super) ids: Ids,
    pub(super) config: Config,
    /// The kind of device this life is lived with.
    pub(super) media: Choice,
    pub(super) timing: Timing,
    /// Largest command: what the settings allow, and what fits into a segment of the log.
    pub(super) command_bytes_max: u64,
    /// Where clients are told to come, after ports were chosen.
    pub(super) client_urls: Vec<String>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) threads: Arc<dyn Threads>,
    pub(super) raft: Arc<Consensus>,
    /// Taken out when the node stops, so that the engine closes though clients live on.
    pub(super) state: RwLock<Option<State>>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) position: watch::Receiver<Option<LogId>>,
    pub(super) scrubbed: watch::Receiver<i64>,
    pub(super) leases: Arc<LeaseClock>,
    pub(super) pump: Arc<pump::Shared>,
    pub(super) chores: Chores,
    pub(super) tokens: Arc<Tokens>,
    pub(super) passwords: Passwords,
    pub(super) failure: Failure,
    pub(super) stop: CancellationToken,
    /// The engine is let go: requests that were under way have had their time.
    pub(super) closed: CancellationToken,
    /// Counts proposals from a random number on: entries of an earlier run that are replayed must not
    /// answer callers of this one.
    pub(super) counter: AtomicU64,
    pub(super) streams: AtomicU64,
    /// KiB of proposals under way, as device and memory allow. The next one waits, then is refused.
    pub(super) in_flight: Arc<Semaphore>,
    /// How many that are at most.
    pub(super) in_flight_kib_max: usize,
    /// Of work on large requests and answers.
    pub(super) desks: Desks,
    /// Reads of the whole history at once: one.
    pub(super) scans: Desks,
    pub(super) snapshots: Snapshots,
    pub(super) budget: Arc<Budget>,
    /// Of the callers in this process.
    pub(super) own_share: Arc<Share>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) space: Space,
    pub(super) reads: mpsc::Sender<oneshot::Sender<u64>>,
    /// The newest term in which this member, leading and alone, has answered a read barrier; 0: none.
    pub(super) settled_term: AtomicU64,
    pub(super) metrics: Arc<Metrics>,
    pub(super) wear: Arc<Wear>,
}

/// The ways to look at the state.
pub(super) struct State {
    pub(super) reader: Reader<AnyEngine>,
    pub(super) flusher: Flusher<AnyEngine>,
}

impl Core {
    /// Whether the node serves.
    pub(super) fn alive(&self) -> Result<(), NotNow> {
        match self.stop.is_cancelled() || self.failure.tripped() {
            true => Err(NotNow::Stopped),
            false => Ok(()),
        }
    }

    /// Whether it serves this caller.
    pub(super) fn admit(&self, caller: &Caller) -> Result<(), NotNow> {
        self.alive()?;
        match caller.require_leader && self.raft.standing().leader.is_none() {
            true => Err(NotNow::NoLeader),
            false => Ok(()),
        }
    }

    /// Lets go of the engine; requests are refused from now on, and reads that go on are ended.
    pub(super) fn close_state(&self) {
        self.closed.cancel();
        self.snapshots.close();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this member leads, as far as it knows.
    pub(super) fn leads(&self) -> bool {
        self.raft.standing().leader == Some(self.ids.member)
    }

    /// The newest published state.
    pub(super) fn view(&self) -> Result<View, NotNow> {
        self.alive()?;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| state.reader.view()).ok_or(NotNow::Stopped)
    }

    /// Sizes of the engine, and what it has had to do.
    pub(super) fn size_and_work(&self) -> Result<(EngineSize, EngineWork), NotNow> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| (state.flusher.size(), state.flusher.work())).ok_or(NotNow::Stopped)
    }

    /// What there is to say of wear.
    pub(super) fn wear(&self) -> wear::Report {
        if let Ok((_, work)) = self.size_and_work() {
            self.wear.engine_worked(&work);
        }
        self.wear.report()
    }

    /// Sizes of the engine.
    pub(super) fn size(&self) -> Result<EngineSize, NotNow> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| state.flusher.size()).ok_or(NotNow::Stopped)
    }

    /// A header for an answer at `revision`.
    pub(super) fn header(&self, revision: i64) -> Header {
        Header {
            cluster_id: self.ids.cluster,
            member_id: self.ids.member,
            revision,
            raft_term: self.raft.standing().term,
        }
    }

    /// This node cannot go on.
    pub(super) fn failed(&self, fatal: &Fatal) -> NotNow {
        self.failure.end(fatal);
        NotNow::Stopped
    }

    pub(super) fn read_error(&self, error: ReadError) -> Error {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Fatal(fatal) => self.failed(&fatal).into(),
        }
    }

    /// When a request that comes now is given up.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + request_timeout(self.timing.election)
    }

    /// Waits until a view is at least as new as every write acknowledged before the call.
    ///
    /// Who leads alone has acknowledged all writes itself, and those it acknowledges are in the view before.
    /// Those of earlier terms are, too, once one barrier was passed: no other needs to ask Raft then.
    pub(super) async fn barrier(&self) -> Result<(), Error> {
        let alone_in = self.raft.sole_leader();
        if alone_in.is_some_and(|term| term == self.settled_term.load(Ordering::Acquire)) {
            return Ok(());
        }
        let passed = self.pass_barrier().await;
        if let (Ok(()), Some(term)) = (&passed, alone_in) {
            self.settled_term.fetch_max(term, Ordering::Release);
        }
        match &passed {
            Ok(()) => {}
            Err(Error::NotNow(NotNow::ReadTimedOut)) => self.metrics.agreement.reads_slow.inc(),
            Err(_) => self.metrics.agreement.reads_failed.inc(),
        }
        passed
    }

    async fn pass_barrier(&self) -> Result<(), Error> {
        let deadline = self.deadline();
        let (answer, index) = oneshot::channel();
        self.reads.try_send(answer).map_err(|_| match self.alive() {
            Ok(()) => NotNow::TooManyRequests,
            Err(stopped) => stopped,
        })?;
        let index = match timeout_at(deadline, index).await {
            Ok(Ok(index)) => index,
            Ok(Err(_)) => return Err(self.alive().err().unwrap_or(NotNow::LeaderChanged).into()),
            Err(_) => return Err(NotNow::ReadTimedOut.into()),
        };
        self.applied_to(index, deadline).await
    }

    async fn applied_to(&self, index: u64, deadline: Instant) -> Result<(), Error> {
        let reached = |at: &Option<LogId>| at.is_some_and(|at| at.index >= index);
        if reached(&self.position.borrow()) {
            return Ok(());
        }
        let mut position = self.position.clone();
        tokio::select! {
            biased;
            waited = timeout_at(deadline, position.wait_for(reached)) => match waited {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(NotNow::Stopped.into()),
                Err(_) => Err(NotNow::ReadTimedOut.into()),
            },
            _ = self.failure.wait() => Err(NotNow::Stopped.into()),
        }
    }

    /// The caller's place, or a new one for a caller in this process.
    pub(super) fn place(&self, caller: &Caller, kind: Kind) -> Result<Arc<Place>, NotNow> {
        match &caller.place {
            Some(place) => Ok(place.clone()),
            None => self.own_share.place(kind).ok_or(NotNow::TooManyRequests),
        }
    }

    /// Proposes for a caller that may, and waits for the answer.
    pub(super) async fn propose(&self, caller: &Caller, action: Action) -> Result<Reply, Error> {
        let origin = self.proposer(caller, &action).await?;
        let place = self.place(caller, Kind::Requests)?;
        let cost = cost_bytes(&action);
        let proposal = self.proposal(origin, None, action)?;
        self.admit_space(cost).await?;
        let reply = self.agree(proposal).await;
        trace::step("process raft request");
        reads::keep(&place, reply?)
    }

    /// Proposes in the name of `origin`, which is checked when it is applied.
    pub(super) async fn propose_as(&self, origin: Origin, action: Action) -> Result<Reply, Error> {
        self.alive()?;
        self.agree(self.proposal(origin, None, action)?).await
    }

    /// Proposes for the node itself.
    pub(super) async fn propose_own(&self, action: Action) -> Result<Reply, Error> {
        self.alive()?;
        self.agree(self.proposal(Origin::default(), None, action)?).await
    }

    /// Proposes as the leader of `term`; overtaken when another leads by then.
    pub(super) async fn propose_fenced(&self, action: Action, term: u64) -> Result<Reply, Error> {
        self.alive()?;
        self.agree(self.proposal(Origin::default(), Some(term), action)?).await
    }

    /// The command in bytes, if it is one that the log takes.
    fn proposal(&self, origin: Origin, fence_term: Option<u64>, action: Action) -> Result<Proposal, NotNow> {
        let op = action.op();
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let request = RequestId { member: self.ids.member, counter };
        let bytes = codec::encode(&Command { request, origin, required_version: 1, fence_term, action });
        if bytes.len() as u64 > self.command_bytes_max {
            return Err(NotNow::TooLarge);
        }
        Ok(Proposal { op, counter, bytes })
    }

    /// Has it agreed on and applied, however often that must be tried.
    async fn agree(&self, proposal: Proposal) -> Result<Reply, Error> {
        let Proposal { op, counter, bytes } = proposal;
        let deadline = self.deadline();
        let asked = self.metrics.agreement.request(op);
        // Whoever loses patience drops this future, and has no answer either.
        let unanswered = Unanswered(&self.metrics.agreement.proposals_failed);
        self.make_room(deadline).await?;
        loop {
            match self.propose_once(counter, bytes.clone(), deadline).await? {
                Settled::Applied(outcome) => {
                    unanswered.answered();
                    let reply = outcome.map_err(Error::from)?;
                    asked.answered();
                    return Ok(reply);
                }
                Settled::SetBack(Setback::NotLeader) => sleep(RETRY_PAUSE).await,
                Settled::SetBack(Setback::Stopped) => return Err(NotNow::Stopped.into()),
                Settled::SetBack(Setback::Lost) => {
                    return Err(self.alive().map_or(Unknown::Stopped, |()| Unknown::LeaderLost).into());
                }
            }
            self.alive()?;
            if Instant::now() >= deadline {
                return Err(Unknown::TimedOut.into());
            }
        }
    }

    /// One attempt. An error here leaves the outcome open.
    async fn propose_once(&self, counter: u64, bytes: Bytes, deadline: Instant) -> Result<Settled, Error> {
        let kib = bytes.len().div_ceil(1024).min(self.in_flight_kib_max) as u32;
        let place = match timeout_at(deadline, self.in_flight.clone().acquire_many_owned(kib)).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(NotNow::Stopped.into()),
            Err(_) => return Err(NotNow::TooManyRequests.into()),
        };
        let mut waiting = self.waiters.wait_for(counter);
        let waiters = self.waiters.clone();
        let set_back = move |setback| {
            waiters.settle(counter, Settled::SetBack(setback));
        };
        // The place is given up when Raft lets go of the entry, not when the caller loses patience.
        let held = move |setback: Option<Setback>| {
            if let Some(setback) = setback {
                set_back(setback);
            }
            drop(place);
        };
        let proposed = self.raft.propose(bytes, held);
        match timeout_at(deadline, async {
            proposed.await;
            waiting.settled().await
        })
        .await
        {
            Ok(Some(settled)) => Ok(settled),
            Ok(None) => Err(Unknown::Stopped.into()),
            Err(_) => Err(Unknown::TimedOut.into()),
        }
    }

    /// Refuses, or slows down, while what is accepted cannot be kept up with.
    async fn make_room(&self, deadline: Instant) -> Result<(), Error> {
        let committed = self.raft.standing().committed.map_or(0, |id| id.index);
        let applied = self.position.borrow().map_or(0, |id| id.index);
        match admission(committed.saturating_sub(applied), &self.raft.log_counts().usage) {
            Admission::Free => {}
            Admission::Slowed => {
                self.chores.nudge();
                let _ = timeout_at(deadline, sleep(SLOW_PAUSE)).await;
            }
            Admission::Full => {
                self.chores.nudge();
                return Err(NotNow::TooManyRequests.into());
            }
            Admission::Behind => return Err(NotNow::TooManyRequests.into()),
        }
        Ok(())
    }
}

/// A proposal that has no answer; counted as failed unless it gets one.
struct Unanswered<'a>(&'a IntCounter);

impl Unanswered<'_> {
    fn answered(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.inc();
    }
}

/// Serves read barriers: one question to Raft for all readers that wait.
pub(super) async fn serve_barriers(raft: Arc<Consensus>, mut reads: mpsc::Receiver<oneshot::Sender<u64>>) {
    let mut waiting: Vec<oneshot::Sender<u64>> = Vec::new();
    loop {
        if waiting.is_empty() && reads.recv_many(&mut waiting, READS_MAX).await == 0 {
            return;
        }
        match raft.read_index().await {
            Ok(index) => {
                for reader in waiting.drain(..) {
                    let _ = reader.send(index);
                }
            }
            Err(Setback::Stopped) => return,
            Err(_) => {
                // No leader yet: ask again for those who still wait. Newcomers join them.
                sleep(RETRY_PAUSE).await;
                while let Ok(reader) = reads.try_recv() {
                    waiting.push(reader);
                }
                waiting.retain(|reader| !reader.is_closed());
            }
        }
    }
}
