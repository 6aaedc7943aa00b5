//! The hub against a naive history, by seed: whatever happens in whatever order, every client sees what
//! it was promised. The promises are etcd's: ordered, unique, atomic, reliable, resumable, bookmarkable,
//! prevKV, isCreate, filter.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bramble_store::types::{ChangedKey, Changes, Event, EventKind, KeyRange};
use bramble_store::watch::{Delivery, Hub, HubOptions, StreamId, WatchSpec, WatcherId, What};

#[path = "../common/mod.rs"]
mod common;
mod past;

use common::Random;
use past::{Past, any_key, superseded};

const SEEDS: u64 = 12_000;
const STREAMS: u64 = 3;

fn any_stream(random: &mut Random) -> StreamId {
    StreamId(random.next_u64() % STREAMS)
}

/// A client's memory of one watcher.
struct Seen {
    stream: StreamId,
    spec: WatchSpec,
    /// The first main revision it may see.
    first: i64,
    /// Everything wanted below this was seen.
    next: i64,
    /// The newest promise.
    progress: i64,
    /// The newest revision that `created` or a promise named.
    told: i64,
    ended: bool,
}

impl Seen {
    /// What it must see of one main revision.
    fn wanted(&self, past: &Past, main: i64) -> Vec<ChangedKey> {
        let wants = |change: &&ChangedKey| {
            let filtered = match change.kind {
                EventKind::Put => self.spec.no_put,
                EventKind::Delete => self.spec.no_delete,
            };
            !filtered && self.spec.range.contains(&change.kv.key)
        };
        past.of(main).iter().filter(wants).cloned().collect()
    }
    /// The lowest main revision up to `upto` that has something for it which it did not see. (What was
    /// superseded inside a revision may be gone if that was ever the floor.)
    fn unseen(&self, past: &Past, upto: i64) -> Option<i64> {
        (self.next.max(2)..=upto).find(|main| {
            let gone = |change: &ChangedKey| past.floors.contains(main) && superseded(change, past.of(*main));
            self.wanted(past, *main).iter().any(|change| !gone(change))
        })
    }
}

/// How often the rare things happened.
#[derive(Default, Debug)]
struct Tally {
    events: u64,
    fell_behind: u64,
    lost_feeds: u64,
    compacted: u64,
    progress: u64,
    refused_progress: u64,
    ticks: u64,
    prev: u64,
    prev_compacted: u64,
    batches: u64,
    squashed: u64,
    resumed: u64,
}

struct World<'t> {
    seed: u64,
    past: Past,
    hub: Hub,
    feed: VecDeque<Changes>,
    seen: BTreeMap<WatcherId, Seen>,
    /// Streams that `ready` has named at some time since they were last empty.
    named: BTreeSet<StreamId>,
    tally: &'t mut Tally,
}

impl World<'_> {
    fn step(&mut self, random: &mut Random) {
        match random.below(24) {
            0..=6 => self.write(random),
            7..=10 => self.publish(random),
            11..=13 => self.catch_up(random),
            14..=16 => self.take(random),
            17 | 18 => self.watch(random),
            19 => self.progress(random),
            20 => self.tick(random),
            21 if random.one_in(2) => self.cancel_and_resume(random),
            22 if random.one_in(12) => self.close(any_stream(random)),
            23 if random.one_in(2) => {
                let low = self.past.floor.max(1);
                self.past.compact(low + random.below((self.past.revision() - low + 1) as usize) as i64);
            }
            _ => {}
        }
        assert_eq!(self.hub.counts(), self.hub.recount(), "seed {}", self.seed);
    }

    fn write(&mut self, random: &mut Random) {
        let changes = self.past.write(random);
        self.feed.push_back(changes);
        if self.feed.len() > 6 && random.one_in(4) {
            self.tally.lost_feeds += 1;
            self.feed.clear();
            if random.one_in(2) {
                self.hub.missed(self.past.revision());
            }
        }
    }

    fn publish(&mut self, random: &mut Random) {
        let count = (1 + random.below(3)).min(self.feed.len());
        let changes: Vec<Changes> = self.feed.drain(..count).collect();
        let Some(last) = changes.last().map(|whole| whole.main) else { return };
        let newer = random.below((self.past.revision() - last + 1) as usize) as i64;
        let behind = self.hub.counts().behind;
        self.hub.publish(&self.past.view(last + newer), &changes).expect("the model cannot fail");
        self.tally.fell_behind += (self.hub.counts().behind - behind) as u64;
    }

    /// With a view that may be older or newer than the hub.
    fn catch_up(&mut self, random: &mut Random) {
        let older = random.below(3) as i64 * random.below(3) as i64;
        let view = self.past.view((self.past.revision() - older).max(1));
        self.hub.catch_up(&view).expect("the model cannot fail");
    }

    fn watch(&mut self, random: &mut Random) {
        let range = match random.below(4) {
            0 => KeyRange::single(any_key(random)),
            1 => KeyRange::prefix(vec![b'a' + random.below(6) as u8]),
            2 => KeyRange::from_wire(any_key(random), any_key(random)),
            _ => KeyRange::all(),
        };
        let low = if random.one_in(8) { 1 } else { self.past.floor.max(1) };
        let start = low + random.below((self.past.revision() - low) as usize + 5) as i64;
        let start = if random.one_in(3) { 0 } else { start };
        let (no_put, no_delete) = (random.one_in(6), random.one_in(6));
        let spec = WatchSpec { range, start, no_put, no_delete, prev_kv: random.one_in(2) };
        self.open(any_stream(random), spec);
    }

    fn open(&mut self, stream: StreamId, spec: WatchSpec) {
        // The client has seen the newest, which may be ahead of the hub.
        let shown = self.past.revision();
        let first = if spec.start == 0 { shown + 1 } else { spec.start };
        let id = self.hub.watch(stream, spec.clone(), shown);
        let seen = Seen { stream, spec, first, next: first, progress: 0, told: shown, ended: false };
        assert!(self.seen.insert(id, seen).is_none(), "ids are never used again");
    }

    fn any_live(&self, random: &mut Random) -> Option<WatcherId> {
        let live: Vec<_> = self.seen.iter().filter(|(_, seen)| !seen.ended).map(|(id, _)| *id).collect();
        (!live.is_empty()).then(|| live[random.below(live.len())])
    }

    fn progress(&mut self, random: &mut Random) {
        self.tally.refused_progress += u64::from(!self.hub.progress(any_stream(random)));
    }

    fn tick(&mut self, random: &mut Random) {
        let Some(id) = self.any_live(random) else { return };
        self.tally.ticks += u64::from(self.hub.tick_progress(id));
    }

    /// Resumes from what it has seen, on any stream, as a client does after a broken connection.
    fn cancel_and_resume(&mut self, random: &mut Random) {
        let Some(id) = self.any_live(random) else { return };
        let seen = self.seen.get_mut(&id).expect("live");
        if !self.hub.cancel(id) {
            // It is to be told that it was compacted, and reads that instead of an answer.
            assert!(seen.next < self.past.floor, "seed {}: ended without reason", self.seed);
            return;
        }
        seen.ended = true;
        let spec = WatchSpec { start: seen.next, ..seen.spec.clone() };
        self.open(any_stream(random), spec);
        self.tally.resumed += 1;
    }

    fn close(&mut self, stream: StreamId) {
        self.hub.close(stream);
        assert!(self.hub.take(stream, usize::MAX).is_empty());
        self.named.remove(&stream);
        self.seen.values_mut().filter(|seen| seen.stream == stream).for_each(|seen| seen.ended = true);
    }

    fn take(&mut self, random: &mut Random) {
        self.named.extend(self.hub.ready());
        let stream = any_stream(random);
        assert!(
            !self.hub.has_queued(stream) || self.named.contains(&stream),
            "seed {}: not named",
            self.seed
        );
        for delivery in self.hub.take(stream, random.below(600)) {
            self.receive(stream, delivery);
        }
        if !self.hub.has_queued(stream) {
            self.named.remove(&stream);
        }
    }

    fn receive(&mut self, stream: StreamId, delivery: Delivery) {
        let seed = self.seed;
        match delivery.what {
            What::Events(events) => {
                let id = delivery.watcher.expect("events are somebody's");
                assert_eq!(self.seen[&id].stream, stream, "seed {seed}");
                self.receive_events(id, delivery.header_revision, &events);
            }
            What::Compacted { floor } => {
                let seen = self.seen.get_mut(&delivery.watcher.expect("somebody's")).expect("known");
                assert!(
                    !seen.ended && seen.next < floor && floor <= self.past.floor,
                    "seed {seed}: compacted"
                );
                assert_eq!(delivery.header_revision, 0);
                seen.ended = true;
                self.tally.compacted += 1;
            }
            What::Progress => self.receive_progress(stream, delivery.watcher, delivery.header_revision),
        }
    }

    /// A promise to one watcher, or to all that the stream has when the client reads it.
    fn receive_progress(&mut self, stream: StreamId, watcher: Option<WatcherId>, rev: i64) {
        let seed = self.seed;
        self.tally.progress += 1;
        for (id, seen) in self.seen.iter_mut().filter(|(_, seen)| !seen.ended && seen.stream == stream) {
            if watcher.is_some_and(|one| one != *id) {
                continue;
            }
            assert_eq!(
                seen.unseen(&self.past, rev),
                None,
                "seed {seed} {id:?}: progress {rev} overtook events"
            );
            assert!(seen.spec.start <= rev, "seed {seed} {id:?}: progress before its start");
            assert!(seen.told <= rev, "seed {seed} {id:?}: progress {rev} went back");
            seen.next = seen.next.max(rev + 1);
            (seen.progress, seen.told) = (rev, rev);
        }
    }

    fn receive_events(&mut self, id: WatcherId, header: i64, events: &[Event]) {
        let seed = self.seed;
        let seen = self.seen.get_mut(&id).expect("known");
        assert!(!seen.ended && !events.is_empty(), "seed {seed} {id:?}: after its end, or empty");
        assert!(
            seen.told <= header,
            "seed {seed} {id:?}: the header went back from {} to {header}",
            seen.told
        );
        seen.told = header;
        for whole in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            let main = whole[0].kv.mod_revision;
            assert!(
                seen.first <= main && seen.progress < main && main <= header,
                "seed {seed} {id:?} at {main}"
            );
            assert!(seen.next <= main, "seed {seed} {id:?}: {main} again, or out of order");
            assert_eq!(seen.unseen(&self.past, main - 1), None, "seed {seed} {id:?}: a gap before {main}");
            check_whole(seed, &self.past, seen, whole, self.tally);
            self.tally.batches += u64::from(whole.len() < events.len());
            seen.next = main + 1;
        }
        self.tally.events += events.len() as u64;
    }

    /// Lets everything come to rest: then nothing may be missing, waiting or counted.
    fn settle(&mut self) {
        let seed = self.seed;
        for changes in std::mem::take(&mut self.feed) {
            self.hub
                .publish(&self.past.view(self.past.revision()), &[changes])
                .expect("the model cannot fail");
        }
        self.hub.missed(self.past.revision());
        for round in 0.. {
            assert!(round < 10_000, "seed {seed}: never comes to rest");
            let more =
                self.hub.catch_up(&self.past.view(self.past.revision())).expect("the model cannot fail");
            let mut took = false;
            for stream in (0..STREAMS).map(StreamId) {
                for delivery in self.hub.take(stream, 700) {
                    took = true;
                    self.receive(stream, delivery);
                }
            }
            if !more && !took {
                break;
            }
        }
        for (id, seen) in self.seen.iter().filter(|(_, seen)| !seen.ended) {
            let missing = seen.unseen(&self.past, self.past.revision());
            assert_eq!(missing, None, "seed {seed} {id:?}: never came");
        }
        let counts = self.hub.counts();
        assert_eq!((counts.behind, counts.queued, counts.queued_bytes), (0, 0, 0), "seed {seed}");
        assert_eq!(counts.watchers, self.seen.values().filter(|seen| !seen.ended).count(), "seed {seed}");
        for stream in (0..STREAMS).map(StreamId) {
            self.bookmark_at_rest(stream);
            self.close(stream);
        }
        assert_eq!(self.hub.counts(), Default::default(), "seed {seed}");
    }

    /// At rest a stream gets its progress exactly if it has watchers and all have reached their start.
    fn bookmark_at_rest(&mut self, stream: StreamId) {
        let rev = self.past.revision();
        let live: Vec<_> = self.seen.values().filter(|seen| !seen.ended && seen.stream == stream).collect();
        let able = !live.is_empty() && live.iter().all(|seen| seen.spec.start <= rev);
        assert_eq!(self.hub.progress(stream), able, "seed {}", self.seed);
        for delivery in self.hub.take(stream, usize::MAX) {
            assert_eq!((delivery.watcher, delivery.header_revision), (None, rev));
            self.receive(stream, delivery);
        }
    }
}

/// The events of one main revision are all those wanted and no others, in order, with what was before.
fn check_whole(seed: u64, past: &Past, seen: &Seen, events: &[Event], tally: &mut Tally) {
    let main = events[0].kv.mod_revision;
    let mut wanted = seen.wanted(past, main);
    if events.len() < wanted.len() && past.floors.contains(&main) {
        // Read at the floor, where of several changes of one key the last is left.
        wanted.retain(|change| !superseded(change, past.of(main)));
        tally.squashed += 1;
    }
    let got: Vec<_> = events.iter().map(|event| (event.kind, &event.kv)).collect();
    let want: Vec<_> = wanted.iter().map(|change| (change.kind, &change.kv)).collect();
    assert_eq!(got, want, "seed {seed} {:?}: revision {main} not whole", seen.spec);
    for event in events {
        let before = past.state_at(main - 1).get(&event.kv.key);
        let created = event.kind == EventKind::Put && event.kv.create_revision == event.kv.mod_revision;
        let due = before.filter(|_| seen.spec.prev_kv && !created);
        if event.prev_kv.is_none() && due.is_some() {
            assert!(main <= past.floor, "seed {seed}: prev_kv of {main} is missing");
            tally.prev_compacted += 1;
        } else {
            assert_eq!(event.prev_kv.as_ref(), due, "seed {seed} at {main}");
            tally.prev += u64::from(due.is_some());
        }
    }
}

fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let stream_bytes_max = 150 + random.below(900);
    let options = HubOptions {
        stream_bytes_max,
        total_bytes_max: 300 + random.below(2000),
        stream_bytes_min: stream_bytes_max / 2,
        step_rows_max: 1 + random.below(6),
        step_bytes_max: 1000,
        step_watchers_max: 1 + random.below(4),
    };
    let mut world = World {
        seed,
        past: Past::new(),
        hub: Hub::at(1, options),
        feed: VecDeque::new(),
        seen: BTreeMap::new(),
        named: BTreeSet::new(),
        tally,
    };
    for _ in 0..180 {
        world.step(&mut random);
    }
    world.settle();
}

#[test]
fn every_promise_by_seed() {
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        run(seed, &mut tally);
    }
    println!("{SEEDS} seeds: {tally:?}");
    let Tally { events, fell_behind, lost_feeds, compacted, progress, refused_progress, .. } = tally;
    let Tally { ticks, prev, prev_compacted, batches, squashed, resumed, .. } = tally;
    let often =
        [events, fell_behind, lost_feeds, compacted, progress, refused_progress, ticks, prev, batches];
    let rarely = [prev_compacted, squashed, resumed];
    assert!(often.iter().all(|times| *times > 5_000), "too rare to mean anything: {tally:?}");
    assert!(rarely.iter().all(|times| *times > 20), "too rare to mean anything: {tally:?}");
}
