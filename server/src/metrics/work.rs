//! Handles of the node: reads, proposals, read barriers, leases, leaders.
use std::time::{Duration, Instant};

use prometheus::{Histogram, IntCounter};

use super::apply::OpsMeter;
use super::by_op::ByOp;
use super::register::{Register, exponential};
use super::seconds;

/// What reading measures.
pub struct ReadMeter {
    /// Which operations were read.
    pub(crate) ops: OpsMeter,
    /// Refused, answered.
    range: [Histogram; 2],
    hash: Histogram,
    hash_kv: Histogram,
    slow: IntCounter,
    /// `--warning-apply-duration`.
    slow_after: Duration,
}

impl ReadMeter {
    pub(super) fn new(
        register: &Register<'_>,
        ops: OpsMeter,
        slow: IntCounter,
        slow_after: Duration,
    ) -> Self {
        let ranges = register.histograms(
            "etcd_server_range_duration_seconds",
            "How long reading a range from a view takes, without waiting for the read barrier.",
            exponential(0.000_1, 2.0, 20),
            &["success"],
        );
        let hashes = || exponential(0.01, 2.0, 15);
        ReadMeter {
            ops,
            range: ["false", "true"].map(|success| ranges.with_label_values(&[success])),
            hash: register.histogram(
                "etcd_mvcc_hash_duration_seconds",
                "How long hashing the whole store takes (Hash).",
                hashes(),
            ),
            hash_kv: register.histogram(
                "etcd_mvcc_hash_rev_duration_seconds",
                "How long hashing the history up to a revision takes (HashKV).",
                hashes(),
            ),
            slow,
            slow_after,
        }
    }

    /// Reads a range.
    pub(crate) fn range<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let (answer, took) = timed(read);
        self.range[usize::from(answer.is_ok())].observe(seconds(took));
        if took > self.slow_after {
            self.slow.inc();
        }
        answer
    }

    /// Hashes the whole store.
    pub(crate) fn hash<T>(&self, read: impl FnOnce() -> T) -> T {
        let (answer, took) = timed(read);
        self.hash.observe(seconds(took));
        answer
    }

    /// Hashes the history up to a revision.
    pub(crate) fn hash_kv<T>(&self, read: impl FnOnce() -> T) -> T {
        let (answer, took) = timed(read);
        self.hash_kv.observe(seconds(took));
        answer
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed())
}

/// A request under way.
pub(crate) struct Asked<'a> {
    meter: &'a AgreementMeter,
    op: &'static str,
    begun: Instant,
    answered: bool,
}

impl Asked<'_> {
    /// It has its answer.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.meter.requests.observe(self.op, self.answered, self.begun.elapsed());
    }
}

/// What agreeing measures.
pub(crate) struct AgreementMeter {
    requests: ByOp,
    /// Proposals that got no answer: refused when full, timed out, lost, or given up by their caller.
    pub(crate) proposals_failed: IntCounter,
    /// Elections that this member has seen succeed.
    pub(crate) leader_changes: IntCounter,
    /// Read barriers that took longer than the request timeout.
    pub(crate) reads_slow: IntCounter,
    /// Read barriers that Raft could not answer.
    pub(crate) reads_failed: IntCounter,
    /// Renewals of leases.
    pub(crate) leases_renewed: IntCounter,
    /// Leases that ended by themselves.
    pub(crate) leases_expired: IntCounter,
}

impl AgreementMeter {
    pub(super) fn new(register: &Register<'_>) -> AgreementMeter {
        let requests = register.histograms(
            "etcd_server_request_duration_seconds",
            "How long requests take inside, from being let in to their answer.",
            exponential(0.001, 2.0, 14),
            &["type", "success"],
        );
        AgreementMeter {
            requests: ByOp::new(requests, |op, success| vec![op, success]),
            proposals_failed: register.counter(
                "etcd_server_proposals_failed_total",
                "Proposals that ended without an answer: no room, timed out, lost with a leader, or given up by the client.",
            ),
            leader_changes: register
                .counter("etcd_server_leader_changes_seen_total", "Elections that made a leader, the first one too."),
            reads_slow: register.counter(
                "etcd_server_slow_read_indexes_total",
                "Read barriers that were not answered within the request timeout.",
            ),
            reads_failed: register
                .counter("etcd_server_read_indexes_failed_total", "Read barriers that failed."),
            leases_renewed: register
                .counter("etcd_debugging_lease_renewed_total", "Renewals of leases by the leader."),
            leases_expired: register
                .counter("etcd_debugging_server_lease_expired_total", "Leases that expired and were revoked."),
        }
    }

    /// A request begins. It has failed unless it is said to be answered.
    pub(crate) fn request(&self, op: &'static str) -> Asked<'_> {
        Asked { meter: self, op, begun: Instant::now(), answered: false }
    }
}
