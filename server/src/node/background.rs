//! The background thread: makes the engine durable, one flush at a time, and so lets the log go.
//!
//! It flushes when the engine's unflushed bytes reach the profile's budget or the ring is half used,
//! and when asked. Nobody waits for it but those who ask.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bramble_store::engine::any::AnyEngine;
use bramble_store::error::Fatal;
use bramble_store::store::Flusher;
use bramble_store::types::LogId;
use tokio::sync::oneshot;

use super::apply::Work;
use crate::failure::Failure;
use crate::metrics::FlushMeter;
use crate::raft::Consensus;

/// What the background thread is asked for.
pub(super) enum Chore {
    /// Look whether a flush is due.
    Look,
    /// Flush whatever is there.
    Flush(oneshot::Sender<()>),
}

/// Chores that may wait. Full: a look is dropped (one is coming anyway), a flush is refused.
const CHORES_MAX: usize = 64;
/// It looks at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The way to the thread; cheap to clone.
#[derive(Clone)]
pub(super) struct Chores {
    queue: SyncSender<Chore>,
    stopping: Arc<AtomicBool>,
}

impl Chores {
    pub(super) fn queue() -> (Chores, Receiver<Chore>) {
        let (queue, chores) = sync_channel(CHORES_MAX);
        (Chores { queue, stopping: Arc::default() }, chores)
    }

    /// Asks for a look.
    pub(super) fn nudge(&self) {
        let _ = self.queue.try_send(Chore::Look);
    }

    /// Asks for a flush; `None` when too many wait already.
    pub(super) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let (done, flushed) = oneshot::channel();
        self.queue.try_send(Chore::Flush(done)).ok().map(|()| flushed)
    }

    /// Tells the thread to end, after what it is doing. Does not wait.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // A full queue has something for it to wake up to.
        self.nudge();
    }
}

pub(super) struct Background {
    pub(super) flusher: Flusher<AnyEngine>,
    pub(super) applier: Sender<Work>,
    pub(super) raft: Arc<Consensus>,
    /// Unflushed bytes that make a flush due.
    pub(super) budget_bytes: u64,
    pub(super) chores: Chores,
    pub(super) failure: Failure,
    pub(super) meter: FlushMeter,
}

impl Background {
    pub(super) fn spawn(self, chores: Receiver<Chore>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("background".into()).spawn(move || {
            if let Err(fatal) = self.run(&chores) {
                self.failure.trip(&fatal);
            }
        })
    }

    fn run(&self, chores: &Receiver<Chore>) -> Result<(), Fatal> {
        let mut durable = None;
        loop {
            let asked = match chores.recv_timeout(LOOK_EVERY) {
                Ok(Chore::Flush(asked)) => Some(asked),
                Ok(Chore::Look) | Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            if self.chores.stopping.load(Ordering::SeqCst) {
                return Ok(());
            }
            if asked.is_none() && !self.due() {
                continue;
            }
            if !self.flush(&mut durable)? {
                return Ok(());
            }
            if let Some(asked) = asked {
                let _ = asked.send(());
            }
        }
    }

    fn due(&self) -> bool {
        let usage = self.raft.log_counts().usage;
        let size = self.flusher.size();
        size.unflushed_bytes >= self.budget_bytes
            || (usage.used_bytes * 2 >= usage.ring_bytes && size.unflushed_bytes > 0)
    }

    /// False when the apply thread has ended.
    fn flush(&self, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        let (done, prepared) = channel();
        if self.applier.send(Work::PrepareFlush(done)).is_err() || prepared.recv().is_err() {
            return Ok(false);
        }
        let begun = Instant::now();
        let flushed = self.flusher.flush()?;
        self.meter.engine_flushed(begun.elapsed());
        if flushed > *durable {
            *durable = flushed;
            if let Some(flushed) = flushed {
                self.raft.note_durable(flushed);
            }
        }
        Ok(true)
    }
}
