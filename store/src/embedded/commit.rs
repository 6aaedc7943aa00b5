//! Group commit without a thread of its own: of the callers that wait, one takes everything that is
//! queued, flushes the log once, applies, and hands out the answers; the others sleep. While it
//! works, the next group gathers.
//!
//! ```text
//!   A  queue ─ lead ─ append, flush, apply ──────── answer A ─ return
//!   B  queue ─ sleep ................................ lead ─ append, flush, apply ─ answer B, C ─ return
//!   C           queue ─ sleep ......................................................... return
//! ```
//! Invariants: at most one caller leads; whoever has queued something stays until its answer is
//! there; after a failure nothing is appended any more.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{EmbeddedError, Shared};
use crate::codec;
use crate::command::{Action, Command, Entry, Origin, Payload, RequestId};
use crate::engine::any::AnyEngine;
use crate::error::Fatal;
use crate::log::{Log, Recovered};
use crate::store::{Applied, LeaseEffect, Outcome, Reply, Writer};
use crate::types::LogId;

/// There are no elections.
const TERM: u64 = 1;
/// Bounds of a group, so that no caller waits for an endless one.
const GROUP_ENTRIES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Bounds of one read of the log in recovery.
const REPLAY_BYTES: u64 = 4 << 20;

/// What commits and maintenance work on.
pub(super) struct Core {
    pub(super) log: Log,
    pub(super) writer: Writer<AnyEngine>,
}

/// Where callers meet.
#[derive(Default)]
pub(super) struct Commits {
    /// Names the proposals of this process.
    counter: AtomicU64,
    intake: Mutex<Intake>,
    /// Someone has answers, or failed, or stopped leading.
    turn: Condvar,
    /// The revision grew.
    grown: Condvar,
}

#[derive(Default)]
struct Intake {
    /// Encoded commands.
    queued: Vec<Bytes>,
    answers: HashMap<u64, Outcome>,
    led: bool,
    failed: Option<Arc<Fatal>>,
    /// Leases that came and went since maintenance asked.
    leases: Vec<LeaseEffect>,
}

impl Commits {
    fn lock(&self) -> MutexGuard<'_, Intake> {
        // Whatever panicked has set `failed` on its way out (see `Leading`).
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure that ended writing, if one did.
    pub(super) fn check(&self) -> Result<(), EmbeddedError> {
        match &self.lock().failed {
            Some(fatal) => Err(EmbeddedError::Fatal(Arc::clone(fatal))),
            None => Ok(()),
        }
    }

    /// Ends writing for good.
    pub(super) fn fail(&self, fatal: Fatal) -> EmbeddedError {
        let fatal = Arc::clone(self.lock().failed.get_or_insert(Arc::new(fatal)));
        self.turn.notify_all();
        self.grown.notify_all();
        EmbeddedError::Fatal(fatal)
    }

    /// Leases that came and went since the last call, in order.
    pub(super) fn take_leases(&self) -> Vec<LeaseEffect> {
        std::mem::take(&mut self.lock().leases)
    }

    /// Waits until `is_there` holds, which only a commit can bring about, or the time is up, or writing
    /// has failed.
    pub(super) fn wait_until(&self, timeout: Duration, mut is_there: impl FnMut() -> bool) {
        // Looked at under the lock that a commit takes before it notifies: none is missed.
        let waiting = |intake: &mut Intake| intake.failed.is_none() && !is_there();
        drop(self.grown.wait_timeout_while(self.lock(), timeout, waiting));
    }
}

/// Held by the caller that leads. However it ends, the next one can lead or learns that nobody will.
struct Leading<'a> {
    commits: &'a Commits,
    done: bool,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut intake = self.commits.lock();
        intake.led = false;
        if !self.done {
            let text = "a commit did not come to its end".to_owned();
            intake.failed.get_or_insert(Arc::new(Fatal::Inconsistent(text)));
        }
        drop(intake);
        self.commits.turn.notify_all();
        self.commits.grown.notify_all();
    }
}

impl Shared {
    /// Writes: returns when the action is in the flushed log and applied.
    pub(super) fn commit(&self, action: Action) -> Result<Reply, EmbeddedError> {
        let counter = self.commits.counter.fetch_add(1, Ordering::Relaxed);
        let request = RequestId { member: 0, counter };
        let command = codec::encode(&Command {
            request,
            origin: Origin::default(),
            required_version: codec::STATE_VERSION,
            fence_term: None,
            action,
        });
        let bytes = command.len() as u64;
        if bytes > self.entry_bytes_max {
            return Err(EmbeddedError::TooLarge { bytes, bytes_max: self.entry_bytes_max });
        }
        let mut intake = self.commits.lock();
        if intake.failed.is_none() {
            intake.queued.push(command);
        }
        loop {
            if let Some(outcome) = intake.answers.remove(&request.counter) {
                return Ok(outcome?);
            }
            if let Some(fatal) = &intake.failed {
                return Err(EmbeddedError::Fatal(Arc::clone(fatal)));
            }
            if intake.led {
                intake = self.commits.turn.wait(intake).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            intake.led = true;
            let group = next_group(&mut intake.queued);
            drop(intake);
            self.lead(group)?;
            intake = self.commits.lock();
        }
    }

    /// Commits one group and hands out its answers.
    fn lead(&self, group: Vec<Bytes>) -> Result<(), EmbeddedError> {
        let mut leading = Leading { commits: &self.commits, done: false };
        let applied = match self.core().commit(group) {
            Ok(applied) => applied,
            Err(fatal) => return Err(self.commits.fail(fatal)),
        };
        let mut intake = self.commits.lock();
        for entry in applied.answers {
            let request = entry.request.expect("every entry of a group is a command");
            intake.answers.insert(request.counter, entry.outcome);
        }
        intake.leases.extend(applied.leases);
        drop(intake);
        leading.done = true;
        Ok(())
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        // Whatever panicked while it held the lock has ended writing (see `Leading`).
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The front of the queue, as much as a group may hold: at least one.
fn next_group(queued: &mut Vec<Bytes>) -> Vec<Bytes> {
    let mut bytes = 0;
    let fitting = queued.iter().take(GROUP_ENTRIES_MAX).take_while(|command| {
        bytes += command.len();
        bytes <= GROUP_BYTES_MAX
    });
    let count = fitting.count().max(1).min(queued.len());
    queued.drain(..count).collect()
}

impl Core {
    fn commit(&mut self, group: Vec<Bytes>) -> Result<Applied, Fatal> {
        let first = self.writer.applied().map_or(0, |applied| applied.index + 1);
        let entries: Vec<Entry> = (first..)
            .zip(group)
            .map(|(index, command)| Entry {
                id: LogId { term: TERM, index },
                payload: Payload::Command(command),
            })
            .collect();
        self.log.append(&entries)?;
        self.log.flush()?;
        let applied = self.writer.apply(&entries)?;
        self.relieve_ring()?;
        Ok(applied)
    }

    /// Nobody has to maintain for the log to stay bounded: at three quarters of the ring who commits
    /// flushes the engine, so that the ring can be used again.
    fn relieve_ring(&mut self) -> Result<(), Fatal> {
        let usage = self.log.usage();
        if usage.used_bytes < usage.ring_bytes / 4 * 3 {
            return Ok(());
        }
        self.writer.prepare_flush()?;
        if let Some(durable) = self.writer.flusher().flush()? {
            self.log.note_durable(durable);
            self.log.purge(durable);
        }
        Ok(())
    }
}

/// Applies what the engine does not have yet. Every entry found in the log was flushed or is the
/// intact part of a group nobody was answered for; both may be applied.
pub(super) fn recover(writer: &mut Writer<AnyEngine>, log: &mut Log, found: &Recovered) -> Result<(), Fatal> {
    let durable = writer.applied();
    if found.purged > durable {
        let text = format!("the log begins after {:?}, the engine ends at {durable:?}", found.purged);
        return Err(Fatal::Inconsistent(text));
    }
    // Nothing is applied before it is flushed, so an engine ahead of its log means lost writes.
    if found.last < durable {
        let text = format!("the log ends at {:?}, before the engine at {durable:?}", found.last);
        return Err(Fatal::Inconsistent(text));
    }
    if let Some(durable) = durable {
        log.note_durable(durable);
    }
    let end = log.last().map_or(0, |last| last.index + 1);
    loop {
        let next = writer.applied().map_or(0, |applied| applied.index + 1);
        if next >= end {
            return Ok(());
        }
        let entries = log.read(next..end, REPLAY_BYTES)?;
        if entries.is_empty() {
            return Err(Fatal::Inconsistent(format!("entry {next} is missing from the log")));
        }
        writer.apply(&entries)?;
    }
}
