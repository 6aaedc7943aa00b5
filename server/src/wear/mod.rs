//! Wear: what this member writes, kept over restarts, and how long the device lasts at that pace.
//!
//! ```text
//!  disk seam, engine, flushes ─┐            ┌─► report: /metrics, /debug/wear
//!  device (/sys)  ─────────────┼─► sample ──┤
//!  keys applied ─► Keys ───────┘  by day    └─► note ─► rides in the log's frames
//! ```
//! Invariants:
//! - it writes nothing by itself: the note rides with frames that are written anyway, and with the seal of a log
//!   that has become quiet or ends. An idle member writes nothing;
//! - counters are looked at when a note is made and when somebody asks; in between nothing is done but
//!   counting keys as they are applied;
//! - keys are counted up to a revision that is in the note, so what a restart applies again is counted once.
//!   All else that was counted after the newest note is lost with a crash: [`NOTE_EVERY`] of a busy member, and
//!   of a quiet one the time since its last write.
mod calendar;
mod days;
mod life;
mod note;
mod prefixes;
mod report;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_store::engine::EngineWork;
use bramble_store::seams::Clock;
use bramble_store::types::{Changes, EventKind};
use bytes::Bytes;

use crate::config::Media;
use crate::metrics::{Device, DiskMeter, FlushMeter, LogMeter};
pub use calendar::{Calendar, SystemCalendar};
use days::{Count, Counts, Days};
use note::Note;
use prefixes::Prefixes;
pub(crate) use report::Report;

/// A note rides along at least this often while the log is written to.
const NOTE_EVERY: Duration = Duration::from_secs(300);
/// So does one after so many bytes of the log. It takes up to 3 KiB: a thousandth of them.
const NOTE_BYTES: u64 = 4 << 20;
/// What must have been written since the newest note before one is written for itself when the log ends,
const ALONE_BYTES: u64 = 64 << 10;
/// or how long the member must have run: by its pace the years are projected.
const ALONE_AFTER: Duration = Duration::from_secs(3600);

/// Where counts come from.
pub(crate) struct Sources {
    pub(crate) disk: Arc<DiskMeter>,
    pub(crate) log: LogMeter,
    pub(crate) engine: FlushMeter,
    pub(crate) device: Option<Device>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calendar: Arc<dyn Calendar>,
}

/// What the settings say of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Medium {
    pub(crate) media: Media,
    /// Bytes that may be written to it in its life.
    pub(crate) endurance_bytes: Option<u64>,
}

/// The account of one member.
pub(crate) struct Wear {
    sources: Sources,
    medium: Medium,
    begun: Duration,
    /// Bytes that the engine has written, as far as it was asked.
    engine_flush_bytes: AtomicU64,
    compaction_bytes: AtomicU64,
    keys: Mutex<Keys>,
    account: Mutex<Account>,
}

/// What clients wrote. Only the apply thread counts here.
#[derive(Clone, Default)]
struct Keys {
    /// The newest revision that is counted.
    revision: u64,
    bytes: u64,
    writes: u64,
    prefixes: Prefixes,
}

struct Account {
    days: Days,
    /// The counters when they were last looked at.
    seen: Counts,
    /// When the newest note was made, and the counters then.
    noted: (Duration, Counts),
}

impl Wear {
    /// Goes on from the newest note.
    pub(crate) fn begin(sources: Sources, medium: Medium, note: Option<&Bytes>) -> Wear {
        let last = note.and_then(|bytes| {
            let last = Note::decode(bytes);
            if last.is_none() {
                tracing::warn!("the account of wear in the log is of another version; it begins anew");
            }
            last
        });
        let Note { days, prefixes, revision } = last.unwrap_or_default();
        let begun = sources.clock.now();
        let keys = Keys { revision, prefixes, ..Keys::default() };
        let mut seen = Counts::default();
        count_device(&mut seen, sources.device.as_ref());
        Wear {
            sources,
            medium,
            begun,
            engine_flush_bytes: AtomicU64::new(0),
            compaction_bytes: AtomicU64::new(0),
            keys: Mutex::new(keys),
            account: Mutex::new(Account { days, seen, noted: (begun, seen) }),
        }
    }

    /// Keys were changed: a group of entries is applied, perhaps not for the first time.
    pub(crate) fn changed(&self, applied: &[Changes]) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for Changes { main, changes } in applied {
            let revision = u64::try_from(*main).unwrap_or_default();
            if revision <= keys.revision {
                continue;
            }
            keys.revision = revision;
            keys.writes += 1;
            for change in changes {
                let (key, value) = (&change.kv.key, &change.kv.value);
                let bytes = match change.kind {
                    EventKind::Put => key.len() + value.len(),
                    EventKind::Delete => key.len(),
                } as u64;
                keys.bytes += bytes;
                keys.prefixes.add(key, bytes);
            }
        }
    }

    /// What the engine has had to do so far.
    pub(crate) fn engine_worked(&self, work: &EngineWork) {
        self.engine_flush_bytes.fetch_max(work.flush_bytes, Ordering::Relaxed);
        self.compaction_bytes.fetch_max(work.compaction_written_bytes, Ordering::Relaxed);
    }

    /// A note that rides with frames, when one is due. Waits for nobody: while a report is made there is none.
    pub(crate) fn note_if_due(&self) -> Option<Bytes> {
        let (at, counts) = self.account.try_lock().ok()?.noted;
        let due = self.sources.clock.now().saturating_sub(at) >= NOTE_EVERY
            || self.written_to_log().saturating_sub(counts.get(Count::Log)) >= NOTE_BYTES;
        due.then(|| self.note())
    }

    /// A note that is worth a write of its own, if there is so much to say.
    pub(crate) fn note_if_worth_a_write(&self) -> Option<Bytes> {
        let (at, noted) = self.account().noted;
        let written = self.counters(&self.keys()).own().saturating_sub(noted.own());
        let worth = written >= ALONE_BYTES || self.sources.clock.now().saturating_sub(at) >= ALONE_AFTER;
        worth.then(|| self.note())
    }

    /// A note, as of now.
    pub(crate) fn note(&self) -> Bytes {
        let mut account = self.account();
        let keys = self.sample(&mut account);
        account.noted = (self.sources.clock.now(), account.seen);
        let Keys { revision, prefixes, .. } = keys;
        Note { days: account.days.clone(), prefixes, revision }.encode()
    }

    /// All there is to say, as of now.
    pub(crate) fn report(&self) -> Report {
        let mut account = self.account();
        let keys = self.sample(&mut account);
        let days = account.days.clone();
        drop(account);
        let latency = self.sources.log.latency();
        Report::new(&days, &keys.prefixes, latency, self.sources.device.as_ref(), self.medium)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts what was counted since the last look into today.
    fn sample(&self, account: &mut Account) -> Keys {
        let keys = self.keys();
        let mut now = self.counters(&keys);
        if now.get(Count::Device) == 0 {
            // It could not be read this time.
            now.set(Count::Device, account.seen.get(Count::Device));
            now.set(Count::DeviceFlushes, account.seen.get(Count::DeviceFlushes));
        }
        account.days.add(self.sources.calendar.today(), &now.since(&account.seen));
        account.seen = now;
        keys
    }

    fn written_to_log(&self) -> u64 {
        self.sources.disk.written().iter().find(|(cause, _)| *cause == "log").map_or(0, |(_, bytes)| *bytes)
    }

    /// The counters of this life of the member, as they are.
    fn counters(&self, keys: &Keys) -> Counts {
        let Sources { disk, log, engine, device, clock, .. } = &self.sources;
        let mut counts = Counts::default();
        for (name, bytes) in disk.written() {
            if let Some((count, _)) = days::CAUSES.iter().find(|(_, cause)| *cause == name) {
                counts.set(*count, bytes);
            }
        }
        counts.set(Count::EngineFlush, self.engine_flush_bytes.load(Ordering::Relaxed));
        counts.set(Count::Compaction, self.compaction_bytes.load(Ordering::Relaxed));
        counts.set(Count::User, keys.bytes);
        counts.set(Count::Writes, keys.writes);
        counts.set(Count::Flushes, log.flushes() + engine.engine_flushes());
        counts.set(Count::RunningSeconds, clock.now().saturating_sub(self.begun).as_secs());
        count_device(&mut counts, device.as_ref());
        counts
    }
}

fn count_device(counts: &mut Counts, device: Option<&Device>) {
    if let Some(work) = device.and_then(Device::work) {
        counts.set(Count::Device, work.written_bytes);
        counts.set(Count::DeviceFlushes, work.flushes);
    }
}

#[cfg(test)]
mod tests;
