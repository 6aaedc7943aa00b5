//! The real clock and the real source of random numbers, and where threads come from. A simulation hands in
//! its own.
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use bramble_store::seams::{Clock, Entropy};

pub use crate::threads::{Bell, Body, Tasks, Thread, Threads};
pub use crate::wear::{Calendar, SystemCalendar};

/// The system's monotonic clock, counted from when this was made.
pub struct SystemClock(Instant);

impl SystemClock {
    /// Starts counting now.
    pub fn start() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The system's random numbers.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        // Where the call is missing the standard library still seeds its hash maps.
        getrandom::u64().unwrap_or_else(|_| RandomState::new().build_hasher().finish())
    }
}
