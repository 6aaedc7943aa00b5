//! Clients that take their time: connections that say nothing, or a byte now and then.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bramble_server::config::Profile;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::raw::*;
use crate::siege::{Siege, Target};

/// How each connection begins; it goes on by a byte at a time.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"PRI * HTTP/2.0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    b"POST /v3/kv/range HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
];

#[test]
fn slow_clients_keep_nobody_out() {
    let mut siege = Siege::lay(Profile::Pi);
    siege.attack("silence from many addresses", 32, async |target| {
        hold(target, |n| (2 + (n % 8) as u8, b"")).await
    });
    siege.attack("a byte now and then", 48, async |target| {
        hold(target, |n| (2, BEGINNINGS[n % BEGINNINGS.len()])).await
    });
    siege.attack("calls that never end", 64, calls_that_never_end);
}

/// As many connections as the server takes and some more, each with its beginning.
async fn hold(target: Target, how: fn(usize) -> (u8, &'static [u8])) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for number in 0..1500 {
        let (from, beginning) = how(number);
        // Those beyond the bounds are closed at once.
        if let Ok(stream) = begin(from, target.server, beginning).await {
            open.push(stream);
        }
    }
    while !target.over() {
        for stream in &mut open {
            stream.try_write(b"a").ok();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    open
}

async fn begin(from: u8, server: SocketAddr, beginning: &[u8]) -> io::Result<TcpStream> {
    let mut stream = dial(from, server).await?;
    stream.write_all(beginning).await?;
    Ok(stream)
}

/// Streams with headers and half a message, on as many connections.
async fn calls_that_never_end(target: Target) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..200 {
        let Ok(mut raw) = Raw::connect(2, target.server, &[]).await else { continue };
        for n in 0..20 {
            let stream = 2 * n + 1;
            let path = ["/etcdserverpb.KV/Put", "/etcdserverpb.Lease/LeaseKeepAlive"][n as usize % 2];
            let half = frame(DATA, 0, stream, &message(0, &[0; 1000])[..500]);
            let whole = [frame(HEADERS, END_HEADERS, stream, &call(path)), half].concat();
            raw.stream.write_all(&whole).await.ok();
        }
        open.push(raw);
        // It is the places that are attacked.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    open
}
