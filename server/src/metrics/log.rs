//! Handles of those who make things durable: the log's thread and the background thread.
//!
//! A commit of the log is one direct, synchronous write: the call returns when the bytes are on the
//! device. So `wal_write` (each write call) and `wal_fsync` (the whole flush, with the sync where the
//! file system knows no direct writes) show nearly the same times here.
use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use prometheus::core::Metric;

use super::disk::DiskMeter;
use super::register::{Register, exponential};
use super::seconds;

/// What the log's thread measures.
#[derive(Clone)]
pub(crate) struct LogMeter {
    fsync: Histogram,
    flush: Histogram,
    disk: Arc<DiskMeter>,
}

/// A histogram of times, as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latency {
    /// How many there were.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum_seconds: f64,
    /// Upper bounds in seconds, and how many took that long or less; ascending.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Latency {
    /// The bound that a share of all stayed within; `None` without any, or when it is beyond all bounds.
    pub(crate) fn within(&self, share: f64) -> Option<f64> {
        let enough = (self.count as f64 * share).ceil().max(1.0) as u64;
        self.buckets.iter().find(|(_, count)| *count >= enough).map(|(bound, _)| *bound)
    }
}

/// What the background thread measures.
#[derive(Clone)]
pub(crate) struct FlushMeter {
    engine: Histogram,
}

/// Makes both, and the counts of the disk seam under them.
pub(super) fn meters(register: &Register<'_>) -> (LogMeter, FlushMeter, Arc<DiskMeter>) {
    let etcds = exponential(0.001, 2.0, 14);
    let flushes = register.histograms(
        "bramble_flush_duration_seconds",
        "How long making data durable takes: the log's batches (cause=\"log\", clients wait for these) and the engine's memtables (cause=\"engine\", nobody waits).",
        exponential(0.000_1, 2.0, 20),
        &["cause"],
    );
    let write = register.histogram(
        "etcd_disk_wal_write_duration_seconds",
        "How long each write of log frames takes. The writes are synchronous where the file system can: then this is the device.",
        etcds.clone(),
    );
    let fsync = register.histogram(
        "etcd_disk_wal_fsync_duration_seconds",
        "How long it takes until a batch of the log is on the device, write and sync together.",
        etcds,
    );
    let disk = Arc::new(DiskMeter::new(write));
    let log = LogMeter { fsync, flush: flushes.with_label_values(&["log"]), disk: disk.clone() };
    (log, FlushMeter { engine: flushes.with_label_values(&["engine"]) }, disk)
}

impl LogMeter {
    /// A batch is durable, or the attempt has failed.
    pub(crate) fn flushed(&self, took: Duration) {
        self.fsync.observe(seconds(took));
        self.flush.observe(seconds(took));
    }

    /// Flushes of the log so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.flush.get_sample_count()
    }

    /// How long they took.
    pub(crate) fn latency(&self) -> Latency {
        let metric = self.flush.metric();
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket().iter();
        Latency {
            count: histogram.get_sample_count(),
            sum_seconds: histogram.get_sample_sum(),
            buckets: buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect(),
        }
    }

    /// The log's thread has taken over: from here on it alone writes.
    pub(crate) fn begin(&self) {
        self.disk.begin_running();
    }
}

impl FlushMeter {
    /// The engine has flushed.
    pub(crate) fn engine_flushed(&self, took: Duration) {
        self.engine.observe(seconds(took));
    }

    /// Flushes of the engine so far.
    pub(crate) fn engine_flushes(&self) -> u64 {
        self.engine.get_sample_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_times() {
        let none = Latency::default();
        assert_eq!(none.within(0.5), None);
        let latency =
            Latency { count: 100, sum_seconds: 1.0, buckets: vec![(0.1, 50), (0.2, 98), (0.4, 99)] };
        let within = |share| latency.within(share);
        assert_eq!(
            [within(0.0), within(0.5), within(0.51), within(0.99)],
            [Some(0.1), Some(0.1), Some(0.2), Some(0.4)]
        );
        assert_eq!(within(0.999), None, "one took longer than every bound");
    }
}
