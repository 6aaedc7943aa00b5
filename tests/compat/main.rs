//! Random requests with every option, to etcd and to Bramble in lock-step, compared field by field and
//! watch event by watch event. Prints what it has tried as a grid; what may differ is in [`allow`].
//!
//! `BRAMBLE_COMPAT_SEED` repeats a run, `BRAMBLE_COMPAT_REQUESTS` makes it longer, and
//! `BRAMBLE_COMPAT_SELF=1` compares etcd with itself, which proves that the comparison is fair.

mod allow;
mod allow_auth;
mod blocked;
mod call;
mod feed;
mod generate;
mod generate_auth;
mod generate_locks;
mod generate_txn;
mod grid;
mod lanes;
mod matrix;
mod must;
mod names;
mod options;
mod options_auth;
mod questions;
mod session;
mod side;
mod streams;
mod walks;
mod watching;
mod words;
mod world;
mod world_auth;

use std::time::Instant;

use bramble_tests::chance::Chance;
use bramble_tests::process::Setup;

use crate::grid::HITS_MIN;
use crate::lanes::Run;

/// Requests in one run, unless told otherwise.
const REQUESTS: usize = 50_000;
/// A run with too many thin cells goes on to fill them, up to so many times its length.
const LENGTH_MAX: usize = 2;
/// Differences shown before the run gives up.
const SHOWN_MAX: usize = 10;

/// The oracle and the server under test.
fn both() -> Option<[Setup; 2]> {
    // Users are read where what is written waits for its batch: the oracle writes at once, to read what is.
    let etcd = Setup::etcd()?.in_memory().arg("--backend-batch-limit=1");
    let itself = std::env::var("BRAMBLE_COMPAT_SELF").is_ok_and(|value| value == "1");
    let other = if itself { etcd.clone() } else { Setup::bramble().in_memory() };
    // Passwords are hashed; the least cost is enough to compare.
    Some([etcd, other].map(|setup| setup.arg("--bcrypt-cost=4")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_under_every_identity() {
    let Some(setups) = both() else { return };
    let differences = matrix::ask(&setups).await;
    differences.iter().for_each(|what| println!("DIFFERENCE {what}"));
    let sides = side::Side::start_both(&setups).await;
    matrix::compare_health(&sides).await.expect("the same health");
    assert!(differences.is_empty(), "{} differences; the first: {}", differences.len(), differences[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_etcd() {
    let Some(setups) = both() else { return };
    let wanted = std::env::var("BRAMBLE_COMPAT_REQUESTS").ok().and_then(|text| text.parse().ok());
    let wanted: usize = wanted.unwrap_or(REQUESTS);
    let seed = Chance::seed_from("BRAMBLE_COMPAT_SEED");
    println!("seed {seed} (BRAMBLE_COMPAT_SEED={seed} repeats this run)");

    let started = Instant::now();
    let mut run = Run::new(setups, seed);
    while run.differences.len() < SHOWN_MAX
        && (run.counts.requests < wanted || (run.counts.requests < wanted * LENGTH_MAX && run.grid.is_thin()))
    {
        run.round().await;
    }

    let seconds = started.elapsed().as_secs();
    println!(
        "{} requests in {} sessions, {} cells, {seconds} s, seed {seed}",
        run.counts.requests,
        run.sessions,
        run.grid.len()
    );
    // What is wrong comes before the grid, which is long: of a long output only a part is kept.
    let differences = &run.differences;
    assert!(
        differences.is_empty(),
        "{} differences, seed {seed}; the first: {}",
        differences.len(),
        differences[0]
    );
    let thin = run.grid.thin_lines();
    println!("{} cells with fewer than {HITS_MIN} hits:\n{}", thin.len(), thin.join("\n"));
    assert!(!run.grid.is_thin(), "too many thin cells, seed {seed}");
    for (rpc, option, outcome) in must::MUST {
        assert!(run.grid.has(rpc, option, outcome), "never met: {rpc} [{option}] {outcome}, seed {seed}");
    }
    println!("{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_walk_alike() {
    let Some(setups) = both() else { return };
    let (locks, downgrade, quota, hash) = tokio::join!(
        walks::locks(&setups),
        walks::downgrade(&setups),
        walks::quota(&setups),
        walks::hash(&setups)
    );
    let differences: Vec<String> =
        [locks, downgrade, quota, hash].into_iter().filter_map(Result::err).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}
