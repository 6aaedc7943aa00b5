//! Watch streams as the pump sees them: the ids clients chose, and the outbox each stream reads from.
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_store::error::Fatal;
use bramble_store::seams::Entropy;
use bramble_store::types::{Changes, RangeEnd};
use bramble_store::watch::{
    Delivery, History, Hub, StreamId, WatchSpec, WatcherId, What, encoded_len, fragments,
};
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::answers::{Header, WatchCreate, WatchResponse};
use super::pump::Ask;

/// Bytes of responses a stream's reader may leave unread here; the rest waits in the hub.
const OUTBOX_BYTES_MAX: usize = 256 << 10;
/// Requests of one stream that the pump has not taken yet. The next one waits.
const ASKED_MAX: usize = 1024;
/// Responses of one stream that are not read yet; beyond it a progress request is dropped, as it may
/// be at any time. Others are bounded by the watchers the client makes.
const UNREAD_MAX: usize = 4096;
/// Bytes of a response beside its events, about.
const ENVELOPE_BYTES: usize = 64;

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// Responses on their way to one stream's reader.
pub(super) struct Outbox {
    inner: Mutex<Unread>,
    wake: Notify,
    /// One permit per request that the pump has not taken yet.
    permits: Semaphore,
}

#[derive(Default)]
struct Unread {
    responses: VecDeque<(WatchResponse, usize)>,
    bytes: usize,
    /// The pump holds deliveries back until there is room.
    held_back: bool,
    ended: bool,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox { inner: Mutex::default(), wake: Notify::new(), permits: Semaphore::new(ASKED_MAX) }
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, response: WatchResponse) {
        let bytes = ENVELOPE_BYTES + response.events.iter().map(encoded_len).sum::<usize>();
        let mut unread = self.lock();
        unread.bytes += bytes;
        unread.responses.push_back((response, bytes));
        drop(unread);
        self.wake.notify_one();
    }

    /// Waits for the right to give the pump one request; false when the stream has ended.
    pub(super) async fn may_ask(&self) -> bool {
        self.permits.acquire().await.map(|permit| permit.forget()).is_ok()
    }

    fn room(&self) -> usize {
        OUTBOX_BYTES_MAX.saturating_sub(self.lock().bytes)
    }

    /// Notes that deliveries wait for room; false when there is room already.
    fn hold_back(&self) -> bool {
        let mut unread = self.lock();
        unread.held_back = unread.bytes >= OUTBOX_BYTES_MAX / 2;
        unread.held_back
    }

    /// No response follows those that are there.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.permits.close();
        self.wake.notify_one();
    }

    /// The next response, and whether the pump must be told that there is room again. `None` at the
    /// end. For one reader.
    pub(super) async fn next(&self) -> Option<(WatchResponse, bool)> {
        loop {
            {
                let mut unread = self.lock();
                if let Some((response, bytes)) = unread.responses.pop_front() {
                    unread.bytes -= bytes;
                    let room = unread.held_back && unread.bytes < OUTBOX_BYTES_MAX / 2;
                    unread.held_back &= !room;
                    return Some((response, room));
                }
                if unread.ended {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }
}

struct Watcher {
    id: i64,
    notify: bool,
    fragment: bool,
}

struct Session {
    outbox: Arc<Outbox>,
    ids: HashMap<i64, WatcherId>,
    watchers: HashMap<WatcherId, Watcher>,
    next_id: i64,
    /// When its periodic progress is due, if a watcher wants it.
    tick: Option<Duration>,
}

/// All streams, and the hub behind them.
pub(super) struct Sessions {
    hub: Hub,
    /// The newest revision a client may have read, perhaps ahead of the hub's for a moment.
    shown: i64,
    streams: HashMap<StreamId, Session>,
    /// Streams that the hub may have something for.
    due: BTreeSet<StreamId>,
    progress_every: Duration,
    fragment_bytes: usize,
    entropy: Arc<dyn Entropy>,
}

impl Sessions {
    pub(super) fn new(
        hub: Hub,
        every: Duration,
        fragment_bytes: usize,
        entropy: Arc<dyn Entropy>,
    ) -> Sessions {
        let progress_every = every.max(Duration::from_millis(100));
        Sessions {
            shown: hub.revision(),
            hub,
            streams: HashMap::new(),
            due: BTreeSet::new(),
            progress_every,
            fragment_bytes,
            entropy,
        }
    }

    pub(super) fn publish<H: History>(
        &mut self,
        view: &H,
        changes: &[Changes],
        lost: Option<i64>,
    ) -> Result<(), Fatal> {
        self.shown = view.revision();
        if !changes.is_empty() {
            self.hub.publish(view, changes)?;
        }
        if let Some(revision) = lost {
            self.hub.missed(revision);
        }
        Ok(())
    }

    pub(super) fn catch_up<H: History>(&mut self, view: &H) -> Result<bool, Fatal> {
        self.hub.catch_up(view)
    }

    /// Whether a watcher could be caught up, also one that just got room.
    pub(super) fn wants_catch_up(&self) -> bool {
        self.hub.wants_catch_up()
    }

    pub(super) fn handle(&mut self, ask: Ask, now: Duration) {
        match ask {
            Ask::Open(stream, outbox) => {
                let session =
                    Session { outbox, ids: HashMap::new(), watchers: HashMap::new(), next_id: 0, tick: None };
                self.streams.insert(stream, session);
            }
            Ask::Create(stream, create) => {
                self.taken(stream);
                self.create(stream, create, now);
            }
            Ask::Cancel(stream, id) => {
                self.taken(stream);
                self.cancel(stream, id);
            }
            Ask::Progress(stream) => {
                self.taken(stream);
                self.progress(stream);
            }
            Ask::Room(stream) => {
                self.due.insert(stream);
            }
            Ask::Close(stream) => {
                self.hub.close(stream);
                if let Some(session) = self.streams.remove(&stream) {
                    session.outbox.end();
                }
            }
        }
    }

    /// The stream may ask one more.
    fn taken(&self, stream: StreamId) {
        if let Some(session) = self.streams.get(&stream) {
            session.outbox.permits.add_permits(1);
        }
    }

    fn create(&mut self, stream: StreamId, mut create: WatchCreate, now: Duration) {
        let Some(session) = self.streams.get_mut(&stream) else { return };
        if create.range.start.is_empty() && create.range.end == RangeEnd::Single {
            create.range.start = Bytes::from_static(b"\0");
        }
        let header = header(self.shown.max(self.hub.revision()));
        if let Some(reason) = refusal(session, &create) {
            let cancel_reason = reason.to_string();
            let refused = WatchResponse {
                header,
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason,
                ..WatchResponse::default()
            };
            return session.outbox.push(refused);
        }
        let id = session.choose_id(create.watch_id);
        let spec = WatchSpec {
            range: create.range,
            start: create.start_revision,
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
        };
        let watcher = self.hub.watch(stream, spec, self.shown);
        session.ids.insert(id, watcher);
        session
            .watchers
            .insert(watcher, Watcher { id, notify: create.progress_notify, fragment: create.fragment });
        if create.progress_notify && session.tick.is_none() {
            session.tick = Some(now + jittered(self.progress_every, self.entropy.as_ref()));
        }
        session.outbox.push(WatchResponse {
            header,
            watch_id: id,
            created: true,
            ..WatchResponse::default()
        });
        self.due.insert(stream);
    }

    fn cancel(&mut self, stream: StreamId, id: i64) {
        let Some(session) = self.streams.get_mut(&stream) else { return };
        // An unknown id is not answered.
        let Some(watcher) = session.ids.remove(&id) else { return };
        session.watchers.remove(&watcher);
        self.hub.cancel(watcher);
        let header = header(self.shown.max(self.hub.revision()));
        session.outbox.push(WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            ..WatchResponse::default()
        });
    }

    fn progress(&mut self, stream: StreamId) {
        let Some(session) = self.streams.get(&stream) else { return };
        // Dropped while a watcher is behind, or the reader is: the client asks again.
        if session.outbox.lock().responses.len() < UNREAD_MAX && self.hub.progress(stream) {
            self.due.insert(stream);
        }
    }

    /// Periodic progress of the streams whose time has come.
    pub(super) fn tick(&mut self, now: Duration) {
        for (stream, session) in &mut self.streams {
            if session.tick.is_none_or(|due| due > now) {
                continue;
            }
            for (watcher, wanted) in &session.watchers {
                if wanted.notify {
                    self.hub.tick_progress(*watcher);
                }
            }
            session.tick = Some(now + jittered(self.progress_every, self.entropy.as_ref()));
            self.due.insert(*stream);
        }
    }

    /// When the next periodic progress is due.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        self.streams.values().filter_map(|session| session.tick).min()
    }

    /// Moves what the hub has queued into the outboxes, as far as there is room.
    pub(super) fn deliver(&mut self) {
        self.due.extend(self.hub.ready());
        while let Some(stream) = self.due.pop_first() {
            let Some(session) = self.streams.get_mut(&stream) else { continue };
            while self.hub.has_queued(stream) {
                let room = session.outbox.room();
                if room == 0 && session.outbox.hold_back() {
                    break;
                }
                for delivery in self.hub.take(stream, room) {
                    session.deliver(delivery, self.fragment_bytes);
                }
            }
        }
    }

    pub(super) fn end_all(self) {
        for session in self.streams.into_values() {
            session.outbox.end();
        }
    }
}

impl Session {
    /// The id asked for, or the next one that the client has not taken.
    fn choose_id(&mut self, wanted: i64) -> i64 {
        if wanted != 0 {
            return wanted;
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn deliver(&mut self, delivery: Delivery, fragment_bytes: usize) {
        let header = header(delivery.header_revision);
        let Some(watcher) = delivery.watcher else {
            return self.outbox.push(WatchResponse { header, watch_id: -1, ..WatchResponse::default() });
        };
        let Some(known) = self.watchers.get(&watcher) else { return };
        let response = WatchResponse { header, watch_id: known.id, ..WatchResponse::default() };
        match delivery.what {
            What::Progress => self.outbox.push(response),
            What::Compacted { floor } => {
                self.ids.remove(&known.id);
                self.watchers.remove(&watcher);
                let canceled = WatchResponse { canceled: true, compact_revision: floor, ..response };
                self.outbox.push(canceled);
            }
            What::Events(events) if known.fragment => {
                for piece in fragments(&events, ENVELOPE_BYTES, fragment_bytes) {
                    let (events, fragment) = (piece.events.to_vec(), piece.more);
                    self.outbox.push(WatchResponse { events, fragment, ..response.clone() });
                }
            }
            What::Events(events) => {
                self.outbox.push(WatchResponse { events: events.to_vec(), ..response });
            }
        }
    }
}

fn refusal(session: &Session, create: &WatchCreate) -> Option<&'static str> {
    if create.start_revision < 0 {
        Some(COMPACTED)
    } else if create.range.is_empty() {
        Some(EMPTY_RANGE)
    } else if create.watch_id != 0 && session.ids.contains_key(&create.watch_id) {
        Some(DUPLICATE_ID)
    } else {
        None
    }
}

/// The ids and the term are filled in when the response is read.
fn header(revision: i64) -> Header {
    Header { revision, ..Header::default() }
}

/// Up to a tenth longer, so that streams opened together do not stay together.
fn jittered(every: Duration, entropy: &dyn Entropy) -> Duration {
    let tenth_ms = (every.as_millis() as u64 / 10).max(1);
    every + Duration::from_millis(entropy.next_u64() % tenth_ms)
}
