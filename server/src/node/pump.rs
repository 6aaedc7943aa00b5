//! The watch pump: one thread that owns the hub and gives every stream what it is due.
//!
//! ```text
//! apply thread ── changes ──┐
//!                           ├─► pump (hub) ─► outbox of each stream ─► its reader
//! streams ── requests ──────┘        ▲                                   │
//!                                    └─────────── room again ────────────┘
//! ```
//!
//! Invariants:
//! - changes are taken before the requests that came after them, so a watcher that begins "now" sees
//!   nothing its client already knew;
//! - the feed is bounded: what does not fit is forgotten, the hub is told, and watchers read it from
//!   the history;
//! - an outbox is bounded: a slow reader leaves its deliveries in the hub, which then puts its
//!   watchers behind.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_store::engine::any::AnyEngine;
use bramble_store::error::Fatal;
use bramble_store::seams::{Clock, Entropy};
use bramble_store::store::Reader;
use bramble_store::types::Changes;
use bramble_store::watch::{Counts, Hub, HubOptions, StreamId};

use super::answers::WatchCreate;
use super::budget::Place;
use super::outbox::Outbox;
use super::sessions::Sessions;
use crate::failure::Failure;
use crate::threads::{Bell, Thread, Threads};

/// Changed keys waiting for the pump; more are forgotten and read back from the history.
const FEED_KEYS_MAX: usize = 16_384;
/// With nothing to do the pump still looks this often.
const IDLE: Duration = Duration::from_secs(60);

/// What a stream asks for. A stream's requests are bounded by its permits.
pub(super) enum Ask {
    Open(StreamId, Arc<Outbox>, Arc<Place>),
    /// With what it counts for in the stream's place.
    Create(StreamId, WatchCreate, usize),
    /// A watcher is to be refused in its turn, with this reason.
    Refuse(StreamId, &'static str),
    Cancel(StreamId, i64),
    Progress(StreamId),
    /// Its outbox has room again.
    Room(StreamId),
    Close(StreamId),
}

#[derive(Default)]
struct Inbox {
    feed: Vec<Changes>,
    feed_keys: usize,
    feed_bytes: usize,
    /// The newest main revision that was forgotten.
    lost: Option<i64>,
    asks: VecDeque<Ask>,
    closing: bool,
}

pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    bell: Arc<dyn Bell>,
    /// Bytes of changed keys that may wait for the pump.
    feed_bytes_max: usize,
    /// As they were after the latest turn.
    counts: Mutex<Watching>,
}

/// Who watches, and what waits for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watching {
    /// Open streams, with a watcher or without.
    pub(super) streams: usize,
    pub(super) hub: Counts,
}

impl Shared {
    pub(super) fn new(bell: Arc<dyn Bell>, feed_bytes_max: usize) -> Shared {
        Shared { inbox: Mutex::default(), bell, feed_bytes_max, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the pump a request; false when it has ended.
    pub(super) fn ask(&self, ask: Ask) -> bool {
        let mut inbox = self.lock();
        if inbox.closing {
            return false;
        }
        inbox.asks.push_back(ask);
        drop(inbox);
        self.bell.ring();
        true
    }

    /// Ends the pump and all streams.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.bell.ring();
    }

    /// Who watches now.
    pub(super) fn watching(&self) -> Watching {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for the pump: changed keys, requests of streams.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let inbox = self.lock();
        (inbox.feed_keys, inbox.asks.len())
    }

    fn wait(&self, pause: Duration) -> Inbox {
        let quiet = |inbox: &Inbox| {
            inbox.feed.is_empty() && inbox.lost.is_none() && inbox.asks.is_empty() && !inbox.closing
        };
        // It may have been rung for what was taken before.
        while quiet(&self.lock()) && self.bell.wait(pause) {}
        let mut inbox = self.lock();
        let closing = inbox.closing;
        std::mem::replace(&mut *inbox, Inbox { closing, ..Inbox::default() })
    }
}

/// The apply thread's end.
pub(super) struct Feed(pub(super) Arc<Shared>);

impl Feed {
    /// Hands over the changes of a group. Never waits.
    pub(super) fn publish(&self, changes: Vec<Changes>) {
        let Some(newest) = changes.last().map(|last| last.main) else { return };
        let keys: usize = changes.iter().map(|one| one.changes.len()).sum();
        let bytes: usize = changes.iter().flat_map(|one| &one.changes).map(changed_bytes).sum();
        let mut inbox = self.0.lock();
        let bytes_max = self.0.feed_bytes_max;
        let fits = inbox.feed.is_empty()
            || (inbox.feed_keys + keys <= FEED_KEYS_MAX && inbox.feed_bytes + bytes <= bytes_max);
        if inbox.lost.is_none() && fits {
            inbox.feed_keys += keys;
            inbox.feed_bytes += bytes;
            inbox.feed.extend(changes);
        } else {
            inbox.lost = Some(newest);
        }
        drop(inbox);
        self.0.bell.ring();
    }
}

fn changed_bytes(changed: &bramble_store::types::ChangedKey) -> usize {
    changed.kv.key.len() + changed.kv.value.len() + 64
}

/// What the pump works with.
pub(super) struct Pump {
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader<AnyEngine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Time between periodic progress marks.
    pub(super) progress_every: Duration,
    /// A response of a watcher that allows it is split at this many bytes.
    pub(super) fragment_bytes: usize,
    pub(super) hub_options: HubOptions,
    pub(super) failure: Failure,
}

impl Pump {
    pub(super) fn spawn(self, threads: &dyn Threads) -> std::io::Result<Box<dyn Thread>> {
        threads.spawn("watch", Box::new(move || self.run()))
    }

    fn run(self) {
        let hub = Hub::at(self.reader.view().revision(), self.hub_options);
        let mut sessions = Sessions::new(hub, self.progress_every, self.fragment_bytes, self.entropy.clone());
        let mut pause = IDLE;
        let untaken = loop {
            let inbox = self.shared.wait(pause);
            if inbox.closing {
                break inbox.asks;
            }
            let turned = self.turn(&mut sessions, inbox);
            *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = sessions.watching();
            match turned {
                Ok(next) => pause = next,
                Err(fatal) => {
                    self.failure.end(&fatal);
                    break VecDeque::new();
                }
            }
        };
        self.shared.close();
        // Streams whose opening came in with the closing, or after it, end too.
        for ask in untaken.into_iter().chain(self.shared.wait(Duration::ZERO).asks) {
            if let Ask::Open(_, outbox, _) = ask {
                outbox.end();
            }
        }
        sessions.end_all();
    }

    /// Takes what came in, and says how long nothing needs to be done.
    fn turn(&self, sessions: &mut Sessions, inbox: Inbox) -> Result<Duration, Fatal> {
        // At least as new as the feed: the applier publishes its view first.
        let view = self.reader.view();
        sessions.publish(&view, &inbox.feed, inbox.lost)?;
        let now = self.clock.now();
        for ask in inbox.asks {
            sessions.handle(ask, now);
        }
        sessions.catch_up(&view)?;
        sessions.tick(now);
        sessions.deliver();
        // What was delivered may have made room for watchers that wait for it.
        if sessions.wants_catch_up() {
            return Ok(Duration::ZERO);
        }
        Ok(sessions.next_tick().map_or(IDLE, |due| due.saturating_sub(self.clock.now()).min(IDLE)))
    }
}
