//! Automatic compaction, by the leader alone: by age of the history or by number of revisions.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bramble_store::command::Action;
use bramble_store::error::Refusal;

use super::core::Core;
use super::error::Error;
use crate::config::AutoCompaction;

/// Time between two looks when a number of revisions is kept.
const REVISION_EVERY: Duration = Duration::from_secs(300);
/// The history of a period is sampled ten times per hour of it, or per period if that is shorter.
const COMPACT_EVERY_MAX: Duration = Duration::from_secs(3600);
const SAMPLES: u32 = 10;

/// The newest revision at regular moments, to know which one was newest one period ago.
#[derive(Debug)]
struct Window {
    samples: VecDeque<i64>,
    samples_max: usize,
    /// Samples until the next compaction may be made.
    wait: usize,
    wait_next: usize,
    compacted: i64,
}

impl Window {
    /// For a history of `period`.
    fn new(period: Duration) -> Window {
        let every = period.min(COMPACT_EVERY_MAX);
        let sample = every / SAMPLES;
        let in_period = (period.as_nanos() / sample.as_nanos().max(1)) as usize;
        Window {
            samples: VecDeque::new(),
            samples_max: in_period + 1,
            wait: in_period,
            wait_next: SAMPLES as usize,
            compacted: 0,
        }
    }

    fn sample_every(period: Duration) -> Duration {
        period.min(COMPACT_EVERY_MAX) / SAMPLES
    }

    /// Takes a sample; says which revision to compact at, if it is time.
    fn sample(&mut self, revision: i64) -> Option<i64> {
        self.samples.push_back(revision);
        if self.samples.len() > self.samples_max {
            self.samples.pop_front();
        }
        if self.wait > 0 {
            self.wait -= 1;
            return None;
        }
        let oldest = *self.samples.front()?;
        (oldest != self.compacted).then_some(oldest)
    }

    /// The compaction was made, or somebody else had made it.
    fn done(&mut self, revision: i64) {
        self.compacted = revision;
        self.wait = self.wait_next - 1;
    }
}

/// Compacts for as long as the node runs.
pub(super) async fn run(core: Arc<Core>, setting: AutoCompaction) {
    match setting {
        AutoCompaction::Periodic(period) => by_age(&core, period).await,
        AutoCompaction::Revision(keep) => by_number(&core, keep).await,
    }
}

async fn by_age(core: &Arc<Core>, period: Duration) {
    let mut window = Window::new(period);
    loop {
        let Ok(view) = core.view() else { return };
        let due = window.sample(view.revision());
        drop(view);
        if let Some(revision) = due.filter(|_| core.leads())
            && compact(core, revision).await
        {
            window.done(revision);
        }
        tokio::time::sleep(Window::sample_every(period)).await;
    }
}

async fn by_number(core: &Arc<Core>, keep: i64) {
    loop {
        tokio::time::sleep(REVISION_EVERY).await;
        let Ok(view) = core.view() else { return };
        let (target, floor) = (view.revision().saturating_sub(keep), view.compacted());
        drop(view);
        if target > 0 && target > floor && core.leads() {
            compact(core, target).await;
        }
    }
}

/// Whether it is done, by us or by somebody else.
async fn compact(core: &Arc<Core>, revision: i64) -> bool {
    match core.propose_own(Action::Compact { revision }).await {
        Ok(_) => {
            tracing::info!(revision, "compacted automatically");
            true
        }
        Err(Error::Refused(Refusal::Compacted { .. })) => true,
        Err(error) => {
            tracing::warn!(revision, %error, "automatic compaction did not happen, it is tried again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one sample per step; the revision is the step's number times ten.
    fn compactions(period: Duration, steps: i64) -> Vec<(i64, i64)> {
        let mut window = Window::new(period);
        let mut made = Vec::new();
        for step in 0..steps {
            if let Some(revision) = window.sample(step * 10 + 1) {
                window.done(revision);
                made.push((step, revision));
            }
        }
        made
    }

    #[test]
    fn an_hour_is_kept_and_compacted_hourly() {
        assert_eq!(compactions(Duration::from_secs(3600), 35), [(10, 1), (20, 101), (30, 201)]);
    }

    #[test]
    fn a_day_is_kept_and_compacted_hourly() {
        let made = compactions(Duration::from_secs(24 * 3600), 271);
        assert_eq!(made, [(240, 1), (250, 101), (260, 201), (270, 301)]);
    }

    #[test]
    fn five_minutes_are_kept_and_compacted_every_five() {
        assert_eq!(Window::sample_every(Duration::from_secs(300)), Duration::from_secs(30));
        assert_eq!(compactions(Duration::from_secs(300), 21), [(10, 1), (20, 101)]);
    }

    #[test]
    fn a_store_that_stands_still_is_compacted_once() {
        let mut window = Window::new(Duration::from_secs(3600));
        let mut count = 0;
        for _ in 0..50 {
            if let Some(revision) = window.sample(7) {
                window.done(revision);
                count += 1;
            }
        }
        assert_eq!(count, 1);
    }
}
