//! Whole nodes inside one process, as a program that embeds them would have them: two side by side,
//! on their own ports, and nothing of one is seen in the other.
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_server::node::Node;
use bramble_server::node::client::{Caller, Consistency};
use bramble_store::types::{KeyRange, PutRequest, RangeRequest};
use bramble_tests::wire::Wire;

async fn start(dir: &Path, name: &str) -> Node {
    let builder = Node::builder().data_dir(dir).name(name).client_addr("127.0.0.1:0");
    let node = builder.build().await.expect("the node starts");
    node.ready(Duration::from_secs(20)).await.expect("the node gets ready");
    node
}

async fn wire(node: &Node) -> Wire {
    Wire::connect(&format!("http://{}", node.client_addrs()[0])).await
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..PutRequest::default() }
}

/// All keys with their values, over the wire.
async fn over_the_wire(wire: &Wire) -> Vec<(String, String)> {
    let all = pb::RangeRequest {
        key: b"\0".as_ref().into(),
        range_end: b"\0".as_ref().into(),
        ..Default::default()
    };
    let answer = wire.kv().range(all).await.expect("the range is answered").into_inner();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    answer.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_live_in_one_process() {
    let (one_dir, two_dir) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (one, two) = (start(one_dir.path(), "one").await, start(two_dir.path(), "two").await);
    assert_ne!(one.client_addrs(), two.client_addrs());
    assert_ne!(one.ids().instance, two.ids().instance);
    let (one_wire, two_wire) = (wire(&one).await, wire(&two).await);
    // What goes in through one door comes out of the other.
    one.client().put(&Caller::default(), put("k", "one")).await.expect("answered");
    let put_two = pb::PutRequest { key: "k".into(), value: "two".into(), ..Default::default() };
    two_wire.kv().put(put_two).await.expect("answered");
    assert_eq!(over_the_wire(&one_wire).await, [("k".to_string(), "one".to_string())]);
    let read = RangeRequest::new(KeyRange::prefix("k"));
    let answer =
        two.client().range(&Caller::default(), read, Consistency::Linearizable).await.expect("answered");
    assert_eq!(answer.body.kvs[0].value, "two");
    // One stops, the other goes on.
    one.shutdown().await;
    two.client().put(&Caller::default(), put("l", "still here")).await.expect("answered");
    let expected = [("k", "two"), ("l", "still here")].map(|(k, v)| (k.to_string(), v.to_string()));
    assert_eq!(over_the_wire(&two_wire).await, expected);
    // And comes back, while the other was there all the time.
    let one = start(one_dir.path(), "one").await;
    assert_eq!(over_the_wire(&wire(&one).await).await, [("k".to_string(), "one".to_string())]);
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_watches_do_not_hold_up_a_shutdown() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path(), "n").await;
    let wire = wire(&node).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let request =
            pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
        let (asking, asked) = tokio::sync::mpsc::channel(4);
        asking.send(request).await.expect("there is room");
        let requests = tokio_stream::wrappers::ReceiverStream::new(asked);
        let mut responses = wire.watch().watch(requests).await.expect("a stream").into_inner();
        assert!(responses.message().await.expect("a response").expect("created").created);
        streams.push((asking, responses));
    }
    let begun = Instant::now();
    node.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for (_asking, mut responses) in streams {
        let status = responses.message().await.expect_err("the stream is cut, not ended");
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    }
}
