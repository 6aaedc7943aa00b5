//! The apply thread: the only writer of the state.
//!
//! It takes groups of committed entries, makes one engine batch of each, and then tells, in this
//! order: the lease clock, the tokens, the account of wear, the watch pump, those who wait for answers, those who wait for the
//! position. So a client that has its answer finds its lease and its change known everywhere.
//! Between groups it takes bounded steps of physical compaction.
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use bramble_store::command::Entry;
use bramble_store::engine::any::AnyEngine;
use bramble_store::error::Fatal;
use bramble_store::seams::Clock;
use bramble_store::store::{Applied, Scrub, Writer};
use bramble_store::types::LogId;
use tokio::sync::watch;

use super::leases::LeaseClock;
use super::pump::Feed;
use super::waiters::{Settled, Waiters};
use crate::auth::tokens::Tokens;
use crate::failure::Failure;
use crate::metrics::ApplyMeter;
use crate::raft::Group;
use crate::threads::{Receiver, Sender};
use crate::wear::Wear;

/// What the apply thread is asked for. Its queue holds one group and one of each other kind at most.
pub(super) enum Work {
    /// Apply these.
    Group(Group),
    /// Write what has to be there after a flush; dropped when that failed.
    PrepareFlush(Sender<()>),
    /// End.
    Stop,
}

/// Who is told.
pub(super) struct Outlets {
    pub(super) member: u64,
    pub(super) waiters: Arc<Waiters>,
    pub(super) feed: Feed,
    pub(super) leases: Arc<LeaseClock>,
    pub(super) tokens: Arc<Tokens>,
    /// The last entry of the log when this member started: tokens up to it are of an earlier life.
    pub(super) born_after: u64,
    pub(super) position: watch::Sender<Option<LogId>>,
    pub(super) scrubbed: watch::Sender<i64>,
    /// Called now and then with the bytes applied since the last call.
    pub(super) nudge_flush: Box<dyn Fn() + Send>,
    pub(super) failure: Failure,
    pub(super) meter: ApplyMeter,
    pub(super) wear: Arc<Wear>,
}

/// How physical compaction goes on.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Rows of one step.
    pub(super) rows_max: usize,
    /// Pause between two steps.
    pub(super) pause: Duration,
    /// A group that takes longer is logged.
    pub(super) warn_after: Duration,
}

/// Applied bytes after which the background thread looks whether to flush.
const NUDGE_BYTES: usize = 1 << 20;
/// A paused thread looks for work at least this often.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) struct Applier {
    writer: Writer<AnyEngine>,
    out: Outlets,
    pace: Pace,
    clock: Arc<dyn Clock>,
    /// When the next step of physical compaction is due; `None` = nothing to erase.
    next_scrub: Option<Duration>,
    unnudged_bytes: usize,
}

impl Applier {
    pub(super) fn new(writer: Writer<AnyEngine>, out: Outlets, pace: Pace, clock: Arc<dyn Clock>) -> Applier {
        // A compaction may have been under way when the process ended.
        let next_scrub = Some(clock.now());
        Applier { writer, out, pace, clock, next_scrub, unnudged_bytes: 0 }
    }

    /// The thread's body.
    pub(super) fn run(mut self, work: &Receiver<Work>) {
        loop {
            let pause = self.next_scrub.map_or(IDLE, |due| due.saturating_sub(self.clock.now()));
            let done = match work.recv_timeout(pause) {
                Ok(Work::Group(group)) => self.apply_group(group),
                Ok(Work::PrepareFlush(done)) => self.prepare_flush(&done),
                Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.scrub(),
            };
            if let Err(fatal) = done {
                return self.out.failure.end(&fatal);
            }
        }
    }

    fn prepare_flush(&mut self, done: &Sender<()>) -> Result<(), Fatal> {
        self.writer.prepare_flush()?;
        let _ = done.send(());
        Ok(())
    }

    fn apply_group(&mut self, group: Group) -> Result<(), Fatal> {
        // The group is held until then: once it is let go, others say that this thread has ended, and not why.
        let applied = self.apply(&group.entries).inspect_err(|fatal| self.out.failure.end(fatal))?;
        if applied {
            let _ = group.done.send(());
        }
        Ok(())
    }

    /// False when the log has failed in the meantime: nothing is acknowledged any more.
    fn apply(&mut self, entries: &[Entry]) -> Result<bool, Fatal> {
        let (meter, mut watch) = (&mut self.out.meter, ApplyMeter::begin());
        let applied = self.writer.apply_each(entries, |entry| meter.entry(&mut watch, entry))?;
        let took = meter.batch(&mut watch, &applied);
        if took > self.pace.warn_after {
            meter.slow();
            tracing::warn!(
                "took" = ?took,
                "expected-duration" = ?self.pace.warn_after,
                "entries" = entries.len(),
                "bytes" = entries.iter().map(crate::raft::entry_bytes).sum::<usize>(),
                "apply request took too long"
            );
        }
        if self.out.failure.tripped() {
            return Ok(false);
        }
        if applied.answers.iter().any(is_compaction) {
            self.next_scrub = Some(self.clock.now());
        }
        self.tell(applied);
        self.count(entries.iter().map(crate::raft::entry_bytes).sum());
        Ok(true)
    }

    fn tell(&mut self, applied: Applied) {
        self.out.leases.take_effects(&applied.leases);
        for effect in &applied.auth {
            self.out.tokens.take_effect(effect, self.out.born_after);
        }
        self.out.wear.changed(&applied.changes);
        self.out.feed.publish(applied.changes);
        let last = applied.answers.last().map(|answer| answer.id);
        self.out.position.send_replace(last.or(self.writer.applied()));
        for answer in applied.answers {
            let Some(request) = answer.request.filter(|request| request.member == self.out.member) else {
                continue;
            };
            self.out.waiters.settle(request.counter, Settled::Applied(answer.outcome));
        }
    }

    fn count(&mut self, bytes: usize) {
        self.unnudged_bytes += bytes;
        if self.unnudged_bytes >= NUDGE_BYTES {
            self.unnudged_bytes = 0;
            (self.out.nudge_flush)();
        }
    }

    fn scrub(&mut self) -> Result<(), Fatal> {
        let (begun, erased) = (Instant::now(), self.writer.erased());
        let scrubbed = self.writer.scrub(self.pace.rows_max)?;
        if scrubbed != Scrub::Idle {
            let (rows, done) = (self.writer.erased() - erased, scrubbed != Scrub::More);
            self.out.meter.scrubbed(begun.elapsed(), rows, done);
        }
        self.next_scrub = match scrubbed {
            Scrub::Idle => None,
            Scrub::More => Some(self.clock.now() + self.pace.pause),
            Scrub::Done { revision } => {
                self.out.scrubbed.send_replace(revision);
                None
            }
        };
        Ok(())
    }
}

fn is_compaction(answer: &bramble_store::store::AppliedEntry) -> bool {
    matches!(answer.outcome, Ok(bramble_store::store::Reply::Compacted { .. }))
}
