//! What nobody should send: refused cleanly, the process lives, nothing is written.
use std::io::Write;
use std::net::TcpStream;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_tests::chance::Chance;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use bytes::Bytes;
use tonic::Code;

/// etcd's bound on one request, and 512 KiB above it the one on a message.
const REQUEST_MAX_BYTES: usize = 1_572_864;

async fn revision(wire: &Wire) -> i64 {
    let read = pb::RangeRequest { key: "k".into(), ..Default::default() };
    wire.kv().range(read).await.expect("the server lives").into_inner().header.expect("a header").revision
}

async fn started() -> (Server, Wire) {
    let server = Setup::bramble().start();
    let wire = Wire::connect(&server.url).await;
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    wire.kv().put(put).await.expect("a write");
    (server, wire)
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[tokio::test]
async fn garbage_on_the_port() {
    let (mut server, wire) = started().await;
    let seed = Chance::seed_from("BRAMBLE_SEED");
    println!("seed {seed}");
    let mut chance = Chance::from_seed(seed);
    let openings: [&[u8]; 6] = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"POST /etcdserverpb.KV/Range HTTP/1.1\r\nContent-Type: application/grpc\r\nContent-Length: 99999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\nHost: \xff\xff\r\n\r\n",
    ];
    let mut held = Vec::new();
    for round in 0..120 {
        let mut stream = TcpStream::connect(server.address()).expect("the port is open");
        stream.write_all(openings[round % openings.len()]).ok();
        let noise: Vec<u8> = (0..chance.below(3000)).map(|_| chance.roll() as u8).collect();
        stream.write_all(&noise).ok();
        if chance.percent(30) {
            held.push(stream);
        }
    }
    assert_eq!(revision(&wire).await, 2, "nothing was written");
    assert!(server.alive());
}

#[tokio::test]
async fn sizes() {
    let (_server, wire) = started().await;
    let put = |key: usize, value: usize| pb::PutRequest {
        key: vec![b'k'; key].into(),
        value: vec![b'v'; value].into(),
        ..Default::default()
    };
    let empty = wire.kv().put(put(0, 1)).await.expect_err("an empty key");
    assert_eq!((empty.code(), empty.message()), (Code::InvalidArgument, "etcdserver: key is not provided"));
    let large = wire.kv().put(put(1, REQUEST_MAX_BYTES)).await.expect_err("above a request");
    assert_eq!((large.code(), large.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let larger = wire.kv().put(put(1, 3_000_000)).await.expect_err("above a message");
    let text = "grpc: received message larger than max (3000008 vs. 2097152)";
    assert_eq!((larger.code(), larger.message()), (Code::ResourceExhausted, text));
    assert_eq!(revision(&wire).await, 2, "nothing was written");
    wire.kv().put(put(1_500_000, 10)).await.expect("a key of 1.5 MB is legal");
    wire.kv().put(put(10, 1_500_000)).await.expect("so is a value");
    let both = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let found = wire.kv().range(both).await.expect("a large answer").into_inner();
    assert_eq!(found.kvs.iter().map(|kv| kv.key.len().max(kv.value.len())).max(), Some(1_500_000));
}

#[tokio::test]
async fn numbers_that_mean_nothing() {
    let (mut server, wire) = started().await;
    for (order, target) in [(0, 5), (0, -1), (1, 99), (3, 0), (i32::MAX, i32::MIN)] {
        let range = pb::RangeRequest {
            key: "k".into(),
            sort_order: order,
            sort_target: target,
            ..Default::default()
        };
        let refused = wire.kv().range(range).await.expect_err("no such order");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::InvalidArgument, "etcdserver: invalid sort option")
        );
    }
    for action in [3, 7, -1] {
        let alarm = pb::AlarmRequest { action, member_id: 0, alarm: 1 };
        let refused = wire.maintenance().alarm(alarm).await.expect_err("no such action");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert_eq!(revision(&wire).await, 2, "nothing was written");
    assert!(server.alive());
}

/// A transaction of `depth` levels, each with one put at the bottom.
fn nested(depth: usize) -> pb::TxnRequest {
    let put = pb::PutRequest { key: "deep".into(), ..Default::default() };
    let mut txn = pb::TxnRequest { success: vec![op(Op::RequestPut(put))], ..Default::default() };
    for _ in 1..depth {
        txn = pb::TxnRequest { success: vec![op(Op::RequestTxn(txn))], ..Default::default() };
    }
    txn
}

/// A client's own threads have to be deep enough for what it says: the whole test runs in one that is.
#[test]
fn transactions_without_bounds() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let work = move || runtime.block_on(say_transactions_without_bounds());
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(work).expect("a thread");
    thread.join().expect("no panic");
}

async fn say_transactions_without_bounds() {
    let (mut server, wire) = started().await;
    for depth in [200, 1000, 5000] {
        let refused = wire.kv().txn(nested(depth)).await.expect_err("no server goes that deep");
        println!("depth {depth}: {:?}, {} characters", refused.code(), refused.message().len());
        assert_ne!(refused.code(), Code::Unavailable, "depth {depth} ended the connection");
    }
    let wide = pb::TxnRequest {
        success: vec![op(Op::RequestRange(pb::RangeRequest::default())); 20_000],
        ..Default::default()
    };
    let refused = wire.kv().txn(wide).await.expect_err("too many operations");
    let text = "etcdserver: too many operations in txn request";
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, text));
    assert_eq!(revision(&wire).await, 2, "nothing was written");
    assert!(server.alive());
}

/// The static check compares intervals as etcd does, and to it a delete without an end overlaps nothing.
/// So the put that keeps a value may find that its key has just been deleted.
#[tokio::test]
async fn delete_then_keep_the_value_is_answered() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    for round in ["first", "after a restart"] {
        let mut server = setup.clone().start();
        let wire = Wire::connect(&server.url).await;
        let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        wire.kv().put(put).await.expect("a write");
        for keep in ["value", "lease"] {
            let all = pb::DeleteRangeRequest {
                key: "k".into(),
                range_end: Bytes::from_static(b"\0"),
                prev_kv: false,
            };
            let put = pb::PutRequest {
                key: "k".into(),
                ignore_value: keep == "value",
                ignore_lease: keep == "lease",
                ..Default::default()
            };
            let success = vec![op(Op::RequestDeleteRange(all)), op(Op::RequestPut(put))];
            let answer = wire.kv().txn(pb::TxnRequest { success, ..Default::default() }).await;
            println!("{round}, keeping the {keep}: {answer:?}");
            let code = answer.map_or_else(|refused| refused.code(), |_| Code::Ok);
            assert!(matches!(code, Code::Ok | Code::InvalidArgument), "{round}: {code:?}");
            revision(&wire).await;
        }
        assert!(server.alive());
        server.kill();
    }
    let server = setup.start();
    revision(&Wire::connect(&server.url).await).await;
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let (_server, wire) = started().await;
    let answer = wire.cluster().member_add(pb::MemberAddRequest::default()).await;
    assert_eq!(answer.expect_err("not served yet").code(), Code::Unimplemented);
}
