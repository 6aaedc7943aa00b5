//! Planted bugs: does each layer of the proof see what it is there to see?
//!
//! Every `*.patch` here makes one mistake in the product and names the test that must fail of it. Two of them are
//! planted in each run, others every day; `BRAMBLE_PLANTED=all`, or the names of some, plants more:
//!
//! ```text
//! BRAMBLE_PLANTED=all cargo test --release --workspace --test planted -- --nocapture
//! ```
mod patch;
mod plot;

use std::time::{Duration, SystemTime};

use bramble_tests::tools;

use crate::patch::Patch;
use crate::plot::{Found, Plot};

/// As many are planted when nobody says which.
const IN_A_RUN: usize = 2;
/// Fewer patches than this are no proof of anything.
const PATCHES_MIN: usize = 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn every_patch_applies_to_the_product_of_today() {
    let Some(git) = tools::git() else { return };
    let patches = Patch::all();
    assert!(patches.len() >= PATCHES_MIN, "there are {} patches", patches.len());
    for patch in &patches {
        patch.applies(&git, tools::workspace()).unwrap_or_else(|why| panic!("{}: {why}", patch.name));
    }
}

#[test]
fn what_is_planted_is_found() {
    let Some(git) = tools::git() else { return };
    let chosen = chosen(Patch::all());
    let plot = Plot::lay_out(git);
    let mut missed = Vec::new();
    for patch in &chosen {
        println!("planted: {}: {}", patch.name, patch.bug);
        match plot.grow(patch) {
            Ok(Found { built, ran }) => {
                println!("  found by {} in {ran:.1?}, built in {built:.1?}", patch.test.join(" "))
            }
            Err(why) => missed.push(format!("{}: {why}", patch.name)),
        }
    }
    assert!(missed.is_empty(), "{} of {} were not found:\n{}", missed.len(), chosen.len(), missed.join("\n"));
}

/// Those that `BRAMBLE_PLANTED` names, or the next ones of the round that goes through all of them day by day.
fn chosen(all: Vec<Patch>) -> Vec<Patch> {
    let asked = std::env::var("BRAMBLE_PLANTED").unwrap_or_default();
    if asked == "all" {
        return all;
    }
    let names: Vec<_> = asked.split(',').filter(|name| !name.is_empty()).collect();
    for name in &names {
        assert!(all.iter().any(|patch| patch.name == *name), "there is no tests/planted/{name}.patch");
    }
    if !names.is_empty() {
        return all.into_iter().filter(|patch| names.contains(&patch.name.as_str())).collect();
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = (since.as_secs() / DAY.as_secs()) as usize * IN_A_RUN % all.len();
    all.into_iter().cycle().skip(first).take(IN_A_RUN).collect()
}
