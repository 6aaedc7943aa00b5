//! Time and chance, as parameters. The store itself asks neither; who drives it does, through these,
//! so that a simulation can hand out both by seed. The real ones live in the server.
use std::time::Duration;

/// A monotonic clock: time since an origin of its own. Never the wall clock.
pub trait Clock: Send + Sync + 'static {
    /// Time since the origin; never goes back.
    fn now(&self) -> Duration;
}

/// A source of numbers nobody can guess (real), or that a seed decides (simulated).
pub trait Entropy: Send + Sync + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;
}
