//! Runs of many seeds: those that once failed, new ones, and some twice. Each in its own process.
use std::collections::{BTreeMap, VecDeque};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::reach;
use crate::{TRACE, WORLD};

/// Seeds of a run, unless it is said otherwise.
const SEEDS: u64 = 45;
/// Of these, so many are lived twice.
const PAIRS: u64 = 20;
/// Worlds at once: a run is bound by the processor.
const AT_ONCE: usize = 2;
/// What once failed.
const STORED: &str = include_str!("seeds");

/// What a world said.
struct Said {
    reached: BTreeMap<String, u64>,
    numbers: BTreeMap<String, u64>,
    hash: String,
}

/// One seed with its trace.
pub fn one(seed: u64) {
    let mut command = world(seed);
    let status = command.env(TRACE, "1").stdout(Stdio::inherit()).status().expect("this binary runs");
    assert!(status.success(), "seed {seed} fails");
}

/// As many as asked for.
pub fn many(seeds: Option<u64>) {
    let begun = Instant::now();
    let stored = STORED.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let fresh = 1..=seeds.unwrap_or(SEEDS);
    let twice = fresh.clone().take(PAIRS as usize);
    let all: Vec<u64> = stored.chain(fresh).chain(twice).collect();
    let worlds = all.len();
    let said = live_all(all);
    let mut hashes = BTreeMap::new();
    let (mut reached, mut sums) = (BTreeMap::new(), BTreeMap::new());
    for (seed, said) in &said {
        let first = hashes.entry(*seed).or_insert(&said.hash);
        assert_eq!(*first, &said.hash, "seed {seed} was lived twice, and not alike");
        add(&mut reached, &said.reached);
        add(&mut sums, &said.numbers);
    }
    println!("{worlds} worlds, {} seeds, in {:?}: {sums:?}", hashes.len(), begun.elapsed());
    for what in reach::ALL {
        println!("{:>8} {what}", reached.get(*what).unwrap_or(&0));
    }
    let never: Vec<_> = reach::ALL.iter().filter(|what| !reached.contains_key(**what)).collect();
    assert!(never.is_empty(), "never reached: {never:?}");
}

fn add(sums: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (what, number) in more {
        *sums.entry(what.clone()).or_default() += number;
    }
}

fn world(seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.env(WORLD, seed.to_string()).stderr(Stdio::inherit()).stdin(Stdio::null());
    command
}

fn live_all(seeds: Vec<u64>) -> Vec<(u64, Said)> {
    let mut waiting = seeds.into_iter();
    let mut under_way = VecDeque::new();
    let mut said = Vec::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(seed) = waiting.next()
        {
            let child = world(seed).stdout(Stdio::piped()).spawn().expect("this binary runs");
            under_way.push_back((seed, child));
        }
        let Some((seed, child)) = under_way.pop_front() else { return said };
        said.push((seed, listen(seed, child)));
    }
}

/// Waits for its end and reads what it said.
fn listen(seed: u64, child: Child) -> Said {
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\nseed {seed} fails ({}); BRAMBLE_SIM_SEED={seed} shows its whole trace",
        output.status
    );
    let mut said = Said { reached: BTreeMap::new(), numbers: BTreeMap::new(), hash: String::new() };
    for line in text.lines() {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        if let ["reached", times, what] = words[..] {
            said.reached.insert(what.to_owned(), times.parse().unwrap_or(0));
        } else if line.starts_with("world ") {
            let words: Vec<_> = line.split(' ').collect();
            for pair in words.chunks_exact(2) {
                match (pair[0], pair[1].parse()) {
                    ("hash", _) => said.hash = pair[1].to_owned(),
                    ("world", _) | (_, Err(_)) => {}
                    (name, Ok(number)) => drop(said.numbers.insert(name.to_owned(), number)),
                }
            }
        }
    }
    assert!(!said.hash.is_empty(), "seed {seed} ended without a word: {text}");
    said
}
