//! Handles of those who make things durable: the log's thread and the background thread.
//!
//! A commit of the log is one direct, synchronous write: the call returns when the bytes are on the
//! device. So `wal_write` (each write call) and `wal_fsync` (the whole flush, with the sync where the
//! file system knows no direct writes) show nearly the same times here.
use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;

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
