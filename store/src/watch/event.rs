//! Changes made into events, once for all watchers that want the same.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::{GroupId, Groups};
use super::{Delivery, History, What};
use crate::error::Fatal;
use crate::types::{ChangedKey, Changes, Event, EventKind, KeyValue};

/// What a delivery or an event costs a queue besides keys and values.
pub(super) const FIXED_BYTES: usize = 64;

/// Events of some watchers, with what they cost a queue.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) events: Arc<[Event]>,
    pub(super) bytes: usize,
}

/// The changes of a publish or of a catch-up step, numbered from 0 in revision order.
///
/// `prev_kv` is looked up at most once per change and only if someone wants it; watchers that get the
/// same changes in the same form share one slice.
pub(super) struct Events<'a, H> {
    view: &'a H,
    rows: Vec<Row<'a>>,
    /// By the numbers of the changes in the slice; without and with `prev_kv`.
    plain: BTreeMap<Box<[usize]>, Slice>,
    with_prev: BTreeMap<Box<[usize]>, Slice>,
}

struct Row<'a> {
    main: i64,
    change: &'a ChangedKey,
    /// Once looked up.
    prev: Option<Option<KeyValue>>,
}

impl<'a, H: History> Events<'a, H> {
    /// `view` must be able to tell what was before these changes.
    pub(super) fn of(view: &'a H, changes: &'a [Changes]) -> Self {
        let rows = changes.iter().flat_map(|whole| whole.changes.iter().map(|change| (whole.main, change)));
        let rows = rows.map(|(main, change)| Row { main, change, prev: None }).collect();
        Events { view, rows, plain: BTreeMap::new(), with_prev: BTreeMap::new() }
    }

    /// For each group in `groups` that gets anything: the numbers of its changes, ascending.
    pub(super) fn hits(&self, groups: &Groups) -> BTreeMap<GroupId, Vec<usize>> {
        let mut hits = BTreeMap::<GroupId, Vec<usize>>::new();
        for (number, row) in self.rows.iter().enumerate() {
            groups.find(&row.change.kv.key, &mut |group| {
                if groups.group(group).needs.wants(row.change.kind) {
                    hits.entry(group).or_default().push(number);
                }
            });
        }
        hits
    }

    /// The main revision of a change.
    pub(super) fn main(&self, number: usize) -> i64 {
        self.rows[number].main
    }

    /// What a change costs a queue.
    pub(super) fn bytes(&mut self, number: usize, prev_kv: bool) -> Result<usize, Fatal> {
        let kv = &self.rows[number].change.kv;
        let now = FIXED_BYTES + kv.key.len() + kv.value.len();
        let before = if prev_kv { self.prev(number)? } else { None };
        Ok(now + before.map_or(0, |kv| FIXED_BYTES + kv.key.len() + kv.value.len()))
    }

    /// The events of these changes.
    pub(super) fn slice(&mut self, numbers: &[usize], prev_kv: bool) -> Result<Slice, Fatal> {
        let made = if prev_kv { &self.with_prev } else { &self.plain };
        if let Some(slice) = made.get(numbers) {
            return Ok(slice.clone());
        }
        let mut events = Vec::with_capacity(numbers.len());
        let mut bytes = FIXED_BYTES;
        for number in numbers {
            bytes += self.bytes(*number, prev_kv)?;
            let prev_kv = if prev_kv { self.prev(*number)?.cloned() } else { None };
            let change = self.rows[*number].change;
            events.push(Event { kind: change.kind, kv: change.kv.clone(), prev_kv });
        }
        let slice = Slice { events: events.into(), bytes };
        let made = if prev_kv { &mut self.with_prev } else { &mut self.plain };
        made.insert(numbers.into(), slice.clone());
        Ok(slice)
    }

    /// The record one main revision before a change. A created key has none, and is not looked up.
    fn prev(&mut self, number: usize) -> Result<Option<&KeyValue>, Fatal> {
        let row = &mut self.rows[number];
        if row.prev.is_none() {
            let kv = &row.change.kv;
            let created = row.change.kind == EventKind::Put && kv.create_revision == kv.mod_revision;
            row.prev = Some(if created { None } else { self.view.before(&kv.key, row.main)? });
        }
        Ok(row.prev.as_ref().and_then(|prev| prev.as_ref()))
    }
}

impl Delivery {
    /// What a delivery costs a queue and a taker.
    pub(super) fn bytes(&self) -> usize {
        let with = |kv: &KeyValue| FIXED_BYTES + kv.key.len() + kv.value.len();
        match &self.what {
            What::Events(events) => {
                let event = |e: &Event| with(&e.kv) + e.prev_kv.as_ref().map_or(0, with);
                FIXED_BYTES + events.iter().map(event).sum::<usize>()
            }
            What::Compacted { .. } | What::Progress => FIXED_BYTES,
        }
    }

    /// The events in it.
    pub(super) fn events(&self) -> usize {
        match &self.what {
            What::Events(events) => events.len(),
            What::Compacted { .. } | What::Progress => 0,
        }
    }
}

/// Bytes of an event in etcd's protobuf encoding, without its own tag and length.
pub fn encoded_len(event: &Event) -> usize {
    let kind = match event.kind {
        EventKind::Put => 0, // a zero field is not written
        EventKind::Delete => 2,
    };
    let prev = event.prev_kv.as_ref().map_or(0, |kv| nested_len(record_len(kv)));
    kind + nested_len(record_len(&event.kv)) + prev
}

/// Tag, length and content of a nested message or of bytes, for field numbers up to 15.
pub(super) fn nested_len(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

fn record_len(kv: &KeyValue) -> usize {
    let bytes = |field: &[u8]| if field.is_empty() { 0 } else { nested_len(field.len()) };
    // A negative number (a lease's id can be one) is written as its two's complement, ten bytes long.
    let number = |field: i64| if field == 0 { 0 } else { 1 + varint_len(field as u64) };
    let revisions = number(kv.create_revision) + number(kv.mod_revision) + number(kv.version);
    bytes(&kv.key) + bytes(&kv.value) + revisions + number(kv.lease.0)
}

fn varint_len(value: u64) -> usize {
    let bits = (64 - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}
