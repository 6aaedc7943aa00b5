//! The simulated world: whole members in one process, on a disk that loses power, in virtual time, all by one
//! seed. Only the threads, the disk, the clock and chance are the simulation's; all else is what is shipped.
//!
//! A seed runs in a process of its own, this binary once more: hash maps and the runtimes draw from the
//! system's random numbers, which are the seed's there. The same seed gives the same hash over every turn of a
//! thread, disk call, applied entry, request and answer.
//!
//! ```text
//! BRAMBLE_SIM_SEEDS=1000 cargo test --release --workspace --test sim     more seeds
//! BRAMBLE_SIM_SEED=42    cargo test --release --workspace --test sim     one seed, with its trace
//! ```
mod chance;
mod check;
mod clients;
mod eye;
mod faults;
mod heal;
mod leases;
mod machine;
mod medium;
mod reach;
mod record;
mod runs;
mod seams;
mod threads;
mod told;
mod truth;
mod watchers;
mod world;

use std::env;

/// The seed of a process that lives a world.
pub const WORLD: &str = "BRAMBLE_SIM_WORLD";
/// Set beside it: the trace is printed.
pub const TRACE: &str = "BRAMBLE_SIM_TRACE";

fn main() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number(WORLD) {
        return live(seed, env::var_os(TRACE).is_some());
    }
    // As the test runner that this is not would understand them.
    let words: Vec<_> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        return println!("sim: test");
    }
    let names: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    if !names.is_empty() && !names.iter().any(|name| "sim".contains(name.as_str())) {
        return;
    }
    match number("BRAMBLE_SIM_SEED") {
        Some(seed) => runs::one(seed),
        None => runs::many(number("BRAMBLE_SIM_SEEDS")),
    }
}

fn live(seed: u64, loud: bool) {
    chance::sow(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(world::live(seed, loud));
    // Threads that never got their last turn sleep: nobody waits for them.
    std::process::exit(0);
}
