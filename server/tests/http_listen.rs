//! The listeners over real sockets, serving an app of three lines.
mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_server::config::{Config, ListenUrl};
use bramble_server::http::Listeners;
use common::{ask, listening, read_all, send, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test]
async fn http1_and_http2_on_one_port() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let answer = ask(served.connect().await, "/hello").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("http says hello"), "{answer}");
    let (mut requests, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        common::io(served.connect().await),
    )
    .await
    .expect("HTTP/2");
    tokio::spawn(connection);
    for (content_type, from) in [("text/plain", "http says hello"), ("application/grpc", "rpc says hello")] {
        let request = http::Request::get("http://host/hello").header("content-type", content_type);
        let request = request.body(String::new()).expect("a request");
        let answer = requests.send_request(request).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        assert_eq!(body, from);
    }
    // gRPC is HTTP/2: whatever else calls itself so is HTTP, with all that is looked at there.
    let mut stream = served.connect().await;
    let request =
        b"GET /hello HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let answer = String::from_utf8_lossy(&read_all(&mut stream).await).into_owned();
    assert!(answer.ends_with("http says hello"), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn probes_and_http_have_listeners_of_their_own() {
    let mut config = listening("http://127.0.0.1:0");
    config.listen_metrics = vec!["http://127.0.0.1:0".parse().expect("a URL")];
    config.listen_client_http = vec!["http://127.0.0.1:0".parse().expect("a URL")];
    let served = serve(&config);
    assert!(
        ask(served.connect().await, "/hello").await.starts_with("HTTP/1.1 404"),
        "HTTP has left the gRPC port"
    );
    let http = TcpStream::connect(served.http_addrs[0]).await.expect("connected");
    assert!(ask(http, "/hello").await.ends_with("http says hello"));
    let probes = TcpStream::connect(served.metrics_addrs[0]).await.expect("connected");
    assert!(ask(probes, "/hello").await.ends_with("probes say hello"));
    served.stop().await;
}

#[tokio::test]
async fn localhost_is_both_loopbacks() {
    let served = serve(&listening("http://localhost:0"));
    for addr in &served.addrs {
        assert!(addr.ip().is_loopback());
        ask(TcpStream::connect(addr).await.expect("connected"), "/hello").await;
    }
    served.stop().await;
}

#[tokio::test]
async fn unix_sockets_with_the_odd_suffix() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("kine.sock:12379");
    let url = format!("unix://{}", path.display());
    // What a crashed process leaves behind.
    drop(UnixListener::bind(&path).expect("bound"));
    let served = serve(&listening(&url));
    let answer = ask(UnixStream::connect(&path).await.expect("connected"), "/hello").await;
    assert!(answer.ends_with("http says hello"));
    // Somebody answers: in use.
    let error = Listeners::bind(&listening(&url)).err().expect("refused").to_string();
    assert!(error.contains("another process listens there"), "{error}");
    served.stop().await;
    assert!(!path.exists(), "the file goes with the listener");
    std::fs::write(&path, "precious").expect("written");
    let error = Listeners::bind(&listening(&url)).err().expect("refused").to_string();
    assert!(error.contains("is no socket"), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let url = format!("http://{}", served.addrs[0]);
    let error = Listeners::bind(&listening(&url)).err().expect("refused").to_string();
    assert!(error.contains(&url) && error.contains("another process listens there"), "{error}");
    let mut shared = listening("http://127.0.0.1:0");
    shared.reuse_port = true;
    let first = Listeners::bind(&shared).expect("bound");
    shared.listen_client = vec![ListenUrl::tcp(first.addrs()[0])];
    Listeners::bind(&shared).expect("bound twice with --socket-reuse-port");
    served.stop().await;
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let mut seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos()
            as u64;
    eprintln!("seed {seed}");
    for round in 0..200 {
        let length = 25 + (seed % 2000) as usize;
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (seed >> 33) as u8
            })
            .collect();
        if round % 3 == 0 {
            bytes.splice(..24, GREETING.iter().copied());
        }
        let mut stream = served.connect().await;
        // The other side may hang up in the middle.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        read_all(&mut stream).await;
    }
    assert!(ask(served.connect().await, "/hello").await.ends_with("http says hello"));
    served.stop().await;
}

#[tokio::test]
async fn of_too_many_silent_connections_the_oldest_is_closed() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(served.connect().await);
    }
    let begun = Instant::now();
    assert!(ask(served.connect().await, "/hello").await.ends_with("http says hello"), "a newcomer is served");
    assert_eq!(read_all(&mut silent[0]).await, b"", "closed for it");
    assert!(begun.elapsed() < Duration::from_secs(5), "not because it was silent for too long");
    // The others may still speak, and so may those who come after that.
    for stream in &mut silent[1..3] {
        send(stream, "/hello").await;
        let mut buffer = [0; 16];
        stream.read_exact(&mut buffer).await.expect("an answer");
    }
    assert!(ask(served.connect().await, "/hello").await.ends_with("http says hello"));
    served.stop().await;
}

#[tokio::test]
async fn stopping_ends_open_streams_in_time() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let mut watching = served.connect().await;
    send(&mut watching, "/forever").await;
    let mut buffer = [0; 12];
    watching.read_exact(&mut buffer).await.expect("it has begun");
    assert_eq!(&buffer, b"HTTP/1.1 200");
    let begun = Instant::now();
    let addr = served.addrs[0];
    served.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    read_all(&mut watching).await;
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_request_under_way_is_answered_while_stopping() {
    let served = serve(&listening("http://127.0.0.1:0"));
    let mut slow = served.connect().await;
    send(&mut slow, "/slow").await;
    tokio::time::timeout(Duration::from_secs(5), served.slow_begun.notified()).await.expect("it has begun");
    let (answer, ()) = tokio::join!(read_all(&mut slow), served.stop());
    assert!(String::from_utf8_lossy(&answer).ends_with("slow but sure"));
}

#[test]
fn https_without_a_certificate_is_refused() {
    let config =
        Config { listen_client: vec!["https://127.0.0.1:0".parse().expect("a URL")], ..Config::default() };
    assert!(Listeners::bind(&config).err().expect("refused").to_string().contains("no certificate"));
    let missing: &Path = Path::new("/nonexistent/dir/x.sock");
    let config = listening(&format!("unix://{}", missing.display()));
    assert!(Listeners::bind(&config).err().expect("refused").to_string().contains("x.sock"));
}
