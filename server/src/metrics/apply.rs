//! Handles of the apply thread: what entries take, and what they did to keys and leases.
use std::time::{Duration, Instant, SystemTime};

use bramble_store::store::{Applied, AppliedEntry, LeaseEffect, Reply};
use bramble_store::types::{EventKind, OpReply, TxnReply};
use prometheus::{Histogram, IntCounter, IntGauge};

use super::by_op::ByOp;
use super::register::{Register, exponential};
use super::seconds;

/// The operations that members have carried out, as etcd counts them: each range, put and delete, in
/// a transaction or not, and each transaction of more than one of them.
#[derive(Clone)]
pub(crate) struct OpsMeter {
    ranges: IntCounter,
    puts: IntCounter,
    deletes: IntCounter,
    txns: IntCounter,
}

#[derive(Clone, Copy, Default)]
struct Ops {
    ranges: u64,
    puts: u64,
    deletes: u64,
    txns: u64,
}

impl OpsMeter {
    pub(super) fn new(register: &Register<'_>) -> OpsMeter {
        OpsMeter {
            ranges: register.counter("etcd_mvcc_range_total", "Ranges read, in transactions too."),
            puts: register.counter("etcd_mvcc_put_total", "Puts applied, in transactions too."),
            deletes: register.counter("etcd_mvcc_delete_total", "Deletes applied, in transactions too."),
            txns: register.counter("etcd_mvcc_txn_total", "Transactions of more than one operation."),
        }
    }

    /// A range was read.
    pub(crate) fn range(&self) {
        self.ranges.inc();
    }

    /// A transaction was answered from a view.
    pub(crate) fn txn(&self, reply: &TxnReply) {
        self.add(ops_of_txn(reply));
    }

    fn add(&self, ops: Ops) {
        self.ranges.inc_by(ops.ranges);
        self.puts.inc_by(ops.puts);
        self.deletes.inc_by(ops.deletes);
        self.txns.inc_by(ops.txns);
    }
}

fn ops_of(reply: &Reply) -> Ops {
    match reply {
        Reply::Put(_) => Ops { puts: 1, ..Ops::default() },
        Reply::Delete(_) => Ops { deletes: 1, ..Ops::default() },
        Reply::Txn(txn) => ops_of_txn(txn),
        _ => Ops::default(),
    }
}

fn ops_of_txn(reply: &TxnReply) -> Ops {
    let mut ops = Ops::default();
    count_ops(reply, &mut ops);
    ops.txns = u64::from(ops.ranges + ops.puts + ops.deletes > 1);
    ops
}

fn count_ops(reply: &TxnReply, ops: &mut Ops) {
    for reply in &reply.replies {
        match reply {
            OpReply::Range(_) => ops.ranges += 1,
            OpReply::Put(_) => ops.puts += 1,
            OpReply::Delete(_) => ops.deletes += 1,
            OpReply::Txn(nested) => count_ops(nested, ops),
        }
    }
}

/// What the apply thread measures. It is the thread's own.
pub(crate) struct ApplyMeter {
    ops: OpsMeter,
    durations: ByOp,
    commit: Histogram,
    slow: IntCounter,
    put_bytes: IntGauge,
    user_bytes: IntCounter,
    leases_granted: IntCounter,
    leases_revoked: IntCounter,
    lease_ttls: Histogram,
    compaction: CompactionMeter,
}

/// What one group of entries took so far.
pub(crate) struct Stopwatch {
    begun: Instant,
    lap: Instant,
}

impl ApplyMeter {
    pub(super) fn new(register: &Register<'_>, ops: OpsMeter, slow: IntCounter) -> ApplyMeter {
        ApplyMeter {
            ops,
            durations: ByOp::new(
                register.histograms(
                    "etcd_server_apply_duration_seconds",
                    "How long applying one entry takes, without the writing of its batch.",
                    exponential(0.000_1, 2.0, 20),
                    &["version", "op", "success"],
                ),
                |op, success| vec!["v3", op, success],
            ),
            commit: register.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "How long writing one batch of applied entries into the engine takes. Flushing the engine is nobody's wait; it is in bramble_flush_duration_seconds.",
                exponential(0.001, 2.0, 14),
            ),
            slow,
            put_bytes: register.gauge(
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Bytes of keys and values put since the start.",
            ),
            user_bytes: register.counter(
                "bramble_user_written_bytes_total",
                "Bytes of keys and values that clients have written: keys and values put, keys deleted.",
            ),
            leases_granted: register.counter("etcd_debugging_lease_granted_total", "Leases granted."),
            leases_revoked: register
                .counter("etcd_debugging_lease_revoked_total", "Leases revoked, by clients or by expiry."),
            lease_ttls: register.histogram(
                "etcd_debugging_lease_ttl_total",
                "Times to live of the leases granted, in seconds.",
                exponential(1.0, 2.0, 24),
            ),
            compaction: CompactionMeter::new(register),
        }
    }

    /// A group of entries is about to be applied.
    pub(crate) fn begin() -> Stopwatch {
        let now = Instant::now();
        Stopwatch { begun: now, lap: now }
    }

    /// One entry of it is applied to the batch.
    pub(crate) fn entry(&mut self, watch: &mut Stopwatch, entry: &AppliedEntry) {
        let took = watch.lap();
        let Some(op) = entry.op else { return };
        self.durations.observe(op, entry.outcome.is_ok(), took);
        if let Ok(Reply::Compacted { .. }) = entry.outcome {
            self.compaction.floor.observe(milliseconds(took));
        }
    }

    /// The batch is in the engine. How long all of it took.
    pub(crate) fn batch(&self, watch: &mut Stopwatch, applied: &Applied) -> Duration {
        self.commit.observe(seconds(watch.lap()));
        for reply in applied.answers.iter().filter_map(|answer| answer.outcome.as_ref().ok()) {
            self.ops.add(ops_of(reply));
        }
        self.count_changes(applied);
        for effect in &applied.leases {
            match effect {
                LeaseEffect::Granted(lease) => {
                    self.leases_granted.inc();
                    self.lease_ttls.observe(lease.ttl_s as f64);
                }
                LeaseEffect::Revoked(_) => self.leases_revoked.inc(),
                LeaseEffect::Checkpointed(_) => {}
            }
        }
        watch.lap.duration_since(watch.begun)
    }

    /// A group took longer than `--warning-apply-duration`.
    pub(crate) fn slow(&self) {
        self.slow.inc();
    }

    /// One step of erasing what is compacted.
    pub(crate) fn scrubbed(&mut self, took: Duration, rows: u64, done: bool) {
        self.compaction.step(took, rows, done);
    }

    fn count_changes(&self, applied: &Applied) {
        let (mut put, mut deleted) = (0, 0);
        for change in applied.changes.iter().flat_map(|whole| &whole.changes) {
            match change.kind {
                EventKind::Put => put += change.kv.key.len() + change.kv.value.len(),
                EventKind::Delete => deleted += change.kv.key.len(),
            }
        }
        self.put_bytes.add(put as i64);
        self.user_bytes.inc_by((put + deleted) as u64);
    }
}

impl Stopwatch {
    /// Time since the last lap.
    fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.lap, Instant::now());
        self.lap.duration_since(before)
    }
}

/// Compaction: the floor is raised by an entry; rows below it are erased in steps, later.
struct CompactionMeter {
    floor: Histogram,
    step: Histogram,
    total: Histogram,
    rows: IntCounter,
    last: IntGauge,
    /// When the first step of the compaction under way began.
    begun: Option<Instant>,
}

impl CompactionMeter {
    fn new(register: &Register<'_>) -> CompactionMeter {
        CompactionMeter {
            floor: register.histogram(
                "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
                "How long raising the compaction floor holds up other entries.",
                exponential(0.5, 2.0, 14),
            ),
            step: register.histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "How long one step of erasing compacted revisions holds up other entries.",
                exponential(1.0, 2.0, 13),
            ),
            total: register.histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "How long erasing compacted revisions takes from the first step to the last, pauses included.",
                exponential(100.0, 2.0, 14),
            ),
            rows: register
                .counter("etcd_debugging_mvcc_db_compaction_keys_total", "Compacted versions of keys erased."),
            last: register.gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "When the last compaction was done, in Unix time; 0 = none since the start.",
            ),
            begun: None,
        }
    }

    fn step(&mut self, took: Duration, rows: u64, done: bool) {
        self.step.observe(milliseconds(took));
        self.rows.inc_by(rows);
        let begun = *self.begun.get_or_insert_with(|| Instant::now() - took);
        if done {
            self.total.observe(milliseconds(begun.elapsed()));
            self.begun = None;
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            self.last.set(now.as_secs() as i64);
        }
    }
}

fn milliseconds(took: Duration) -> f64 {
    seconds(took) * 1000.0
}
