//! Who is told of what as it happens.
use std::sync::Arc;

use bramble_store::types::{KeyRange, KeyValue, RangeEnd};
use bramble_store::watch::{StreamId, WatchSpec};
use bytes::Bytes;

use crate::world::*;

#[test]
fn from_now_on_means_after_the_hubs_revision() {
    let mut world = World::new();
    world.put("a");
    world.watch(A, key("a"));
    assert_eq!(world.hub.ready(), []);
    world.put("a");
    world.put("b");
    assert_eq!(world.hub.ready(), [A]);
    let told = world.take(A);
    assert_eq!(told.iter().map(|delivery| delivery.header_revision).collect::<Vec<_>>(), [3]);
    assert_eq!(revisions(&told[0]), [3]);
}

#[test]
fn ranges_of_every_kind_find_their_keys() {
    let mut world = World::new();
    let before = |end: &'static str| RangeEnd::Before(end.into());
    let specs = [
        KeyRange::single("b"),
        KeyRange { start: "a".into(), end: before("b") },
        KeyRange::prefix("b"),
        KeyRange { start: "b".into(), end: RangeEnd::Open },
        KeyRange::all(),
        KeyRange { start: "b".into(), end: before("a") },
    ];
    let streams: Vec<_> = (0..specs.len() as u64).map(StreamId).collect();
    for (stream, range) in streams.iter().zip(specs) {
        world.watch(*stream, on(range, 0));
    }
    for name in ["a", "b", "bb", "c"] {
        world.put(name); // revisions 2, 3, 4, 5
    }
    let told: Vec<_> = streams.iter().map(|stream| world.told(*stream)).collect();
    assert_eq!(told, [vec![3], vec![2], vec![3, 4], vec![3, 4, 5], vec![2, 3, 4, 5], vec![]]);
}

#[test]
fn those_who_want_the_same_share_it_and_what_was_before_is_looked_up_once() {
    let mut world = World::new();
    world.put("a");
    let spec = WatchSpec { prev_kv: true, ..key("a") };
    for stream in 0..100 {
        world.watch(StreamId(stream), spec.clone());
        world.watch(StreamId(stream), WatchSpec { prev_kv: true, ..on(KeyRange::prefix("a"), 0) });
        world.watch(StreamId(stream), key("a"));
    }
    world.put("a");
    assert_eq!(*world.past.looked_up.borrow(), [Bytes::from("a")]);
    let first = world.take(StreamId(0));
    let last = world.take(StreamId(99));
    assert_eq!(first.len(), 3);
    for (one, other) in first.iter().zip(&last) {
        assert!(Arc::ptr_eq(&events(one), &events(other)));
    }
    let with_prev = first.iter().filter(|delivery| events(delivery)[0].prev_kv.is_some()).count();
    assert_eq!(with_prev, 2);
}

#[test]
fn a_created_key_has_nothing_before_and_is_not_looked_up() {
    let mut world = World::new();
    world.watch(A, WatchSpec { prev_kv: true, ..key("a") });
    world.put("a");
    assert!(world.past.looked_up.borrow().is_empty());
    world.delete("a");
    world.put("a");
    let told = world.take(A);
    let prev: Vec<_> = told.iter().map(|delivery| events(delivery)[0].prev_kv.is_some()).collect();
    assert_eq!(prev, [false, true, false]);
    let deleted = &events(&told[1])[0];
    assert_eq!(deleted.kv, KeyValue { key: "a".into(), mod_revision: 3, ..KeyValue::default() });
}

#[test]
fn a_filtered_revision_sends_nothing() {
    let mut world = World::new();
    world.watch(A, WatchSpec { no_put: true, ..key("a") });
    world.watch(B, WatchSpec { no_delete: true, ..key("a") });
    world.watch(StreamId(3), WatchSpec { no_put: true, no_delete: true, ..key("a") });
    world.put("a");
    world.delete("a");
    assert_eq!(world.told(A), [3]);
    assert_eq!(world.told(B), [2]);
    assert_eq!(world.take(StreamId(3)), []);
}

#[test]
fn cancel_drops_what_is_queued_for_it_alone() {
    let mut world = World::new();
    let gone = world.watch(A, key("a"));
    let kept = world.watch(A, key("a"));
    world.put("a");
    assert!(world.hub.cancel(gone));
    assert!(!world.hub.cancel(gone));
    let told = world.take(A);
    assert_eq!(told.iter().map(|delivery| delivery.watcher).collect::<Vec<_>>(), [Some(kept)]);
    assert_eq!(world.hub.counts(), world.hub.recount());
}

/// Watchers on other keys are not looked at: neither neighbours nor ranges that end just before.
#[test]
fn ten_thousand_watchers_on_other_keys() {
    let mut world = World::new();
    for n in 0..5_000_u64 {
        let name = format!("/registry/pods/{n:05}");
        world.watch(StreamId(n), on(KeyRange::single(name.clone()), 0));
        world.watch(StreamId(n), WatchSpec { prev_kv: true, ..on(KeyRange::prefix(name + "/"), 0) });
    }
    let began = std::time::Instant::now();
    for main in 2..=100_001 {
        let changes = put_at(main, "/registry/pods/02500x", b"value");
        world.hub.publish(&world.past, &[changes]).expect("the model cannot fail");
    }
    println!("100,000 publishes past 10,000 watchers: {:?}", began.elapsed());
    assert_eq!((world.hub.revision(), world.hub.counts().queued, world.hub.ready()), (100_001, 0, vec![]));
    assert!(world.past.looked_up.borrow().is_empty());
    let changes = put_at(100_002, "/registry/pods/02500/x", b"value");
    world.hub.publish(&world.past, &[changes]).expect("the model cannot fail");
    assert_eq!(world.hub.ready(), [StreamId(2500)]);
}
