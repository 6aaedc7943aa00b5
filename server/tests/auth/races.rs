//! Permissions that change while a request is under way.
use super::*;
use bramble_server::node::client::{Consistency, WatchCreate, WatchResponse, WatchStream};
use bramble_server::node::error::{Error, Refusal};
use bramble_store::types::{KeyRange, PutRequest, RangeRequest};
use tokio::time::Instant;

/// The first check looks at the state before the proposal. What it let through is checked again when it
/// is applied: with the permission gone since then the write is refused, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_revoked_before_the_write_is_applied() {
    let world = World::populated().await;
    let (client, root, exact) = (world.client(), Caller::user("root"), Caller::user("exact"));
    let deadline = Instant::now() + PATIENCE;
    let mut refused_late = 0;
    for round in 0.. {
        let key = bytes(&format!("b{round}"));
        let put = PutRequest { key: key.clone(), value: bytes("v"), ..PutRequest::default() };
        let range = KeyRange::from_wire(bytes("b"), bytes("d"));
        let revoke = {
            let (client, root) = (client.clone(), root.clone());
            tokio::spawn(async move { client.role_revoke_permission(&root, "ranger", range).await })
        };
        let wrote = client.put(&exact, put).await;
        revoke.await.expect("no panic").expect("revoked");
        let request = RangeRequest::new(KeyRange::single(key));
        let there = client.range(&root, request, Consistency::Linearizable).await.expect("the range");
        match wrote {
            Ok(_) => assert_eq!(there.body.kvs.len(), 1),
            // Refused before it was proposed: too late for this test.
            Err(Error::Refused(Refusal::PermissionDenied)) => assert_eq!(there.body.kvs.len(), 0),
            Err(Error::Refused(Refusal::AuthRevisionOld)) => {
                assert_eq!(there.body.kvs.len(), 0);
                refused_late += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        if refused_late > 0 {
            println!("round {round}: refused when it was applied");
            break;
        }
        assert!(Instant::now() < deadline, "{round} rounds, and none was overtaken by the revocation");
        let token = world.log_in("root").await;
        world.grant(Some(&token), "ranger", 1, "b", "d").await.expect("granted again");
    }
    world.stop().await;
}

/// A range in chunks ends when users or roles have changed since it was allowed.
#[tokio::test]
async fn a_stream_of_a_range_does_not_outlive_its_permission() {
    let world = World::populated().await;
    let (client, root, exact) = (world.client(), Caller::user("root"), Caller::user("exact"));
    for n in 0..40 {
        let put = PutRequest { key: bytes(&format!("a{n}")), value: bytes("v"), ..PutRequest::default() };
        client.put(&root, put).await.expect("put");
    }
    let range = KeyRange::from_wire(bytes("a"), bytes("c"));
    let open = || client.range_stream(&exact, RangeRequest::new(range.clone()), Consistency::Serializable);
    let mut undisturbed = open().await.expect("allowed");
    let mut read = 0;
    while let Some(chunk) = undisturbed.next().await {
        read += chunk.expect("a chunk").kvs.len();
    }
    assert_eq!(read, 40);

    let mut stream = open().await.expect("allowed");
    let first = stream.next().await.expect("a chunk").expect("no error");
    assert!(first.end.is_none(), "there is more to come");
    client.role_revoke_permission(&root, "ranger", range.clone()).await.expect("revoked");
    let refused = stream.next().await.expect("an answer").expect_err("a refusal");
    assert_eq!(refused, Refusal::AuthRevisionOld.into());
    assert!(stream.next().await.is_none(), "that was the end");
    assert_eq!(open().await.err(), Some(Refusal::PermissionDenied.into()));
    world.stop().await;
}

/// While auth is off everybody may read; what was begun then ends when it is turned on.
#[tokio::test]
async fn a_range_stream_does_not_outlive_the_time_without_auth() {
    let world = World::populated().await;
    let (client, root) = (world.client(), Caller::user("root"));
    for n in 0..40 {
        let put = PutRequest { key: bytes(&format!("a{n}")), value: bytes("v"), ..PutRequest::default() };
        client.put(&root, put).await.expect("put");
    }
    client.auth_disable(&root).await.expect("disabled");
    let nobody = Caller::default();
    let range = RangeRequest::new(KeyRange::from_wire(bytes("a"), bytes("c")));
    let mut stream = client.range_stream(&nobody, range, Consistency::Serializable).await.expect("allowed");
    let first = stream.next().await.expect("a chunk").expect("no error");
    assert!(first.end.is_none(), "there is more to come");
    client.auth_enable(&nobody).await.expect("enabled");
    let refused = stream.next().await.expect("an answer").expect_err("a refusal");
    assert_eq!(refused, Refusal::AuthRevisionOld.into());
    assert!(stream.next().await.is_none(), "that was the end");
    world.stop().await;
}

/// The permission is asked for when the watcher is made; a running one goes on, as in etcd.
#[tokio::test]
async fn a_running_watcher_outlives_its_permission() {
    let world = World::populated().await;
    let (client, root, exact) = (world.client(), Caller::user("root"), Caller::user("exact"));
    let mut stream = client.watch(&exact).await.expect("a stream");
    stream.create(create("a")).await.expect("asked");
    let created = next(&mut stream).await;
    assert!(created.created && !created.canceled, "{created:?}");

    let range = KeyRange::from_wire(bytes("a"), bytes("c"));
    client.role_revoke_permission(&root, "ranger", range).await.expect("revoked");
    let put = PutRequest { key: bytes("a"), value: bytes("v"), ..PutRequest::default() };
    client.put(&root, put).await.expect("put");
    assert_eq!(next(&mut stream).await.events.len(), 1, "it goes on");
    stream.create(create("a")).await.expect("asked");
    let refused = next(&mut stream).await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1, "{refused:?}");
    assert_eq!(
        refused.cancel_reason,
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
    );
    world.stop().await;
}

fn create(key: &str) -> WatchCreate {
    WatchCreate::new(KeyRange::single(bytes(key)))
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    let next = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
    next.expect("the stream goes on").expect("a response")
}
