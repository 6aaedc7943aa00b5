//! What a member tells of itself in Prometheus' text format, under etcd's names and our own.
//!
//! ```text
//! parts ── handles (histograms, counters) ──► Registry ─┐
//! node, process, device ── sources, asked at a scrape ──┴─► text of /metrics
//! ```
//!
//! Invariants:
//! - nothing here is global: each member has a registry of its own;
//! - what a part already knows is asked for when somebody scrapes and kept nowhere else, so a gauge
//!   cannot disagree with what it describes. Only what passes by (durations, events) has a handle;
//! - a handle is made once, when the member starts; counting looks up no label by its text;
//! - a scrape reads: it writes nothing to the log, the engine or the device.
mod apply;
mod by_op;
mod calls;
mod defrag;
mod device;
mod disk;
mod families;
mod health;
mod log;
mod peers;
mod process;
mod register;
mod scrub;
mod work;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry, TextEncoder};

pub(crate) use apply::ApplyMeter;
pub use calls::CallMeter;
pub(crate) use calls::MethodId;
pub(crate) use defrag::DefragMeter;
pub(crate) use device::{Device, DeviceKind, EmmcLife};
pub(crate) use disk::{DiskMeter, MeteredDisk};
pub use families::{Kind, Scrape};
pub(crate) use health::HealthMeter;
pub(crate) use log::{FlushMeter, Latency, LogMeter};
use register::Register;
pub(crate) use scrub::ScrubMeter;
pub(crate) use work::AgreementMeter;
pub use work::ReadMeter;

/// Called at every scrape. It must not wait and must not write.
type Source = Box<dyn Fn(&mut Scrape) + Send + Sync>;

/// All metrics of one member.
pub struct Metrics {
    registry: Registry,
    sources: RwLock<Vec<Source>>,
    /// Calls of gRPC methods.
    pub calls: Arc<CallMeter>,
    pub(crate) agreement: AgreementMeter,
    /// Defragmentations.
    pub(crate) defrag: DefragMeter,
    pub(crate) disk: Arc<DiskMeter>,
    pub(crate) flushes: FlushMeter,
    pub(crate) health: HealthMeter,
    pub(crate) log: LogMeter,
    /// Events that watch streams have taken for their clients.
    pub(crate) events: IntCounter,
    /// Reads.
    pub reads: ReadMeter,
    pub(crate) scrub: ScrubMeter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Those of a member that has done nothing yet, and what its apply thread measures. Reads that take
    /// longer than `slow_after` are counted as slow.
    pub(crate) fn new(slow_after: Duration) -> (Metrics, ApplyMeter) {
        let registry = Registry::new();
        let register = Register(&registry);
        let ops = apply::OpsMeter::new(&register);
        let slow = register.counter(
            "etcd_server_slow_apply_total",
            "Groups of entries, and reads, that took longer than --warning-apply-duration.",
        );
        let (log, flushes, disk) = log::meters(&register);
        peers::register(&register);
        let apply = ApplyMeter::new(&register, ops.clone(), slow.clone());
        let metrics = Metrics {
            calls: Arc::new(CallMeter::new(&register)),
            agreement: AgreementMeter::new(&register),
            defrag: DefragMeter::new(&register),
            disk,
            flushes,
            health: HealthMeter::new(&register),
            log,
            events: register.counter("etcd_debugging_mvcc_events_total", "Events sent to watchers."),
            reads: ReadMeter::new(&register, ops, slow, slow_after),
            scrub: ScrubMeter::new(&register),
            sources: RwLock::default(),
            registry,
        };
        metrics.add_source(process::tell);
        let calls = metrics.calls.clone();
        metrics.add_source(move |scrape| calls.tell(scrape));
        (metrics, apply)
    }

    /// Adds a source: it is asked at every scrape, on a thread that may block for a moment, and says
    /// what it knows then. A family (name) belongs to one source.
    pub(crate) fn add_source(&self, source: impl Fn(&mut Scrape) + Send + Sync + 'static) {
        self.sources.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// Everything as it is now, families in the order of their names.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let mut scrape = Scrape::default();
        for source in self.sources.read().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut scrape);
        }
        let mut families = self.registry.gather();
        families.extend(scrape.into_families());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families
    }

    /// Everything as it is now, in the text format 0.0.4. Reads files under `/proc`: it may block.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Fails only for a family without a metric or a name; a test renders all there are.
        let written = TextEncoder::new().encode_utf8(&self.families(), &mut text);
        debug_assert!(written.is_ok(), "{written:?}");
        text
    }
}

/// Seconds, as histograms want them.
fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}
