//! Watch streams as a wire sees them, where the comparison with etcd cannot wait: time and half-closed streams.
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::process::Setup;
use bramble_tests::wire::Wire;
use tokio_stream::StreamExt;
use tonic::Streaming;

/// How long an expected response may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(10);

fn create(create: pb::WatchCreateRequest) -> pb::WatchRequest {
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

async fn next(stream: &mut Streaming<pb::WatchResponse>) -> pb::WatchResponse {
    let answer = tokio::time::timeout(WITHIN, stream.message()).await.expect("a response in time");
    answer.expect("the stream goes on").expect("the stream goes on")
}

async fn put(wire: &Wire, key: &'static str) -> i64 {
    let put = pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    wire.kv().put(put).await.expect("a write").into_inner().header.expect("a header").revision
}

/// A client that has said all it wants may close its direction; the watch goes on, as on etcd.
#[tokio::test]
async fn a_half_closed_stream_goes_on() {
    for setup in [Setup::etcd(), Some(Setup::bramble())].into_iter().flatten() {
        let server = setup.start();
        let wire = Wire::connect(&server.url).await;
        let request = create(pb::WatchCreateRequest { key: "k".into(), ..Default::default() });
        let mut stream =
            wire.watch().watch(tokio_stream::once(request)).await.expect("a stream").into_inner();
        assert!(next(&mut stream).await.created);
        for _ in 0..3 {
            let revision = put(&wire, "k").await;
            let response = next(&mut stream).await;
            assert_eq!(response.events.len(), 1, "{:?}", server.kind);
            assert_eq!(response.header.expect("a header").revision, revision, "{:?}", server.kind);
        }
    }
}

/// An idle watcher that asked for it is told now and then how far it is; one that waits for the future is not.
#[tokio::test]
async fn progress_comes_by_itself() {
    let server = Setup::bramble().arg("--watch-progress-notify-interval=200ms").start();
    let wire = Wire::connect(&server.url).await;
    let revision = put(&wire, "other").await;
    let asks = |start_revision, watch_id| {
        create(pb::WatchCreateRequest {
            key: "k".into(),
            progress_notify: true,
            start_revision,
            watch_id,
            ..Default::default()
        })
    };
    let requests = tokio_stream::iter([asks(0, 1), asks(revision + 100, 2)]).chain(tokio_stream::pending());
    let mut stream = wire.watch().watch(requests).await.expect("a stream").into_inner();
    assert!(next(&mut stream).await.created && next(&mut stream).await.created);
    for _ in 0..5 {
        let mark = next(&mut stream).await;
        assert_eq!(
            (mark.watch_id, mark.events.len()),
            (1, 0),
            "only the watcher that is up to date: {mark:?}"
        );
        assert_eq!(mark.header.expect("a header").revision, revision);
    }
    let newer = put(&wire, "other").await;
    loop {
        let mark = next(&mut stream).await;
        assert_eq!((mark.watch_id, mark.events.len()), (1, 0));
        if mark.header.expect("a header").revision == newer {
            break;
        }
    }
}
