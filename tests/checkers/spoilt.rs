//! Spoilt histories: each kind of damage is done to many good histories, and must be found in each.
use std::collections::BTreeMap;

use bramble_tests::chance::Chance;
use bramble_tests::history::replay::{self, Log};
use bramble_tests::history::{History, Property, Violation};

use crate::world::{self, Plan};

/// Histories that each kind of damage is done to.
const SPOILT: usize = 20;
/// Histories that are tried for a place where the damage can be done.
const TRIED: u64 = 3000;

/// Does one kind of damage somewhere, if the history has a place for it.
pub type Damage = fn(&mut History, &Log, &mut Chance) -> Option<()>;

/// What a checker says of a history, given what the good one had been.
pub type Checker = fn(&History, &Log) -> Vec<Violation>;

/// Every kind of damage is found, and by the guarantee that it breaks.
pub fn all_are_found(kinds: &[(&str, Damage, Property)], checker: Checker) {
    assert!(kinds.len() >= 12, "a checker is to find twelve kinds of damage, not {}", kinds.len());
    let first = Chance::seed_from("BRAMBLE_HISTORY_SEED");
    println!("BRAMBLE_HISTORY_SEED={first}");
    let mut spoilt: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in first..first + TRIED {
        let short = |kind: &&(&str, Damage, Property)| spoilt.get(kind.0).is_none_or(|count| *count < SPOILT);
        let open: Vec<_> = kinds.iter().filter(short).collect();
        if open.is_empty() {
            break;
        }
        let good = world::history(seed, Plan { calls: 200, clients: 4, lost_per_mille: 15 });
        let (log, _) = replay::check(&good);
        for (name, damage, property) in open {
            let mut bad = good.clone();
            if damage(&mut bad, &log, &mut Chance::from_seed(seed)).is_none() {
                continue;
            }
            assert!(bad != good, "seed {seed}: {name} changed nothing");
            let violations = checker(&bad, &log);
            let found: Vec<Property> = violations.iter().map(|violation| violation.property).collect();
            assert!(
                found.contains(property),
                "seed {seed}: {name} was not found to break {property:?}: {violations:#?}"
            );
            let told = violations.iter().find(|violation| violation.property == *property);
            assert!(
                told.is_some_and(|told| told.text.len() > 20),
                "seed {seed}: {name} is told in too few words"
            );
            *spoilt.entry(name).or_default() += 1;
        }
    }
    println!("found: {spoilt:?}");
    for (name, ..) in kinds {
        let done = spoilt.get(name).copied().unwrap_or(0);
        assert!(done >= SPOILT, "{name} could be done to {done} histories only");
    }
}
