//! The bound on one message, said as gRPC's Go implementation says it: code ResourceExhausted, with
//! both numbers. tonic has a bound too, with another code and text, and it cannot be told.
//!
//! Each message of a body follows five bytes: a flag and the length, big-endian. The body is read
//! through here on its way to tonic; before a message that is too long it ends with the refusal, so
//! that no byte of such a message is ever kept.
//!
//! The decoder's own bound, on nesting, is said in etcd's words too: only a transaction nests, and one
//! that is nested so deeply is beyond any budget of operations.
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::MapOk;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// A gRPC service whose requests' messages are bounded.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    service: S,
    bytes_max: usize,
}

impl<S> Limited<S> {
    /// Refuses messages of more than `bytes_max` bytes.
    pub fn new(service: S, bytes_max: usize) -> Self {
        Limited { service, bytes_max }
    }
}

impl<S: NamedService> NamedService for Limited<S> {
    const NAME: &'static str = S::NAME;
}

type Response = http::Response<Body>;

impl<S> Service<http::Request<Body>> for Limited<S>
where
    S: Service<http::Request<Body>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response) -> Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let scan = Scan::new(self.bytes_max);
        let request = request.map(|body| Body::new(LimitedBody { body, scan, refusal: None }));
        self.service.call(request).map_ok(name_deep_nesting as fn(Response) -> Response)
    }
}

/// Says in etcd's words what the decoder says in its own. A refused request is answered by headers alone.
fn name_deep_nesting(response: Response) -> Response {
    let said = Status::from_header_map(response.headers());
    match said.is_some_and(|said| said.message().contains("recursion limit")) {
        true => Status::invalid_argument("etcdserver: too many operations in txn request").into_http(),
        false => response,
    }
}

struct LimitedBody {
    body: Body,
    scan: Scan,
    /// Said after the messages before the one refused.
    refusal: Option<Status>,
}

impl http_body::Body for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if let Some(refusal) = this.refusal.take() {
            return Poll::Ready(Some(Err(refusal)));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)?) else {
            return Poll::Ready(None);
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        if let Err(TooLong { at, bytes }) = this.scan.take(&data) {
            let text =
                format!("grpc: received message larger than max ({bytes} vs. {})", this.scan.bytes_max);
            this.refusal = Some(Status::resource_exhausted(text));
            data.truncate(at);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.refusal.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Bytes before each message: a flag and four of length.
const PREFIX_BYTES: usize = 5;

/// Where we are in a sequence of messages that arrives in pieces.
#[derive(Debug)]
struct Scan {
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    /// How much of the prefix has arrived.
    prefix_len: usize,
    /// What is still to come of the present message.
    body_left: usize,
}

/// A message is too long.
#[derive(Debug, PartialEq, Eq)]
struct TooLong {
    /// Where in this piece its prefix begins; 0 when that was in an earlier piece.
    at: usize,
    /// How long it says it is.
    bytes: usize,
}

impl Scan {
    fn new(bytes_max: usize) -> Self {
        Scan { bytes_max, prefix: [0; PREFIX_BYTES], prefix_len: 0, body_left: 0 }
    }

    /// Goes over the next piece of the body.
    fn take(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        let mut rest = piece;
        while !rest.is_empty() {
            let skipped = self.body_left.min(rest.len());
            self.body_left -= skipped;
            rest = &rest[skipped..];
            let at = (piece.len() - rest.len()).saturating_sub(self.prefix_len);

            let wanted = (PREFIX_BYTES - self.prefix_len).min(rest.len());
            self.prefix[self.prefix_len..self.prefix_len + wanted].copy_from_slice(&rest[..wanted]);
            self.prefix_len += wanted;
            rest = &rest[wanted..];

            if self.prefix_len == PREFIX_BYTES {
                let [_, a, b, c, d] = self.prefix;
                let bytes = u32::from_be_bytes([a, b, c, d]) as usize;
                if bytes > self.bytes_max {
                    return Err(TooLong { at, bytes });
                }
                self.prefix_len = 0;
                self.body_left = bytes;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    fn message(bytes: usize) -> Vec<u8> {
        let mut wire = vec![0];
        wire.extend(u32::try_from(bytes).expect("short").to_be_bytes());
        wire.resize(PREFIX_BYTES + bytes, 7);
        wire
    }

    #[test]
    fn messages_are_measured_however_the_body_is_cut() {
        let good: Vec<u8> = [message(0), message(100), message(3), message(100)].concat();
        let bad = [good.clone(), message(101), message(1)].concat();
        for piece in 1..=bad.len() {
            let mut scan = Scan::new(100);
            assert!(good.chunks(piece).all(|piece| scan.take(piece).is_ok()), "pieces of {piece}");
            let mut scan = Scan::new(100);
            let refusals: Vec<_> = bad
                .chunks(piece)
                .map_while(|piece| scan.take(piece).err().map(Some).or(Some(None)))
                .flatten()
                .collect();
            assert_eq!(refusals.first().map(|too_long| too_long.bytes), Some(101), "pieces of {piece}");
        }
        let mut scan = Scan::new(100);
        assert_eq!(scan.take(&bad), Err(TooLong { at: good.len(), bytes: 101 }));
    }

    #[tokio::test]
    async fn what_came_before_is_delivered_and_the_refusal_has_both_numbers() {
        let wire = Bytes::from([message(10), message(3_000_000)].concat());
        let pieces = wire
            .chunks(16_384)
            .map(|piece| Ok::<_, Status>(Frame::data(wire.slice_ref(piece))))
            .collect::<Vec<_>>();
        let body = Body::new(StreamBody::new(tokio_stream::iter(pieces)));
        let mut limited = LimitedBody { body, scan: Scan::new(2_097_152), refusal: None };
        let first = limited.frame().await.expect("a frame").expect("no refusal yet");
        assert_eq!(first.into_data().expect("data").as_ref(), message(10).as_slice());
        let refusal = limited.frame().await.expect("a frame").expect_err("the refusal");
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refusal.message(), "grpc: received message larger than max (3000000 vs. 2097152)");
    }
}
