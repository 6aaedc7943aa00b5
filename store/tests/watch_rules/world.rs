//! A small past, and a hub that is told of it.
use std::cell::RefCell;
use std::sync::Arc;

use bramble_store::error::Fatal;
use bramble_store::types::{ChangedKey, Changes, Event, EventKind, KeyRange, KeyValue};
use bramble_store::watch::{Delivery, History, Hub, HubOptions, StreamId, WatchSpec, WatcherId, What};
use bytes::Bytes;

pub const A: StreamId = StreamId(1);
pub const B: StreamId = StreamId(2);

/// A history of puts, main revision 2 first, that notes what it is asked.
#[derive(Default)]
pub struct Past {
    pub all: Vec<Changes>,
    pub floor: i64,
    pub rows_read: RefCell<usize>,
    pub looked_up: RefCell<Vec<Bytes>>,
}

impl History for Past {
    fn revision(&self) -> i64 {
        1 + self.all.len() as i64
    }
    fn floor(&self) -> i64 {
        self.floor
    }
    fn changes(&self, from: i64, rows_max: usize, _bytes_max: usize) -> Result<Vec<Changes>, Fatal> {
        assert!(self.floor <= from);
        let found = self.all.iter().filter(|whole| from <= whole.main).take(rows_max).cloned();
        let found: Vec<_> = found.collect();
        *self.rows_read.borrow_mut() += found.len();
        Ok(found)
    }
    fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal> {
        self.looked_up.borrow_mut().push(Bytes::copy_from_slice(key));
        let earlier = self.all.iter().filter(|whole| whole.main < main && self.floor < main);
        let changes = earlier.flat_map(|whole| &whole.changes).filter(|change| change.kv.key == key);
        Ok(changes.last().filter(|change| change.kind == EventKind::Put).map(|change| change.kv.clone()))
    }
}

impl Past {
    pub fn change(&mut self, kind: EventKind, key: &[u8], value: &[u8]) -> Changes {
        let main = self.revision() + 1;
        let before = self.before(key, main).expect("the model cannot fail");
        self.looked_up.borrow_mut().clear();
        let key = Bytes::copy_from_slice(key);
        let kv = match kind {
            EventKind::Delete => KeyValue { key, mod_revision: main, ..KeyValue::default() },
            EventKind::Put => KeyValue {
                key,
                create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
                mod_revision: main,
                version: before.map_or(1, |kv| kv.version + 1),
                value: Bytes::copy_from_slice(value),
                ..KeyValue::default()
            },
        };
        let whole = Changes { main, changes: vec![ChangedKey { sub: 0, kind, kv }] };
        self.all.push(whole.clone());
        whole
    }
    pub fn put(&mut self, key: &str) -> Changes {
        self.change(EventKind::Put, key.as_bytes(), b"value")
    }
}

/// A past and a hub that is told of it.
pub struct World {
    pub past: Past,
    pub hub: Hub,
}

impl World {
    pub fn new() -> World {
        World::with(HubOptions::default())
    }
    pub fn with(options: HubOptions) -> World {
        World { past: Past { floor: -1, ..Past::default() }, hub: Hub::at(1, options) }
    }
    pub fn watch(&mut self, stream: StreamId, spec: WatchSpec) -> WatcherId {
        self.hub.watch(stream, spec, self.hub.revision())
    }
    pub fn put(&mut self, key: &str) {
        let changes = self.past.put(key);
        self.hub.publish(&self.past, &[changes]).expect("the model cannot fail");
    }
    pub fn delete(&mut self, key: &str) {
        let changes = self.past.change(EventKind::Delete, key.as_bytes(), b"");
        self.hub.publish(&self.past, &[changes]).expect("the model cannot fail");
    }
    pub fn catch_up(&mut self) -> usize {
        let mut steps = 1;
        while self.hub.catch_up(&self.past).expect("the model cannot fail") {
            steps += 1;
        }
        steps
    }
    pub fn take(&mut self, stream: StreamId) -> Vec<Delivery> {
        self.hub.take(stream, usize::MAX)
    }
    /// The revisions of the events a stream is told now.
    pub fn told(&mut self, stream: StreamId) -> Vec<i64> {
        self.take(stream).iter().flat_map(revisions).collect()
    }
}

/// A put that is in no history, for tests that need none.
pub fn put_at(main: i64, key: &'static str, value: &[u8]) -> Changes {
    let value = Bytes::copy_from_slice(value);
    let kv = KeyValue {
        key: key.into(),
        mod_revision: main,
        create_revision: 2,
        version: 1,
        value,
        ..KeyValue::default()
    };
    Changes { main, changes: vec![ChangedKey { sub: 0, kind: EventKind::Put, kv }] }
}

pub fn revisions(delivery: &Delivery) -> Vec<i64> {
    events(delivery).iter().map(|event| event.kv.mod_revision).collect()
}
pub fn events(delivery: &Delivery) -> Arc<[Event]> {
    match &delivery.what {
        What::Events(events) => events.clone(),
        _ => Arc::new([]),
    }
}
pub fn on(range: KeyRange, start: i64) -> WatchSpec {
    WatchSpec { range, start, no_put: false, no_delete: false, prev_kv: false }
}
pub fn key(key: &'static str) -> WatchSpec {
    on(KeyRange::single(key), 0)
}
