//! Counts every call, around all services at once: what comes in, what goes out, how it ends.
//!
//! A call ends with the status in its trailers, or in its header when there is nothing else. If it is
//! dropped before that, the client has gone away: `Canceled`, as gRPC's Go server says it, or
//! `DeadlineExceeded` when the time was up that the client had given.
//!
//! Messages are counted whole, and their bytes without gRPC's five before each.
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Code;
use tower::{Layer, Service};

use super::deadline;
use crate::metrics::{CallMeter, MethodId};

/// Bytes before each message: a flag and four of length.
const PREFIX_BYTES: usize = 5;
/// A client's clock starts before its request is here, and its cancel takes as long to come: within
/// this of the time it gave, the time was the reason.
const DEADLINE_SLACK: Duration = Duration::from_millis(10);

/// Puts [`Counted`] around a service.
#[derive(Clone)]
pub(super) struct Counting(pub(super) Arc<CallMeter>);

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        Counted { service, meter: self.0.clone() }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(super) struct Counted<S> {
    service: S,
    meter: Arc<CallMeter>,
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = self.meter.find(request.uri().path()) else {
            return Box::pin(self.service.call(request));
        };
        let call = Call::begin(self.meter.clone(), method, request.headers());
        let meter = self.meter.clone();
        let asked = self.service.call(request.map(|body| Body::new(Received::new(body, meter, method))));
        Box::pin(async move { Ok(call.answer(asked.await?)) })
    }
}

/// A call under way.
struct Call {
    meter: Arc<CallMeter>,
    method: MethodId,
    begun: Instant,
    /// How long the client waits, if it said so.
    patience: Option<Duration>,
    ended: bool,
}

impl Call {
    fn begin(meter: Arc<CallMeter>, method: MethodId, headers: &HeaderMap) -> Call {
        let version =
            headers.get("client-api-version").map(|version| std::str::from_utf8(version.as_bytes()));
        meter.started(method, version.unwrap_or(Ok("unknown")).ok());
        let patience = headers.get("grpc-timeout").and_then(|text| patience(text.to_str().ok()?));
        Call { meter, method, begun: Instant::now(), patience, ended: false }
    }

    fn answer(mut self, response: Response<Body>) -> Response<Body> {
        match status(response.headers()) {
            Some(code) => {
                self.end(code);
                response
            }
            None => response.map(|body| Body::new(Sent { body, messages: Messages::default(), call: self })),
        }
    }

    fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            self.meter.handled(self.method, code, self.begun.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let patience = self.patience.unwrap_or(Duration::MAX);
        let too_late = self.begun.elapsed().saturating_add(DEADLINE_SLACK) >= patience;
        self.end(if too_late { Code::DeadlineExceeded } else { Code::Cancelled });
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}

/// How long the client waits; nothing when it is not said in gRPC's form.
fn patience(text: &str) -> Option<Duration> {
    deadline::parse(text.as_bytes()).ok()
}

/// Counts messages in bytes that arrive in pieces.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    /// Bytes of the message begun that are still to come.
    left: usize,
}

impl Messages {
    /// Messages that end in this piece, and bytes of messages in it.
    fn take(&mut self, mut piece: &[u8]) -> (u64, u64) {
        let (mut messages, mut bytes) = (0, 0);
        while !piece.is_empty() {
            if self.prefix_len < PREFIX_BYTES {
                let wanted = (PREFIX_BYTES - self.prefix_len).min(piece.len());
                self.prefix[self.prefix_len..self.prefix_len + wanted].copy_from_slice(&piece[..wanted]);
                self.prefix_len += wanted;
                piece = &piece[wanted..];
                if self.prefix_len < PREFIX_BYTES {
                    break;
                }
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            }
            let body = self.left.min(piece.len());
            (self.left, piece) = (self.left - body, &piece[body..]);
            bytes += body as u64;
            if self.left == 0 {
                self.prefix_len = 0;
                messages += 1;
            }
        }
        (messages, bytes)
    }
}

/// A request's body on its way in.
struct Received {
    body: Body,
    messages: Messages,
    meter: Arc<CallMeter>,
    method: MethodId,
}

impl Received {
    fn new(body: Body, meter: Arc<CallMeter>, method: MethodId) -> Received {
        Received { body, messages: Messages::default(), meter, method }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let (messages, bytes) = this.messages.take(data);
            this.meter.received(this.method, messages, bytes);
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

/// An answer's body on its way out. The call ends with it.
struct Sent {
    body: Body,
    messages: Messages,
    call: Call,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let (messages, bytes) = this.messages.take(data);
                    this.call.meter.sent(this.call.method, messages, bytes);
                }
                if let Some(code) = frame.trailers_ref().and_then(status) {
                    this.call.end(code);
                }
            }
            // An answer without a status says nothing of how the call ended.
            Some(Err(_)) | None => this.call.end(Code::Unknown),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let mut wire = Vec::new();
        for length in [0u32, 3, 300, 0] {
            wire.push(0);
            wire.extend(length.to_be_bytes());
            wire.resize(wire.len() + length as usize, 9);
        }
        for piece in 1..=wire.len() {
            let mut messages = Messages::default();
            let counted = wire.chunks(piece).map(|piece| messages.take(piece));
            let sum = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!(sum, (4, 303), "in pieces of {piece}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.take(&wire[..wire.len() - 1]).0, 3, "the last one is not whole");
    }

    #[test]
    fn times_are_read_as_grpc_writes_them() {
        assert_eq!(patience("150m"), Some(Duration::from_millis(150)));
        assert_eq!(patience("2S"), Some(Duration::from_secs(2)));
        assert_eq!(patience("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "S", "1", "1x", "-1S", "123456789S", "1ä"] {
            assert_eq!(patience(wrong), None, "{wrong:?}");
        }
    }
}
