//! Responses on their way to one watch stream's reader.
//!
//! Bounded three ways. In bytes, for one stream and for all of them together: what does not fit stays
//! in the hub, which puts the watchers behind. And in requests: a stream has so many permits, a request
//! keeps its own until its answer was read, and the next one waits for it. So a reader that stands
//! still costs little, whatever it asks for and whatever happens.
//!
//! Events are kept as the slice that all watchers of the same keys share; they are copied for one of
//! them when it reads.
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_store::types::Event;
use bramble_store::watch::encoded_len;
use tokio::sync::{Notify, Semaphore};

use super::answers::WatchResponse;

/// Bytes of responses a stream's reader may leave unread here.
const STREAM_BYTES_MAX: usize = 256 << 10;
/// The same, while all streams together have left more than their share.
const STREAM_BYTES_MIN: usize = 8 << 10;
/// Requests of one stream that are not answered, or whose answer is not read. The next one waits.
const ASKED_MAX: usize = 1024;
/// Responses of one stream that are not read yet; beyond it a progress request is dropped, as it may
/// be at any time.
const UNREAD_MAX: usize = 4096;
/// Bytes of a response beside its events, about.
const ENVELOPE_BYTES: usize = 256;

/// What all streams of a member have left unread.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    bytes_max: usize,
    events: AtomicUsize,
}

impl Backlog {
    /// Events in it, and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.events.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Of so many bytes at most, beyond what each stream is sure of.
    pub(super) fn new(bytes_max: usize) -> Arc<Backlog> {
        Arc::new(Backlog { bytes: AtomicUsize::new(0), bytes_max, events: AtomicUsize::new(0) })
    }
}

/// See the module.
pub(super) struct Outbox {
    inner: Mutex<Unread>,
    wake: Notify,
    permits: Semaphore,
    backlog: Arc<Backlog>,
}

#[derive(Default)]
struct Unread {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// The pump holds deliveries back until there is room.
    held_back: bool,
    ended: bool,
}

struct Letter {
    /// Without its events.
    response: WatchResponse,
    events: Option<(Arc<[Event]>, Range<usize>)>,
    bytes: usize,
    /// It answers a request, whose permit is given back when it is read.
    answers: bool,
}

impl Letter {
    fn events(&self) -> usize {
        self.events.as_ref().map_or(0, |(_, range)| range.len())
    }
}

impl Outbox {
    pub(super) fn new(backlog: Arc<Backlog>) -> Outbox {
        let permits = Semaphore::new(ASKED_MAX);
        Outbox { inner: Mutex::default(), wake: Notify::new(), permits, backlog }
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client did not ask for one by one.
    pub(super) fn push(&self, response: WatchResponse) {
        self.post(Letter { response, events: None, bytes: ENVELOPE_BYTES, answers: false });
    }

    /// Some of these events.
    pub(super) fn push_events(&self, response: WatchResponse, events: &Arc<[Event]>, range: Range<usize>) {
        let bytes = ENVELOPE_BYTES + events[range.clone()].iter().map(encoded_len).sum::<usize>();
        self.post(Letter { response, events: Some((events.clone(), range)), bytes, answers: false });
    }

    /// The answer to a request.
    pub(super) fn answer(&self, response: WatchResponse) {
        self.post(Letter { response, events: None, bytes: ENVELOPE_BYTES, answers: true });
    }

    /// A request has no answer.
    pub(super) fn no_answer(&self) {
        self.permits.add_permits(1);
    }

    fn post(&self, letter: Letter) {
        let mut unread = self.lock();
        unread.bytes += letter.bytes;
        self.backlog.bytes.fetch_add(letter.bytes, Ordering::Relaxed);
        self.backlog.events.fetch_add(letter.events(), Ordering::Relaxed);
        unread.letters.push_back(letter);
        drop(unread);
        self.wake.notify_one();
    }

    /// Waits for the right to give the pump one request; false when the stream has ended.
    pub(super) async fn may_ask(&self) -> bool {
        self.permits.acquire().await.map(|permit| permit.forget()).is_ok()
    }

    fn bytes_max(&self) -> usize {
        match self.backlog.bytes.load(Ordering::Relaxed) < self.backlog.bytes_max {
            true => STREAM_BYTES_MAX,
            false => STREAM_BYTES_MIN,
        }
    }

    /// Bytes that may join.
    pub(super) fn room(&self) -> usize {
        self.bytes_max().saturating_sub(self.lock().bytes)
    }

    /// Notes that deliveries wait for room; false when there is room already.
    pub(super) fn hold_back(&self) -> bool {
        let enough = self.bytes_max() / 2;
        let mut unread = self.lock();
        unread.held_back = unread.bytes >= enough;
        unread.held_back
    }

    /// Whether few responses are unread.
    pub(super) fn is_short(&self) -> bool {
        self.lock().letters.len() < UNREAD_MAX
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
                if let Some(letter) = unread.letters.pop_front() {
                    return Some(self.open(letter, unread));
                }
                if unread.ended {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }

    fn open(&self, letter: Letter, mut unread: MutexGuard<'_, Unread>) -> (WatchResponse, bool) {
        unread.bytes -= letter.bytes;
        self.backlog.bytes.fetch_sub(letter.bytes, Ordering::Relaxed);
        self.backlog.events.fetch_sub(letter.events(), Ordering::Relaxed);
        let room = unread.held_back && unread.bytes < self.bytes_max() / 2;
        unread.held_back &= !room;
        drop(unread);
        if letter.answers {
            self.permits.add_permits(1);
        }
        let events = letter.events.map_or_else(Vec::new, |(events, range)| events[range].to_vec());
        (WatchResponse { events, ..letter.response }, room)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let unread = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.backlog.bytes.fetch_sub(unread.bytes, Ordering::Relaxed);
        let events: usize = unread.letters.iter().map(Letter::events).sum();
        self.backlog.events.fetch_sub(events, Ordering::Relaxed);
    }
}
