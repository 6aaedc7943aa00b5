//! Starting, stopping, and starting again.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_server::node::client::Consistency;
use bramble_server::node::{Node, StartError};
use bramble_store::types::{Op, RangeRequest, SortOrder, TxnRequest};

use super::*;

#[tokio::test]
async fn the_first_answer_comes_soon_on_an_empty_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    let node = start(dir.path()).await;
    put_at(&node.client(), "k", "v").await;
    println!("first answer after {:?} (goal: 100 ms)", begun.elapsed());
    let status = node.client().status(&anyone()).await.expect("answered").body;
    assert_eq!(status.leader, node.ids().member);
    assert!(status.applied_index >= 2 && status.committed_index >= status.applied_index);
    assert!(status.errors.is_empty() && !status.learner);
    node.shutdown().await;
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let (ids, term) = (node.ids(), node.client().header().raft_term);
    for n in 0..300 {
        put_at(&node.client(), &format!("k{n:03}"), &n.to_string()).await;
    }
    let hash = node.client().hash_kv(&anyone(), 0).await.expect("hashed").body;
    node.shutdown().await;
    for round in 0..3 {
        let node = start(dir.path()).await;
        assert_eq!(node.ids(), ids);
        assert!(node.client().header().raft_term > term, "round {round}");
        assert_eq!(node.client().hash_kv(&anyone(), 0).await.expect("hashed").body, hash);
        let all = RangeRequest::new(everything());
        let answer = node.client().range(&anyone(), all, Consistency::Serializable).await.expect("answered");
        assert_eq!((answer.body.count, answer.header.revision), (300, 301));
        let members = node.client().members(&anyone(), Consistency::Linearizable).await.expect("answered");
        assert_eq!(members.body.len(), 1);
        assert_eq!((members.body[0].id, members.body[0].name.as_str()), (ids.member, "n"));
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_node_that_was_dropped_lost_nothing_it_had_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut last = 1;
    for round in 0..5 {
        let node = start(dir.path()).await;
        assert_eq!(node.client().header().revision, last, "round {round}");
        for n in 0..100 {
            last = put_at(&node.client(), &format!("k{n}"), &round.to_string()).await;
        }
        // A client that lives on does not keep the engine open.
        let client = node.client();
        drop(node);
        assert!(client.put(&anyone(), put("late", "v")).await.is_err());
    }
}

#[tokio::test]
async fn a_flush_lets_the_log_go_and_what_is_left_is_replayed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = Arc::new(node.client());
    let value = "v".repeat(256 << 10);
    // 100 MB through a ring of 64 MB.
    for n in 0..400 {
        within("a put", client.put(&anyone(), put(&format!("k{}", n % 20), &value))).await.expect("answered");
    }
    let used = node.log_use().used_bytes;
    assert!(used < 64 << 20, "{used} bytes of the log are in use");
    let hash = client.hash_kv(&anyone(), 0).await.expect("hashed").body;
    assert_eq!(hash.hash_revision, 401);
    node.shutdown().await;
    let node = start(dir.path()).await;
    assert_eq!(node.client().hash_kv(&anyone(), 0).await.expect("hashed").body, hash);
    node.shutdown().await;
}

#[tokio::test]
async fn a_second_node_on_the_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    match builder(dir.path()).build().await.map(|_| ()) {
        Err(StartError::DataDir(error)) => println!("refused: {error}"),
        other => panic!("a second node on the same data: {other:?}"),
    }
    put_at(&node.client(), "k", "v").await;
    node.shutdown().await;
    start(dir.path()).await.shutdown().await;
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_its_address() {
    let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let node = Node::builder().data_dir(one.path()).client_addr("127.0.0.1:0").build().await.expect("starts");
    let addr = node.client_addrs()[0].to_string();
    let second = Node::builder().data_dir(two.path()).client_addr(addr.clone()).build().await;
    match second.map(|_| ()) {
        Err(error @ StartError::Listen(_)) => assert!(error.to_string().contains(&addr), "{error}"),
        other => panic!("a second listener on {addr}: {other:?}"),
    }
    node.ready(Duration::from_secs(10)).await.expect("the first one serves");
    let members = node.client().members(&anyone(), Consistency::Linearizable).await.expect("answered").body;
    assert_eq!(members[0].client_urls, [format!("http://{addr}")]);
    node.shutdown().await;
}

/// Reads that nobody stops must not keep the engine's files: the same process may open them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_end_with_the_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for n in 0..200 {
        let puts = (0..100).map(|m| Op::Put(put(&format!("k{n:03}/{m:03}"), "v")));
        let txn = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
        client.txn(&anyone(), txn, Consistency::Linearizable).await.expect("put");
    }
    let mut reads = tokio::task::JoinSet::new();
    for n in 0..400 {
        let client = client.clone();
        let sorted = RangeRequest { order: SortOrder::Descend, ..RangeRequest::new(everything()) };
        reads.spawn(async move {
            match n % 2 {
                0 => client.hash_kv(&anyone(), 0).await.map(drop),
                _ => client.range(&anyone(), sorted, Consistency::Serializable).await.map(drop),
            }
        });
    }
    within("the first answer", reads.join_next()).await.expect("one").expect("no panic").expect("answered");
    within("stopping", node.shutdown()).await;
    // Whoever was not answered is told, and nothing of it is left.
    let node = start(dir.path()).await;
    let mut stopped = 0;
    while let Some(read) = within("an answer", reads.join_next()).await {
        stopped += usize::from(read.expect("no panic").is_err());
    }
    assert!(stopped > 0, "there was something to stop");
    node.shutdown().await;
}
