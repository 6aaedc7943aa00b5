//! The hub: watchers in two states, published to as revisions are applied.
use std::collections::{BTreeMap, BTreeSet};

use super::event::{Events, FIXED_BYTES};
use super::groups::{Groups, Needs};
use super::queue::{Stream, Total};
use super::{Counts, Delivery, History, HubOptions, StreamId, WatchSpec, WatcherId, What};
use crate::error::Fatal;
use crate::types::Changes;

/// All watchers of one node. See the [module](super) for what it promises.
///
/// After a `Fatal` from any call the hub must not be used further: a revision may be half published.
#[derive(Debug)]
pub struct Hub {
    pub(super) options: HubOptions,
    /// The newest main revision published, or known to be missed.
    pub(super) revision: i64,
    last_watcher: u64,
    pub(super) watchers: BTreeMap<WatcherId, Watcher>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    /// The synced watchers.
    pub(super) synced: Groups,
    /// The watchers that are behind and not blocked, by the revision they need next.
    pub(super) behind: BTreeSet<(i64, WatcherId)>,
    /// How many are behind, blocked ones too.
    pub(super) behind_count: usize,
    /// Where the next catch-up step begins; see `catch_up`.
    pub(super) sweep: i64,
    pub(super) total: Total,
    ready: BTreeSet<StreamId>,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) needs: Needs,
    /// No header of its own goes below this: what `created` named, or its start.
    bookmark_from: i64,
    /// The first main revision it may be sent.
    first: i64,
    pub(super) state: State,
    /// Whether events were queued since the last periodic tick.
    eventful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Queued everything from its first revision up to the hub's.
    Synced,
    /// Needs this main revision, at most the hub's, and all later ones.
    Behind(i64),
}

impl Hub {
    /// A hub that takes everything up to `revision` as published.
    pub fn at(revision: i64, options: HubOptions) -> Hub {
        Hub {
            options,
            revision,
            last_watcher: 0,
            watchers: BTreeMap::new(),
            streams: BTreeMap::new(),
            synced: Groups::default(),
            behind: BTreeSet::new(),
            behind_count: 0,
            sweep: 0,
            total: Total::default(),
            ready: BTreeSet::new(),
        }
    }

    /// The newest main revision published, or known to be missed.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Makes a watcher. The stream begins with its first one and lasts until [`Hub::close`]. Answer
    /// `created` to the client after everything taken so far and before anything taken from now on.
    ///
    /// `shown` is the newest revision that the client may have seen, from a view taken after its request
    /// came; the store shows a revision a moment before the hub is told of it. "From now on" is after
    /// `shown`, `created` names it in its header (or the hub's revision, if that is newer), and no later header
    /// of this watcher goes below it.
    ///
    /// A progress of the whole stream that still waits in the queue is dropped: the client would read it
    /// after `created`, as a promise to the new watcher too. It asks again.
    pub fn watch(&mut self, stream: StreamId, spec: WatchSpec, shown: i64) -> WatcherId {
        self.last_watcher += 1;
        let id = WatcherId(self.last_watcher);
        let shown = shown.max(self.revision);
        let first = if spec.start == 0 { shown + 1 } else { spec.start };
        let (needs, bookmark_from) = (Needs::of(&spec), spec.start.max(shown));
        self.synced.add(&needs, id);
        let watcher = Watcher { stream, needs, bookmark_from, first, state: State::Synced, eventful: false };
        self.watchers.insert(id, watcher);
        let open = self.streams.entry(stream).or_default();
        open.watchers.insert(id);
        open.purge(None, &mut self.total);
        self.unblock(stream);
        if first <= self.revision {
            self.fall_behind(id, first);
        }
        id
    }

    /// Ends a watcher and drops what is queued for it. False: there is no such watcher (any more).
    pub fn cancel(&mut self, watcher: WatcherId) -> bool {
        let Some(stream_id) = self.forget(watcher) else { return false };
        let stream = self.streams.get_mut(&stream_id).expect("a watcher's stream is open");
        stream.purge(Some(watcher), &mut self.total);
        self.unblock(stream_id);
        true
    }

    /// Ends a stream, its watchers and its queue.
    pub fn close(&mut self, stream: StreamId) {
        let watchers = self.streams.get(&stream).map(|open| open.watchers.clone()).unwrap_or_default();
        for watcher in watchers {
            self.forget(watcher);
        }
        if let Some(mut open) = self.streams.remove(&stream) {
            open.clear(&mut self.total);
        }
        self.ready.remove(&stream);
    }

    /// Tells the watchers of `changes`, whole main revisions in ascending order. `view` is at least as new
    /// as they are; the newer it is, the more `prev_kv` may be compacted in it. Revisions that the hub knows
    /// are skipped; after a gap every watcher that may need something from it is behind.
    ///
    /// # Errors
    /// `Fatal` when the history cannot be read.
    pub fn publish<H: History>(&mut self, view: &H, changes: &[Changes]) -> Result<(), Fatal> {
        for whole in changes {
            if whole.main <= self.revision {
                continue;
            }
            self.missed(whole.main - 1);
            self.publish_one(view, whole)?;
            self.revision = whole.main;
        }
        Ok(())
    }

    /// The feed lost the changes up to and including main revision `revision`: watchers that may need
    /// something from there fall behind and will read it from the history. Nothing if the hub knows them.
    pub fn missed(&mut self, revision: i64) {
        let from = self.revision + 1;
        if revision < from {
            return;
        }
        let synced = self.watchers.iter().filter(|(_, watcher)| watcher.state == State::Synced);
        let needing = synced.map(|(id, watcher)| (*id, watcher.first.max(from)));
        let needing: Vec<_> = needing.filter(|(_, next)| *next <= revision).collect();
        self.revision = revision;
        for (watcher, next) in needing {
            self.fall_behind(watcher, next);
        }
    }

    /// Takes deliveries from the front of a stream's queue: at least one if there is any, otherwise as many
    /// as cost at most `bytes_max` together. Room comes free for watchers that are behind.
    pub fn take(&mut self, stream: StreamId, bytes_max: usize) -> Vec<Delivery> {
        let Some(open) = self.streams.get_mut(&stream) else { return Vec::new() };
        let taken = open.take(bytes_max, &mut self.total);
        self.unblock(stream);
        taken
    }

    /// Whether a stream has something to take.
    pub fn has_queued(&self, stream: StreamId) -> bool {
        self.streams.get(&stream).is_some_and(|open| !open.queue().is_empty())
    }

    /// Whether a catch-up step with a view as new as the hub would do something. It may turn true in
    /// `publish`, `missed`, `watch`, `cancel` and `take`.
    pub fn wants_catch_up(&self) -> bool {
        !self.behind.is_empty()
    }

    /// The streams that were queued something since the last call, ascending. A stream whose queue was
    /// left half full is not named again for that; ask [`Hub::has_queued`].
    pub fn ready(&mut self) -> Vec<StreamId> {
        std::mem::take(&mut self.ready).into_iter().collect()
    }

    /// A client asks how far its stream is. If the stream has watchers, every one is synced and has
    /// reached its start, a progress delivery for the whole stream joins the END of the stream's queue,
    /// where it cannot overtake events, and the answer is true. Otherwise, or when the queue is full,
    /// nothing happens: the client asks again.
    pub fn progress(&mut self, stream: StreamId) -> bool {
        let Some(open) = self.streams.get(&stream) else { return false };
        let bookmarkable = open.watchers.iter().all(|watcher| self.is_bookmarkable(*watcher));
        bookmarkable && !open.watchers.is_empty() && self.queue_progress(stream, None)
    }

    /// The periodic progress of one watcher, to be called once per interval for each watcher that asked
    /// for it: joins its stream's queue if the watcher is synced, has reached its start, and was queued no
    /// events since the last tick.
    pub fn tick_progress(&mut self, watcher: WatcherId) -> bool {
        let Some(found) = self.watchers.get_mut(&watcher) else { return false };
        let (eventful, stream) = (std::mem::take(&mut found.eventful), found.stream);
        !eventful && self.is_bookmarkable(watcher) && self.queue_progress(stream, Some(watcher))
    }

    /// What the hub holds; kept up to date, costs nothing.
    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.streams.len(),
            watchers: self.watchers.len(),
            behind: self.behind_count,
            queued: self.total.queued,
            queued_events: self.total.events,
            queued_bytes: self.total.bytes,
        }
    }

    /// [`Hub::counts`] made again from every watcher and every queue. Slow; the two are always equal.
    ///
    /// # Panics
    /// When a watcher is not where its state says.
    pub fn recount(&self) -> Counts {
        let mut counts = Counts { streams: self.streams.len(), ..Counts::default() };
        for (id, watcher) in &self.watchers {
            let stream = self.streams.get(&watcher.stream).expect("a watcher's stream is open");
            let blocked = stream.blocked.contains(id);
            assert!(stream.watchers.contains(id), "a watcher is listed in its stream");
            assert_eq!(self.synced.contains(&watcher.needs, *id), watcher.state == State::Synced);
            match watcher.state {
                State::Synced => assert!(!blocked, "a synced watcher waits for nothing"),
                State::Behind(next) => {
                    assert!(next <= self.revision, "behind what has not happened");
                    assert!(
                        blocked != self.behind.contains(&(next, *id)),
                        "either blocked or to be caught up"
                    );
                    counts.behind += 1;
                }
            }
            counts.watchers += 1;
        }
        for stream in self.streams.values() {
            assert!(stream.blocked.is_empty() || !stream.queue().is_empty(), "an empty queue blocks nobody");
            counts.queued += stream.queue().len();
            counts.queued_events += stream.queue().iter().map(Delivery::events).sum::<usize>();
            counts.queued_bytes += stream.queue().iter().map(Delivery::bytes).sum::<usize>();
        }
        counts
    }

    fn publish_one<H: History>(&mut self, view: &H, whole: &Changes) -> Result<(), Fatal> {
        if self.synced.is_empty() {
            return Ok(());
        }
        let mut events = Events::of(view, std::slice::from_ref(whole));
        let mut found_no_room = Vec::new();
        for (group, numbers) in events.hits(&self.synced) {
            let group = self.synced.group(group);
            let slice = events.slice(&numbers, group.needs.prev_kv)?;
            for id in &group.members {
                let watcher = self.watchers.get_mut(id).expect("a member is a watcher");
                if whole.main < watcher.first {
                    continue;
                }
                let stream = self.streams.get_mut(&watcher.stream).expect("a watcher's stream is open");
                if !stream.fits(slice.bytes, &self.total, &self.options) {
                    found_no_room.push(*id);
                    continue;
                }
                let what = What::Events(slice.events.clone());
                let header_revision = whole.main.max(watcher.bookmark_from);
                stream.push(Delivery { watcher: Some(*id), header_revision, what }, &mut self.total);
                watcher.eventful = true;
                self.ready.insert(watcher.stream);
            }
        }
        for watcher in found_no_room {
            self.fall_behind(watcher, whole.main);
            self.await_room(watcher, whole.main);
        }
        Ok(())
    }

    /// Queues something for a watcher. The caller has looked for room.
    pub(super) fn queue(&mut self, id: WatcherId, header_revision: i64, what: What) {
        let watcher = self.watchers.get_mut(&id).expect("only watchers are queued to");
        let stream = self.streams.get_mut(&watcher.stream).expect("a watcher's stream is open");
        let eventful = matches!(what, What::Events(_));
        watcher.eventful |= eventful;
        let header_revision =
            if eventful { header_revision.max(watcher.bookmark_from) } else { header_revision };
        stream.push(Delivery { watcher: Some(id), header_revision, what }, &mut self.total);
        self.ready.insert(watcher.stream);
    }

    /// Synced, and the client has not been told of later revisions or asked to hear of those only.
    fn is_bookmarkable(&self, watcher: WatcherId) -> bool {
        let watcher = self.watchers.get(&watcher);
        watcher
            .is_some_and(|watcher| watcher.state == State::Synced && watcher.bookmark_from <= self.revision)
    }

    fn queue_progress(&mut self, stream: StreamId, watcher: Option<WatcherId>) -> bool {
        let open = self.streams.get_mut(&stream).expect("the caller found watchers in it");
        let room = open.fits(FIXED_BYTES, &self.total, &self.options);
        if room {
            let progress = Delivery { watcher, header_revision: self.revision, what: What::Progress };
            open.push(progress, &mut self.total);
            self.ready.insert(stream);
        }
        room
    }

    /// A synced watcher needs `next`, which the hub has published, and was not queued it.
    fn fall_behind(&mut self, id: WatcherId, next: i64) {
        let watcher = self.watchers.get(&id).expect("only watchers fall behind");
        self.synced.remove(&watcher.needs, id);
        self.behind_count += 1;
        self.await_history(id, next);
    }

    /// A watcher that is behind, and in no queue of those, is to be caught up from `next` on.
    pub(super) fn await_history(&mut self, id: WatcherId, next: i64) {
        self.watchers.get_mut(&id).expect("only watchers are behind").state = State::Behind(next);
        self.behind.insert((next, id));
    }

    /// A watcher that is behind has to wait until its stream's queue, which is not empty, is shorter.
    pub(super) fn await_room(&mut self, id: WatcherId, next: i64) {
        self.behind.remove(&(next, id));
        let watcher = self.watchers.get_mut(&id).expect("only watchers are behind");
        watcher.state = State::Behind(next);
        let stream = self.streams.get_mut(&watcher.stream).expect("a watcher's stream is open");
        stream.blocked.insert(id);
    }

    /// A watcher that was behind, and is in no queue of those, has been queued everything.
    pub(super) fn become_synced(&mut self, id: WatcherId) {
        let watcher = self.watchers.get_mut(&id).expect("only watchers become synced");
        watcher.state = State::Synced;
        self.synced.add(&watcher.needs, id);
        self.behind_count -= 1;
    }

    /// Takes a watcher out of everything but its stream's queue. Its stream, if there was such a watcher.
    pub(super) fn forget(&mut self, id: WatcherId) -> Option<StreamId> {
        let watcher = self.watchers.remove(&id)?;
        let stream = self.streams.get_mut(&watcher.stream).expect("a watcher's stream is open");
        stream.watchers.remove(&id);
        match watcher.state {
            State::Synced => {
                self.synced.remove(&watcher.needs, id);
            }
            State::Behind(next) => {
                self.behind.remove(&(next, id));
                stream.blocked.remove(&id);
                self.behind_count -= 1;
            }
        }
        Some(watcher.stream)
    }

    /// After a queue became shorter: those that wait for room in it may be caught up again.
    fn unblock(&mut self, stream: StreamId) {
        let open = self.streams.get_mut(&stream).expect("the caller just used it");
        if !open.has_room(&self.total, &self.options) {
            return;
        }
        for id in std::mem::take(&mut open.blocked) {
            let State::Behind(next) = self.watchers[&id].state else {
                unreachable!("only those that are behind are blocked")
            };
            self.behind.insert((next, id));
        }
    }
}
