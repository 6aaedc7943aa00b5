//! Every engine, and writes staged over every engine, answers as a plain ordered map would.
//!
//! Random batches, pinned views and cursor walks are mirrored against `BTreeMap`s. The seed is
//! printed when a run fails; `BRAMBLE_SEED=<seed>` repeats it.
use std::collections::BTreeMap;

use bramble_store::engine::{
    Batch, Change, Cursor, Engine, Family, Read, any::AnyEngine, mem::Mem, staged::Staged,
};
use bytes::Bytes;

mod common;
use common::Random;

#[derive(Clone, Default)]
struct Mirror {
    rev: BTreeMap<Vec<u8>, Vec<u8>>,
    idx: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Mirror {
    fn rows(&self, family: Family) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        match family {
            Family::Rev => &self.rev,
            Family::Idx => &self.idx,
        }
    }

    fn apply(&mut self, change: &Change) {
        let rows = match change.family {
            Family::Rev => &mut self.rev,
            Family::Idx => &mut self.idx,
        };
        match &change.value {
            Some(value) => rows.insert(change.key.to_vec(), value.to_vec()),
            None => rows.remove(change.key.as_ref()),
        };
    }
}

/// Few and short keys, so that hits, neighbours and shared prefixes are common; the empty key too.
fn any_key(random: &mut Random) -> Bytes {
    let len = random.below(4);
    (0..len).map(|_| [0u8, 1, b'a', b'b', 0xff][random.below(5)]).collect()
}

fn any_family(random: &mut Random) -> Family {
    [Family::Rev, Family::Idx][random.below(2)]
}

fn any_change(random: &mut Random) -> Change {
    let family = any_family(random);
    let key = any_key(random);
    let value = match random.below(3) {
        0 => None,
        _ => Some(Bytes::from(format!("{}", random.below(1000) * random.below(2)))),
    };
    Change { family, key, value }
}

fn any_batch(random: &mut Random) -> Batch {
    Batch { changes: (0..random.below(12)).map(|_| any_change(random)).collect() }
}

/// Walks both the same way and compares at each step.
fn walk(view: &impl Read, mirror: &Mirror, random: &mut Random) {
    let family = any_family(random);
    let rows = mirror.rows(family);
    let mut cursor = view.cursor(family);
    assert_eq!(cursor.row(), None, "a fresh cursor stands nowhere");
    let mut at: Option<Vec<u8>> = None;
    let mut path = String::new();
    for _ in 0..random.below(30) {
        match random.below(8) {
            0 => {
                let key = any_key(random);
                path += &format!(" seek({key:?})");
                cursor.seek(&key).expect("seek");
                at = rows.range(key.to_vec()..).next().map(|(k, _)| k.clone());
            }
            1 => {
                let key = any_key(random);
                path += &format!(" seek_back({key:?})");
                cursor.seek_back(&key).expect("seek_back");
                at = rows.range(..=key.to_vec()).next_back().map(|(k, _)| k.clone());
            }
            2..=4 => {
                path += " next";
                cursor.next().expect("next");
                at = at.and_then(|k| rows.keys().find(|other| **other > k).cloned());
            }
            _ => {
                path += " prev";
                cursor.prev().expect("prev");
                at = at.and_then(|k| rows.keys().rev().find(|other| **other < k).cloned());
            }
        }
        let expected = at.as_ref().map(|k| (k.as_slice(), rows[k].as_slice()));
        assert_eq!(cursor.row(), expected, "{family:?} after{path}");
    }
}

fn compare(view: &impl Read, mirror: &Mirror, random: &mut Random) {
    for _ in 0..4 {
        let (family, key) = (any_family(random), any_key(random));
        let expected = mirror.rows(family).get(key.as_ref()).cloned();
        let found = view.get(family, &key).expect("get").map(|value| value.to_vec());
        assert_eq!(found, expected, "{family:?} {key:?}");
        walk(view, mirror, random);
    }
    let family = any_family(random);
    let keys: Vec<Bytes> = (0..random.below(200)).map(|_| any_key(random)).collect();
    let expected: Vec<_> = keys.iter().map(|key| mirror.rows(family).get(key.as_ref()).cloned()).collect();
    let found = view.get_many(family, &keys).expect("get_many").into_iter();
    assert_eq!(
        found.map(|value| value.map(|v| v.to_vec())).collect::<Vec<_>>(),
        expected,
        "{family:?} {keys:?}"
    );
}

/// Writes, flushes, keeps old views, and stages writes on new and on old views.
fn conform(engine: &impl Engine, random: &mut Random) {
    let mut mirror = Mirror::default();
    let mut pinned = vec![(engine.view(), mirror.clone())];
    for _ in 0..60 {
        let batch = any_batch(random);
        batch.changes.iter().for_each(|change| mirror.apply(change));
        engine.write(batch).expect("write");
        if random.below(6) == 0 {
            engine.flush().expect("flush");
        }
        compare(&engine.view(), &mirror, random);
        if random.below(4) == 0 {
            pinned.push((engine.view(), mirror.clone()));
        }
        let (view, then) = &pinned[random.below(pinned.len())];
        compare(view, then, random);
        let batch = staged_over(view.clone(), then.clone(), random);
        assert!(batch.changes.is_sorted_by_key(|change| (change.family, change.key.clone())));
    }
}

fn staged_over(view: impl Read, mut mirror: Mirror, random: &mut Random) -> Batch {
    let below = mirror.clone();
    let mut staged = Staged::new(view);
    assert!(staged.is_empty());
    for _ in 0..6 {
        for change in any_batch(random).changes {
            mirror.apply(&change);
            match change.value {
                Some(value) => staged.put(change.family, change.key, value),
                None => staged.delete(change.family, change.key),
            }
        }
        compare(&staged, &mirror, random);
    }
    compare(staged.view(), &below, random);
    staged.into_batch()
}

#[test]
fn mem_conforms() {
    common::with_seeds(40, |random| conform(&Mem::new(), random));
}

#[test]
fn any_mem_conforms() {
    common::with_seeds(3, |random| conform(&AnyEngine::from(Mem::new()), random));
}

#[test]
fn a_staged_batch_written_is_what_was_read() {
    common::with_seeds(40, |random| {
        let engine = Mem::new();
        let mut mirror = Mirror::default();
        for _ in 0..10 {
            let mut staged = Staged::new(engine.view());
            for change in any_batch(random).changes {
                mirror.apply(&change);
                match change.value {
                    Some(value) => staged.put(change.family, change.key, value),
                    None => staged.delete(change.family, change.key),
                }
            }
            engine.write(staged.into_batch()).expect("write");
            compare(&engine.view(), &mirror, random);
        }
    });
}

#[cfg(feature = "rocks")]
mod rocks {
    use super::*;
    use bramble_store::engine::rocks::{Rocks, RocksOptions};

    #[test]
    fn rocks_conforms() {
        common::with_seeds(4, |random| {
            let dir = tempfile::tempdir().expect("a directory");
            conform(&Rocks::open(dir.path(), RocksOptions::default()).expect("open"), random);
        });
    }

    #[test]
    fn any_rocks_conforms() {
        common::with_seeds(1, |random| {
            let dir = tempfile::tempdir().expect("a directory");
            let rocks = Rocks::open(dir.path(), RocksOptions::default()).expect("open");
            conform(&AnyEngine::from(rocks), random);
        });
    }
}
