//! Whether the machine stood still: what is timed meanwhile says nothing of anybody.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it beats.
const BEAT: Duration = Duration::from_millis(20);

/// A thread that only sleeps for a moment, again and again, and notes how late it woke. Dropping it ends it.
#[derive(Debug)]
pub struct Pulse {
    latest_ms: Arc<AtomicU64>,
}

impl Pulse {
    /// Begins to beat.
    pub fn begin() -> Pulse {
        let latest_ms = Arc::new(AtomicU64::new(0));
        let beats = Arc::downgrade(&latest_ms);
        std::thread::spawn(move || {
            let mut before = Instant::now();
            while let Some(latest_ms) = beats.upgrade() {
                let late = before.elapsed().saturating_sub(BEAT);
                latest_ms.fetch_max(late.as_millis() as u64, Ordering::Relaxed);
                before = Instant::now();
                std::thread::sleep(BEAT);
            }
        });
        Pulse { latest_ms }
    }

    /// The latest beat so far: how late it came.
    pub fn latest(&self) -> Duration {
        Duration::from_millis(self.latest_ms.load(Ordering::Relaxed))
    }
}
