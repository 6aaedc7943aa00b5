//! What every call passes before its service sees it, and what every answer passes after.
//!
//! ```text
//!   headers ─ deadline, encoding ─► messages (`incoming`) ─► the service ─► answer, large ones made aside
//!                                                               └ or its time is over
//! ```
use std::sync::Arc;
use std::task::{Context, Poll};

use bramble_proto::METHODS;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::Service;

use super::deadline::{self, Until};
use super::incoming::{Incoming, Terms};
use super::status;
use crate::node::budget::{Kind, Place};
use crate::node::desks::Desks;

/// Answers larger than this are encoded away from the async threads, bytes.
const HEAVY_BYTES: usize = 512 << 10;

/// What a call to this path takes a place of.
pub(crate) fn kind_of(path: &str) -> Kind {
    let method = METHODS.iter().find(|method| method.path == path);
    match method {
        Some(method) if method.service == "etcdserverpb.Watch" => Kind::WatchStreams,
        Some(method) if method.client_streaming || method.server_streaming => Kind::OtherStreams,
        _ => Kind::Requests,
    }
}

/// Whether the requests of a call to this path are a stream.
fn of_many_messages(path: &str) -> bool {
    METHODS.iter().any(|method| method.path == path && method.client_streaming)
}

/// What this call takes a place of. One that has its place says so itself, and nothing is looked up.
pub(super) fn kind_of_call(request: &Request) -> Kind {
    let place = request.extensions().get::<Arc<Place>>();
    place.map_or_else(|| kind_of(request.uri().path()), |place| place.kind())
}

/// A service whose calls are bounded.
#[derive(Clone, Debug)]
pub(super) struct Bounded<S> {
    service: S,
    message_bytes_max: usize,
    desks: Desks,
}

impl<S> Bounded<S> {
    /// Refuses messages of more than `message_bytes_max` bytes, and has large answers encoded at `desks`.
    pub(super) fn new(service: S, message_bytes_max: usize, desks: Desks) -> Self {
        Bounded { service, message_bytes_max, desks }
    }
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

type Request = http::Request<Body>;
type Response = http::Response<Body>;

impl<S> Service<Request> for Bounded<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let checked = Call::of(&request).and_then(|call| Ok((call, gzip(request.headers())?)));
        let (call, gzip) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Box::pin(std::future::ready(Ok(*refused))),
        };
        let Call { deadline, streams, place } = call;
        let asks_on = streams && of_many_messages(request.uri().path());
        let terms = Terms { bytes_max: self.message_bytes_max, gzip, streams: asks_on, place: place.clone() };
        let mut request = request.map(|body| Body::new(Incoming::new(body, terms)));
        if gzip {
            // Unpacked on the way.
            request.headers_mut().remove("grpc-encoding");
        }
        let answering = self.service.call(request);
        let desks = self.desks.clone();
        Box::pin(async move {
            let answer = match deadline {
                None => answering.await?,
                Some(at) => match timeout_at(at, answering).await {
                    Ok(answer) => answer?,
                    // A large read may go on in its thread, and gives back itself what it has taken.
                    Err(_) => return Ok(deadline::exceeded().into_http()),
                },
            };
            let answer = in_known_words(answer);
            Ok(match (streams, deadline, place) {
                (true, Some(at), _) => answer.map(|body| Body::new(Until::new(body, at))),
                (true, None, _) | (false, _, None) => answer,
                (false, Some(at), Some(place)) => {
                    let made = timeout_at(at, made_aside(answer, &place, &desks)).await;
                    made.unwrap_or_else(|_| deadline::exceeded().into_http())
                }
                (false, None, Some(place)) => made_aside(answer, &place, &desks).await,
            })
        })
    }
}

/// What a call's headers say of it.
struct Call {
    deadline: Option<Instant>,
    streams: bool,
    place: Option<Arc<Place>>,
}

impl Call {
    fn of(request: &Request) -> Result<Call, Box<Response>> {
        let deadline = deadline::of(request.headers()).map_err(|why| {
            let status = Status::internal(format!("malformed grpc-timeout: {why}"));
            let mut refused = status.into_http();
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            Box::new(refused)
        })?;
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(Box::new(deadline::exceeded().into_http()));
        }
        let streams = kind_of_call(request) != Kind::Requests;
        Ok(Call { deadline, streams, place: request.extensions().get().cloned() })
    }
}

/// Whether messages may be packed.
fn gzip(headers: &HeaderMap) -> Result<bool, Box<Response>> {
    match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let text = format!("grpc: Decompressor is not installed for grpc-encoding {other:?}");
            Err(Box::new(Status::unimplemented(text).into_http()))
        }
    }
}

/// Says in etcd's words what the decoder says in its own. A refused request is answered by headers
/// alone. Only a transaction nests, and one that is nested too deeply is beyond any budget of operations.
fn in_known_words(answer: Response) -> Response {
    let Some(said) = Status::from_header_map(answer.headers()) else { return answer };
    if said.message().contains("recursion limit") {
        return Status::invalid_argument("etcdserver: too many operations in txn request").into_http();
    }
    match said.message().strip_prefix("failed to decode Protobuf message: ") {
        Some(why) if said.code() == Code::Internal => {
            Status::internal(format!("grpc: error unmarshalling request: {why}")).into_http()
        }
        _ => answer,
    }
}

/// An answer of one message is encoded when it is first looked at. A large one is looked at here, at a
/// desk; what it was made of is gone then, and given back.
async fn made_aside(answer: Response, place: &Arc<Place>, desks: &Desks) -> Response {
    if place.taken(Kind::AnswerBytes) < HEAVY_BYTES {
        return answer;
    }
    let (parts, mut body) = answer.into_parts();
    let made = match desks.one().await {
        Ok(desk) => desk.work(move || (body.frame().now_or_never().flatten(), body)).await,
        Err(stopped) => Err(stopped),
    };
    let (first, rest) = match made {
        Ok(made) => made,
        Err(why) => return status::of(why).into_http(),
    };
    let message_bytes = match &first {
        Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
        Some(Err(_)) | None => 0,
    };
    let spare = place.taken(Kind::AnswerBytes).saturating_sub(message_bytes);
    place.give(Kind::AnswerBytes, spare);
    let frames = stream::iter(first).chain(BodyStream::new(rest));
    http::Response::from_parts(parts, Body::new(StreamBody::new(frames)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;
    use crate::node::budget::Budget;
    use crate::node::memory::Memory;
    use crate::threads::SystemThreads;

    #[tokio::test(start_paused = true)]
    async fn what_a_read_has_taken_is_its_own_to_give_back() {
        let budget = Budget::new(Memory::of(Profile::Pi).clients);
        let place = budget.in_process().place(Kind::Requests).expect("a place");
        let reads_on = tower::service_fn(|request: Request| {
            let place = request.extensions().get::<Arc<Place>>().cloned().expect("a place");
            async move {
                assert!(place.take(Kind::AnswerBytes, 2 * HEAVY_BYTES));
                std::future::pending::<Result<Response, std::convert::Infallible>>().await
            }
        });
        let mut request = http::Request::new(Body::empty());
        *request.uri_mut() = http::Uri::from_static("/etcdserverpb.KV/Range");
        request.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("1S"));
        request.extensions_mut().insert(place.clone());
        let Ok(answer) = Bounded::new(reads_on, 1000, Desks::new(&SystemThreads, 1).expect("a thread"))
            .call(request)
            .await;
        let said = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(said.code(), Code::DeadlineExceeded);
        assert_eq!(place.taken(Kind::AnswerBytes), 2 * HEAVY_BYTES);
    }

    #[test]
    fn some_streams_are_asked_once() {
        for (path, many) in [
            ("/etcdserverpb.Watch/Watch", true),
            ("/etcdserverpb.Lease/LeaseKeepAlive", true),
            ("/etcdserverpb.Maintenance/Snapshot", false),
            ("/etcdserverpb.KV/Put", false),
            ("/nothing", false),
        ] {
            assert_eq!(of_many_messages(path), many, "{path}");
        }
    }
}
