//! The only writer and syncer of the log.
//!
//! Whoever changes the log adds an order to a list. The thread takes the whole list, encodes it into
//! one frame, writes and flushes once, and then calls everybody back: while it flushes, the next list
//! grows. A slow card makes bigger batches by itself; nothing ever waits for company.
//!
//! Invariants:
//! - orders are carried out in the order they were given (votes and entries share one log);
//! - nobody is called back with success before the flush that covers his order;
//! - after the first failure nothing is written and nobody is called back with success again.
//!
//! The list is bounded by the bytes of proposals under way (`node` admits them) and, on a follower,
//! by what the leader sends ahead.
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bramble_store::command::Entry;
use bramble_store::error::Fatal;
use bramble_store::log::{Flushed, Log, Reader, Recovered, Usage, Vote};
use bramble_store::seams::Clock;
use bramble_store::types::LogId;
use bytes::Bytes;
use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::tail::Tail;
use super::types::Types;
use crate::failure::Failure;
use crate::metrics::LogMeter;
use crate::threads::Bell;

/// Zeros written ahead in one step while nobody waits.
const FILL_STEP_BYTES: u64 = 256 << 10;
/// Pause between two such steps, so that a slow card is not kept busy.
const FILL_PAUSE: Duration = Duration::from_millis(20);
/// A log this long without a write is sealed: its last batch is then proven synced.
const SEAL_AFTER: Duration = Duration::from_secs(60);

type Answer<T> = oneshot::Sender<io::Result<T>>;

/// What is about to be written when the owner is asked for a note that rides along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Frames that somebody waits for.
    Frames,
    /// A seal: the log has become quiet, or ends.
    Seal,
    /// Nothing: the log is sealed. A note would be a write of its own.
    Nothing,
}

/// Gives the log's notes; called on its thread, so it must not wait.
pub type Notes = Box<dyn Fn(Occasion) -> Option<Bytes> + Send>;

/// Something to do to the log.
pub(super) enum Order {
    Append(Vec<Entry>, IOFlushed<Types>),
    Vote(Vote, Answer<()>),
    Truncate(Option<LogId>),
    Purge(LogId),
    Durable(LogId),
}

/// What readers of the log see at once, before it is flushed.
pub(super) struct Seen {
    pub(super) tail: Tail,
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
}

/// How the log has been used, for admission, status and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogCounts {
    /// Space used and there.
    pub usage: Usage,
    /// Flushes so far.
    pub flushes: u64,
    /// Entries appended so far.
    pub entries: u64,
    /// Bytes of the frames written by those flushes.
    pub bytes: u64,
}

struct State {
    orders: Vec<Order>,
    /// The newest committed id that is not in the log yet: it rides with the next batch.
    committed: Option<LogId>,
    seen: Seen,
    closing: bool,
    counts: LogCounts,
}

/// The log as everyone but its thread sees it.
pub(super) struct SharedLog {
    state: Mutex<State>,
    bell: Arc<dyn Bell>,
    failure: Failure,
    reader: Reader,
    meter: LogMeter,
}

impl SharedLog {
    pub(super) fn new(
        log: &Log,
        recovered: &Recovered,
        tail: Tail,
        bell: Arc<dyn Bell>,
        failure: Failure,
        meter: LogMeter,
    ) -> Arc<SharedLog> {
        let seen = Seen {
            tail,
            vote: recovered.vote,
            last: recovered.last,
            purged: recovered.purged,
            committed: recovered.committed,
        };
        let counts = LogCounts { usage: log.usage(), ..LogCounts::default() };
        let state = State { orders: Vec::new(), committed: None, seen, closing: false, counts };
        let (state, reader) = (Mutex::new(state), log.reader());
        Arc::new(SharedLog { state, bell, failure, reader, meter })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what readers see.
    pub(super) fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.lock().seen)
    }

    /// Gives an order, and changes what readers see in the same moment.
    pub(super) fn give(&self, order: Order, see: impl FnOnce(&mut Seen)) {
        let mut state = self.lock();
        if state.closing {
            drop(state);
            return refuse(order, "the log is closed");
        }
        see(&mut state.seen);
        state.orders.push(order);
        drop(state);
        self.bell.ring();
    }

    /// Remembers what is committed; it is written with whatever is written next.
    pub(super) fn note_committed(&self, committed: LogId) {
        let mut state = self.lock();
        state.committed = Some(committed);
        state.seen.committed = Some(committed);
    }

    /// Reads entries that are no longer in memory; may touch the disk.
    pub(super) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub(super) fn counts(&self) -> LogCounts {
        self.lock().counts
    }

    /// Tells the thread to seal the log and end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.bell.ring();
    }

    fn wait(&self, pause: Duration) -> Batch {
        let idle = |state: &State| state.orders.is_empty() && !state.closing;
        // It may have been rung for orders that were taken before.
        while idle(&self.lock()) && self.bell.wait(pause) {}
        let mut state = self.lock();
        let orders = std::mem::take(&mut state.orders);
        let committed = if orders.is_empty() { None } else { state.committed.take() };
        Batch { orders, committed, closing: state.closing }
    }

    fn fail(&self, fatal: &Fatal) {
        self.failure.end(fatal);
        let orders = {
            let mut state = self.lock();
            state.closing = true;
            std::mem::take(&mut state.orders)
        };
        for order in orders {
            refuse(order, "the log has failed");
        }
    }
}

struct Batch {
    orders: Vec<Order>,
    committed: Option<LogId>,
    closing: bool,
}

/// Those who wait for a flush.
#[derive(Default)]
struct Waiting {
    appends: Vec<IOFlushed<Types>>,
    votes: Vec<Answer<()>>,
}

impl Waiting {
    fn settle(self, failed: Option<&Fatal>) {
        let result = || match failed {
            None => Ok(()),
            Some(fatal) => Err(io::Error::other(fatal.to_string())),
        };
        for append in self.appends {
            append.io_completed(result());
        }
        for vote in self.votes {
            let _ = vote.send(result());
        }
    }
}

/// The thread's body: runs until the log is closed or fails.
pub(super) fn run(mut log: Log, shared: &SharedLog, clock: &dyn Clock, notes: &Notes) {
    let mut fill = true;
    let mut sealed = false;
    let mut last_write = clock.now();
    shared.meter.begin();
    loop {
        let quiet = clock.now().saturating_sub(last_write);
        let pause = if fill { FILL_PAUSE } else { SEAL_AFTER.saturating_sub(quiet).max(FILL_PAUSE) };
        let batch = shared.wait(if sealed && !fill { SEAL_AFTER } else { pause });
        let closing = batch.closing;
        let done = if !batch.orders.is_empty() {
            fill = true;
            sealed = false;
            last_write = clock.now();
            take_note(&mut log, notes, Occasion::Frames);
            turn(&mut log, shared, batch)
        } else if closing || (!sealed && clock.now().saturating_sub(last_write) >= SEAL_AFTER) {
            sealed = true;
            let occasion = if log.is_sealed() { Occasion::Nothing } else { Occasion::Seal };
            take_note(&mut log, notes, occasion);
            log.seal()
        } else if fill {
            log.fill_ahead(FILL_STEP_BYTES).map(|more| fill = more)
        } else {
            Ok(())
        };
        match done {
            Err(fatal) => return shared.fail(&fatal),
            Ok(()) if closing && sealed => return,
            Ok(()) => {}
        }
    }
}

fn take_note(log: &mut Log, notes: &Notes, occasion: Occasion) {
    if let Some(note) = notes(occasion) {
        log.save_note(note);
    }
}

/// One batch: encode all orders, flush once, call everybody back.
fn turn(log: &mut Log, shared: &SharedLog, batch: Batch) -> Result<(), Fatal> {
    let mut waiting = Waiting::default();
    let mut orders = batch.orders.into_iter();
    let mut entries = 0;
    let encoded = encode(log, &mut orders, batch.committed, &mut waiting, &mut entries);
    let flushed = encoded.and_then(|()| if log.pending() { flush(log, shared).map(Some) } else { Ok(None) });
    match flushed {
        Err(fatal) => {
            // Tripped before anyone hears of it, so that nothing is acknowledged afterwards.
            shared.failure.end(&fatal);
            waiting.settle(Some(&fatal));
            orders.for_each(|order| refuse(order, "the log has failed"));
            Err(fatal)
        }
        Ok(flushed) => {
            let mut state = shared.lock();
            state.counts.usage = log.usage();
            state.counts.entries += entries;
            state.counts.flushes += u64::from(flushed.is_some());
            state.counts.bytes += flushed.map_or(0, |flushed| flushed.bytes);
            if let Some(last) = flushed.and_then(|flushed| flushed.last) {
                state.seen.tail.flushed(last.index + 1);
            }
            drop(state);
            waiting.settle(None);
            Ok(())
        }
    }
}

fn flush(log: &mut Log, shared: &SharedLog) -> Result<Flushed, Fatal> {
    let begun = Instant::now();
    let flushed = log.flush();
    shared.meter.flushed(begun.elapsed());
    flushed
}

fn encode(
    log: &mut Log,
    orders: &mut impl Iterator<Item = Order>,
    committed: Option<LogId>,
    waiting: &mut Waiting,
    count: &mut u64,
) -> Result<(), Fatal> {
    for order in orders {
        match order {
            Order::Append(entries, done) => {
                waiting.appends.push(done);
                *count += entries.len() as u64;
                log.append(&entries)?;
            }
            Order::Vote(vote, done) => {
                waiting.votes.push(done);
                log.save_vote(vote);
            }
            Order::Truncate(last_kept) => log.truncate_after(last_kept)?,
            // The engine is ahead of the log: a torn tail took entries that a quorum had.
            Order::Purge(requested) if log.last() < Some(requested) => log.reset_to(requested)?,
            Order::Purge(requested) => log.purge(requested),
            Order::Durable(durable) => log.note_durable(durable),
        }
    }
    if let Some(committed) = committed {
        log.save_committed(committed);
    }
    Ok(())
}

/// Calls back whoever waits for an order that will not be carried out.
fn refuse(order: Order, why: &'static str) {
    let error = || io::Error::other(why);
    match order {
        Order::Append(_, done) => done.io_completed(Err(error())),
        Order::Vote(_, done) => drop(done.send(Err(error()))),
        Order::Truncate(_) | Order::Purge(_) | Order::Durable(_) => {}
    }
}

#[cfg(test)]
mod tests;
