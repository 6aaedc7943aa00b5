//! Falling behind and catching up.
use bramble_store::types::{EventKind, KeyRange};
use bramble_store::watch::{Delivery, HubOptions, StreamId, WatchSpec, What};

use crate::world::*;

#[test]
fn history_comes_in_whole_revisions_with_the_newest_revision_in_the_header() {
    let mut world = World::with(HubOptions { step_rows_max: 4, ..HubOptions::default() });
    for _ in 0..10 {
        world.put("a"); // 2 ..= 11
    }
    world.watch(A, on(KeyRange::all(), 3));
    world.catch_up();
    let told = world.take(A);
    assert_eq!(
        told.iter().map(revisions).collect::<Vec<_>>(),
        [vec![3, 4, 5, 6], vec![7, 8, 9, 10], vec![11]]
    );
    assert!(told.iter().all(|delivery| delivery.header_revision == 11));
    world.put("a");
    assert_eq!(world.told(A), [12], "and then it is live");
}

#[test]
fn the_floor_itself_can_be_watched_from_and_below_it_nothing() {
    let mut world = World::new();
    world.put("a"); // 2
    world.delete("a"); // 3
    world.put("b"); // 4
    world.past.floor = 3;
    let early = world.watch(A, WatchSpec { prev_kv: true, ..on(KeyRange::all(), 2) });
    let at_floor = world.watch(A, WatchSpec { prev_kv: true, ..on(KeyRange::all(), 3) });
    world.catch_up();
    let told = world.take(A);
    let compacted = Delivery { watcher: Some(early), header_revision: 0, what: What::Compacted { floor: 3 } };
    assert_eq!(told[0], compacted);
    assert_eq!((told[1].watcher, revisions(&told[1])), (Some(at_floor), vec![3, 4]));
    let deleted = &events(&told[1])[0];
    assert_eq!((deleted.kind, &deleted.prev_kv), (EventKind::Delete, &None));
    assert!(!world.hub.cancel(early), "it is gone");
    world.put("c");
    assert_eq!(world.take(A).len(), 1, "and hears nothing more, the other does");
}

#[test]
fn compaction_never_ends_a_synced_watcher() {
    let mut world = World::new();
    world.watch(A, key("quiet"));
    for _ in 0..10 {
        world.put("a");
    }
    world.past.floor = 11;
    world.catch_up();
    world.put("quiet");
    assert_eq!(world.told(A), [12]);
}

#[test]
fn a_full_queue_means_behind_and_costs_one_number() {
    let options = HubOptions { stream_bytes_max: 1000, stream_bytes_min: 1000, ..HubOptions::default() };
    let mut world = World::with(options);
    world.watch(A, key("a"));
    for _ in 0..1000 {
        world.put("a");
    }
    let counts = world.hub.counts();
    assert_eq!((counts.watchers, counts.behind), (1, 1));
    assert!(counts.queued_bytes <= 1000);
    assert_eq!(world.catch_up(), 1, "nothing is read while there is no room");
    assert_eq!(*world.past.rows_read.borrow(), 0);
    let mut told = Vec::new();
    while told.last() != Some(&1001) {
        told.extend(world.told(A));
        world.catch_up();
    }
    assert_eq!(told, (2..=1001).collect::<Vec<_>>());
    assert_eq!(world.hub.counts().behind, 0);
}

/// A thousand clients that do not read, and one that does, while 20,000 KiB are written.
#[test]
fn slow_clients_do_not_take_memory_or_slow_the_others() {
    let options = HubOptions::default();
    let mut world = World::with(options);
    for stream in 0..1000 {
        world.watch(StreamId(stream), key("a"));
    }
    let reading = StreamId(5000);
    world.watch(reading, key("a"));
    let value = vec![b'x'; 1024];
    let mut told = 0;
    for main in 2..=20_001 {
        let changes = put_at(main, "a", &value);
        world.hub.publish(&world.past, &[changes]).expect("the model cannot fail");
        told += world.told(reading).len();
    }
    assert_eq!(told, 20_000, "never behind");
    let counts = world.hub.counts();
    assert_eq!((counts.behind, counts), (1000, world.hub.recount()));
    assert!(counts.queued_bytes <= options.total_bytes_max + 1000 * options.stream_bytes_min, "{counts:?}");
    (0..1000).for_each(|stream| world.hub.close(StreamId(stream)));
    assert_eq!((world.hub.counts().watchers, world.hub.counts().queued_bytes), (1, 0));
}

/// The same from the history: whoever begins there is not handed all that one step has read.
#[test]
fn slow_clients_that_begin_in_the_past_do_not_take_memory() {
    let options = HubOptions { total_bytes_max: 100_000, ..HubOptions::default() };
    let mut world = World::with(options);
    for main in 2..=400 {
        let changes = world.past.change(EventKind::Put, b"a", &[b'x'; 1000]);
        assert_eq!(changes.main, main);
    }
    world.hub.missed(400);
    for stream in 0..200 {
        world.watch(StreamId(stream), on(KeyRange::single("a"), 2));
        world.catch_up();
    }
    let counts = world.hub.counts();
    assert_eq!((counts.behind, counts), (200, world.hub.recount()));
    assert!(counts.queued_bytes <= options.total_bytes_max + 200 * options.stream_bytes_min, "{counts:?}");
    // What is taken makes room for the rest, to the end.
    let mut told = Vec::new();
    while told.last() != Some(&400) {
        told.extend(world.told(StreamId(199)));
        world.catch_up();
    }
    assert_eq!(told, (2..=400).collect::<Vec<_>>());
}

#[test]
fn a_revision_larger_than_the_queue_is_delivered_whole() {
    let mut world = World::with(HubOptions { stream_bytes_max: 100, ..HubOptions::default() });
    world.watch(A, key("a"));
    let changes = world.past.change(EventKind::Put, b"a", &[0; 10_000]);
    world.hub.publish(&world.past, &[changes]).expect("the model cannot fail");
    world.put("a");
    assert_eq!(world.told(A), [2]);
    world.catch_up();
    assert_eq!(world.told(A), [3]);
}

#[test]
fn a_gap_in_the_feed_puts_watchers_behind_and_loses_nothing() {
    let mut world = World::new();
    world.watch(A, key("a"));
    world.watch(B, on(KeyRange::single("a"), 6)); // needs nothing from the gap
    world.past.put("a"); // 2, 3 and 4 are not published
    world.past.put("b");
    world.past.put("a");
    world.put("a"); // 5
    assert_eq!(world.hub.counts().behind, 1);
    assert_eq!(world.take(A), []);
    world.catch_up();
    assert_eq!(world.told(A), [2, 4, 5]);
    world.past.put("a"); // 6
    world.hub.missed(6);
    assert!(!world.hub.progress(A), "lost, and nothing came after it");
    world.catch_up();
    assert_eq!((world.told(A), world.told(B)), (vec![6], vec![6]));
}

#[test]
fn revisions_the_hub_knows_are_not_published_again() {
    let mut world = World::new();
    let changes: Vec<_> = (0..5).map(|_| world.past.put("a")).collect();
    world.hub.missed(4);
    world.watch(A, key("a"));
    world.hub.publish(&world.past, &changes).expect("the model cannot fail");
    assert_eq!(world.told(A), [5, 6]);
}

#[test]
fn catching_up_never_passes_the_hub_itself() {
    let mut world = World::new();
    world.put("a");
    let third = world.past.put("a"); // in the history, not yet published
    world.watch(A, on(KeyRange::single("a"), 2));
    world.catch_up();
    assert_eq!(world.told(A), [2]);
    world.hub.publish(&world.past, &[third]).expect("the model cannot fail");
    assert_eq!(world.told(A), [3]);
}

#[test]
fn many_behind_cost_one_scan() {
    let mut world = World::with(HubOptions { step_rows_max: 100, ..HubOptions::default() });
    for _ in 0..1000 {
        world.put("a");
    }
    for stream in 0..200 {
        world.watch(StreamId(stream), on(KeyRange::single("a"), 2 + stream as i64));
    }
    world.catch_up();
    for stream in 0..200 {
        assert_eq!(world.told(StreamId(stream)), (2 + stream as i64..=1001).collect::<Vec<_>>());
    }
    let rows = *world.past.rows_read.borrow();
    assert!(rows <= 1100, "{rows} rows read for 1000 there are");
}

/// New watchers that start far back, one per step, must not hold up one that was there before them.
#[test]
fn newcomers_do_not_starve_those_ahead() {
    let mut world = World::with(HubOptions { step_rows_max: 10, ..HubOptions::default() });
    for _ in 0..500 {
        world.put("a");
    }
    world.watch(A, on(KeyRange::single("a"), 2));
    for step in 0..100 {
        assert!(step < 60, "starved");
        world.watch(B, on(KeyRange::single("a"), 2));
        world.hub.catch_up(&world.past).expect("the model cannot fail");
        if world.told(A).last() == Some(&501) {
            break;
        }
        world.take(B);
    }
}
