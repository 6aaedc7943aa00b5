//! Watch streams as the pump sees them: the ids clients chose, and the outbox each stream reads from.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bramble_store::error::Fatal;
use bramble_store::seams::Entropy;
use bramble_store::types::{Changes, RangeEnd};
use bramble_store::watch::{Delivery, History, Hub, StreamId, WatchSpec, WatcherId, What, fragments};
use bytes::Bytes;

use super::answers::{Header, WatchCreate, WatchResponse};
use super::budget::{Kind, Place};
use super::outbox::Outbox;
use super::pump::{Ask, Watching};

/// Bytes of a response beside its events, about.
const ENVELOPE_BYTES: usize = 64;

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

struct Watcher {
    id: i64,
    notify: bool,
    fragment: bool,
    /// What it counts for in the stream's place.
    cost: usize,
}

struct Session {
    outbox: Arc<Outbox>,
    place: Arc<Place>,
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
    /// When which stream's periodic progress is due.
    ticks: BTreeSet<(Duration, StreamId)>,
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
            ticks: BTreeSet::new(),
            progress_every,
            fragment_bytes,
            entropy,
        }
    }

    /// Who watches, and what waits for them.
    pub(super) fn watching(&self) -> Watching {
        Watching { streams: self.streams.len(), hub: self.hub.counts() }
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
            Ask::Open(stream, outbox, place) => {
                let (ids, watchers) = (HashMap::new(), HashMap::new());
                self.streams.insert(stream, Session { outbox, place, ids, watchers, next_id: 0, tick: None });
            }
            Ask::Create(stream, create, cost) => self.create(stream, create, cost, now),
            Ask::Refuse(stream, reason) => self.refuse(stream, reason),
            Ask::Cancel(stream, id) => self.cancel(stream, id),
            Ask::Progress(stream) => self.progress(stream),
            Ask::Room(stream) => {
                self.due.insert(stream);
            }
            Ask::Close(stream) => {
                self.hub.close(stream);
                if let Some(session) = self.streams.remove(&stream) {
                    session.outbox.end();
                    if let Some(due) = session.tick {
                        self.ticks.remove(&(due, stream));
                    }
                }
            }
        }
    }

    fn refuse(&mut self, stream: StreamId, reason: &str) {
        let Some(session) = self.streams.get(&stream) else { return };
        session.outbox.answer(WatchResponse {
            header: header(self.shown.max(self.hub.revision())),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_string(),
            ..WatchResponse::default()
        });
    }

    fn create(&mut self, stream: StreamId, mut create: WatchCreate, cost: usize, now: Duration) {
        let Some(session) = self.streams.get_mut(&stream) else { return };
        if create.range.start.is_empty() && create.range.end == RangeEnd::Single {
            create.range.start = Bytes::from_static(b"\0");
        }
        if let Some(reason) = refusal(session, &create) {
            session.place.give(Kind::Watches, cost);
            return self.refuse(stream, reason);
        }
        let header = header(self.shown.max(self.hub.revision()));
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
        let (notify, fragment) = (create.progress_notify, create.fragment);
        session.watchers.insert(watcher, Watcher { id, notify, fragment, cost });
        if notify && session.tick.is_none() {
            let due = now + jittered(self.progress_every, self.entropy.as_ref());
            session.tick = Some(due);
            self.ticks.insert((due, stream));
        }
        session.outbox.answer(WatchResponse {
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
        let Some(watcher) = session.ids.remove(&id) else { return session.outbox.no_answer() };
        session.forget(watcher);
        self.hub.cancel(watcher);
        let header = header(self.shown.max(self.hub.revision()));
        session.outbox.answer(WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            ..WatchResponse::default()
        });
    }

    fn progress(&mut self, stream: StreamId) {
        let Some(session) = self.streams.get(&stream) else { return };
        // Dropped while a watcher is behind, or the reader is: the client asks again.
        if session.outbox.is_short() && self.hub.progress(stream) {
            self.due.insert(stream);
        }
        session.outbox.no_answer();
    }

    /// Periodic progress of the streams whose time has come.
    pub(super) fn tick(&mut self, now: Duration) {
        while let Some((due, stream)) = self.ticks.first().copied().filter(|(due, _)| *due <= now) {
            self.ticks.remove(&(due, stream));
            let Some(session) = self.streams.get_mut(&stream) else { continue };
            for (watcher, wanted) in &session.watchers {
                if wanted.notify {
                    self.hub.tick_progress(*watcher);
                }
            }
            let next = now + jittered(self.progress_every, self.entropy.as_ref());
            session.tick = Some(next);
            self.ticks.insert((next, stream));
            self.due.insert(stream);
        }
    }

    /// When the next periodic progress is due.
    pub(super) fn next_tick(&self) -> Option<Duration> {
        self.ticks.first().map(|(due, _)| *due)
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
                self.forget(watcher);
                let canceled = WatchResponse { canceled: true, compact_revision: floor, ..response };
                self.outbox.push(canceled);
            }
            What::Events(events) if known.fragment => {
                let mut begin = 0;
                for piece in fragments(&events, ENVELOPE_BYTES, fragment_bytes) {
                    let response = WatchResponse { fragment: piece.more, ..response.clone() };
                    let end = begin + piece.events.len();
                    self.outbox.push_events(response, &events, begin..end);
                    begin = end;
                }
            }
            What::Events(events) => self.outbox.push_events(response, &events, 0..events.len()),
        }
    }

    /// A watcher is gone.
    fn forget(&mut self, watcher: WatcherId) {
        if let Some(gone) = self.watchers.remove(&watcher) {
            self.ids.remove(&gone.id);
            self.place.give(Kind::Watches, gone.cost);
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

#[cfg(test)]
mod tests {
    use bramble_store::types::{ChangedKey, EventKind, KeyRange, KeyValue};
    use bramble_store::watch::HubOptions;

    use super::super::budget::Budget;
    use super::super::outbox::Backlog;
    use super::*;
    use crate::config::Profile;
    use crate::node::memory::Memory;

    /// A state at this revision, without a history.
    struct At(i64);

    impl History for At {
        fn revision(&self) -> i64 {
            self.0
        }

        fn floor(&self) -> i64 {
            0
        }

        fn changes(&self, _: i64, _: usize, _: usize) -> Result<Vec<Changes>, Fatal> {
            Ok(Vec::new())
        }

        fn before(&self, _: &[u8], _: i64) -> Result<Option<KeyValue>, Fatal> {
            Ok(None)
        }
    }

    struct NoChance;

    impl Entropy for NoChance {
        fn next_u64(&self) -> u64 {
            0
        }
    }

    fn put_at(main: i64) -> Changes {
        let kv = KeyValue { key: "k".into(), mod_revision: main, ..KeyValue::default() };
        Changes { main, changes: vec![ChangedKey { sub: 0, kind: EventKind::Put, kv }] }
    }

    /// The state shows a revision a moment before its changes come in: who has read it knows it.
    #[tokio::test]
    async fn from_now_on_is_after_what_the_state_shows() {
        let hub = Hub::at(1, HubOptions::default());
        let mut sessions = Sessions::new(hub, Duration::from_secs(600), 1 << 20, Arc::new(NoChance));
        let outbox = Arc::new(Outbox::new(Backlog::new(1 << 20)));
        let share = Budget::new(Memory::of(Profile::Default).clients).in_process();
        let place = share.place(Kind::WatchStreams).expect("the first one");
        let (stream, now) = (StreamId(1), Duration::ZERO);
        sessions.handle(Ask::Open(stream, outbox.clone(), place), now);
        sessions.publish(&At(2), &[], None).expect("a view that can be read");
        sessions.handle(Ask::Create(stream, WatchCreate::new(KeyRange::single("k")), 1), now);
        sessions.publish(&At(3), &[put_at(2), put_at(3)], None).expect("a view that can be read");
        sessions.deliver();
        let (created, _) = outbox.next().await.expect("an answer");
        assert!(created.created && created.header.revision == 2, "{created:?}");
        let (told, _) = outbox.next().await.expect("an event");
        let told: Vec<_> = told.events.iter().map(|event| event.kv.mod_revision).collect();
        assert_eq!(told, [3], "told of what its client may have read");
    }
}
