//! What a server does beside answering, in bounded steps that the host asks for.
use std::sync::PoisonError;
use std::time::Duration;

use super::{Embedded, EmbeddedError, Shared};
use crate::command::Action;
use crate::error::{Fatal, Refusal};
use crate::lease::deadlines::Deadlines;
use crate::store::{LeaseEffect, Scrub};
use crate::types::{LeaseId, LogId};

/// Leases ended in one call.
const EXPIRED_MAX: usize = 100;
/// Rows of history looked at in one call.
const SCRUB_ROWS: usize = 2_000;
/// Zeros written ahead of the log in one call.
const FILL_BYTES: u64 = 256 * 1024;
/// The log is sealed after so long without a write.
const SEAL_AFTER: Duration = Duration::from_secs(60);

/// What one call of [`Embedded::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Leases that ended.
    pub expired: usize,
    /// Whether the engine was flushed.
    pub flushed: bool,
    /// There is more to do: call again soon.
    pub more: bool,
    /// When the next lease may end, on the host's clock.
    pub next_lease_end: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Upkeep {
    deadlines: Deadlines,
    /// The last entry when maintenance looked, and since when it is the last one.
    quiet: Option<(Option<LogId>, Duration)>,
}

impl Embedded {
    /// Does what is due: ends leases, flushes the engine when enough has gathered, erases compacted
    /// rows, prepares the log. Call it about once a second, and again while it says `more`; one call
    /// is short, except that a flush writes up to a few tens of megabytes (commits go on meanwhile).
    ///
    /// `now` is the time since an origin of the host's choice, by a clock that never goes back. Leases
    /// found at opening begin anew with the first call.
    ///
    /// # Errors
    /// `Fatal`; every later write fails too.
    pub fn maintain(&self, now: Duration) -> Result<Maintained, EmbeddedError> {
        let shared = &self.shared;
        shared.commits.check()?;
        let mut upkeep = shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = upkeep.end_leases(self, now)?;
        let mut done = Maintained { expired, more: expired == EXPIRED_MAX, ..Maintained::default() };
        let worked = shared.keep_files(&mut upkeep, now, &mut done);
        worked.map_err(|fatal| shared.commits.fail(fatal))?;
        done.next_lease_end = upkeep.deadlines.next_due();
        Ok(done)
    }

    /// Renews a lease: it has its full time to live again, which is the answer in seconds. `now` is as
    /// for [`Embedded::maintain`].
    ///
    /// # Errors
    /// `Refused` when there is no such lease or it is ending; `Fatal`.
    pub fn lease_keep_alive(&self, id: LeaseId, now: Duration) -> Result<i64, EmbeddedError> {
        let mut upkeep = self.shared.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.follow(self, now)?;
        upkeep.deadlines.renew(id, now).ok_or(EmbeddedError::Refused(Refusal::LeaseNotFound))
    }

    /// Makes everything written so far durable in the engine, so that the next opening has nothing to
    /// apply and the log's ring is free. Writes are durable without it.
    ///
    /// # Errors
    /// `Fatal`; every later write fails too.
    pub fn flush(&self) -> Result<(), EmbeddedError> {
        self.shared.commits.check()?;
        self.shared.flush_engine().map_err(|fatal| self.shared.commits.fail(fatal))
    }

    /// Marks the end of the log, so that damage to it is told from a power cut for certain. Not needed
    /// for durability. The files are closed when the last handle is dropped.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn close(self) -> Result<(), EmbeddedError> {
        self.shared.commits.check()?;
        let sealed = self.shared.core().log.seal();
        sealed.map_err(|fatal| self.shared.commits.fail(fatal))
    }
}

impl Upkeep {
    /// Learns of the leases that came and went.
    fn follow(&mut self, store: &Embedded, now: Duration) -> Result<(), EmbeddedError> {
        if !self.deadlines.leading() {
            // The view is taken after the effects are, so it has all of them; granting twice does no harm.
            store.shared.commits.take_leases();
            self.deadlines.promote(&store.view().leases()?, now, Duration::ZERO);
        }
        for effect in store.shared.commits.take_leases() {
            match effect {
                LeaseEffect::Granted(lease) => self.deadlines.granted(&lease, now),
                LeaseEffect::Revoked(id) => self.deadlines.revoked(id),
                // Nobody checkpoints leases here.
                LeaseEffect::Checkpointed(_) => {}
            }
        }
        Ok(())
    }

    fn end_leases(&mut self, store: &Embedded, now: Duration) -> Result<usize, EmbeddedError> {
        self.follow(store, now)?;
        let mut ended = 0;
        for id in self.deadlines.due(now, EXPIRED_MAX) {
            match store.shared.commit(Action::LeaseRevoke { id }) {
                // Not found: a caller revoked it just now.
                Ok(_) | Err(EmbeddedError::Refused(_)) => ended += 1,
                Err(error) => return Err(error),
            }
        }
        self.follow(store, now)?;
        Ok(ended)
    }
}

impl Shared {
    fn keep_files(&self, upkeep: &mut Upkeep, now: Duration, done: &mut Maintained) -> Result<(), Fatal> {
        let scrubbed = self.core().writer.scrub(SCRUB_ROWS)?;
        done.more |= scrubbed == Scrub::More;
        if self.flush_is_due() {
            self.flush_engine()?;
            done.flushed = true;
        }
        let mut core = self.core();
        let last = core.log.last();
        match upkeep.quiet {
            Some((then, since)) if then == last => {
                if now.saturating_sub(since) >= SEAL_AFTER {
                    core.log.seal()?;
                }
            }
            _ => upkeep.quiet = Some((last, now)),
        }
        done.more |= core.log.fill_ahead(FILL_BYTES)?;
        Ok(())
    }

    /// Ring and memtables are one budget: half of the one, or all of the other.
    fn flush_is_due(&self) -> bool {
        let usage = self.core().log.usage();
        usage.used_bytes >= usage.ring_bytes / 2
            || self.flusher.size().unflushed_bytes >= self.options.profile.memory().memtable_bytes as u64
    }

    /// Flushes the engine while commits go on, then lets the log forget what it has.
    fn flush_engine(&self) -> Result<(), Fatal> {
        self.core().writer.prepare_flush()?;
        if let Some(durable) = self.flusher.flush()? {
            let mut core = self.core();
            core.log.note_durable(durable);
            core.log.purge(durable);
            // Only when this frees a segment; otherwise it rides with the next commit.
            if core.log.pending() {
                core.log.flush()?;
            }
        }
        Ok(())
    }
}
