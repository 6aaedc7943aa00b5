//! Power cuts under an embedded store: what was answered is there, what was not is there whole or not
//! at all. The disk is the simulated one, the engine the one in memory; both lose what was not flushed.
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bramble_store::disk::{Disk, sim::SimDisk};
use bramble_store::embedded::{Embedded, EmbeddedError, EmbeddedOptions};
use bramble_store::engine::{Engine, any::AnyEngine, mem::Mem};
use bramble_store::log::LogOptions;
use bramble_store::types::*;

mod common;
use common::Random;

/// What must be there: the keys' values, and the revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    keys: BTreeMap<String, Value>,
    revision: i64,
}

/// One byte over and over: short to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    byte: u8,
    len: usize,
}

impl Value {
    fn bytes(self) -> Vec<u8> {
        vec![self.byte; self.len]
    }

    fn of(bytes: &[u8]) -> Value {
        let byte = bytes.first().copied().unwrap_or_default();
        assert!(bytes.iter().all(|other| *other == byte), "a mixed value");
        Value { byte, len: bytes.len() }
    }
}

const PAIR: Value = Value { byte: b'p', len: 4 };

#[derive(Clone, Debug)]
enum Step {
    Put(String, Value),
    Delete(String),
    /// Both at one revision.
    Pair(String, String),
    Compact(i64),
    Maintain(Duration),
    Flush,
    /// The engine flushes by itself, as RocksDB may at any time.
    EngineFlush,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put(key, value) => {
                self.keys.insert(key.clone(), *value);
                self.revision += 1;
            }
            Step::Delete(key) => self.revision += i64::from(self.keys.remove(key).is_some()),
            Step::Pair(one, other) => {
                for key in [one, other] {
                    self.keys.insert(key.clone(), PAIR);
                }
                self.revision += 1;
            }
            Step::Compact(_) | Step::Maintain(_) | Step::Flush | Step::EngineFlush => {}
        }
    }

    fn read(store: &Embedded) -> Model {
        let all = store.range(&RangeRequest::new(KeyRange::all())).expect("range");
        assert_eq!(all.count, all.kvs.len() as i64);
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("as written");
        let keys = all.kvs.iter().map(|kv| (text(&kv.key), Value::of(&kv.value))).collect();
        Model { keys, revision: all.revision }
    }
}

fn any_step(random: &mut Random, now: &mut Duration, revision: i64) -> Step {
    let key = |random: &mut Random| format!("key-{}", random.below(20));
    match random.below(20) {
        0..=8 => {
            let len = random.below(9000);
            let byte = if len == 0 { 0 } else { random.next_u64() as u8 };
            Step::Put(key(random), Value { byte, len })
        }
        9..=11 => Step::Delete(key(random)),
        12..=13 => {
            let one = key(random);
            let other = format!("{one}-other");
            Step::Pair(one, other)
        }
        14 => Step::Compact(revision - random.below(3) as i64),
        15 => Step::Flush,
        16 => Step::EngineFlush,
        _ => {
            *now += Duration::from_secs(random.below(40) as u64);
            Step::Maintain(*now)
        }
    }
}

fn perform(store: &Embedded, engine: &Mem, step: &Step) -> Result<(), EmbeddedError> {
    let put = |key: String| {
        Op::Put(PutRequest { key: key.into(), value: PAIR.bytes().into(), ..PutRequest::default() })
    };
    match step.clone() {
        Step::Put(key, value) => store.put(key, value.bytes()).map(drop),
        Step::Delete(key) => store.delete(key).map(drop),
        Step::Pair(one, other) => {
            let success = vec![put(one), put(other)];
            store.txn(TxnRequest { success, ..TxnRequest::default() }).map(drop)
        }
        Step::Compact(revision) => match store.compact(revision) {
            Err(EmbeddedError::Refused(_)) => Ok(()),
            other => other,
        },
        Step::Maintain(now) => store.maintain(now).map(drop),
        Step::Flush => store.flush(),
        Step::EngineFlush => {
            engine.flush().expect("in memory");
            Ok(())
        }
    }
}

/// Lives through `cuts` power cuts; returns how many of the steps under way at a cut had happened.
fn live(random: &mut Random, cuts: usize, lying: bool) -> usize {
    let disk = SimDisk::new(random.next_u64());
    let engine = Mem::new();
    let log = LogOptions {
        segment_bytes: 64 * 1024,
        first_fill_bytes: 4096,
        recent_bytes: random.below(30_000),
        ..LogOptions::default()
    };
    let options = EmbeddedOptions { log, ..EmbeddedOptions::default() };
    let open = || {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        Embedded::open_on(shared, Path::new("/data"), options.clone(), |_| {
            Ok(AnyEngine::from(engine.clone()))
        })
    };
    disk.set_lying(lying);
    let (mut model, mut now, mut happened) =
        (Model { keys: BTreeMap::new(), revision: 1 }, Duration::ZERO, 0);
    for _ in 0..cuts {
        disk.cut_at_call(Some(disk.calls() + 1 + random.below(120) as u64));
        let mut under_way = None;
        // A cut while it opens is a cut too.
        if let Ok(store) = open() {
            assert_eq!(Model::read(&store), model, "opened again");
            while under_way.is_none() {
                let step = any_step(random, &mut now, model.revision);
                match perform(&store, &engine, &step) {
                    Ok(()) => model.apply(&step),
                    Err(EmbeddedError::Fatal(_)) => under_way = Some(step),
                    Err(other) => panic!("{step:?}: {other}"),
                }
                assert!(under_way.is_some() || disk.powered(), "a cut went unnoticed");
            }
        }
        assert!(!disk.powered(), "only a cut ends it");
        disk.cut_at_call(None);
        disk.power_on();
        engine.crash();
        let found = Model::read(&open().expect("open after a cut"));
        let mut with = model.clone();
        under_way.iter().for_each(|step| with.apply(step));
        assert!(found == model || found == with, "under way: {under_way:?}\nfound {found:?}\nnot {model:?}");
        happened += usize::from(found == with && found != model);
        model = found;
        disk.kill();
    }
    happened
}

#[test]
fn power_cuts_lose_nothing_that_was_answered() {
    common::with_seeds(60, |random| {
        live(random, 8, false);
    });
}

#[test]
fn a_disk_that_does_not_flush_is_noticed() {
    let caught = (0..12)
        .filter(|seed| {
            let run = || live(&mut Random::new(*seed), 8, true);
            std::panic::catch_unwind(run).is_err()
        })
        .count();
    assert!(caught >= 10, "only {caught} of 12 runs on a lying disk were noticed");
}

#[cfg(feature = "rocks")]
#[test]
fn dropped_without_a_flush_and_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    let open = || Embedded::open(&path, EmbeddedOptions::default()).expect("open");
    let mut model = Model { keys: BTreeMap::new(), revision: 1 };
    let mut random = Random::new(3);
    let mut now = Duration::ZERO;
    for life in 0..5 {
        let store = open();
        assert_eq!(Model::read(&store), model);
        for _ in 0..60 {
            let step = any_step(&mut random, &mut now, model.revision);
            if !matches!(step, Step::EngineFlush) {
                perform(&store, &Mem::new(), &step).expect("a step");
                model.apply(&step);
            }
        }
        let second = Embedded::open(&path, EmbeddedOptions::default());
        assert!(matches!(second, Err(EmbeddedError::DataDir(_))), "the directory is in use");
        if life % 2 == 0 {
            store.close().expect("close");
        }
    }
    assert_eq!(Model::read(&open()), model);
}
