//! Random runs of the log with power cuts, and the proof that they can find a bug.
mod crash;

use crash::{Reached, Run};

/// One run of `steps` operations; what went wrong, with the seed.
fn run(seed: u64, steps: u64, lying: bool) -> Result<Reached, String> {
    go(Run::new(seed), seed, steps, lying)
}

fn go(mut run: Run, seed: u64, steps: u64, lying: bool) -> Result<Reached, String> {
    run.disk.set_lying(lying);
    let mut go = || {
        run.open()?;
        (0..steps).try_for_each(|_| run.step())
    };
    match go() {
        Ok(()) => Ok(run.reached),
        Err(wrong) => Err(format!("seed {seed}, {:?}: {wrong}", run.options)),
    }
}

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// The first seed; `BRAMBLE_SEED` chooses another.
fn first_seed() -> u64 {
    asked("BRAMBLE_SEED", 1)
}

#[test]
fn ten_thousand_cuts_lose_nothing_acknowledged_and_invent_nothing() {
    let mut all = Reached::default();
    let mut seed = first_seed();
    println!("first seed {seed}");
    let reopens_min = asked("BRAMBLE_CRASHES", 12_000);
    while all.reopens < reopens_min {
        let reached = run(seed, 400, false).unwrap_or_else(|wrong| panic!("{wrong}"));
        all.add(&reached);
        seed += 1;
    }
    println!("{} runs: {all:?}", seed - first_seed());
    all.check();
}

#[test]
fn cuts_lose_nothing_of_a_log_on_a_partition() {
    let mut all = Reached::default();
    let first = first_seed();
    println!("first seed {first}");
    let mut seed = first;
    let reopens_min = asked("BRAMBLE_CRASHES", 1500);
    while all.reopens < reopens_min {
        let reached = go(Run::on_partition(seed), seed, 400, false).unwrap_or_else(|wrong| panic!("{wrong}"));
        all.add(&reached);
        seed += 1;
    }
    println!("{} runs: {all:?}", seed - first);
    all.check();
}

#[test]
fn a_disk_that_does_not_flush_is_noticed() {
    let first = first_seed();
    let noticed = (first..first + 20).filter(|seed| run(*seed, 400, true).is_err()).count();
    println!("noticed in {noticed} of 20 runs from seed {first}");
    assert!(noticed >= 18, "only {noticed} of 20 runs on a lying disk were noticed");
}
