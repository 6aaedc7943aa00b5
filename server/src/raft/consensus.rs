//! The handle on a running Raft: propose, read barrier, standing, stop.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_store::log::{Log, Recovered};
use bramble_store::seams::Clock;
use bramble_store::types::LogId;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::ClientWriteResult;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Config, Raft, RaftMetrics, ReadPolicy, SnapshotPolicy};

use super::applied::AppliedState;
use super::log_store::LogStore;
use super::log_thread::{self, LogCounts, Notes, Order, SharedLog};
use super::machine::{Inbox, Machine};
use super::members::Members;
use super::network::Links;
use super::tail::Tail;
use super::types::{self, Opaque, Settle, Types};
use crate::failure::Failure;
use crate::metrics::LogMeter;
use crate::threads::{Tasks, Thread, Threads, away};

/// What Raft starts from.
pub struct Start {
    /// This member.
    pub id: u64,
    /// The first membership; used only when nothing was ever written here.
    pub first: Members,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Shortest election timeout; the longest is twice as long.
    pub election: Duration,
    /// The log and what was found in it.
    pub log: (Log, Recovered),
    /// The last entry in the engine, which is durable.
    pub applied: Option<LogId>,
    /// The engine's membership row.
    pub membership: Option<(LogId, Bytes)>,
    /// Where committed entries go.
    pub apply: Inbox,
    /// Where threads come from.
    pub threads: Arc<dyn Threads>,
    /// By which the log knows that it is idle.
    pub clock: Arc<dyn Clock>,
    /// Thrown when the log fails.
    pub(crate) failure: Failure,
    /// What the log's thread measures.
    pub(crate) meter: LogMeter,
    /// What rides in the log.
    pub notes: Notes,
    /// Flushed entries kept in memory for readers, bytes.
    pub tail_bytes_max: usize,
}

/// Why Raft cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or runtime could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The settings contradict each other.
    #[error("raft settings: {0}")]
    Settings(String),
    /// What is on disk does not fit together.
    #[error("raft: {0}")]
    State(String),
}

/// Why a proposal or read barrier did not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// This member does not lead (yet): certainly not appended, ask again.
    NotLeader,
    /// Discarded, or dropped with Raft itself: it may have been committed.
    Lost,
    /// Raft has stopped: certainly not appended.
    Stopped,
}

/// What this member knows of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest term it knows.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Newest entry known to be committed.
    pub committed: Option<LogId>,
}

type Metrics = WatchReceiverOf<Types, RaftMetrics<Types>>;

/// A running Raft.
pub struct Consensus {
    raft: Raft<Types, Machine>,
    metrics: Metrics,
    applied: Arc<AppliedState>,
    log: Arc<SharedLog>,
    log_thread: Mutex<Option<Box<dyn Thread>>>,
    threads: Arc<dyn Threads>,
    tasks: Tasks,
}

impl Consensus {
    /// Starts the log thread and openraft, replays what is committed, and lets a sole voter elect itself.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(start: Start) -> Result<Consensus, StartError> {
        let fresh = start.applied.is_none() && start.log.1.last.is_none() && start.log.1.vote.is_none();
        let membership = types::stored_membership(start.membership.as_ref())?;
        let applied = Arc::new(AppliedState::new(start.applied, membership));
        let (mut log, recovered) = start.log;
        if let Some(durable) = start.applied {
            log.note_durable(durable);
        }
        let threads = start.threads;
        let (tail, failure) = (Tail::new(start.tail_bytes_max), start.failure.clone());
        let shared = SharedLog::new(&log, &recovered, tail, threads.bell(), failure, start.meter);
        let tasks = threads.tasks()?;
        let log_thread = spawn_log(&*threads, log, &shared, start.clock, start.notes)?;
        let config = Arc::new(settings(start.heartbeat, start.election)?);
        let store = LogStore::new(shared.clone(), applied.clone(), threads.clone());
        let machine = Machine::new(applied.clone(), start.apply);
        let id = start.id;
        let made = tasks.handle().spawn(async move { Raft::new(id, config, Links, store, machine).await });
        let raft = match made.await.map_err(state).and_then(|made| made.map_err(state)) {
            Ok(raft) => raft,
            Err(error) => {
                shared.close();
                return Err(error);
            }
        };
        let consensus = Consensus {
            metrics: raft.metrics(),
            raft,
            applied,
            log: shared,
            log_thread: Mutex::new(Some(log_thread)),
            threads,
            tasks,
        };
        consensus.watch_for_death(start.failure);
        if fresh {
            // Elects the first voter by itself.
            consensus.raft.initialize(start.first.peers).await.map_err(state)?;
        } else if consensus.sole_voter(id).await? {
            consensus.raft.trigger().elect(false).await.map_err(state)?;
        }
        Ok(consensus)
    }

    async fn sole_voter(&self, id: u64) -> Result<bool, StartError> {
        let voters =
            self.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect());
        let voters: Vec<u64> = voters.await.map_err(state)?;
        Ok(voters == [id])
    }

    /// openraft stops by itself when its storage fails; the node then fails too.
    fn watch_for_death(&self, failure: Failure) {
        let mut metrics = self.metrics.clone();
        self.tasks.handle().spawn(async move {
            loop {
                if let Err(fatal) = &metrics.borrow_watched().running_state {
                    if !matches!(fatal, openraft::errors::Fatal::Stopped) {
                        failure.trip(fatal);
                    }
                    return;
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Proposes a command. `settled` is called once, when openraft lets go of it: with a set-back, or
    /// with nothing when it was applied here (the apply thread has answered before).
    pub async fn propose(&self, command: Bytes, settled: impl FnOnce(Option<Setback>) + Send + 'static) {
        let settle = Settle::new(move |result: Option<ClientWriteResult<Types>>| match result {
            Some(Ok(_)) => settled(None),
            Some(Err(ClientWriteError::ForwardToLeader(_))) => settled(Some(Setback::NotLeader)),
            // When openraft has stopped it drops the callback, which counts as lost: nothing is claimed.
            Some(Err(_)) | None => settled(Some(Setback::Lost)),
        });
        let _ = self.raft.client_write_ff(Opaque(command), Some(settle)).await;
    }

    /// The index up to which a linearizable read must see applied entries.
    ///
    /// # Errors
    /// `NotLeader` (ask again) or `Stopped`.
    pub async fn read_index(&self) -> Result<u64, Setback> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().log_id().index),
            Err(RaftError::Fatal(_)) => Err(Setback::Stopped),
            Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
            )) => Err(Setback::NotLeader),
        }
    }

    /// What this member knows now.
    pub fn standing(&self) -> Standing {
        standing(&self.metrics.borrow_watched())
    }

    /// The term in which this member leads and is the only voter, if it does: nobody else can have been elected
    /// since, so nobody else can have acknowledged anything.
    pub fn sole_leader(&self) -> Option<u64> {
        let metrics = self.metrics.borrow_watched();
        let config = metrics.membership_config.membership().get_joint_config();
        let alone = matches!(&config[..], [voters] if voters.len() == 1 && voters.contains(&metrics.id));
        (alone && metrics.current_leader == Some(metrics.id)).then_some(metrics.current_term)
    }

    /// Waits until what this member knows differs from `seen` in term or leader, and says it. `None`
    /// when Raft has ended.
    pub async fn standing_change(&self, seen: Standing) -> Option<Standing> {
        let mut metrics = self.metrics.clone();
        loop {
            let now = standing(&metrics.borrow_and_update());
            if (now.term, now.leader) != (seen.term, seen.leader) {
                return Some(now);
            }
            metrics.changed().await.ok()?;
        }
    }

    /// How the log is used.
    pub fn log_counts(&self) -> LogCounts {
        self.log.counts()
    }

    /// Reads the log's entries, beside everything else.
    pub fn log_reader(&self) -> bramble_store::log::Reader {
        self.log.reader()
    }

    /// The engine has flushed everything up to `durable`: the log may free it.
    pub fn note_durable(&self, durable: LogId) {
        self.applied.note_durable(durable);
        self.log.give(Order::Durable(durable), |_| {});
        let raft = self.raft.clone();
        // openraft's snapshot is the durable id; taking one makes it purge the log up to there.
        self.tasks.handle().spawn(async move {
            let _ = raft.trigger().snapshot().await;
        });
    }

    /// Runs a task beside openraft, away from the load of clients. It must not block or read the disk.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.handle().spawn(task)
    }

    /// Stops openraft, seals the log and waits until its thread has ended.
    pub async fn stop(self: &Arc<Self>) {
        let _ = self.raft.shutdown().await;
        let this = self.clone();
        away(&*self.threads, move || this.close()).await;
    }

    /// Closes the log and waits until its thread has ended. openraft, if it still runs, finds it closed.
    pub fn close(&self) {
        self.abandon();
        let thread = self.log_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join();
        }
    }

    /// Closes without waiting for anybody: the log's thread may hang in a disk call.
    pub fn abandon(&self) {
        self.log.close();
        self.tasks.stop();
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn standing(metrics: &RaftMetrics<Types>) -> Standing {
    Standing {
        term: metrics.current_term,
        leader: metrics.current_leader,
        committed: metrics.local_committed.as_ref().map(types::log_id),
    }
}

fn state(error: impl std::fmt::Display) -> StartError {
    StartError::State(error.to_string())
}

fn spawn_log(
    threads: &dyn Threads,
    log: Log,
    shared: &Arc<SharedLog>,
    clock: Arc<dyn Clock>,
    notes: Notes,
) -> std::io::Result<Box<dyn Thread>> {
    let shared = shared.clone();
    threads.spawn("log", Box::new(move || log_thread::run(log, &shared, &*clock, &notes)))
}

fn settings(heartbeat: Duration, election: Duration) -> Result<Config, StartError> {
    let election_ms = election.as_millis() as u64;
    let config = Config {
        cluster_name: "bramble".into(),
        heartbeat_interval: heartbeat.as_millis() as u64,
        election_timeout_min: election_ms,
        election_timeout_max: 2 * election_ms,
        enable_pre_vote: Some(true),
        // A restarted leader would serve what it had applied before it replayed the rest.
        enable_leader_restore: Some(false),
        // Snapshots follow engine flushes, which follow bytes; openraft counts entries.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    config.validate().map_err(|error| StartError::Settings(error.to_string()))
}
