//! Splitting a delivery into messages, against an encoder written out by hand.
mod common;

use bramble_store::types::{Event, EventKind, KeyValue, LeaseId};
use bramble_store::watch::{encoded_len, fragments};
use common::Random;

/// Numbers of every length, negative ones too.
fn any_number(random: &mut Random) -> i64 {
    let bits = random.below(65);
    if bits == 0 { 0 } else { (random.next_u64() >> (64 - bits)) as i64 }
}
fn any_record(random: &mut Random) -> KeyValue {
    KeyValue {
        key: vec![b'k'; random.below(200)].into(),
        create_revision: any_number(random),
        mod_revision: any_number(random),
        version: any_number(random),
        value: vec![b'v'; [0, 1, 127, 128, 300, 20_000][random.below(6)]].into(),
        lease: LeaseId(any_number(random)),
    }
}
fn any_event(random: &mut Random) -> Event {
    let kind = if random.one_in(2) { EventKind::Put } else { EventKind::Delete };
    let prev_kv = random.one_in(2).then(|| any_record(random));
    Event { kind, kv: any_record(random), prev_kv }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
fn number(field: u8, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(field << 3);
        varint(value as u64, out);
    }
}
fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(content.len() as u64, out);
    out.extend(content);
}
fn record(kv: &KeyValue) -> Vec<u8> {
    let mut out = Vec::new();
    if !kv.key.is_empty() {
        bytes(1, &kv.key, &mut out);
    }
    number(2, kv.create_revision, &mut out);
    number(3, kv.mod_revision, &mut out);
    number(4, kv.version, &mut out);
    if !kv.value.is_empty() {
        bytes(5, &kv.value, &mut out);
    }
    number(6, kv.lease.0, &mut out);
    out
}
fn encoded(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    number(1, i64::from(event.kind == EventKind::Delete), &mut out);
    bytes(2, &record(&event.kv), &mut out);
    if let Some(prev) = &event.prev_kv {
        bytes(3, &record(prev), &mut out);
    }
    out
}
/// The size of a message with these events (field 11) and nothing else.
fn message_len(events: &[Event]) -> usize {
    let mut out = Vec::new();
    events.iter().for_each(|event| bytes(11, &encoded(event), &mut out));
    out.len()
}

#[test]
fn sizes_are_those_of_the_encoding() {
    for seed in 1..=20_000_u64 {
        let event = any_event(&mut Random::new(seed));
        assert_eq!(encoded_len(&event), encoded(&event).len(), "seed {seed}: {event:?}");
    }
}

#[test]
fn pieces_are_below_the_bound_as_large_as_they_may_be_and_lose_nothing() {
    let (mut split, mut alone) = (0, 0);
    for seed in 1..=3_000_u64 {
        let mut random = Random::new(seed);
        let events: Vec<Event> = (0..1 + random.below(30)).map(|_| any_event(&mut random)).collect();
        let envelope = random.below(60);
        let bound = [1, 200, 5_000, 60_000, usize::MAX][random.below(5)];
        let pieces = fragments(&events, envelope, bound);
        let whole: Vec<Event> = pieces.iter().flat_map(|piece| piece.events).cloned().collect();
        assert_eq!(whole, events, "seed {seed}");
        let mut rest = &events[..];
        for piece in &pieces {
            let last = piece.events.len() == rest.len();
            assert_eq!(piece.more, !last, "seed {seed}");
            let len = envelope + message_len(piece.events);
            assert!(len < bound || piece.events.len() == 1, "seed {seed}: {len} of {bound}");
            if !last {
                let with_next = envelope + message_len(&rest[..piece.events.len() + 1]);
                assert!(with_next >= bound, "seed {seed}: the next one had room");
            }
            rest = &rest[piece.events.len()..];
            alone += usize::from(len >= bound);
        }
        split += usize::from(pieces.len() > 1);
    }
    println!("{split} split, {alone} events larger than the bound");
    assert!(split > 500 && alone > 500);
}

#[test]
fn a_message_of_exactly_the_bound_is_too_large() {
    let mut random = Random::new(77);
    let events = [any_event(&mut random), any_event(&mut random)];
    let both = 10 + message_len(&events);
    assert_eq!(fragments(&events, 10, both).len(), 2);
    assert_eq!(fragments(&events, 10, both + 1).len(), 1);
}

#[test]
fn nothing_makes_no_piece() {
    assert!(fragments(&[], 10, 100).is_empty());
}
