//! Accepting and serving connections: gRPC and HTTP/1.1 on one port, with and without TLS.
//!
//! Every wait has a bound. A connection has [`FIRST_BYTES`] for its handshake and as much again for
//! its first bytes; only so many may be that far at once, in all and from one address, and newcomers go
//! before those who have been silent longest; a slow header is cut off by hyper. Nothing ends the accept
//! loop but `stop`: a full file table is waited out.
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use super::access::Access;
use super::authority::CleanAuthority;
use super::calm::Calm;
use super::first_bytes::FirstBytes;
use super::gateway;
use super::hall::{Guest, Hall, Stay, Visit};
use super::held::Held;
use super::listen::Socket;
use super::workers::Workers;
use crate::node::budget::Kind;
use crate::node::error::NotNow;
use crate::rpc::{self, Remote};
use crate::tls::{Identity, PeerName};

/// What is left this long after `stop` is closed: open watches, and requests that found no quorum.
pub const GRACE: Duration = Duration::from_secs(3);
/// Bound on a TLS handshake, and again on the first bytes after it.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Bound on the header of an HTTP/1.1 request, and on the silence between two requests.
const HEADER: Duration = Duration::from_secs(30);
/// Bytes of one stream's answer that HTTP/2 holds, whatever window the client opens.
const SEND_BUFFER: usize = 64 << 10;
/// Header of a request, unpacked: room for the largest token, and for no more of them.
const HEADER_LIST: u32 = 64 << 10;
/// Streams that a client resets before they are looked at, and streams reset because of its errors; the
/// next one ends the connection with ENHANCE_YOUR_CALM.
const RESETS_PENDING: usize = 64;
const RESETS_CAUSED: usize = 1024;

/// Settings of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Streams one connection may have open.
    pub streams_max: u32,
    /// How often a connection is pinged; zero = never.
    pub ping_every: Duration,
    /// How long the answer may take.
    pub pong_within: Duration,
    /// The time between a client's own pings.
    pub pings_apart_min: Duration,
    /// How much a client may send that nobody has read yet, half of it on one stream: a stream whose answers are
    /// not read reads no more requests, and what is in its windows is in no budget but that of connections.
    pub connection_window: u32,
}

/// What one listener serves: gRPC by its content type, the rest as HTTP.
#[derive(Clone)]
pub(super) struct App {
    /// gRPC, where it is served.
    pub rpc: Option<Router>,
    /// All that is not gRPC.
    pub http: Router,
    /// Who is at the other end of this connection.
    pub remote: Option<Remote>,
    /// Who may ask for the latter; `None` on listeners for probes, where etcd asks nobody either.
    pub access: Option<Arc<Access>>,
    /// Whether its listener speaks TLS.
    pub encrypted: bool,
}

impl App {
    async fn answer(
        mut self,
        mut request: Request<Incoming>,
        stay: Arc<Stay>,
        peer: Option<PeerName>,
    ) -> Response {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        // The header alone is anybody's to send, also a web page's; of HTTP/1.1 the whitelist is asked.
        let is_grpc = self.rpc.is_some()
            && request.version() == Version::HTTP_2
            && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let Some(place) = stay.share().place(kind_of(is_grpc, request.uri().path())) else {
            return too_many(is_grpc);
        };
        request.extensions_mut().insert(place.clone());
        if request.headers().contains_key(header::UPGRADE) {
            request.extensions_mut().insert(stay);
        }
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(remote) = self.remote.take() {
            request.extensions_mut().insert(remote);
        }
        let (router, cors) = match (&mut self.rpc, &self.access) {
            (Some(rpc), _) if is_grpc => (rpc, None),
            (_, None) => (&mut self.http, None),
            (_, Some(access)) => match access.admit(&request, self.encrypted) {
                Ok(cors) => (&mut self.http, Some(cors)),
                Err(answer) => return *answer,
            },
        };
        let mut response = match router.call(request).await {
            Ok(response) => response.map(|body| Body::new(Held::new(body, place))),
            Err(never) => match never {},
        };
        if let Some(cors) = cors {
            cors.tell(&mut response);
        }
        response
    }
}

/// What a request takes a place of.
fn kind_of(is_grpc: bool, path: &str) -> Kind {
    if is_grpc { rpc::kind_of(path) } else { gateway::kind_of(path) }
}

/// The answer when there is no place left.
fn too_many(is_grpc: bool) -> Response {
    let status = rpc::status::of(NotNow::TooManyRequests);
    if is_grpc {
        return status.into_http();
    }
    gateway::error::alone(&status)
}

/// A router that knows nothing, and says so as Go's does.
pub(super) fn not_found() -> Router {
    Router::new().fallback(|| async { super::text(StatusCode::NOT_FOUND, "404 page not found\n") })
}

/// What all connections share.
struct House {
    limits: Limits,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// A socket, and what is behind it.
pub(super) struct Door {
    pub socket: Socket,
    pub inside: Inside,
}

/// What a connection finds behind a door.
#[derive(Clone)]
pub(super) struct Inside {
    pub app: App,
    pub hall: Arc<Hall>,
    /// With TLS.
    pub identity: Option<Arc<Identity>>,
}

/// Serves all sockets until `stop`, then waits for their connections.
pub(super) async fn run(doors: Vec<Door>, limits: Limits, workers: Workers, stop: CancellationToken) {
    let house = Arc::new(House { limits, stop, connections: TaskTracker::new() });
    // Not the connections' to keep: they end with the workers, and those with the accept loops.
    let workers = Arc::new(workers);
    let loops = TaskTracker::new();
    for Door { socket, inside } in doors {
        loops.spawn(accept(house.clone(), workers.clone(), socket, inside));
    }
    loops.close();
    loops.wait().await;
    house.connections.close();
    house.connections.wait().await;
}

async fn accept(house: Arc<House>, workers: Arc<Workers>, socket: Socket, inside: Inside) {
    // The file of a unix socket lives as long as this loop.
    let (tcp, unix, _file) = match socket {
        Socket::Tcp(listener) => (TcpListener::from_std(listener).ok(), None, None),
        Socket::Unix(listener, file) => (None, UnixListener::from_std(listener).ok(), Some(file)),
    };
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = house.stop.cancelled() => return,
            accepted = accept_one(&house, &workers, tcp.as_ref(), unix.as_ref(), &inside) => accepted,
        };
        let Err(error) = accepted else { continue };
        if is_about_one_connection(&error) {
            continue;
        }
        if complained.is_none_or(|when| when.elapsed() > Duration::from_secs(10)) {
            complained = Some(Instant::now());
            warn!(%error, "cannot accept connections; waiting for others to close");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn accept_one(
    house: &Arc<House>,
    workers: &Workers,
    tcp: Option<&TcpListener>,
    unix: Option<&UnixListener>,
    inside: &Inside,
) -> io::Result<()> {
    let mut inside = inside.clone();
    if let Some(listener) = tcp {
        let (stream, remote) = listener.accept().await?;
        inside.app.remote = Some(Remote(remote.to_string().into()));
        let Some((visit, guest)) = inside.hall.enter(Some(remote.ip())) else { return Ok(()) };
        stream.set_nodelay(true)?;
        let (stream, inner) = (stream.into_std()?, house.clone());
        workers.spawn(&house.connections, async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => greet(inner, stream, visit, guest, inside).await,
                Err(error) => debug!(%error, "connection lost"),
            }
        });
    } else if let Some(listener) = unix {
        let (stream, _) = listener.accept().await?;
        let Some((visit, guest)) = inside.hall.enter(None) else { return Ok(()) };
        let (stream, inner) = (stream.into_std()?, house.clone());
        workers.spawn(&house.connections, async move {
            match UnixStream::from_std(stream) {
                Ok(stream) => greet(inner, stream, visit, guest, inside).await,
                Err(error) => debug!(%error, "connection lost"),
            }
        });
    } else {
        std::future::pending::<()>().await;
    }
    Ok(())
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected
    )
}

async fn greet<S>(house: Arc<House>, stream: S, visit: Visit, guest: Guest, inside: Inside)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shown_out = guest.shown_out();
    tokio::select! {
        () = shown_out.cancelled() => {}
        () = shake_hands(house, stream, visit, guest, inside) => {}
    }
}

async fn shake_hands<S>(house: Arc<House>, stream: S, visit: Visit, guest: Guest, inside: Inside)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Inside { app, identity, .. } = inside;
    let Some(identity) = identity else {
        return converse(house, FirstBytes::new(stream, FIRST_BYTES, guest), visit, app, None).await;
    };
    let handshake = tokio::time::timeout(FIRST_BYTES, TlsAcceptor::from(identity.config()).accept(stream));
    let stream = tokio::select! {
        () = house.stop.cancelled() => return,
        shaken = handshake => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
            Err(_) => return debug!("TLS handshake took too long"),
        },
    };
    let peer = identity.peer_name(stream.get_ref().1);
    converse(house, FirstBytes::new(stream, FIRST_BYTES, guest), visit, app, peer).await;
}

async fn converse<S>(house: Arc<House>, stream: S, visit: Visit, app: App, peer: Option<PeerName>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let builder = protocol(house.limits);
    let share = visit.share().clone();
    let stay = Arc::new(Stay::new(visit, house.stop.clone(), house.connections.token()));
    let service = hyper::service::service_fn(move |request| {
        let (app, stay, peer) = (app.clone(), stay.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(app.answer(request, stay, peer).await) }
    });
    let stream = Calm::new(CleanAuthority::new(stream), house.limits.pings_apart_min, share);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = house.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

fn protocol(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(limits.connection_window / 2)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_local_error_reset_streams(RESETS_CAUSED)
        .keep_alive_interval((!limits.ping_every.is_zero()).then_some(limits.ping_every))
        .keep_alive_timeout(limits.pong_within);
    builder
}
