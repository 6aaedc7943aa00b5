//! The JSON gateway of a real member: over every kind of listener, in streams, on a websocket, and with
//! whatever anybody may send. That it speaks as etcd's does is `tests/clients/gateway`'s to show.
mod deadlines;
mod equality;
mod hostile;
mod listeners;
mod streams;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use bramble_server::config::Config;
use bramble_server::node::Node;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// A member with this configuration, in a directory that goes with it.
struct Member {
    node: Node,
    _dir: tempfile::TempDir,
}

impl Member {
    async fn start(config: Config) -> Member {
        let dir = tempfile::tempdir().expect("a directory");
        let config = Config { data_dir: dir.path().join("data"), ..config };
        let node = Node::builder().config(config).build().await.expect("started");
        node.ready(PATIENCE).await.expect("ready");
        Member { node, _dir: dir }
    }

    fn addr(&self) -> SocketAddr {
        self.node.client_addrs()[0]
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.expect("connected")
    }
}

fn loopback() -> Config {
    Config { listen_client: vec!["http://127.0.0.1:0".parse().expect("a URL")], ..Config::default() }
}

/// An answer over HTTP/1.1.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One POST; the whole answer.
async fn post(stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, body: &str) -> Answer {
    ask(stream, &format!("POST {path} HTTP/1.1"), "host: localhost", body.as_bytes()).await
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let head = format!("{line}\r\n{headers}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    // Who refuses early need not read it all.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("in time");
    // TLS ends without a farewell when the other side is quick.
    let _ = read;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head[9..12].parse().expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
