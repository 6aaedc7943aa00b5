//! A whole node, asked through its in-process client.
mod contest;
mod crash;
mod faults;
mod flushed_behind;
mod full;
mod kv;
mod lease;
mod life;
mod load;
mod maintenance;
mod range_stream;
mod scrub;
mod space;
mod watch;
mod wear;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bramble_server::node::client::{Caller, Client, WatchCreate, WatchResponse, WatchStream};
use bramble_server::node::{Builder, Node};
use bramble_store::types::{KeyRange, PutRequest, RangeRequest};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn builder(dir: &Path) -> Builder {
    Node::builder().data_dir(dir).name("n").in_process_only()
}

async fn start(dir: &Path) -> Node {
    let node = builder(dir).build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

fn anyone() -> Caller {
    Caller::default()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..PutRequest::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest::new(KeyRange::single(key.to_string()))
}

/// All keys, as the wire says it.
fn everything() -> KeyRange {
    KeyRange::from_wire("\0".into(), "\0".into())
}

/// Puts and says the revision.
async fn put_at(client: &Client, key: &str, value: &str) -> i64 {
    client.put(&anyone(), put(key, value)).await.expect("the put is answered").header.revision
}

/// The value of a key now.
async fn value_of(client: &Client, key: &str) -> Option<String> {
    let answer = client.range(&anyone(), get(key), Default::default()).await.expect("the range is answered");
    answer.body.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

/// Fails the test when `future` takes too long.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: took more than {PATIENCE:?}"),
    }
}

/// The next response of a stream.
async fn next(stream: &mut WatchStream) -> WatchResponse {
    within("the next response", stream.next()).await.expect("the stream goes on").expect("a response")
}
