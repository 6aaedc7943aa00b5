//! The hub over the real store: transactions, deletes and puts of one key in one revision, lease revokes,
//! compaction down to the last row, slow clients and lost feeds. Whoever watches from R and knows the keys
//! at R - 1 can make every later state out of what it is told.
use std::collections::{BTreeMap, BTreeSet};

mod common;

use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::store::{self, Reader, Scrub, Writer};
use bramble_store::types::*;
use bramble_store::watch::{Hub, HubOptions, StreamId, WatchSpec, WatcherId, What};
use bytes::Bytes;
use common::Random;

type Keys = BTreeMap<Bytes, KeyValue>;

struct World {
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    hub: Hub,
    index: u64,
    feed: Vec<Changes>,
    /// The keys at every main revision, as ranges told them when they were current.
    states: BTreeMap<i64, Keys>,
    /// Every change by main revision, from the writer.
    written: BTreeMap<i64, Vec<ChangedKey>>,
    floors: BTreeSet<i64>,
    mirrors: BTreeMap<WatcherId, Mirror>,
}

/// What one client makes out of what it is told.
struct Mirror {
    spec: WatchSpec,
    keys: Keys,
    /// It has been told everything below this.
    next: i64,
}

#[derive(Debug, Default)]
struct Reached {
    events: usize,
    prev: usize,
    replaced_in_one: usize,
    compacted: usize,
    from_floor: usize,
    fell_behind: usize,
    revoked: usize,
}

impl World {
    fn new(random: &mut Random) -> World {
        let (writer, reader) = store::open(Mem::new()).expect("a new store opens");
        let options = HubOptions {
            stream_bytes_max: 500 + random.below(2000),
            stream_bytes_min: 500,
            step_rows_max: 1 + random.below(50),
            step_watchers_max: 1 + random.below(8),
            ..HubOptions::default()
        };
        let mut world = World {
            writer,
            reader,
            hub: Hub::at(1, options),
            index: 0,
            feed: Vec::new(),
            states: BTreeMap::new(),
            written: BTreeMap::new(),
            floors: BTreeSet::new(),
            mirrors: BTreeMap::new(),
        };
        world.note_state();
        world
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            let (request, origin) = (RequestId::default(), Origin::default());
            let command = Command { request, origin, required_version: 0, fence_term: None, action };
            let payload = Payload::Command(codec::encode(&command));
            let id = LogId { term: 1, index: self.index };
            self.index += 1;
            let applied = self.writer.apply(&[Entry { id, payload }]).expect("applies");
            for changes in applied.changes {
                self.written.insert(changes.main, changes.changes.clone());
                self.feed.push(changes);
            }
            self.note_state();
        }
    }

    fn note_state(&mut self) {
        let view = self.reader.view();
        let all = view.range(&RangeRequest::new(KeyRange::all())).expect("reads");
        let keys = all.kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        self.states.insert(view.revision(), keys);
    }

    fn revision(&self) -> i64 {
        self.reader.view().revision()
    }

    fn publish(&mut self, reached: &mut Reached) {
        let behind = self.hub.counts().behind;
        let feed = std::mem::take(&mut self.feed);
        self.hub.publish(&self.reader.view(), &feed).expect("reads");
        reached.fell_behind += self.hub.counts().behind.saturating_sub(behind);
    }

    fn compact(&mut self, random: &mut Random) {
        let low = self.reader.view().compacted().max(1);
        let revision = low + random.below((self.revision() - low + 1) as usize) as i64;
        self.apply(vec![Action::Compact { revision }]);
        self.floors.insert(self.reader.view().compacted());
        while self.writer.scrub(1 + random.below(40)).expect("scrubs") == Scrub::More {
            if random.below(4) == 0 {
                break; // the rest later: a half scrubbed history must look the same
            }
        }
    }

    fn watch(&mut self, random: &mut Random, reached: &mut Reached) {
        let floor = self.reader.view().compacted().max(2);
        let start = match random.below(4) {
            0 => floor,
            1 => self.hub.revision() + 1,
            _ => floor + random.below((self.revision() + 1 - floor).max(1) as usize) as i64,
        };
        reached.from_floor += usize::from(self.floors.contains(&start));
        let range = match random.below(3) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(vec![b'a' + random.below(4) as u8]),
            _ => KeyRange::single(key(random)),
        };
        let spec = WatchSpec { range, start, no_put: false, no_delete: false, prev_kv: random.below(2) == 0 };
        let before = self.states.get(&(start - 1)).cloned().unwrap_or_default();
        let keys = before.into_iter().filter(|(key, _)| spec.range.contains(key)).collect();
        let id = self.hub.watch(StreamId(random.below(4) as u64), spec.clone(), self.revision());
        self.mirrors.insert(id, Mirror { spec, keys, next: start });
    }

    fn take(&mut self, stream: StreamId, reached: &mut Reached) {
        let floor = self.reader.view().compacted();
        for delivery in self.hub.take(stream, 1500) {
            let Some(id) = delivery.watcher else {
                let promised = delivery.header_revision;
                assert!(promised <= self.revision());
                continue;
            };
            match delivery.what {
                What::Compacted { floor } => {
                    let mirror = self.mirrors.remove(&id).expect("known");
                    assert!(mirror.next < floor);
                    reached.compacted += 1;
                }
                What::Events(events) => {
                    let mirror = self.mirrors.get_mut(&id).expect("known");
                    reached.events += events.len();
                    for whole in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
                        let main = whole[0].kv.mod_revision;
                        let at_floor = self.floors.contains(&main);
                        mirror.compare(whole, &self.written[&main], at_floor);
                        mirror.hear(whole, &self.states, floor, reached);
                        mirror.check(main, &self.states[&main]);
                        reached.replaced_in_one += usize::from(twice_one_key(whole));
                    }
                }
                What::Progress => {}
            }
        }
    }

    fn settle(&mut self, reached: &mut Reached) {
        self.publish(reached);
        self.hub.missed(self.revision());
        let mut rounds = 0;
        while self.hub.wants_catch_up() || (0..4).any(|stream| self.hub.has_queued(StreamId(stream))) {
            rounds += 1;
            assert!(rounds < 100_000, "never comes to rest");
            self.hub.catch_up(&self.reader.view()).expect("reads");
            (0..4).for_each(|stream| self.take(StreamId(stream), reached));
        }
        let revision = self.revision();
        for mirror in self.mirrors.values().filter(|mirror| mirror.spec.start <= revision) {
            mirror.check(revision, &self.states[&revision]);
        }
        assert_eq!((self.hub.counts().behind, self.hub.counts()), (0, self.hub.recount()));
    }
}

fn twice_one_key(events: &[Event]) -> bool {
    events.iter().any(|event| events.iter().filter(|other| other.kv.key == event.kv.key).count() > 1)
}

impl Mirror {
    /// It hears what was written, once and in order; read at the floor, of one key only the last change.
    fn compare(&self, whole: &[Event], written: &[ChangedKey], at_floor: bool) {
        let here = |change: &&ChangedKey| self.spec.range.contains(&change.kv.key);
        let all: Vec<_> = written.iter().filter(here).map(|change| (change.kind, &change.kv)).collect();
        let last = |n: usize| all[n + 1..].iter().all(|later| later.1.key != all[n].1.key);
        let left: Vec<_> = (0..all.len()).filter(|n| last(*n)).map(|n| all[n]).collect();
        let heard: Vec<_> = whole.iter().map(|event| (event.kind, &event.kv)).collect();
        assert!(heard == all || (at_floor && heard == left), "{heard:?} of {all:?}");
    }

    fn hear(&mut self, whole: &[Event], states: &BTreeMap<i64, Keys>, floor: i64, reached: &mut Reached) {
        let main = whole[0].kv.mod_revision;
        assert!(self.next <= main, "{main} again");
        for event in whole {
            assert!(self.spec.range.contains(&event.kv.key));
            let before = states[&(main - 1)].get(&event.kv.key);
            let created = event.kv.create_revision == main;
            let due = before.filter(|_| self.spec.prev_kv && !created);
            let compacted = event.prev_kv.is_none() && main <= floor;
            assert!(
                event.prev_kv.as_ref() == due || compacted,
                "{:?} instead of {due:?} at {main}",
                event.prev_kv
            );
            reached.prev += usize::from(event.prev_kv.is_some());
            match event.kind {
                EventKind::Put => self.keys.insert(event.kv.key.clone(), event.kv.clone()),
                EventKind::Delete => self.keys.remove(&event.kv.key),
            };
        }
        self.next = main + 1;
    }

    /// What it made is what there is: nothing is missing, nothing too much.
    fn check(&self, main: i64, state: &Keys) {
        let wanted: Keys = state
            .iter()
            .filter(|(key, _)| self.spec.range.contains(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(self.keys, wanted, "{:?} at {main}", self.spec);
    }
}

fn key(random: &mut Random) -> Bytes {
    vec![b'a' + random.below(4) as u8; 1 + random.below(2)].into()
}

fn put(random: &mut Random) -> PutRequest {
    let value = vec![b'v'; random.below(60)].into();
    let lease = LeaseId(if random.below(3) == 0 { 1 + random.below(3) as i64 } else { 0 });
    PutRequest { key: key(random), value, lease, ..PutRequest::default() }
}

fn delete(random: &mut Random) -> DeleteRequest {
    let range = if random.below(2) == 0 {
        KeyRange::single(key(random))
    } else {
        KeyRange::prefix(vec![b'a' + random.below(4) as u8])
    };
    DeleteRequest { range, prev_kv: false }
}

fn action(random: &mut Random) -> Action {
    match random.below(12) {
        0..=4 => Action::Put(put(random)),
        5 => Action::Delete(delete(random)),
        6 => Action::LeaseGrant { id: LeaseId(1 + random.below(3) as i64), ttl_s: 10 },
        7 => Action::LeaseRevoke { id: LeaseId(1 + random.below(3) as i64) },
        _ => {
            // A delete and then a put of perhaps the same key; nested, so that it is legal.
            let nested = TxnRequest { success: vec![Op::Put(put(random))], ..TxnRequest::default() };
            let success = vec![Op::Delete(delete(random)), Op::Txn(nested)];
            Action::Txn(TxnRequest { success, ..TxnRequest::default() })
        }
    }
}

#[test]
fn every_mirror_is_true() {
    let mut reached = Reached::default();
    for seed in 1..=600 {
        let named = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, &mut reached)));
        assert!(named.is_ok(), "seed {seed}");
    }
    println!("{reached:?}");
    let Reached { events, prev, replaced_in_one, compacted, from_floor, fell_behind, revoked } = reached;
    let times = [events, prev, replaced_in_one, compacted, from_floor, fell_behind, revoked];
    assert!(times.iter().all(|times| *times > 300), "{reached:?}");
}

fn run(seed: u64, reached: &mut Reached) {
    let random = &mut Random::new(seed);
    let mut world = World::new(random);
    for _ in 0..150 {
        match random.below(16) {
            0..=6 => {
                let actions: Vec<Action> = (0..1 + random.below(3)).map(|_| action(random)).collect();
                reached.revoked += actions.iter().filter(|a| matches!(a, Action::LeaseRevoke { .. })).count();
                world.apply(actions);
            }
            7 | 8 => world.publish(reached),
            9 => world.watch(random, reached),
            10 if random.below(3) == 0 => world.compact(random),
            11 if random.below(4) == 0 => world.feed.clear(),
            12 | 13 => {
                world.hub.catch_up(&world.reader.view()).expect("reads");
            }
            14 => {
                world.hub.progress(StreamId(random.below(4) as u64));
            }
            _ => world.take(StreamId(random.below(4) as u64), reached),
        }
    }
    world.settle(reached);
}
