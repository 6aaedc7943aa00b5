//! Everything that ever happened, kept naively, and views of it as the store would give them.
use std::collections::{BTreeMap, BTreeSet};

use bramble_store::error::Fatal;
use bramble_store::types::{ChangedKey, Changes, EventKind, KeyValue, LeaseId};
use bramble_store::watch::History;
use bytes::Bytes;

use crate::common::Random;

/// One of few keys, so that they meet.
pub fn any_key(random: &mut Random) -> Bytes {
    vec![b'a' + random.below(6) as u8; 1 + random.below(2)].into()
}

/// Everything that ever happened. `all[i]` is main revision `i + 2`; `states[i]` the keys after main `i + 1`.
pub struct Past {
    all: Vec<Changes>,
    states: Vec<BTreeMap<Bytes, KeyValue>>,
    pub floor: i64,
    pub floors: BTreeSet<i64>,
}

impl Past {
    pub fn new() -> Past {
        Past { all: vec![], states: vec![BTreeMap::new()], floor: -1, floors: BTreeSet::new() }
    }
    pub fn revision(&self) -> i64 {
        1 + self.all.len() as i64
    }
    pub fn state_at(&self, main: i64) -> &BTreeMap<Bytes, KeyValue> {
        &self.states[(main - 1) as usize]
    }
    pub fn of(&self, main: i64) -> &[ChangedKey] {
        &self.all[(main - 2) as usize].changes
    }

    /// One write of up to three keys; a key may be deleted and then put again in the same one.
    pub fn write(&mut self, random: &mut Random) -> Changes {
        let main = self.revision() + 1;
        let mut keys = self.state_at(main - 1).clone();
        let mut changes = Vec::<ChangedKey>::new();
        while changes.is_empty() || random.one_in(2) {
            let key = any_key(random);
            if keys.get(&key).is_some_and(|kv| kv.mod_revision == main) {
                continue; // put in this write already
            }
            let old = keys.remove(&key);
            let kv = KeyValue { key: key.clone(), mod_revision: main, ..KeyValue::default() };
            if old.is_some() && random.one_in(3) {
                changes.push(ChangedKey { sub: changes.len() as i64, kind: EventKind::Delete, kv });
                continue;
            }
            let kv = KeyValue {
                create_revision: old.as_ref().map_or(main, |kv| kv.create_revision),
                version: 1 + old.map_or(0, |kv| kv.version),
                value: vec![b'v'; random.below(40)].into(),
                lease: LeaseId::NONE,
                ..kv
            };
            changes.push(ChangedKey { sub: changes.len() as i64, kind: EventKind::Put, kv: kv.clone() });
            keys.insert(key, kv);
        }
        self.states.push(keys);
        self.all.push(Changes { main, changes: changes.clone() });
        Changes { main, changes }
    }

    pub fn compact(&mut self, floor: i64) {
        self.floor = floor;
        self.floors.insert(floor);
    }
    /// The state at `revision`; an old one is as little compacted as it was then.
    pub fn view(&self, revision: i64) -> View<'_> {
        let floor = self.floors.range(..=revision).next_back().copied();
        View { past: self, revision, floor: floor.unwrap_or(-1) }
    }
}

/// A pinned view as the store gives it: at the floor only the last change of each key is left.
pub struct View<'a> {
    past: &'a Past,
    revision: i64,
    floor: i64,
}

impl History for View<'_> {
    fn revision(&self) -> i64 {
        self.revision
    }
    fn floor(&self) -> i64 {
        self.floor
    }
    fn changes(&self, from: i64, rows_max: usize, _bytes_max: usize) -> Result<Vec<Changes>, Fatal> {
        assert!(self.floor <= from, "asked for {from} below the floor {}", self.floor);
        let (mut found, mut rows) = (Vec::new(), 0);
        for main in from.max(2)..=self.revision {
            if rows >= rows_max {
                break;
            }
            let mut changes = self.past.of(main).to_vec();
            if main == self.floor {
                changes.retain(|change| !superseded(change, self.past.of(main)));
            }
            rows += changes.len();
            found.push(Changes { main, changes });
        }
        Ok(found)
    }
    fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal> {
        assert!(main <= self.revision, "looked up in a view older than the change");
        let there = self.floor < main;
        Ok(self.past.state_at(main - 1).get(key).filter(|_| there).cloned())
    }
}

pub fn superseded(change: &ChangedKey, whole: &[ChangedKey]) -> bool {
    whole.iter().any(|other| other.kv.key == change.kv.key && change.sub < other.sub)
}
