//! Streams over HTTP/1.1: requests and answers at the same time, each line as it happens.
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::{Member, PATIENCE, loopback, post};

/// A POST whose body stays open.
struct Open {
    requests: OwnedWriteHalf,
    answers: BufReader<OwnedReadHalf>,
}

impl Open {
    async fn begin(member: &Member, path: &str) -> Open {
        let (answers, mut requests) = member.connect().await.into_split();
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
        requests.write_all(head.as_bytes()).await.expect("sent");
        Open { requests, answers: BufReader::new(answers) }
    }

    async fn send(&mut self, json: &str) {
        let chunk = format!("{:x}\r\n{json}\r\n", json.len());
        self.requests.write_all(chunk.as_bytes()).await.expect("sent");
    }

    async fn end(&mut self) {
        self.requests.write_all(b"0\r\n\r\n").await.expect("sent");
    }

    async fn text(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.answers.read_line(&mut line)).await;
        read.expect("in time").expect("read");
        line.trim_end().to_owned()
    }

    async fn head(&mut self) -> Vec<String> {
        let mut head = Vec::new();
        loop {
            match self.text().await {
                line if line.is_empty() => return head,
                line => head.push(line.to_lowercase()),
            }
        }
    }

    /// The next chunk, which is one line of JSON; `null` for the end.
    async fn line(&mut self) -> Value {
        let length = usize::from_str_radix(&self.text().await, 16).expect("a chunk's length");
        let line = self.text().await;
        if length == 0 {
            return Value::Null;
        }
        assert_eq!(length, line.len() + 1, "a line a chunk");
        assert_eq!(self.text().await, "", "the chunk's end");
        serde_json::from_str(&line).expect("JSON")
    }
}

async fn put(member: &Member, value: &str) {
    let body = json!({ "key": "Zm9v", "value": value }).to_string();
    assert_eq!(post(member.connect().await, "/v3/kv/put", &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_requests_go_on() {
    let member = Member::start(loopback()).await;
    let mut watch = Open::begin(&member, "/v3/watch").await;
    // A request may come in pieces.
    watch.send(r#"{"create_request":{"key":"Z"#).await;
    watch.send(r#"m9v"}}"#).await;
    let head = watch.head().await;
    assert_eq!(head[0], "http/1.1 200 ok");
    assert!(head.contains(&"transfer-encoding: chunked".to_owned()), "{head:?}");
    assert_eq!(watch.line().await["result"]["created"], true);
    put(&member, "MQ==").await;
    assert_eq!(watch.line().await["result"]["events"][0]["kv"]["value"], "MQ==");
    watch.send(r#"{"create_request":{"key":"YQ==","watch_id":"5"}} {"progress_request":{}}"#).await;
    assert_eq!(watch.line().await["result"]["watch_id"], "5");
    assert_eq!(watch.line().await["result"]["watch_id"], "-1");
    watch.send(r#"{"cancel_request":{"watch_id":0}}"#).await;
    assert_eq!(watch.line().await["result"]["canceled"], true);
    // The end of the requests is not the end of the answers.
    watch.end().await;
    let body = json!({ "key": "YQ==" }).to_string();
    post(member.connect().await, "/v3/kv/put", &body).await;
    assert_eq!(watch.line().await["result"]["events"][0]["kv"]["key"], "YQ==");
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_answered_one_by_one() {
    let member = Member::start(loopback()).await;
    post(member.connect().await, "/v3/lease/grant", r#"{"TTL":60,"ID":7}"#).await;
    let mut renewals = Open::begin(&member, "/v3/lease/keepalive").await;
    renewals.send(r#"{"ID":7}"#).await;
    renewals.head().await;
    assert_eq!(renewals.line().await["result"]["TTL"], "60");
    renewals.send(r#"{"ID":8}"#).await;
    assert_eq!(renewals.line().await["result"]["TTL"], Value::Null);
    renewals.end().await;
    assert_eq!(renewals.line().await, Value::Null, "the answers end with the requests");
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_says_so_in_its_last_line() {
    let member = Member::start(loopback()).await;
    let mut watch = Open::begin(&member, "/v3/watch").await;
    watch.send(r#"{"create_request":{"key":"Zm9v"}}"#).await;
    watch.head().await;
    watch.line().await;
    let stopping = tokio::spawn(member.node.shutdown());
    let last = watch.line().await;
    let said = json!({ "grpc_code": 14, "http_code": 503, "message": "etcdserver: server stopped",
        "http_status": "Service Unavailable", "code": 14 });
    assert_eq!(last, json!({ "error": said }));
    assert_eq!(watch.line().await, Value::Null);
    stopping.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_its_time() {
    let member = Member::start(loopback()).await;
    let body = r#"{"create_request":{"key":"Zm9v"}}"#;
    let headers = "host: h\r\ngrpc-timeout: 50m";
    let answer =
        crate::ask(member.connect().await, "POST /v3/watch HTTP/1.1", headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(r#""created":true"#), "{}", answer.body);
    assert!(answer.body.contains(r#""http_code":504"#), "{}", answer.body);
    member.node.shutdown().await;
}

/// Nothing is left of a stream whose client hangs up: the watchers of one that stays are all there are.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_ends_the_watch() {
    let member = Member::start(loopback()).await;
    let port = member.addr().port();
    for _ in 0..50 {
        let mut watch = Open::begin(&member, "/v3/watch").await;
        watch.send(r#"{"create_request":{"key":"Zm9v"}}"#).await;
        watch.head().await;
        watch.line().await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connections(port) > 0 {
        assert!(tokio::time::Instant::now() < deadline, "connections stay open");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    put(&member, "MQ==").await;
    member.node.shutdown().await;
}

/// What the server still holds of connections to its port: established, or left by the client.
fn connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux");
    let local = format!(":{port:04X}");
    let held = table.lines().filter(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&local) && ["01", "08"].contains(&words[3])
    });
    held.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_and_a_large_request() {
    let member = Member::start(loopback()).await;
    let value = "A".repeat(1_000_000);
    let connection: TcpStream = member.connect().await;
    let answer = post(connection, "/v3/kv/put", &json!({ "key": "Zm9v", "value": value }).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = post(member.connect().await, "/v3/kv/range", r#"{"key":"Zm9v"}"#).await;
    assert_eq!(answer.json()["kvs"][0]["value"], value);
    member.node.shutdown().await;
}
