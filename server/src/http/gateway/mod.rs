//! etcd's API as JSON over plain HTTP, under `/v3`: what Patroni, APISIX and curl speak.
//!
//! ```text
//! POST /v3/kv/range {"key":"Zm9v"}
//!   table ─► codec (JSON → protobuf) ─► call (our gRPC routes, in this process) ─► codec ─► HTTP
//! ```
//! A request goes through the same routes as one from the wire: tokens, limits and counters are looked
//! at there and nowhere here. Streams answer one JSON object a line, each flushed, until either side
//! ends; a websocket (`Upgrade: websocket`) carries the same lines as text messages.
//!
//! Memory: one request is bounded by [`Gateway::body_bytes_max`], all that are being read at once by
//! [`Sizes::bodies_bytes`] (who comes then is told "too many requests"), and a stream holds one message at a time.
mod call;
mod codec;
pub(super) mod error;
mod metadata;
mod table;
mod values;
mod websocket;

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::time::Instant;
use tonic::Status;

use crate::node::budget::{Kind, Place};
use crate::node::desks::Desks;
use crate::rpc::status;
use call::Answers;
pub use codec::Malformed;
use metadata::Context;
use table::Row;
use values::{End, Room, Values};

/// A request's body may be this many times as long as its message: base64 adds a third, names the rest.
const JSON_PER_MESSAGE: usize = 2;
/// Answers larger than this are written as JSON, and bodies read, away from the async threads.
const LARGE_BYTES: usize = 64 << 10;
/// A request whose body does not go on for so long is given up; a stream's may rest.
const BODY_SILENCE: Duration = Duration::from_secs(30);

/// Where it is found: its own root, and that of etcd 3.3's clients.
const ROOTS: [&str; 2] = ["/v3/", "/v3beta/"];

/// A request in JSON as the protobuf message that it stands for: the gateway's decoders, by path, for
/// whoever wants to feed them anything.
///
/// `None` when the path is none of ours.
pub fn parse(path: &str, json: &[u8]) -> Option<Result<Bytes, Malformed>> {
    let row = table::ROWS.iter().find(|row| row.paths.contains(&path))?;
    Some((row.request)(json).map(|wire| wire.slice(codec::PREFIX_BYTES..)))
}

/// What a request to this path takes a place of: what its RPC takes one of.
pub(super) fn kind_of(path: &str) -> Kind {
    let path = of_today(path);
    let row = table::ROWS.iter().find(|row| row.paths.contains(&path.as_ref()));
    row.map_or(Kind::Requests, |row| crate::rpc::kind_of(row.rpc))
}

/// A path under the root of etcd 3.3's clients, under today's.
fn of_today(path: &str) -> Cow<'_, str> {
    path.strip_prefix("/v3beta/").map_or(Cow::from(path), |rest| format!("/v3/{rest}").into())
}

/// What may be how large.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Bodies that are being read, all together; one of the longest fits in any case.
    pub bodies_bytes: usize,
}

/// The routes under `/v3`, on top of the routes of gRPC. Large messages are read and written at `desks`.
pub fn routes(rpc: Router, sizes: Sizes, desks: Desks) -> Router {
    let by_path = table::ROWS
        .iter()
        .filter_map(|row| Some((row, row.method()?)))
        .flat_map(|(row, method)| {
            let streams =
                Streams { of_requests: method.client_streaming, of_answers: method.server_streaming };
            row.paths.iter().map(move |path| (*path, Target { row, streams }))
        })
        .collect();
    let message_bytes_max = sizes.message_bytes_max;
    let body_bytes_max = message_bytes_max.saturating_mul(JSON_PER_MESSAGE);
    let room = Room::new(sizes.bodies_bytes.max(body_bytes_max) / 1024);
    let gateway = Arc::new(Gateway { rpc, by_path, message_bytes_max, body_bytes_max, room, desks });
    let serve = any(move |request: Request| {
        let gateway = gateway.clone();
        async move { gateway.serve(request).await }
    });
    let paths = ROOTS.into_iter().flat_map(|root| [root.to_owned(), format!("{root}{{*path}}")]);
    paths.fold(Router::new(), |router, path| router.route(&path, serve.clone()))
}

/// What the gateway is asked for: `kv/range`. `None`: the path is not one of its own.
pub(super) fn rpc_of(path: &str) -> Option<&str> {
    ROOTS.into_iter().find_map(|root| path.strip_prefix(root))
}

/// What a path leads to.
#[derive(Clone, Copy)]
struct Target {
    row: &'static Row,
    streams: Streams,
}

/// Which side says more than one thing.
#[derive(Clone, Copy)]
struct Streams {
    of_requests: bool,
    of_answers: bool,
}

struct Gateway {
    rpc: Router,
    by_path: HashMap<&'static str, Target>,
    message_bytes_max: usize,
    body_bytes_max: usize,
    room: Room,
    desks: Desks,
}

impl Gateway {
    async fn serve(self: Arc<Self>, request: Request) -> Response {
        match websocket::asked(request.headers()) {
            true => websocket::upgrade(self, request).await,
            false => self.answer(request).await,
        }
    }

    async fn answer(&self, request: Request) -> Response {
        let Some(target) = self.by_path.get(of_today(request.uri().path()).as_ref()) else {
            return error::alone(&Status::not_found("Not Found"));
        };
        if request.method() != Method::POST {
            return error::alone(&Status::unimplemented("Method Not Allowed"));
        }
        self.begin(*target, request).await.unwrap_or_else(|status| error::alone(&status))
    }

    /// All that comes before the answer's first byte, the request's body too, is bound by its time.
    async fn begin(&self, target: Target, request: Request) -> Result<Response, Status> {
        let (parts, body) = request.into_parts();
        let context = Context::of(parts)?;
        let deadline = context.deadline;
        match target.streams.of_answers {
            true => until(deadline, self.stream(target, context, body)).await,
            false => until(deadline, self.unary(target.row, context, body)).await,
        }
    }

    /// One request, one answer.
    async fn unary(&self, row: &'static Row, context: Context, body: Body) -> Result<Response, Status> {
        let message = self.message(row, body).await?;
        let place = context.extensions.get::<Arc<Place>>().cloned();
        let mut answers = self.call(row, context, stream::iter([Ok(message)])).await?;
        let message = answers.next().await?.ok_or_else(|| Status::internal("no answer"))?;
        answers.next().await?;
        // What is left of it holds on to the message's memory.
        drop(answers);
        let message_bytes = message.len();
        let json = to_json(row, message, &self.desks).await?;
        if let Some(place) = place {
            // What it is longer than the message that was counted.
            place.take_anyway(Kind::AnswerBytes, json.len().saturating_sub(message_bytes));
        }
        Ok(json_response(Body::from(json)))
    }

    /// One request or several, many answers.
    async fn stream(&self, target: Target, context: Context, body: Body) -> Result<Response, Status> {
        let (row, deadline) = (target.row, context.deadline);
        let answers = match target.streams.of_requests {
            true => {
                let requests = self.requests(row, body).await?;
                self.call(row, context, requests).await?
            }
            false => {
                let message = self.message(row, body).await?;
                self.call(row, context, stream::iter([Ok(message)])).await?
            }
        };
        let mut lines = Lines { row, answers, deadline, desks: self.desks.clone() };
        // Whether it is an error is known with the first message only, and HTTP's status comes before it.
        Ok(match lines.next().await {
            Err(status) => error::first_of_stream(&status),
            Ok(None) => json_response(Body::empty()),
            Ok(Some(first)) => {
                let first = stream::iter([Ok::<_, Infallible>(first)]);
                json_response(Body::from_stream(futures_util::StreamExt::chain(first, lines.into_stream())))
            }
        })
    }

    async fn call<S>(&self, row: &'static Row, context: Context, messages: S) -> Result<Answers, Status>
    where
        S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
    {
        let (metadata, extensions) = context.into_call();
        call::begin(&self.rpc, row.rpc, metadata, extensions, messages).await
    }

    /// The only request of a call: the body's first object. Nothing at all stands for one without fields,
    /// and what follows is not looked at: so it is in etcd.
    async fn message(&self, row: &'static Row, body: Body) -> Result<Bytes, Status> {
        let mut values = Values::new(body, self.body_bytes_max, Some(BODY_SILENCE), self.room.clone());
        let json = values.next().await.map_err(|end| end.status(self.message_bytes_max))?;
        from_json(row, json.unwrap_or_default(), &self.desks).await?.map_err(refused)
    }

    /// The requests of a call as they come. The first is read at once: if it is no good, neither is the
    /// call. After that a malformed one ends the requests, and the answers go on, as in etcd.
    async fn requests(
        &self,
        row: &'static Row,
        body: Body,
    ) -> Result<impl Stream<Item = Result<Bytes, Status>> + Send + 'static, Status> {
        let bytes_max = self.message_bytes_max;
        let mut values = Values::new(body, self.body_bytes_max, None, self.room.clone());
        let desks = self.desks.clone();
        let first = match values.next().await.map_err(|end| end.status(bytes_max))? {
            Some(json) => Some(from_json(row, json, &desks).await?.map_err(refused)?),
            None => None,
        };
        let rest = stream::unfold(Some(values), move |values| {
            let desks = desks.clone();
            async move {
                let mut values = values?;
                match values.next().await {
                    Ok(Some(json)) => match from_json(row, json, &desks).await {
                        Ok(message) => message.ok().map(|message| (Ok(message), Some(values))),
                        Err(stopped) => Some((Err(stopped), None)),
                    },
                    Ok(None) | Err(End::Malformed(_)) => None,
                    Err(end) => Some((Err(end.status(bytes_max)), None)),
                }
            }
        });
        Ok(futures_util::StreamExt::chain(stream::iter(first.map(Ok)), rest))
    }
}

/// The answers of a stream as lines.
struct Lines {
    row: &'static Row,
    answers: Answers,
    deadline: Option<Instant>,
    desks: Desks,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(message) = until(self.deadline, self.answers.next()).await? else { return Ok(None) };
        let json = to_json(self.row, message, &self.desks).await?;
        Ok(Some([br#"{"result":"#, &json[..], b"}\n"].concat().into()))
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        stream::unfold(Some(self), |lines| async move {
            let mut lines = lines?;
            match lines.next().await {
                Ok(line) => line.map(|line| (Ok(line), Some(lines))),
                Err(status) => Some((Ok(error::line(&status).into()), None)),
            }
        })
    }
}

async fn to_json(row: &'static Row, message: Bytes, desks: &Desks) -> Result<Bytes, Status> {
    match message.len() <= LARGE_BYTES {
        true => (row.answer)(message),
        false => aside(desks, move || (row.answer)(message)).await?,
    }
}

/// The outer error is ours, the inner one the request's.
async fn from_json(
    row: &'static Row,
    json: Bytes,
    desks: &Desks,
) -> Result<Result<Bytes, Malformed>, Status> {
    match json.len() <= LARGE_BYTES {
        true => Ok((row.request)(&json)),
        false => aside(desks, move || (row.request)(&json)).await,
    }
}

fn refused(malformed: Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

/// Does what takes its time away from the async threads, in its turn.
async fn aside<T: Send + 'static>(
    desks: &Desks,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    let desk = desks.one().await.map_err(status::of)?;
    desk.work(work).await.map_err(status::of)
}

async fn until<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(deadline) = deadline else { return work.await };
    // Some calls are quicker than the timer's finest step.
    match tokio::time::timeout_at(deadline, work).await {
        Ok(done) if Instant::now() < deadline => done,
        _ => Err(Status::deadline_exceeded("context deadline exceeded")),
    }
}

fn json_response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("grpc-metadata-content-type", HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_take_the_places_of_streams_under_either_root() {
        for root in ["/v3", "/v3beta"] {
            let kind = |path: &str| kind_of(&format!("{root}{path}"));
            assert_eq!(kind("/watch"), Kind::WatchStreams);
            for stream in ["/lease/keepalive", "/election/observe", "/maintenance/snapshot"] {
                assert_eq!(kind(stream), Kind::OtherStreams, "{stream}");
            }
            for request in ["/kv/range", "/lease/grant", "/kv/lease/revoke", "/watch/", "/nothing", ""] {
                assert_eq!(kind(request), Kind::Requests, "{request}");
            }
        }
        assert_eq!(kind_of("/health"), Kind::Requests);
    }
}
