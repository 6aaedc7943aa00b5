//! A small app behind real listeners, and clients for it.
#![allow(dead_code)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::routing::get;
use bramble_server::config::Config;
use bramble_server::http::access::Access;
use bramble_server::http::{Apps, Listeners};
use bramble_server::node::budget::Budget;
use bramble_server::tls::PeerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A configuration that listens there.
pub fn listening(url: &str) -> Config {
    Config { listen_client: vec![url.parse().expect("a URL")], ..Config::default() }
}

/// Listeners at work.
pub struct Served {
    pub addrs: Vec<SocketAddr>,
    pub http_addrs: Vec<SocketAddr>,
    pub metrics_addrs: Vec<SocketAddr>,
    pub slow_begun: Arc<Notify>,
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

impl Served {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addrs[0]).await.expect("connected")
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.handle).await.expect("in time").expect("no panic");
    }
}

/// Serves an app of a few lines.
pub fn serve(config: &Config) -> Served {
    let listeners = Listeners::bind(config).expect("bound");
    let (addrs, http_addrs, metrics_addrs) =
        (listeners.addrs(), listeners.http_addrs(), listeners.metrics_addrs());
    let slow_begun = Arc::new(Notify::new());
    let begun = slow_begun.clone();
    let slow = get(|| async move {
        begun.notify_one();
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow but sure"
    });
    let forever =
        get(|| async { Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>()) });
    let apps = Apps {
        rpc: Router::new().route("/hello", get(|| async { "rpc says hello" })),
        http: Router::new()
            .route("/hello", get(|| async { "http says hello" }))
            .route("/whoami", get(whoami))
            .route("/slow", slow)
            .route("/forever", forever),
        metrics: Router::new().route("/hello", get(|| async { "probes say hello" })),
        budget: Budget::new(bramble_server::node::memory::Memory::of(config.profile).clients),
        access: Access::new(&config.cors, &config.host_whitelist),
    };
    let stop = CancellationToken::new();
    let handle = listeners.serve(apps, stop.clone()).expect("threads");
    Served { addrs, http_addrs, metrics_addrs, slow_begun, stop, handle }
}

/// Whom the connection's certificate names.
async fn whoami(request: Request) -> String {
    request.extensions().get::<PeerName>().map_or("nobody".to_owned(), |PeerName(name)| name.to_string())
}

pub fn io<S>(stream: S) -> hyper_util::rt::TokioIo<S> {
    hyper_util::rt::TokioIo::new(stream)
}

pub async fn send(stream: &mut (impl AsyncWrite + Unpin), path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
}

/// One HTTP/1.1 request; the whole answer.
pub async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    send(&mut stream, path).await;
    String::from_utf8_lossy(&read_all(&mut stream).await).into_owned()
}

/// Everything until the other side closes, within 20 s; a reset counts as closing.
pub async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("closed in time");
    bytes
}
