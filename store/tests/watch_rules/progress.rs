//! What is promised, and when.
use bramble_store::types::KeyRange;
use bramble_store::watch::{Delivery, WatchSpec, WatcherId, What};

use crate::world::*;

#[test]
fn a_future_start_waits_without_events_or_progress() {
    let mut world = World::new();
    let future = world.watch(A, on(KeyRange::all(), 4));
    world.put("a");
    world.put("a");
    assert!(!world.hub.progress(A) && !world.hub.tick_progress(future));
    assert_eq!(world.take(A), []);
    world.put("a");
    assert_eq!(world.told(A), [4]);
    assert!(world.hub.progress(A));
}

#[test]
fn progress_queues_behind_events_and_only_if_all_are_synced() {
    let mut world = World::new();
    assert!(!world.hub.progress(A), "no watchers, no promise");
    world.watch(A, key("a"));
    world.put("a");
    world.put("b");
    assert!(world.hub.progress(A));
    world.put("a");
    let told = world.take(A);
    assert_eq!(revisions(&told[0]), [2]);
    assert_eq!(told[1], Delivery { watcher: None, header_revision: 3, what: What::Progress });
    assert_eq!(revisions(&told[2]), [4]);
    let old = world.watch(A, on(KeyRange::single("b"), 2));
    assert!(!world.hub.progress(A), "one is behind");
    assert_eq!(world.take(A), []);
    world.catch_up();
    assert!(world.hub.progress(A));
    let told = world.take(A);
    assert_eq!((told[0].watcher, &told[1].what), (Some(old), &What::Progress));
}

#[test]
fn a_new_watcher_takes_back_a_promise_that_would_be_read_as_made_to_it() {
    let mut world = World::new();
    world.put("a");
    world.watch(A, key("a"));
    assert!(world.hub.progress(A));
    world.watch(A, on(KeyRange::single("a"), 2));
    world.catch_up();
    let told = world.take(A);
    assert!(told.iter().all(|delivery| delivery.what != What::Progress), "{told:?}");
    assert_eq!(told.iter().flat_map(revisions).collect::<Vec<_>>(), [2]);
}

#[test]
fn periodic_progress_skips_one_tick_after_events() {
    let mut world = World::new();
    let id = world.watch(A, key("a"));
    assert!(world.hub.tick_progress(id));
    assert_eq!(world.take(A), [Delivery { watcher: Some(id), header_revision: 1, what: What::Progress }]);
    world.put("a");
    assert!(!world.hub.tick_progress(id));
    assert!(world.hub.tick_progress(id));
    assert_eq!(
        world.take(A).last().map(|last| (last.header_revision, &last.what)),
        Some((2, &What::Progress))
    );
    assert!(!world.hub.tick_progress(WatcherId(99)));
}

/// Found by 200 kills under load: the header of an event was one below that of the `created` before it, when the
/// store had shown a revision that the hub did not know yet.
#[test]
fn no_header_of_a_watcher_goes_below_the_one_it_was_created_with() {
    let mut world = World::new();
    let (early, shown) = (world.past.put("a"), world.past.put("b"));
    world.hub.watch(A, WatchSpec { start: early.main, ..key("a") }, shown.main);
    world.hub.publish(&world.past, &[early]).expect("the model cannot fail");
    assert_eq!(world.take(A).iter().map(|told| told.header_revision).collect::<Vec<_>>(), [shown.main]);
    world.hub.publish(&world.past, &[shown]).expect("the model cannot fail");
    assert!(world.hub.progress(A));
}

/// The store shows a revision to readers before the hub is told of it; who has read it and then watches
/// "from now on" must not be told of it again, nor be promised less than it knows.
#[test]
fn from_now_on_means_after_what_the_client_has_seen() {
    let mut world = World::new();
    let shown = world.past.put("a");
    world.hub.watch(A, key("a"), shown.main);
    assert!(!world.hub.progress(A), "a promise of revision 1 to one who knows 2");
    world.hub.publish(&world.past, &[shown]).expect("the model cannot fail");
    assert_eq!(world.take(A), []);
    assert!(world.hub.progress(A));
    world.put("a");
    world.take(A);
    world.put("a");
    assert_eq!(world.told(A), [4]);
}
