//! What clients take of the memory budget comes back, and is counted once.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;

/// Chunks of 10, 20, 40, 80, 160 and of one: the last is far smaller than what is still on its way.
const KEYS: usize = 311;
const VALUE_BYTES: usize = 8 << 10;

fn put(n: usize) -> pb::PutRequest {
    pb::PutRequest {
        key: format!("k{n:04}").into(),
        value: vec![b'v'; VALUE_BYTES].into(),
        ..Default::default()
    }
}

/// Bytes of answers that clients have now, as `/metrics` tells it.
fn answer_bytes(server: &Server) -> f64 {
    let mut stream = TcpStream::connect(server.address()).expect("connected");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    let line = page.lines().find_map(|line| line.strip_prefix("bramble_budget_used{kind=\"answer_bytes\"} "));
    line.expect("the budget of answers").parse().expect("a number")
}

/// Its chunks lie in three places at once: being made, encoded, and in the system's buffers.
#[tokio::test]
async fn a_slowly_read_range_stream_takes_its_bytes_once_and_gives_them_back() {
    let server = Setup::bramble().start();
    let wire = Wire::connect_with_window(&server.url, 4 << 20).await;
    for n in 0..KEYS {
        wire.kv().put(put(n)).await.expect("put");
    }
    for pause in [0, 1, 5, 20] {
        let all = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
        let mut stream = wire.kv().range_stream(all).await.expect("a stream").into_inner();
        let mut found = 0;
        while let Some(chunk) = stream.message().await.expect("the stream goes on") {
            found += chunk.range_response.map_or(0, |chunk| chunk.kvs.len());
            tokio::time::sleep(Duration::from_millis(pause)).await;
            wire.kv().put(put(0)).await.expect("others on the connection are served");
            let used = answer_bytes(&server);
            assert!(used < (KEYS * VALUE_BYTES * 4) as f64, "{used} bytes are counted");
        }
        assert_eq!(found, KEYS);
        let deadline = Instant::now() + Duration::from_secs(10);
        while answer_bytes(&server) > 0.0 {
            assert!(Instant::now() < deadline, "{} bytes are still taken", answer_bytes(&server));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
