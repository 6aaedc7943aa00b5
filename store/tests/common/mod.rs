//! What several test files share: seeded randomness. Not a library; keep it small.
#![allow(dead_code)]

/// A small generator (splitmix64): the same numbers for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Runs `test` with `runs` seeds, new ones each time; a failure names its seed.
/// `BRAMBLE_SEED` runs that one alone.
pub fn with_seeds(runs: u64, test: impl Fn(&mut Random)) {
    if let Ok(seed) = std::env::var("BRAMBLE_SEED") {
        return test(&mut Random::new(seed.parse().expect("BRAMBLE_SEED is a number")));
    }
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    let first = since_1970.as_nanos() as u64;
    for seed in (0..runs).map(|run| first.wrapping_add(run)) {
        let _named = NameSeed(seed);
        test(&mut Random::new(seed));
    }
}

struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with BRAMBLE_SEED={}", self.0);
        }
    }
}
