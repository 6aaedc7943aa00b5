//! Defragmentation.
use std::time::Instant;

use prometheus::{Histogram, IntGauge};

use super::register::{Register, exponential};
use super::seconds;

/// What defragmenting measures.
#[derive(Clone)]
pub(crate) struct DefragMeter {
    took: Histogram,
    inflight: IntGauge,
}

impl DefragMeter {
    pub(super) fn new(register: &Register<'_>) -> DefragMeter {
        DefragMeter {
            took: register.histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "How long defragmenting takes.",
                exponential(0.1, 2.0, 13),
            ),
            inflight: register
                .gauge("etcd_disk_defrag_inflight", "Whether a defragmentation is under way: 1, or 0."),
        }
    }

    /// Defragments.
    pub(crate) fn time<T>(&self, defragment: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        self.inflight.inc();
        let done = defragment();
        self.inflight.dec();
        self.took.observe(seconds(begun.elapsed()));
        done
    }
}
