//! `Grpc-Timeout`: how long a client of the gateway waits, whatever for.
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Member, PATIENCE, ask, loopback, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_awaited_longer() {
    let member = Member::start(loopback()).await;
    for path in ["/v3/kv/range", "/v3/watch", "/v3/maintenance/snapshot"] {
        let mut stream = member.connect().await;
        let begun = Instant::now();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\ngrpc-timeout: 300m\r\n\r\n{{");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut status = [0; 12];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut status)).await;
        read.expect("in time").expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 504", "{path}");
        assert!(begun.elapsed() >= Duration::from_millis(300), "{path}");
    }
    member.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_out_of_time_is_counted_as_one() {
    let member = Member::start(loopback()).await;
    let lease = post(member.connect().await, "/v3/lease/grant", r#"{"TTL":600}"#).await.json();
    let lock = format!(r#"{{"name":"YQ==","lease":{}}}"#, lease["ID"]);
    assert_eq!(post(member.connect().await, "/v3/lock/lock", &lock).await.status, 200);
    let headers = "host: h\r\ngrpc-timeout: 300m";
    let second = r#"{"name":"YQ=="}"#;
    let answer = ask(member.connect().await, "POST /v3/lock/lock HTTP/1.1", headers, second.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (504, Some(4)));
    let metrics = ask(member.connect().await, "GET /metrics HTTP/1.1", "host: h", b"").await.body;
    let of_lock = |line: &&str| line.contains("grpc_method=\"Lock\"") && !line.ends_with(" 0");
    let ended: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("grpc_server_handled_total"))
        .filter(of_lock)
        .collect();
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(ended.iter().any(|line| line.contains("grpc_code=\"DeadlineExceeded\"")), "{ended:?}");
    member.node.shutdown().await;
}
