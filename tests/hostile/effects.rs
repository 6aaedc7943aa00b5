//! The flags that bound a connection, by what they do to one.
use std::time::{Duration, Instant};

use bramble_tests::process::Setup;

use crate::raw::*;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn more_streams_than_the_flag_allows_are_refused() {
    const STREAMS: u32 = 5;
    let server = Setup::bramble().in_memory().arg(format!("--max-concurrent-streams={STREAMS}")).start();
    let mut raw = Raw::connect(1, server.address(), &[]).await.expect("a connection");
    for n in 0..=STREAMS {
        raw.begin(2 * n + 1, WATCH).await.expect("sent");
    }
    let refused = loop {
        let frame = raw.next().await.expect("the connection goes on");
        assert_ne!(frame.kind, GOAWAY, "one stream is refused, not all");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((refused.stream, refused.payload), (2 * STREAMS + 1, REFUSED_STREAM.to_be_bytes().to_vec()));
    // One that ends makes room for another.
    raw.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).await.expect("sent");
    let put = b"\x0a\x01k";
    raw.ask(2 * STREAMS + 3, "/etcdserverpb.KV/Put", put).await.expect("sent");
    loop {
        let frame = raw.next().await.expect("the connection goes on");
        assert_ne!(frame.kind, RST_STREAM, "there is room");
        if (frame.kind, frame.stream) == (HEADERS, 2 * STREAMS + 3) {
            break;
        }
    }
}

/// Pings as often as that, with a stream open, until the connection ends or enough have been answered.
async fn ping_every(server: std::net::SocketAddr, pause: Duration) -> Option<(u32, String)> {
    let mut raw = Raw::connect(1, server, &[]).await.expect("a connection");
    raw.begin(1, WATCH).await.expect("sent");
    let mut answered = 0;
    while answered < 6 {
        raw.send(PING, 0, 0, &[7; 8]).await.expect("sent");
        loop {
            let frame = raw.next().await?;
            match frame.kind {
                GOAWAY => {
                    let code = u32::from_be_bytes(frame.payload[4..8].try_into().expect("four bytes"));
                    return Some((code, String::from_utf8_lossy(&frame.payload[8..]).into_owned()));
                }
                PING if frame.flags & ACK != 0 => break,
                _ => {}
            }
        }
        answered += 1;
        tokio::time::sleep(pause).await;
    }
    None
}

#[tokio::test]
async fn pings_closer_than_the_flag_allows_end_the_connection() {
    let server = Setup::bramble().in_memory().arg("--grpc-keepalive-min-time=300ms").start();
    let soon = ping_every(server.address(), Duration::from_millis(10)).await;
    assert_eq!(soon, Some((ENHANCE_YOUR_CALM, "too_many_pings".to_string())));
    assert_eq!(ping_every(server.address(), Duration::from_millis(400)).await, None);
}

#[tokio::test]
async fn who_does_not_answer_the_servers_pings_is_let_go() {
    let setup = Setup::bramble().in_memory().arg("--grpc-keepalive-interval=1s");
    let server = setup.arg("--grpc-keepalive-timeout=1s").start();
    let mut raw = Raw::connect(1, server.address(), &[]).await.expect("a connection");
    raw.begin(1, WATCH).await.expect("sent");
    let begun = Instant::now();
    let mut pinged = false;
    while let Some(frame) = raw.next().await {
        pinged |= frame.kind == PING && frame.flags & ACK == 0;
    }
    assert!(pinged, "it was asked before");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it had its time: {:?}", begun.elapsed());
}
