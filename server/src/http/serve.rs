//! Accepting and serving connections: gRPC and HTTP/1.1 on one port, with and without TLS.
//!
//! Every wait has a bound. A connection has [`FIRST_BYTES`] for its handshake and as much again for
//! its first bytes; only so many may be that far at once, in all and from one address; a slow header
//! is cut off by hyper. Nothing ends the accept loop but `stop`: a full file table is waited out.
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{debug, warn};

use super::authority::CleanAuthority;
use super::first_bytes::FirstBytes;
use super::listen::Socket;
use crate::rpc::Remote;
use crate::tls::{Identity, PeerName};

/// What is left this long after `stop` is closed: open watches, and requests that found no quorum.
pub const GRACE: Duration = Duration::from_secs(3);
/// Bound on a TLS handshake, and again on the first bytes after it.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// Bound on the header of an HTTP/1.1 request, and on the silence between two requests.
const HEADER: Duration = Duration::from_secs(30);
/// Connections that have not said anything yet, in all.
const SILENT_MAX: usize = 512;
/// The same from one address: above what an API server opens at once.
const SILENT_PER_ADDRESS_MAX: usize = 256;
/// Flow-control windows: big answers and snapshots are throttled by the default of 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Settings of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Streams one connection may have open.
    pub streams_max: u32,
    /// How often a connection is pinged; zero = never.
    pub ping_every: Duration,
    /// How long the answer may take.
    pub pong_within: Duration,
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
}

impl App {
    async fn answer(mut self, mut request: Request<Incoming>, peer: Option<PeerName>) -> Response {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        if let Some(remote) = self.remote.take() {
            request.extensions_mut().insert(remote);
        }
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let router = match &mut self.rpc {
            Some(rpc) if is_grpc => rpc,
            _ => &mut self.http,
        };
        match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// A router that knows nothing, and says so as Go's does.
pub(super) fn not_found() -> Router {
    Router::new().fallback(|| async { super::text(StatusCode::NOT_FOUND, "404 page not found\n") })
}

/// What all connections share.
struct House {
    limits: Limits,
    silent: Arc<Silent>,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// Serves all sockets until `stop`, then waits for their connections.
pub(super) async fn run(
    doors: Vec<(Socket, App, Option<Arc<Identity>>)>,
    limits: Limits,
    stop: CancellationToken,
) {
    let silent = Arc::new(Silent::default());
    let house = Arc::new(House { limits, silent, stop, connections: TaskTracker::new() });
    let loops = TaskTracker::new();
    for (socket, app, identity) in doors {
        loops.spawn(accept(house.clone(), socket, app, identity));
    }
    loops.close();
    loops.wait().await;
    house.connections.close();
    house.connections.wait().await;
}

async fn accept(house: Arc<House>, socket: Socket, app: App, identity: Option<Arc<Identity>>) {
    // The file of a unix socket lives as long as this loop.
    let (tcp, unix, _file) = match socket {
        Socket::Tcp(listener) => (TcpListener::from_std(listener).ok(), None, None),
        Socket::Unix(listener, file) => (None, UnixListener::from_std(listener).ok(), Some(file)),
    };
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = house.stop.cancelled() => return,
            accepted = accept_one(&house, tcp.as_ref(), unix.as_ref(), &app, identity.as_ref()) => accepted,
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
    tcp: Option<&TcpListener>,
    unix: Option<&UnixListener>,
    app: &App,
    identity: Option<&Arc<Identity>>,
) -> io::Result<()> {
    let (mut app, identity) = (app.clone(), identity.cloned());
    if let Some(listener) = tcp {
        let (stream, remote) = listener.accept().await?;
        app.remote = Some(Remote(remote.to_string().into()));
        let Some(guest) = house.silent.enter(Some(remote.ip())) else { return Ok(()) };
        stream.set_nodelay(true)?;
        house.connections.spawn(greet(house.clone(), stream, guest, app, identity));
    } else if let Some(listener) = unix {
        let (stream, _) = listener.accept().await?;
        let Some(guest) = house.silent.enter(None) else { return Ok(()) };
        house.connections.spawn(greet(house.clone(), stream, guest, app, identity));
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

async fn greet<S>(house: Arc<House>, stream: S, guest: Guest, app: App, identity: Option<Arc<Identity>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Some(identity) = identity else {
        return converse(house, FirstBytes::new(stream, FIRST_BYTES, guest), app, None).await;
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
    converse(house, FirstBytes::new(stream, FIRST_BYTES, guest), app, peer).await;
}

async fn converse<S>(house: Arc<House>, stream: S, app: App, peer: Option<PeerName>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let builder = protocol(house.limits);
    let service = hyper::service::service_fn(move |request| {
        let (app, peer) = (app.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(app.answer(request, peer).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(CleanAuthority::new(stream)), service));
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
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval((!limits.ping_every.is_zero()).then_some(limits.ping_every))
        .keep_alive_timeout(limits.pong_within);
    builder
}

/// Counts connections that have not said anything yet.
#[derive(Default)]
struct Silent {
    by_address: Mutex<HashMap<Option<IpAddr>, usize>>,
}

/// A silent connection's place in the count; dropped when it speaks or goes.
pub(super) struct Guest {
    silent: Arc<Silent>,
    address: Option<IpAddr>,
}

impl Silent {
    /// A place, or `None` when there are too many: the connection is closed at once.
    fn enter(self: &Arc<Silent>, address: Option<IpAddr>) -> Option<Guest> {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (counts.values().sum::<usize>(), counts.get(&address).copied().unwrap_or(0));
        if all >= SILENT_MAX || own >= SILENT_PER_ADDRESS_MAX {
            debug!(all, own, "too many connections that say nothing; closing one");
            return None;
        }
        *counts.entry(address).or_insert(0) += 1;
        Some(Guest { silent: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.silent.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
