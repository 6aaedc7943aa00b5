//! Calls of gRPC methods, under the names of Go's gRPC middleware.
//!
//! One row of atomics for each method, found by its path once per call; labels are put together only
//! when somebody scrapes. Every method and code is there from the start with 0, so that a rate over
//! the first failure is not lost.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bramble_proto::{METHODS, Method};
use prometheus::{Histogram, HistogramVec, IntCounterVec};
use tonic::Code;

use super::families::{Kind, Scrape};
use super::register::Register;
use super::seconds;

/// gRPC's codes with the names that Go gives them.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// Upper bounds of the handling times: Go's defaults, in seconds.
const HANDLING: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts of all calls to one member.
pub struct CallMeter {
    seconds: HistogramVec,
    by_path: HashMap<&'static str, usize>,
    /// As in [`METHODS`].
    methods: Vec<MethodMeter>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    versions: ClientVersions,
    stream_failures: IntCounterVec,
}

/// Counts of one method.
struct MethodMeter {
    started: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// By the code's number.
    handled: [AtomicU64; CODES.len()],
    /// Made when the first call has ended.
    seconds: OnceLock<Histogram>,
}

/// A method, found. An index into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodId(usize);

impl CallMeter {
    pub(super) fn new(register: &Register<'_>) -> CallMeter {
        let seconds = register.histograms(
            "grpc_server_handling_seconds",
            "How long calls take, from the request's header to the answer's last byte.",
            HANDLING.to_vec(),
            &["grpc_type", "grpc_service", "grpc_method"],
        );
        let meter = |_: &Method| MethodMeter {
            started: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            handled: Default::default(),
            seconds: OnceLock::new(),
        };
        CallMeter {
            seconds,
            by_path: METHODS.iter().enumerate().map(|(at, method)| (method.path, at)).collect(),
            methods: METHODS.iter().map(meter).collect(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            versions: ClientVersions::default(),
            stream_failures: register.counters(
                "etcd_network_server_stream_failures_total",
                "Streams that failed otherwise than by the client's going away.",
                &["Type", "API"],
            ),
        }
    }

    /// The method of a request's path. Calls of others are not counted: nothing serves them.
    pub(crate) fn find(&self, path: &str) -> Option<MethodId> {
        self.by_path.get(path).copied().map(MethodId)
    }

    /// A call has begun. `version` is what the client says of itself; `None` when that is not text, and
    /// the call will be refused.
    pub(crate) fn started(&self, method: MethodId, version: Option<&str>) {
        self.methods[method.0].started.fetch_add(1, Ordering::Relaxed);
        if let Some(version) = version {
            let streams = METHODS[method.0].client_streaming || METHODS[method.0].server_streaming;
            self.versions.count(version, streams);
        }
    }

    /// Whole messages have come in, and bytes of messages.
    pub(crate) fn received(&self, method: MethodId, messages: u64, bytes: u64) {
        self.methods[method.0].received.fetch_add(messages, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whole messages have gone out, and bytes of messages.
    pub(crate) fn sent(&self, method: MethodId, messages: u64, bytes: u64) {
        self.methods[method.0].sent.fetch_add(messages, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A call has ended.
    pub(crate) fn handled(&self, method: MethodId, code: Code, took: Duration) {
        self.methods[method.0].handled[code as usize].fetch_add(1, Ordering::Relaxed);
        self.handling(method).observe(seconds(took));
    }

    /// Shows the handling times of all methods from now on, also of those that were never called.
    pub(crate) fn show_all(&self) {
        for method in 0..METHODS.len() {
            self.handling(MethodId(method));
        }
    }

    fn handling(&self, method: MethodId) -> &Histogram {
        self.methods[method.0].seconds.get_or_init(|| {
            let method = &METHODS[method.0];
            self.seconds.with_label_values(&[kind(method), method.service, method.method])
        })
    }

    /// The requests of a stream cannot be read any further, for another reason than the client's going
    /// away. `api` is etcd's word for the stream: `watch`, `lease-keepalive`.
    pub(crate) fn stream_failed(&self, api: &str) {
        self.stream_failures.with_label_values(&["receive", api]).inc();
    }

    /// Says all but the handling times, which are registered.
    pub(super) fn tell(&self, scrape: &mut Scrape) {
        let labels = |method: &'static Method| [kind(method), method.service, method.method];
        let mut by_method = |name: &str, help: &str, count: fn(&MethodMeter) -> &AtomicU64| {
            let rows = METHODS.iter().zip(&self.methods);
            let rows = rows.map(|(method, meter)| (labels(method), load(count(meter))));
            scrape.family(Kind::Counter, name, help, &["grpc_type", "grpc_service", "grpc_method"], rows);
        };
        by_method("grpc_server_started_total", "Calls begun.", |meter| &meter.started);
        by_method("grpc_server_msg_received_total", "Messages received in calls.", |meter| &meter.received);
        by_method("grpc_server_msg_sent_total", "Messages sent in calls.", |meter| &meter.sent);
        let rows = METHODS.iter().zip(&self.methods).flat_map(|(method, meter)| {
            let [kind, service, name] = labels(method);
            let counts = CODES.iter().zip(&meter.handled);
            counts.map(move |((_, code), count)| ([kind, service, name, code], load(count)))
        });
        let names = ["grpc_type", "grpc_service", "grpc_method", "grpc_code"];
        scrape.family(
            Kind::Counter,
            "grpc_server_handled_total",
            "Calls ended, by gRPC's code.",
            &names,
            rows,
        );
        scrape.counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "Bytes of messages sent to clients.",
            self.sent_bytes.load(Ordering::Relaxed),
        );
        scrape.counter(
            "etcd_network_client_grpc_received_bytes_total",
            "Bytes of messages received from clients.",
            self.received_bytes.load(Ordering::Relaxed),
        );
        self.versions.tell(scrape);
    }
}

fn load(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

/// The middleware's word for a method's shape.
fn kind(method: &Method) -> &'static str {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

/// Versions of clients that get a row of their own. They come from outside: a client that invents
/// more, or longer ones, is counted as `other`.
const VERSIONS_MAX: usize = 32;
const VERSION_BYTES_MAX: usize = 64;
const OTHER: &str = "other";

/// Calls by the version that clients say they have.
struct ClientVersions {
    /// Filled from the front; what is in stays.
    rows: [OnceLock<Arc<str>>; VERSIONS_MAX],
    /// Unary, stream. The last row is of all others.
    counts: [[AtomicU64; 2]; VERSIONS_MAX + 1],
}

impl Default for ClientVersions {
    fn default() -> Self {
        ClientVersions { rows: Default::default(), counts: std::array::from_fn(|_| Default::default()) }
    }
}

impl ClientVersions {
    fn count(&self, version: &str, streams: bool) {
        self.counts[self.row(version)][usize::from(streams)].fetch_add(1, Ordering::Relaxed);
    }

    fn row(&self, version: &str) -> usize {
        if version.len() > VERSION_BYTES_MAX {
            return VERSIONS_MAX;
        }
        let is_row = |row: &OnceLock<Arc<str>>| &**row.get_or_init(|| version.into()) == version;
        self.rows.iter().position(is_row).unwrap_or(VERSIONS_MAX)
    }

    fn tell(&self, scrape: &mut Scrape) {
        let known = self.rows.iter().map_while(|row| row.get().map(|version| &**version));
        let others = (OTHER, &self.counts[VERSIONS_MAX]);
        let rows = known.zip(&self.counts).chain([others]).flat_map(|(version, counts)| {
            let rows = ["unary", "stream"].into_iter().zip(counts);
            rows.map(move |(kind, count)| ([kind, version], load(count)))
        });
        scrape.family(
            Kind::Counter,
            "etcd_server_client_requests_total",
            "Calls begun, by the version that the client says it has.",
            &["type", "client_api_version"],
            rows.filter(|(_, count)| *count > 0.0),
        );
    }
}

#[cfg(test)]
mod tests {
    use prometheus::proto::Metric;

    use super::*;

    #[test]
    fn codes_stand_at_their_numbers() {
        for (at, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, at);
        }
    }

    #[test]
    fn clients_cannot_make_rows_without_end() {
        let versions = ClientVersions::default();
        versions.count("3.5.30", false);
        for invented in 0..1000 {
            versions.count(&format!("{invented}"), true);
        }
        versions.count("3.5.30", false);
        versions.count(&"x".repeat(100), false);
        let mut scrape = Scrape::default();
        versions.tell(&mut scrape);
        let families = scrape.into_families();
        let rows = families[0].get_metric();
        let value = |kind: &str, version: &str| {
            let labels = |row: &&Metric| [0, 1].map(|at: usize| row.get_label()[at].value().to_owned());
            let row = rows.iter().find(|row| labels(row) == [version, kind]);
            row.map(|row| row.get_counter().get_value())
        };
        assert_eq!(value("unary", "3.5.30"), Some(2.0));
        assert_eq!(value("stream", "3.5.30"), None);
        assert_eq!(value("stream", "30"), Some(1.0));
        assert_eq!((value("stream", OTHER), value("unary", OTHER)), (Some(969.0), Some(1.0)));
        assert_eq!(rows.len(), VERSIONS_MAX + 2);
    }
}
