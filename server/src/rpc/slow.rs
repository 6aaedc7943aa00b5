//! One line for a unary request that was slow: who asked for what, how large it was, where its time
//! went. etcd's messages and keys, so that people and pipelines that know its log know this one:
//!
//! | message | when |
//! |---|---|
//! | `request stats` | longer than `--warning-unary-request-duration` |
//! | `trace[…]` | longer than 100 ms: the steps |
//! | `apply request took too long` | a read longer than `--warning-apply-duration`; of writes the apply thread says it |
//!
//! Values are never written, only their sizes. A quick request pays for a few clones of counted bytes.
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bramble_proto::etcdserverpb as pb;
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use http::Uri;
use http_body::{Frame, SizeHint};
use prost::Message;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::guard::kind_of_call;
use crate::node::budget::Kind;
use crate::trace::{self, Trace};

/// Requests that take longer have their steps written; etcd's number.
const TRACE_AFTER: Duration = Duration::from_millis(100);
/// Compares, and operations of either branch, of a transaction that are written out.
const OPS_SHOWN: usize = 16;
/// Bytes of a key that are written out. What is asked for may be as long as a message; what is written of
/// it by anybody who comes must not be.
const KEY_SHOWN: usize = 256;

tokio::task_local! {
    static ASKED: RefCell<Option<Asked>>;
}

/// From how long on a request is slow; zero = never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Any unary request.
    pub request: Duration,
    /// A read.
    pub apply: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { request: Duration::from_millis(300), apply: Duration::from_millis(100) }
    }
}

impl Thresholds {
    /// The shortest request that anything is written about.
    fn least(&self) -> Duration {
        let set = [self.request, self.apply, TRACE_AFTER].into_iter().filter(|after| !after.is_zero());
        set.min().unwrap_or(TRACE_AFTER)
    }
}

/// What a request asked for, without values.
#[derive(Clone, Debug)]
struct Asked {
    what: What,
    bytes: usize,
    /// Records that the answer holds or that were deleted.
    answered: i64,
}

#[derive(Clone, Debug)]
enum What {
    Range { key: Bytes, range_end: Bytes, limit: i64, revision: i64, serializable: bool },
    Put { key: Bytes, value_bytes: usize, lease: i64 },
    Delete { key: Bytes, range_end: Bytes },
    Txn(Box<pb::TxnRequest>, bool),
    Other,
}

/// Notes what the current request asks for.
pub fn asked_range(request: &pb::RangeRequest) {
    let (key, range_end) = (request.key.clone(), request.range_end.clone());
    let pb::RangeRequest { limit, revision, serializable, .. } = *request;
    note(request.encoded_len(), || What::Range { key, range_end, limit, revision, serializable });
}

/// Notes what the current request asks for.
pub fn asked_put(request: &pb::PutRequest) {
    let (key, value_bytes, lease) = (request.key.clone(), request.value.len(), request.lease);
    note(request.encoded_len(), || What::Put { key, value_bytes, lease });
}

/// Notes what the current request asks for.
pub fn asked_delete(request: &pb::DeleteRangeRequest) {
    let (key, range_end) = (request.key.clone(), request.range_end.clone());
    note(request.encoded_len(), || What::Delete { key, range_end });
}

/// Notes what the current request asks for.
pub fn asked_txn(request: pb::TxnRequest, read_only: bool) {
    note(request.encoded_len(), || What::Txn(Box::new(request), read_only));
}

fn note(bytes: usize, what: impl FnOnce() -> What) {
    let _ = ASKED.try_with(|asked| {
        *asked.borrow_mut() = Some(Asked { what: what(), bytes, answered: 0 });
    });
}

/// Notes how many records the answer to the current request holds, or how many were deleted.
pub fn answered(records: i64) {
    let _ = ASKED.try_with(|asked| {
        if let Some(asked) = asked.borrow_mut().as_mut() {
            asked.answered = records;
        }
    });
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            What::Range { .. } => "range",
            What::Put { .. } => "put",
            What::Delete { .. } => "delete_range",
            What::Txn(_, true) => "read-only-txn",
            What::Txn(_, false) => "transaction",
            What::Other => "request",
        }
    }

    /// What etcd writes before a slow read.
    fn read_prefix(&self) -> Option<&'static str> {
        match self {
            What::Range { .. } => Some("read-only range "),
            What::Txn(_, true) => Some("read-only txn "),
            What::Put { .. } | What::Delete { .. } | What::Txn(_, false) | What::Other => None,
        }
    }

    /// Changes that it asks for; -1 when nothing is known of it.
    fn count(&self) -> i64 {
        match self {
            What::Range { .. } | What::Delete { .. } => 0,
            What::Put { .. } => 1,
            What::Txn(txn, _) => txn.success.len().max(txn.failure.len()) as i64,
            What::Other => -1,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Range { key, range_end, limit, revision, serializable } => {
                write_keys(f, key, range_end)?;
                write_unless_zero(f, "limit", *limit)?;
                write_unless_zero(f, "revision", *revision)?;
                if *serializable { f.write_str("serializable:true ") } else { Ok(()) }
            }
            What::Put { key, value_bytes, lease } => {
                write!(f, "key:\"{}\" value_size:{value_bytes} ", Key(key))?;
                write_unless_zero(f, "lease", *lease)
            }
            What::Delete { key, range_end } => write_keys(f, key, range_end),
            What::Txn(txn, _) => write_txn(f, txn),
            What::Other => Ok(()),
        }
    }
}

/// A key in readable letters; of a long one the beginning, and how long it is.
struct Key<'a>(&'a [u8]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(KEY_SHOWN)];
        write!(f, "{}", shown.escape_ascii())?;
        if shown.len() < self.0.len() { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

fn write_keys(f: &mut impl fmt::Write, key: &[u8], range_end: &[u8]) -> fmt::Result {
    write!(f, "key:\"{}\" ", Key(key))?;
    if range_end.is_empty() { Ok(()) } else { write!(f, "range_end:\"{}\" ", Key(range_end)) }
}

fn write_rest(f: &mut impl fmt::Write, count: usize) -> fmt::Result {
    if count > OPS_SHOWN { write!(f, "and {} more ", count - OPS_SHOWN) } else { Ok(()) }
}

fn write_unless_zero(f: &mut impl fmt::Write, name: &str, number: i64) -> fmt::Result {
    if number == 0 { Ok(()) } else { write!(f, "{name}:{number} ") }
}

/// Compares by their keys, operations by keys and sizes; of nested transactions only that they are there.
fn write_txn(f: &mut impl fmt::Write, txn: &pb::TxnRequest) -> fmt::Result {
    f.write_str("compare:<")?;
    for compare in txn.compare.iter().take(OPS_SHOWN) {
        write_keys(f, &compare.key, &compare.range_end)?;
    }
    write_rest(f, txn.compare.len())?;
    for (branch, ops) in [("success", &txn.success), ("failure", &txn.failure)] {
        write!(f, "> {branch}:<")?;
        ops.iter().take(OPS_SHOWN).try_for_each(|op| write_op(f, op))?;
        write_rest(f, ops.len())?;
    }
    f.write_str(">")
}

fn write_op(f: &mut impl fmt::Write, op: &pb::RequestOp) -> fmt::Result {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(range)) => {
            f.write_str("request_range:<")?;
            write_keys(f, &range.key, &range.range_end)?;
        }
        Some(Request::RequestPut(put)) => {
            let (key, value_bytes) = (Key(&put.key), put.value.len());
            write!(f, "request_put:<key:\"{key}\" value_size:{value_bytes} ")?;
        }
        Some(Request::RequestDeleteRange(delete)) => {
            f.write_str("request_delete_range:<")?;
            write_keys(f, &delete.key, &delete.range_end)?;
        }
        Some(Request::RequestTxn(_)) => f.write_str("request_txn:<…")?,
        None => f.write_str("<")?,
    }
    f.write_str("> ")
}

/// A gRPC service whose slow unary requests are written to the log.
#[derive(Clone, Debug)]
pub struct Slow<S> {
    service: S,
    thresholds: Thresholds,
}

impl<S> Slow<S> {
    /// Watches `service`.
    pub fn new(service: S, thresholds: Thresholds) -> Self {
        Slow { service, thresholds }
    }
}

impl<S: NamedService> NamedService for Slow<S> {
    const NAME: &'static str = S::NAME;
}

type Response = http::Response<Body>;

impl<S> Service<http::Request<Body>> for Slow<S>
where
    S: Service<http::Request<Body>, Response = Response>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let thresholds = self.thresholds;
        // Streams live as long as they like.
        if kind_of_call(&request) != Kind::Requests {
            return Box::pin(self.service.call(request));
        }
        let uri = request.uri().clone();
        let remote = request.extensions().get::<super::Remote>().cloned();
        let answering = self.service.call(request);
        Box::pin(async move {
            let asked = async move {
                let answer = answering.await;
                (answer, ASKED.with(|asked| asked.borrow_mut().take()))
            };
            let ((answer, asked), trace) = trace::follow(ASKED.scope(RefCell::new(None), asked)).await;
            if trace.elapsed() < thresholds.least() {
                return answer;
            }
            let asked = asked.unwrap_or(Asked { what: What::Other, bytes: 0, answered: -1 });
            let report = Report { uri, remote, asked, took: trace.elapsed(), trace, thresholds };
            answer.map(|answer| answer.map(|body| report.at_the_end_of(body)))
        })
    }
}

/// What is known of a slow request when its answer begins.
struct Report {
    uri: Uri,
    remote: Option<super::Remote>,
    asked: Asked,
    took: Duration,
    trace: Trace,
    thresholds: Thresholds,
}

impl Report {
    /// Writes the lines once the size of the answer is known.
    fn at_the_end_of(self, body: Body) -> Body {
        Body::new(Counted { body, bytes: 0, report: Some(self) })
    }

    fn write(&self, response_bytes: u64) {
        let began = SystemTime::now().checked_sub(self.took).unwrap_or(SystemTime::UNIX_EPOCH);
        let (start, took) = (humantime::format_rfc3339_micros(began), self.took);
        let what = &self.asked.what;
        let exceeds = |after: Duration| !after.is_zero() && took > after;
        if exceeds(self.thresholds.request) {
            let remote = self.remote.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                "start time" = %start,
                "time spent" = ?took,
                "remote" = remote,
                "response type" = self.uri.path(),
                "request count" = what.count(),
                "request size" = self.asked.bytes,
                "response count" = self.asked.answered,
                "response size" = response_bytes,
                "request content" = %what,
                "request stats"
            );
        }
        if let Some(prefix) = what.read_prefix().filter(|_| exceeds(self.thresholds.apply)) {
            tracing::warn!(
                "took" = ?took,
                "expected-duration" = ?self.thresholds.apply,
                "prefix" = prefix,
                "request" = %what,
                "response" = format!("range_response_count:{} size:{response_bytes}", self.asked.answered),
                "apply request took too long"
            );
        }
        if took > TRACE_AFTER || exceeds(self.thresholds.request) {
            self.write_trace(&start.to_string(), response_bytes);
        }
    }

    fn write_trace(&self, start: &str, response_bytes: u64) {
        /// Numbers the traces of this process, so that lines about one can be found.
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut detail = String::new();
        // A string cannot fail to be written to.
        let _ = write!(
            detail,
            "{{{} response_count:{}; response_size:{response_bytes}; }}",
            self.asked.what, self.asked.answered
        );
        tracing::info!(
            "detail" = detail,
            "duration" = ?self.took,
            "start" = start,
            "steps" = %self.trace,
            "step_count" = self.trace.steps().count(),
            "trace[{number}] {}",
            self.asked.what.kind()
        );
    }
}

/// A body that counts itself and then has the report written.
struct Counted {
    body: Body,
    bytes: u64,
    report: Option<Report>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            this.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Also when the client did not wait for the end.
impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            report.write(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_not_written_out() {
        let key = Bytes::from(vec![0xff; 1 << 20]);
        let shown = format!("{}… (1048576 bytes)", "\\xff".repeat(KEY_SHOWN));
        let what = What::Put { key: key.clone(), value_bytes: 7, lease: 0 };
        assert_eq!(what.to_string(), format!("key:\"{shown}\" value_size:7 "));
        let what = What::Delete { key: key.clone(), range_end: key.clone() };
        assert_eq!(what.to_string(), format!("key:\"{shown}\" range_end:\"{shown}\" "));
        let compare = pb::Compare { key: key.clone(), range_end: key.clone(), ..Default::default() };
        let put = pb::PutRequest { key, ..Default::default() };
        let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
        let txn = pb::TxnRequest {
            compare: vec![compare; 1000],
            success: vec![op.clone(); 1000],
            failure: vec![op; 17],
        };
        let written = What::Txn(Box::new(txn), false).to_string();
        let keys_shown = 4 * OPS_SHOWN;
        assert!(written.len() < keys_shown * (shown.len() + 100), "{} bytes", written.len());
        assert_eq!(written.matches("and 984 more ").count(), 2, "compares and operations");
        assert!(written.ends_with("and 1 more >"));
    }

    #[test]
    fn an_ordinary_key_is_written_whole() {
        let key = "k".repeat(KEY_SHOWN);
        let what = What::Delete { key: key.clone().into(), range_end: Bytes::new() };
        assert_eq!(what.to_string(), format!("key:\"{key}\" "));
    }
}
