//! The scrub: reads back what lies on the device, before somebody needs it.
//!
//! A card forgets without saying so, and what nobody reads nobody misses: damage in the only copy is worth
//! knowing while backups are young. Everything that is needed is read in turn, the engine's tables around
//! all caches, the log's entries from their frames, in small steps with pauses between; the background
//! thread does one thing at a time, so nothing is flushed meanwhile, and a flush waits for one step.
//! Damage ends the node, with the name of the file. A pass that cannot go on for want of something else is
//! given up and begun again later; so is one that is in the way of a defragmentation, for it holds on to
//! every table there was when it began.
//!
//! Time is the monotonic clock's: the first pass begins when the process has run for an hour (or for one
//! interval), the next ones an interval after the end of the one before.
use std::sync::Arc;
use std::time::Duration;

use bramble_store::command::{Entry, Payload};
use bramble_store::engine::Readback;
use bramble_store::engine::any::AnyEngine;
use bramble_store::error::Fatal;
use bramble_store::log::Reader;
use bramble_store::seams::Clock;
use bramble_store::store::Flusher;

use crate::metrics::ScrubMeter;

/// Bytes read in one step.
const STEP_BYTES: usize = 256 << 10;
/// Time of one step and its pause: 4 MiB/s.
const STEP_EVERY: Duration = Duration::from_micros(62_500);
/// The first pass begins after so long at the latest: a machine that is switched off every night is read, too.
const FIRST_AFTER: Duration = Duration::from_secs(3600);
/// After a pass that could not begin.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// When to read what.
pub(in crate::node) struct Scrubber {
    clock: Arc<dyn Clock>,
    /// Between two passes; zero = never.
    interval: Duration,
    meter: ScrubMeter,
    next_at: Duration,
    pass: Option<Pass>,
}

/// A pass under way.
struct Pass {
    tables: Option<Box<dyn Readback>>,
    log: Reader,
    /// The next entry, and the first one that is not to be read.
    entries: std::ops::Range<u64>,
}

impl Scrubber {
    pub(in crate::node) fn new(clock: Arc<dyn Clock>, interval: Duration, meter: ScrubMeter) -> Scrubber {
        let next_at = clock.now() + interval.min(FIRST_AFTER);
        Scrubber { clock, interval, meter, next_at, pass: None }
    }

    /// How long nothing is due; at most `longest`.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        match self.interval.is_zero() {
            true => longest,
            false => self.next_at.saturating_sub(self.clock.now()).min(longest),
        }
    }

    /// A step, if one is due.
    ///
    /// # Errors
    /// `Fatal`: something cannot be read any more.
    pub(super) fn turn(&mut self, flusher: &Flusher<AnyEngine>, log: &Reader) -> Result<(), Fatal> {
        let now = self.clock.now();
        if self.interval.is_zero() || now < self.next_at {
            return Ok(());
        }
        let stepped = match self.pass.as_mut() {
            None => self.begin(flusher, log).map(Some),
            Some(pass) => pass.step(),
        };
        match stepped.map_err(as_damage) {
            Ok(Some(bytes)) => {
                self.meter.read(bytes);
                self.next_at = now + STEP_EVERY;
            }
            Ok(None) => self.end(now),
            Err(damage) if damage.is_damage() => return Err(damage),
            Err(why) => {
                // No room for names, or no more files that may be open: no sign of damage.
                tracing::warn!(%why, "the files cannot be read back now; this is tried again");
                self.put_off();
            }
        }
        Ok(())
    }

    /// Gives up the pass under way, and what it holds on to; another one begins later.
    pub(super) fn put_off(&mut self) {
        self.pass = None;
        self.next_at = self.next_at.max(self.clock.now() + AGAIN_AFTER);
        self.meter.given_up();
    }

    fn begin(&mut self, flusher: &Flusher<AnyEngine>, log: &Reader) -> Result<usize, Fatal> {
        let first = log.purged().map_or(0, |purged| purged.index + 1);
        let entries = first..log.last().map_or(first, |last| last.index + 1);
        let tables = Some(flusher.readback()?);
        self.pass = Some(Pass { tables, log: log.clone(), entries });
        self.meter.begun();
        Ok(0)
    }

    fn end(&mut self, now: Duration) {
        self.pass = None;
        self.next_at = now + self.interval;
        self.meter.finished(now);
        tracing::info!("all files of log and engine were read back and are whole");
    }
}

impl Pass {
    /// Reads on. `None`: everything is read.
    fn step(&mut self) -> Result<Option<usize>, Fatal> {
        if let Some(tables) = self.tables.as_mut() {
            match tables.step(STEP_BYTES)? {
                Some(bytes) => return Ok(Some(bytes)),
                None => self.tables = None,
            }
        }
        // The thread that writes it says why, and ends the node.
        if self.log.has_failed() {
            return Err(Fatal::Engine("the log has failed".into()));
        }
        // Entries that were let go meanwhile are left out.
        let entries = self.log.read(self.entries.clone(), STEP_BYTES as u64)?;
        let Some(last) = entries.last() else { return Ok(None) };
        self.entries.start = last.id.index + 1;
        Ok(Some(entries.iter().map(payload_bytes).sum()))
    }
}

fn payload_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Blank => 0,
        Payload::Command(bytes) | Payload::Membership(bytes) => bytes.len(),
    }
}

/// A file that the device does not give is a damaged one, whatever the engine calls it. Its other complaints
/// are of files that may be open, or memory.
fn as_damage(fatal: Fatal) -> Fatal {
    match fatal {
        Fatal::Engine(text) if text.contains("Input/output error") => Fatal::EngineDamaged(text),
        other => other,
    }
}
