//! The threads and tasks of a node, and the order in which they end.
//!
//! Requests first, then streams, then Raft (which drops what is under way), then long reads, then the
//! threads that Raft feeds. The data directory is let go last.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bramble_store::data_dir::DataDir;
use bramble_store::engine::any::AnyEngine;
use bramble_store::store::Flusher;
use tokio::time::timeout;

use super::apply::Work;
use super::background::Chores;
use super::core::Core;
use super::pump;
use super::waiters::Waiters;
use crate::failure::Failure;
use crate::raft::Consensus;
use crate::threads::{Sender, Thread, Threads, away};

/// How long reads that are told to end may take: one whose caller never polls it again does not end.
const READS_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that runs. Dropping it stops it and waits for the threads, unless the node has failed.
pub(super) struct Parts {
    pub(super) addrs: Vec<SocketAddr>,
    pub(super) served: Option<tokio::task::JoinHandle<()>>,
    pub(super) tasks: Vec<tokio::task::JoinHandle<()>>,
    pub(super) raft: Option<Arc<Consensus>>,
    pub(super) pump: Option<Box<dyn Thread>>,
    pub(super) background: Option<Box<dyn Thread>>,
    /// To end background work early.
    pub(super) flusher: Option<Flusher<AnyEngine>>,
    /// The directory's lock.
    pub(super) dir: Option<DataDir>,
    /// The node was handed to its host.
    pub(super) started: bool,
    applier: Option<(Sender<Work>, Box<dyn Thread>)>,
    pump_shared: Arc<pump::Shared>,
    chores: Chores,
    waiters: Arc<Waiters>,
    threads: Arc<dyn Threads>,
    failure: Failure,
}

impl Parts {
    pub(super) fn new(
        pump_shared: Arc<pump::Shared>,
        chores: Chores,
        waiters: Arc<Waiters>,
        threads: Arc<dyn Threads>,
        failure: Failure,
    ) -> Parts {
        Parts {
            addrs: Vec::new(),
            served: None,
            tasks: Vec::new(),
            raft: None,
            pump: None,
            background: None,
            flusher: None,
            dir: None,
            started: false,
            applier: None,
            pump_shared,
            chores,
            waiters,
            threads,
            failure,
        }
    }

    pub(super) fn run_applier(&mut self, work: Sender<Work>, thread: Box<dyn Thread>) {
        self.applier = Some((work, thread));
    }

    /// Ends everything in order and waits for all of it, after a failure too. The stop token is
    /// cancelled already.
    pub(super) async fn stop(mut self, core: &Core) {
        // Streams end first: their connections would keep the listeners from finishing.
        self.pump_shared.close();
        if let Some(served) = self.served.take() {
            let _ = served.await;
        }
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        if let Some(raft) = &self.raft {
            raft.stop().await;
        }
        core.close_state();
        // What they look at keeps the engine open, and its files.
        if timeout(READS_PATIENCE, core.reads_ended()).await.is_err() {
            tracing::warn!("a read goes on: the data directory cannot be opened here before it has ended");
        }
        let threads = self.threads.clone();
        away(&*threads, move || self.join()).await;
    }

    /// Tells everybody to end and waits for the threads.
    fn join(&mut self) {
        self.tell();
        if let Some(raft) = self.raft.take() {
            raft.close();
        }
        if let Some((work, applier)) = self.applier.take() {
            let _ = work.send(Work::Stop);
            drop(work);
            applier.join();
        }
        if let Some(flusher) = self.flusher.take()
            && self.chores.defragmenting()
        {
            flusher.abandon();
        }
        for thread in [self.background.take(), self.pump.take()].into_iter().flatten() {
            thread.join();
        }
        self.dir = None;
    }

    /// Tells everybody to end and waits for nobody.
    fn let_go(&mut self) {
        self.tell();
        if let Some(raft) = self.raft.take() {
            raft.abandon();
        }
        if let Some((work, _)) = self.applier.take() {
            let _ = work.send(Work::Stop);
        }
    }

    fn tell(&mut self) {
        if let Some(served) = self.served.take() {
            served.abort();
        }
        self.tasks.drain(..).for_each(|task| task.abort());
        self.pump_shared.close();
        self.chores.stop();
        self.waiters.abandon();
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        match self.started && self.failure.tripped() {
            // A thread may hang in a disk call, and the host is about to end the process.
            true => self.let_go(),
            false => self.join(),
        }
    }
}
