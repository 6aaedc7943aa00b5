//! Messages that are too long, too deep, not what they say, or much more than they seem.
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bramble_server::config::Profile;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::*;
use crate::siege::{Siege, Target};

const TXN: &str = "/etcdserverpb.KV/Txn";
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
/// Calls at once on one connection, and connections.
const CALLS: u32 = 16;
const ATTACKERS: usize = 8;

#[test]
fn messages_of_ill_will_are_refused_at_little_cost() {
    let mut siege = Siege::lay(Profile::Pi);
    siege.attack("messages too long", 64, async |target| again(target, too_long()).await);
    siege.attack("lengths that lie", 64, lengths_that_lie);
    siege.attack("transactions in transactions", 96, async |target| again(target, nested()).await);
    siege.attack("bombs", 96, async |target| again(target, bombs()).await);
    siege.attack("deep JSON", 64, deep_json);
}

/// A call as frames, on the stream given.
type Call = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

fn whole(path: &'static str, more: &[(&str, &str)], body: Vec<u8>) -> Call {
    let headers = [call(path), block(more)].concat();
    Box::new(move |stream| {
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers);
        let pieces = body.chunks(16_384).collect::<Vec<_>>();
        for (number, piece) in pieces.iter().enumerate() {
            let last = u8::from(number + 1 == pieces.len()) * END_STREAM;
            bytes.extend(frame(DATA, last, stream, piece));
        }
        bytes
    })
}

/// Just above what a message may be, so that all of it is sent before the refusal is read.
fn too_long() -> Call {
    whole(PUT, &[], message(0, &vec![0; (2 << 20) + 1])[..60_000].to_vec())
}

/// A field of a message: its number, as bytes with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut rest = content.len();
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
    bytes.extend(content);
    bytes
}

/// Thousands of transactions, each inside the next: `success` is field 2, `request_txn` of an operation 4.
fn nested() -> Call {
    let mut txn = Vec::new();
    for _ in 0..5000 {
        txn = field(2, &field(4, &txn));
    }
    whole(TXN, &[], message(0, &txn))
}

/// 64 MiB of zeros, in 64 KiB.
fn bombs() -> Call {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![0; 64 << 20]).expect("into memory");
    let packed = packer.finish().expect("into memory");
    whole(PUT, &[("grpc-encoding", "gzip")], message(1, &packed))
}

/// The same call on several connections, as often as it is answered.
async fn again(target: Target, call: Call) {
    let call = std::sync::Arc::new(call);
    let attackers = (0..ATTACKERS).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            while !target.over() {
                answered(target, &call).await;
            }
        })
    });
    for attacker in attackers.collect::<Vec<_>>() {
        attacker.await.expect("no attacker panics");
    }
}

/// Makes some calls at once and waits until each has its refusal, or the connection its end.
async fn answered(target: Target, call: &Call) {
    let Ok(mut raw) = Raw::connect(2, target.server, &[]).await else { return };
    for n in 0..CALLS {
        if raw.stream.write_all(&call(2 * n + 1)).await.is_err() {
            return;
        }
    }
    let mut refused = 0;
    while refused < CALLS {
        let Some(frame) = raw.next().await else { return };
        let ends = frame.kind == HEADERS && frame.flags & END_STREAM != 0;
        refused += u32::from(ends || frame.kind == RST_STREAM);
    }
}

/// Calls that announce the longest message there is, and send none of it.
async fn lengths_that_lie(target: Target) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..50 {
        let Ok(mut raw) = Raw::connect(2, target.server, &[]).await else { continue };
        for n in 0..50 {
            let path = if n % 2 == 0 { PUT } else { RANGE };
            raw.begin(2 * n + 1, path).await.ok();
            raw.send(DATA, 0, 2 * n + 1, &[0, 0, 0x20, 0, 0]).await.ok();
        }
        open.push(raw);
        // It is the memory that is attacked.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    open
}

/// Bodies for the gateway that are deep, in its own words and in JSON's: whole, and without an end.
async fn deep_json(target: Target) {
    let deep = |first: &str, open: &str, close: &str, last: &str, times: usize| {
        let begun = format!("{first}{}{{}}", open.repeat(times));
        [format!("{begun}{}{last}", close.repeat(times)), begun + "{"]
    };
    let txns = deep("", r#"{"success":[{"request_txn":"#, "}]}", "", 15_000);
    let lists = deep(r#"{"success":"#, "[", "]", "}", 250_000);
    let unknown = deep(r#"{"unknown":"#, r#"{"a":"#, "}", "}", 100_000);
    let bodies = [txns, lists, unknown].concat();
    for body in &bodies {
        let answer = post(target.server, "/v3/kv/txn", body).await.expect("an answer");
        // What is unknown is skipped, however deep it is.
        let skipped = body.ends_with("}}") && body.contains("unknown");
        assert!(answer.starts_with(if skipped { "HTTP/1.1 200 " } else { "HTTP/1.1 400 " }), "{answer}");
    }
    while !target.over() {
        for body in &bodies {
            post(target.server, "/v3/kv/txn", body).await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn post(server: SocketAddr, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = dial(2, server).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
