//! Chance by seed: the same seed gives the same test on every machine.

/// A small generator (SplitMix64). Good enough to choose requests, not to keep secrets.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Starts at a seed.
    pub fn from_seed(seed: u64) -> Self {
        Chance { state: seed }
    }

    /// The seed a run should use: the environment variable if it is set, otherwise the time of day.
    pub fn seed_from(variable: &str) -> u64 {
        Chance::seed_given(variable).unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(1, |time| time.as_secs())
        })
    }

    /// The number that the environment variable holds, if it holds one.
    pub fn seed_given(variable: &str) -> Option<u64> {
        std::env::var(variable).ok().and_then(|text| text.parse().ok())
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.roll() % bound as u64) as usize }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent as usize
    }

    /// One of these. Panics on an empty slice, which no caller has.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
