//! Good histories pass, whatever happened in them.
use std::collections::BTreeMap;
use std::time::Instant;

use bramble_tests::chance::Chance;
use bramble_tests::history::lease::Bounds;
use bramble_tests::history::{self, Call, History, Outcome, What, lease, replay, search, search_key, watch};

use crate::world::{self, LATE, Plan};

const BOUNDS: Bounds = Bounds { late: LATE };
/// Good histories that must pass.
const HISTORIES: u64 = 1000;

#[test]
fn a_thousand_good_histories_pass() {
    let first = Chance::seed_from("BRAMBLE_HISTORY_SEED");
    println!("BRAMBLE_HISTORY_SEED={first}");
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in first..first + HISTORIES {
        let plan = Plan { calls: 150, clients: 2 + (seed % 5) as usize, lost_per_mille: 20 };
        let history = world::history(seed, plan);
        let violations = history::check(&history, BOUNDS);
        assert!(violations.is_empty(), "seed {seed}: {:?}\n{}", violations[0].property, violations[0].text);
        count(&history, &mut met);
    }
    println!("{met:?}");
    for (what, least) in
        [("unknown", 3000), ("refused", 3000), ("lease ends", 300), ("compacted watches", 30)]
    {
        assert!(met.get(what).is_some_and(|count| *count >= least), "too few of {what}: {met:?}");
    }
}

fn count(history: &History, met: &mut BTreeMap<&str, usize>) {
    let calls = |is: fn(&Call) -> bool| history.calls.iter().filter(|call| is(call)).count();
    let messages = || history.watches.iter().flat_map(|watch| &watch.messages);
    let (log, _) = replay::check(history);
    let ends = |cause: &replay::Cause| matches!(cause, replay::Cause::LeaseEnd { .. });
    for (what, count) in [
        ("calls", history.calls.len()),
        ("unknown", calls(Call::unknown)),
        ("refused", calls(|call| matches!(call.outcome, Outcome::Refused(_)))),
        (
            "unknown and done",
            log.changes().iter().filter(|change| change.cause == replay::Cause::Unknown).count(),
        ),
        ("lease ends", log.changes().iter().filter(|change| ends(&change.cause)).count()),
        ("events", watch::events(history)),
        ("marks", messages().filter(|message| message.what == What::Progress).count()),
        (
            "compacted watches",
            messages().filter(|message| matches!(message.what, What::Canceled(1..))).count(),
        ),
        ("watches", history.watches.len()),
    ] {
        *met.entry(what).or_default() += count;
    }
}

/// Without the watch that sees everything the search has to find out for itself what happened.
#[test]
fn the_search_needs_no_witness() {
    let first = Chance::seed_from("BRAMBLE_HISTORY_SEED");
    println!("BRAMBLE_HISTORY_SEED={first}");
    for seed in first..first + 200 {
        let mut history = world::history(seed, Plan { calls: 100, clients: 4, lost_per_mille: 20 });
        history.watches.clear();
        let violations = search::check(&history);
        assert!(violations.is_empty(), "seed {seed}: {:?}\n{}", violations[0].property, violations[0].text);
    }
}

/// One long history. `BRAMBLE_HISTORY_OPERATIONS` sets its length; the key by key search has its turn in pieces.
#[test]
fn a_long_history_passes() {
    let given = std::env::var("BRAMBLE_HISTORY_OPERATIONS").ok().and_then(|text| text.parse().ok());
    let calls: usize = given.unwrap_or(20_000);
    let seed = Chance::seed_from("BRAMBLE_HISTORY_SEED");
    println!("BRAMBLE_HISTORY_SEED={seed} BRAMBLE_HISTORY_OPERATIONS={calls}");
    let began = Instant::now();
    let history = world::history(seed, Plan { calls, clients: 8, lost_per_mille: 10 });
    println!("{calls} calls, {} events made in {:?}", watch::events(&history), began.elapsed());
    let timed = |what: &str, check: &dyn Fn() -> Vec<history::Violation>| {
        let began = Instant::now();
        let violations = check();
        println!("{what}: {:?}", began.elapsed());
        assert!(violations.is_empty(), "{what}: {:?}\n{}", violations[0].property, violations[0].text);
    };
    let began = Instant::now();
    let (log, violations) = replay::check(&history);
    assert!(violations.is_empty(), "{:?}\n{}", violations[0].property, violations[0].text);
    println!("replay of {} revisions: {:?}", log.last(), began.elapsed());
    timed("search over the whole store", &|| search::whole(&history, search::STATES_MAX));
    timed("watches", &|| watch::check(&history, &log));
    timed("leases", &|| lease::check(&history, &log, BOUNDS));
    timed("search key by key, in histories of 2,000", &|| {
        let pieces = (calls / 2000) as u64;
        let plan = Plan { calls: 2000, clients: 8, lost_per_mille: 10 };
        let piece = |piece| search_key::by_key(&world::history(seed + piece, plan), search::STATES_MAX);
        (0..pieces).flat_map(piece).collect()
    });
}
