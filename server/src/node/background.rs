//! The background thread: makes the engine durable, one flush at a time, and so lets the log go.
//!
//! It flushes when the engine's unflushed bytes reach the profile's budget or the ring is half used,
//! and when asked. Nobody waits for it but those who ask.
//!
//! It also gives back the space of what is erased when it is asked to, part by part: between two parts a
//! flush that is due gets its turn, so the log goes on, and so does a stop.
//!
//! Between all that it reads the files back, step by step: see [`scrub`].
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bramble_store::engine::any::AnyEngine;
use bramble_store::error::Fatal;
use bramble_store::log;
use bramble_store::store::Flusher;
use bramble_store::types::LogId;
use tokio::sync::{oneshot, watch};

use super::apply::Work;
use crate::failure::Failure;
use crate::metrics::{DefragMeter, FlushMeter};
use crate::raft::Consensus;
use crate::threads::{Bell, Receiver, Sender, Thread, Threads, queue};
use crate::wear::Wear;

pub(super) mod scrub;

use scrub::Scrubber;

/// What the background thread is asked for.
pub(super) enum Chore {
    /// Look whether a flush is due.
    Look,
    /// Flush whatever is there.
    Flush(oneshot::Sender<()>),
    /// Defragment for all who wait for it.
    Defragment,
}

/// Who may wait for one defragmentation; more are refused.
const DEFRAGMENTS_MAX: usize = 64;

/// Chores that may wait, one look among them at most. Full: a flush is refused.
const CHORES_MAX: usize = 64;
/// It looks at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Longer than the apply thread ever takes.
const FOREVER: Duration = Duration::from_secs(1 << 32);

/// The way to the thread; cheap to clone.
#[derive(Clone)]
pub(super) struct Chores {
    queue: SyncSender<Chore>,
    bell: Arc<dyn Bell>,
    /// A look is in the queue: it stands for all that are asked for until the thread takes it.
    looking: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    /// Those who wait for the next defragmentation. It is in the queue when there is anyone.
    defragments: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    defragmenting: Arc<AtomicBool>,
}

impl Chores {
    pub(super) fn queue(bell: Arc<dyn Bell>) -> (Chores, Receiver<Chore>) {
        let (queue, chores) = sync_channel(CHORES_MAX);
        let (stopping, defragments, defragmenting) = (Arc::default(), Arc::default(), Arc::default());
        let (looking, receiver) = (Arc::default(), Receiver::new(chores, bell.clone()));
        (Chores { queue, bell, looking, stopping, defragments, defragmenting }, receiver)
    }

    /// Puts it into the queue; false when that is full.
    fn give(&self, chore: Chore) -> bool {
        let given = self.queue.try_send(chore).is_ok();
        self.bell.ring();
        given
    }

    /// Asks for a look.
    pub(super) fn nudge(&self) {
        if !self.looking.swap(true, Ordering::SeqCst) && !self.give(Chore::Look) {
            self.looking.store(false, Ordering::SeqCst);
        }
    }

    /// A chore was taken from the queue. What is found from here on is found by the look, if it is one.
    fn taken(&self, chore: Chore) -> Chore {
        if matches!(chore, Chore::Look) {
            self.looking.store(false, Ordering::SeqCst);
        }
        chore
    }

    /// Asks for a flush; `None` when too many wait already.
    pub(super) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let (done, flushed) = oneshot::channel();
        self.give(Chore::Flush(done)).then_some(flushed)
    }

    /// Asks for a defragmentation that begins after this; `None` when too many wait already.
    pub(super) fn defragment(&self) -> Option<oneshot::Receiver<()>> {
        let (done, waiting) = oneshot::channel();
        let mut defragments = self.defragments.lock().unwrap_or_else(PoisonError::into_inner);
        let room = match defragments.is_empty() {
            true => self.give(Chore::Defragment),
            false => defragments.len() < DEFRAGMENTS_MAX,
        };
        room.then(|| {
            defragments.push(done);
            waiting
        })
    }

    fn take_defragments(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *self.defragments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the engine is being defragmented now.
    pub(super) fn defragmenting(&self) -> bool {
        self.defragmenting.load(Ordering::SeqCst)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
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
    /// The last entry that is applied.
    pub(super) applied: watch::Receiver<Option<LogId>>,
    /// Unflushed bytes that make a flush due.
    pub(super) budget_bytes: u64,
    pub(super) chores: Chores,
    pub(super) threads: Arc<dyn Threads>,
    pub(super) failure: Failure,
    pub(super) meter: FlushMeter,
    pub(super) defrags: DefragMeter,
    /// Is told what the engine has had to do.
    pub(super) wear: Arc<Wear>,
}

impl Background {
    pub(super) fn spawn(
        self,
        threads: &dyn Threads,
        chores: Receiver<Chore>,
        scrub: Scrubber,
        log: log::Reader,
    ) -> std::io::Result<Box<dyn Thread>> {
        let body = move || {
            if let Err(fatal) = self.run(&chores, scrub, &log)
                // Work that is cut short by the stop fails, and harms nothing.
                && !self.chores.stopping()
            {
                self.failure.end(&fatal);
            }
        };
        threads.spawn("background", Box::new(body))
    }

    fn run(&self, chores: &Receiver<Chore>, mut scrub: Scrubber, log: &log::Reader) -> Result<(), Fatal> {
        let mut durable = None;
        loop {
            let chore = match chores.recv_timeout(scrub.pause(LOOK_EVERY)) {
                Ok(chore) => self.chores.taken(chore),
                Err(RecvTimeoutError::Timeout) => Chore::Look,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            self.wear.engine_worked(&self.flusher.work());
            let goes_on = match chore {
                _ if self.chores.stopping() => false,
                Chore::Look if !self.due(durable) => true,
                Chore::Look => self.flush(&mut durable)?,
                Chore::Flush(asked) => self.flush_for(asked, &mut durable)?,
                Chore::Defragment => {
                    scrub.put_off();
                    self.defragment(chores, &mut durable)?
                }
            };
            if !goes_on {
                return Ok(());
            }
            scrub.turn(&self.flusher, log)?;
        }
    }

    /// False when the node stops. A defragmentation that is asked for meanwhile is another one: it may be
    /// about what has been erased since.
    fn defragment(&self, chores: &Receiver<Chore>, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        let mut waiting = self.chores.take_defragments();
        self.chores.defragmenting.store(true, Ordering::SeqCst);
        while !waiting.is_empty() {
            if !self.defrags.time(|| self.defragment_parts(chores, durable))? {
                return Ok(false);
            }
            for asked in waiting {
                let _ = asked.send(());
            }
            waiting = self.chores.take_defragments();
        }
        self.chores.defragmenting.store(false, Ordering::SeqCst);
        Ok(true)
    }

    /// One defragmentation. False when the node stops.
    fn defragment_parts(&self, chores: &Receiver<Chore>, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        if !self.flush(durable)? {
            return Ok(false);
        }
        for part in self.flusher.parts()? {
            self.flusher.defragment(&part)?;
            if !self.between_parts(chores, durable)? {
                return Ok(false);
            }
        }
        // Says whether it went well.
        self.flush(durable)
    }

    /// What has come up meanwhile.
    fn between_parts(&self, chores: &Receiver<Chore>, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        while let Ok(chore) = chores.try_recv() {
            // Those who wait for another defragmentation are found when this one is done.
            if let Chore::Flush(asked) = self.chores.taken(chore)
                && !self.flush_for(asked, durable)?
            {
                return Ok(false);
            }
        }
        if self.chores.stopping() {
            return Ok(false);
        }
        match self.due(*durable) {
            true => self.flush(durable),
            false => Ok(true),
        }
    }

    fn flush_for(&self, asked: oneshot::Sender<()>, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        let flushed = self.flush(durable)?;
        if flushed {
            let _ = asked.send(());
        }
        Ok(flushed)
    }

    /// Whether the engine is to be flushed, which has said that it holds everything up to `durable`. When it has
    /// flushed by itself since then, nothing is unflushed, but the log does not know yet what it may let go of.
    fn due(&self, durable: Option<LogId>) -> bool {
        let usage = self.raft.log_counts().usage;
        let unflushed_bytes = self.flusher.size().unflushed_bytes;
        unflushed_bytes >= self.budget_bytes
            || (usage.used_bytes * 2 >= usage.ring_bytes
                && (unflushed_bytes > 0 || *self.applied.borrow() > durable))
    }

    /// False when the apply thread has ended.
    fn flush(&self, durable: &mut Option<LogId>) -> Result<bool, Fatal> {
        let (done, prepared) = queue(self.threads.bell());
        if self.applier.send(Work::PrepareFlush(done)).is_err() || prepared.recv_timeout(FOREVER).is_err() {
            return Ok(false);
        }
        let begun = Instant::now();
        let flushed = self.flusher.flush()?;
        self.meter.engine_flushed(begun.elapsed());
        self.wear.engine_worked(&self.flusher.work());
        if flushed > *durable {
            *durable = flushed;
            if let Some(flushed) = flushed {
                self.raft.note_durable(flushed);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::SystemThreads;

    #[test]
    fn looks_leave_the_queue_to_others() {
        let (chores, queue) = Chores::queue(SystemThreads.bell());
        for _ in 0..2 * CHORES_MAX {
            chores.nudge();
        }
        let flushes: Vec<_> = std::iter::from_fn(|| chores.flush()).collect();
        assert_eq!(flushes.len(), CHORES_MAX - 1, "one look, and nobody else");
        let taken = || chores.taken(queue.try_recv().expect("a chore"));
        assert!(matches!(taken(), Chore::Look));
        chores.nudge();
        let rest: Vec<_> = (1..CHORES_MAX).map(|_| taken()).collect();
        assert!(rest.iter().all(|chore| matches!(chore, Chore::Flush(_))));
        assert!(matches!(taken(), Chore::Look), "asked for after the first one was taken");
        chores.nudge();
        assert!(matches!(taken(), Chore::Look), "and so is every other");
    }
}
