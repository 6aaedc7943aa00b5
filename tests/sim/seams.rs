//! Time and chance of one life of a member.
use std::sync::Mutex;
use std::time::Duration;

use bramble_server::node::seams::Calendar;
use bramble_store::disk::sim::Rng;
use bramble_store::seams::{Clock, Entropy};
use tokio::time::Instant;

/// A monotonic clock that goes a little too fast or too slow.
pub struct SimClock {
    origin: Duration,
    begun: Instant,
    /// Thousandths of a second that pass on it in one second.
    rate: u32,
}

impl SimClock {
    /// Begins now, anywhere.
    pub fn new(rng: &mut Rng, rate: u32) -> SimClock {
        SimClock { origin: Duration::from_millis(rng.below(1 << 40)), begun: Instant::now(), rate }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.origin + self.begun.elapsed() * self.rate / 1000
    }
}

/// A calendar that stands still: what a member counts by day does not depend on the day it is run.
pub struct SimCalendar;

impl Calendar for SimCalendar {
    fn today(&self) -> u32 {
        20_700
    }
}

/// Numbers by seed.
pub struct SimEntropy(Mutex<Rng>);

impl SimEntropy {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> SimEntropy {
        SimEntropy(Mutex::new(Rng::new(seed)))
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().expect("one thread runs at a time").number()
    }
}
