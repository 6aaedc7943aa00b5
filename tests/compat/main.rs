//! Random requests with every option, to etcd and to Bramble in lock-step, compared field by field and
//! watch event by watch event. Prints what it has tried as a grid; what may differ is in [`allow`].
//!
//! `BRAMBLE_COMPAT_SEED` repeats a run, `BRAMBLE_COMPAT_REQUESTS` makes it longer, and
//! `BRAMBLE_COMPAT_SELF=1` compares etcd with itself, which proves that the comparison is fair.

mod allow;
mod feed;
mod generate;
mod generate_txn;
mod grid;
mod options;
mod session;
mod side;
mod watching;
mod words;
mod world;

use std::time::Instant;

use bramble_tests::chance::Chance;
use bramble_tests::process::Setup;

use crate::grid::{Grid, HITS_MIN};
use crate::session::Session;
use crate::side::Side;

/// Requests in one run, unless told otherwise.
const REQUESTS: usize = 20_000;
/// A run goes on to fill thin cells, up to so many times its length.
const LENGTH_MAX: usize = 3;
/// Steps between two fresh pairs of servers.
const SESSION_STEPS: usize = 600;
/// Differences shown before the run gives up.
const SHOWN_MAX: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_etcd() {
    let Some(etcd) = Setup::etcd() else { return };
    let itself = std::env::var("BRAMBLE_COMPAT_SELF").is_ok_and(|value| value == "1");
    let other = if itself { etcd.clone() } else { Setup::bramble() };
    let wanted = std::env::var("BRAMBLE_COMPAT_REQUESTS").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(REQUESTS);
    let seed = Chance::seed_from("BRAMBLE_COMPAT_SEED");
    println!("seed {seed} (BRAMBLE_COMPAT_SEED={seed} repeats this run)");

    let started = Instant::now();
    let mut grid = Grid::default();
    let mut known = vec![0; allow::KNOWN.len()];
    let (mut requests, mut sessions, mut erased) = (0, 0, 0);
    let mut differences = Vec::new();
    while differences.len() < SHOWN_MAX && goes_on(requests, wanted, &grid) {
        let sides = tokio::join!(side(&etcd), side(&other)).into();
        let chance = Chance::from_seed(seed.wrapping_add(1_000_003 * sessions));
        let mut session = Session::new(sides, chance, &mut grid, sessions % 3 == 2);
        if let Err(difference) = session.run(SESSION_STEPS).await {
            let casualties = session.casualties();
            println!(
                "DIFFERENCE in session {sessions}, request {}: {difference}\n{}",
                session.requests, casualties
            );
            differences.push(difference);
        }
        requests += session.requests;
        erased += session.erased;
        known.iter_mut().zip(&session.known).for_each(|(sum, met)| *sum += met);
        sessions += 1;
    }

    println!("{grid}");
    for (entry, met) in allow::KNOWN.iter().zip(&known) {
        println!("allowed {met} times: {}: {}", entry.name, entry.reason);
    }
    println!("allowed {erased} times: {}", allow::AT_THE_FLOOR);
    let seconds = started.elapsed().as_secs();
    println!("{requests} requests in {sessions} sessions, {} cells, {seconds} s, seed {seed}", grid.len());
    assert!(
        differences.is_empty(),
        "{} differences, seed {seed}; the first: {}",
        differences.len(),
        differences[0]
    );
    let thin = grid.thin_lines();
    assert!(thin.is_empty(), "cells with fewer than {HITS_MIN} hits, seed {seed}:\n{}", thin.join("\n"));
    for (rpc, option, outcome) in MUST {
        assert!(grid.has(rpc, option, outcome), "never met: {rpc} [{option}] {outcome}");
    }
}

fn goes_on(requests: usize, wanted: usize, grid: &Grid) -> bool {
    requests < wanted || (requests < wanted * LENGTH_MAX && !grid.thin_lines().is_empty())
}

async fn side(setup: &Setup) -> Side {
    let setup = setup.clone();
    let server = tokio::task::spawn_blocking(move || setup.start()).await.expect("the server starts");
    Side::over(server).await
}

/// Cells that a run must have met: a generator that forgets one of these has rotted.
const MUST: &[(&str, &str, &str)] = &[
    ("Range", "any", "ok"),
    ("Range", "any", "more"),
    ("Range", "any", "none"),
    ("Range", "any", "refused"),
    ("Range", "order=2 x target=4", "ok"),
    ("Range", "order=0 x target=3", "more"),
    ("Range", "revision=floor", "ok"),
    ("Put", "any", "ok"),
    ("Put", "value=above a request", "refused"),
    ("Put", "value=above a message", "refused"),
    ("Put", "ignore_lease", "ok"),
    ("DeleteRange", "prev_kv=true", "ok"),
    ("DeleteRange", "any", "none"),
    ("Txn", "depth=3", "then"),
    ("Txn", "depth=3", "else"),
    ("Txn", "ops=129", "refused"),
    ("Txn", "ops=128", "then"),
    ("Compact", "physical=true", "ok"),
    ("Compact", "any", "refused"),
    ("LeaseGrant", "ttl=too large", "refused"),
    ("LeaseGrant", "id=negative", "ok"),
    ("LeaseRevoke", "any", "refused"),
    ("LeaseKeepAlive", "any", "none"),
    ("LeaseTimeToLive", "any", "none"),
    ("LeaseLeases", "any", "ok"),
    ("HashKV", "any", "ok"),
    ("HashKV", "any", "refused"),
    ("Alarm", "any", "ok"),
    ("MemberList", "linearizable=true", "ok"),
    ("Watch", "any", "created"),
    ("Watch", "any", "refused"),
    ("Watch", "any", "compacted"),
    ("Watch", "in pieces", "delivered"),
    ("Watch", "event delete with what was before", "delivered"),
];
