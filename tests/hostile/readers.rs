//! Clients that ask and do not read, and clients that take back what they asked.
use std::io;
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_server::config::Profile;
use bramble_tests::wire::Wire;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::raw::*;
use crate::siege::{Siege, Target};

const RANGE: &str = "/etcdserverpb.KV/Range";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const PUT: &str = "/etcdserverpb.KV/Put";
const ENHANCE_YOUR_CALM: u32 = 11;

/// Records of the range that is asked for, and bytes of each: an answer of 4 MiB.
const RECORDS: usize = 64;
const RECORD_BYTES: usize = 64 << 10;
/// Who takes back what it asked: how many, how often, and when again after the server has had enough.
const RESETTERS: usize = 3;
const RESETS_EVERY: Duration = Duration::from_millis(20);
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

fn siege() -> Siege {
    let siege = Siege::lay(Profile::Pi);
    let url = format!("http://{}", siege.address());
    siege.meanwhile(async move {
        let wire = Wire::connect(&url).await;
        for number in 0..RECORDS {
            let value = vec![number as u8; RECORD_BYTES].into();
            let put = pb::PutRequest { key: format!("big/{number}").into(), value, ..Default::default() };
            wire.kv().put(put).await.expect("a write");
        }
    });
    siege
}

/// All of the records.
fn all() -> Vec<u8> {
    let range = pb::RangeRequest { key: "big/".into(), range_end: "big0".into(), ..Default::default() };
    range.encode_to_vec()
}

/// A watcher of them, from the beginning on.
fn watcher() -> Vec<u8> {
    use pb::watch_request::RequestUnion::CreateRequest;
    let create = pb::WatchCreateRequest {
        key: "big/".into(),
        range_end: "big0".into(),
        start_revision: 1,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(CreateRequest(create)) }.encode_to_vec()
}

#[test]
fn who_does_not_read_holds_no_more_than_its_budget() {
    let mut siege = siege();
    siege.attack("windows of nothing", 192, windows_of_nothing);
    siege.attack("watches with windows of nothing", 96, watches_with_windows_of_nothing);
    siege.attack("JSON that nobody reads", 384, json_that_nobody_reads);
    siege.attack("requests behind a stream that stands", 96, requests_behind_a_stream_that_stands);
}

/// Every stream may be sent nothing.
async fn windows_of_nothing(target: Target) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..20 {
        let Ok(mut raw) = Raw::connect(2, target.server, &[(INITIAL_WINDOW_SIZE, 0)]).await else { continue };
        for n in 0..50 {
            raw.ask(2 * n + 1, RANGE, &all()).await.ok();
        }
        open.push(raw);
    }
    open
}

/// The same for streams: their answers are made as they are taken.
async fn watches_with_windows_of_nothing(target: Target) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..10 {
        let Ok(mut raw) = Raw::connect(2, target.server, &[(INITIAL_WINDOW_SIZE, 0)]).await else { continue };
        for n in 0..50 {
            raw.begin(2 * n + 1, WATCH).await.ok();
            raw.send(DATA, 0, 2 * n + 1, &message(0, &watcher())).await.ok();
        }
        open.push(raw);
    }
    open
}

async fn json_that_nobody_reads(target: Target) -> Vec<TcpStream> {
    let body = r#"{"key":"YmlnLw==","range_end":"YmlnMA=="}"#;
    let request = format!(
        "POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut open = Vec::new();
    for _ in 0..200 {
        let Ok(mut stream) = dial(2, target.server).await else { continue };
        stream.write_all(request.repeat(3).as_bytes()).await.ok();
        open.push(stream);
    }
    open
}

/// A stream whose answers are not read reads no more requests; what is sent all the same waits in windows.
async fn requests_behind_a_stream_that_stands(target: Target) -> Vec<Raw> {
    let big = pb::WatchCreateRequest { key: vec![b'k'; 8000].into(), ..Default::default() };
    let big = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(big)) };
    let data = frame(DATA, 0, 1, &message(0, &big.encode_to_vec())).repeat(1000);
    let mut open = Vec::new();
    for _ in 0..100 {
        let Ok(mut raw) = Raw::connect(2, target.server, &[(INITIAL_WINDOW_SIZE, 0)]).await else { continue };
        raw.begin(1, WATCH).await.ok();
        // More than any window: the connection ends, or the rest is not taken.
        let sending = raw.stream.write_all(&data);
        let _ = tokio::time::timeout(Duration::from_millis(20), sending).await;
        open.push(raw);
    }
    open
}

#[test]
fn who_takes_back_what_it_asked_makes_little_work() {
    let mut siege = siege();
    let server = siege.address();
    let ended = siege.meanwhile(async move {
        let mut raw = Raw::connect(2, server, &[]).await.expect("a connection");
        // Hundreds are taken back before anybody has looked at them.
        raw.stream.write_all(&asked_and_taken_back(1, 2000)).await.ok();
        raw.goaway().await
    });
    assert_eq!(ended.map(|(code, _)| code), Some(ENHANCE_YOUR_CALM));
    siege.attack("rapid resets", 32, async |target| resets(target, 2000).await);
    siege.attack("resets a few at a time", 64, async |target| resets(target, 30).await);
}

/// Calls on streams from this one on, each followed by its end.
fn asked_and_taken_back(first: u32, count: u32) -> Vec<u8> {
    let put = pb::PutRequest { key: "taken-back".into(), value: "x".into(), ..Default::default() };
    let calls = [(RANGE, all()), (WATCH, watcher()), (PUT, put.encode_to_vec())];
    let mut bytes = Vec::new();
    for n in 0..count {
        let (stream, (path, content)) = (first + 2 * n, &calls[n as usize % calls.len()]);
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &call(path)));
        bytes.extend(frame(DATA, END_STREAM, stream, &message(0, content)));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    bytes
}

/// So many at once, on some connections, each again and again. What the server takes of it is work like any
/// other's, and with two cores it is the pauses that leave others theirs.
async fn resets(target: Target, at_once: u32) {
    let attackers = (0..RESETTERS).map(|_| {
        tokio::spawn(async move {
            while !target.over() {
                reset_until(target, at_once).await.ok();
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.expect("no attacker panics");
    }
}

async fn reset_until(target: Target, at_once: u32) -> io::Result<()> {
    let (mut reads, mut writes) = Raw::connect(2, target.server, &[]).await?.stream.into_split();
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await });
    let mut first = 1;
    while !target.over() && !reading.is_finished() {
        writes.write_all(&asked_and_taken_back(first, at_once)).await?;
        first += 2 * at_once;
        // The server is to have looked at these before the next.
        tokio::time::sleep(RESETS_EVERY).await;
    }
    reading.abort();
    Ok(())
}
