//! Reads, writes, transactions, compaction.
use bramble_server::node::client::Consistency;
use bramble_server::node::error::{Error, NotNow};
use bramble_store::error::{Invalid, Refusal};
use bramble_store::types::{
    Compare, CompareResult, CompareTarget, DeleteRequest, KeyRange, Op, OpReply, RangeRequest, TxnRequest,
};

use super::*;

#[tokio::test]
async fn what_is_put_is_read_until_it_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    assert_eq!(value_of(&client, "a").await, None);
    assert_eq!(put_at(&client, "a", "1").await, 2);
    assert_eq!(put_at(&client, "a", "2").await, 3);
    assert_eq!(value_of(&client, "a").await.as_deref(), Some("2"));
    let old = RangeRequest { revision: 2, ..get("a") };
    let answer = client.range(&anyone(), old, Consistency::Serializable).await.expect("history is there");
    assert_eq!(answer.body.kvs[0].value, "1");
    assert_eq!(answer.header.revision, 3);
    let delete = DeleteRequest { range: KeyRange::prefix("a"), prev_kv: true };
    let answer = client.delete(&anyone(), delete).await.expect("the delete is answered");
    assert_eq!((answer.header.revision, answer.body.deleted), (4, 1));
    assert_eq!(answer.body.prev_kvs[0].value, "2");
    assert_eq!(value_of(&client, "a").await, None);
    let header = client.header();
    assert_eq!((header.member_id, header.cluster_id), (node.ids().member, node.ids().cluster));
    assert!(header.raft_term >= 1);
    node.shutdown().await;
}

#[tokio::test]
async fn a_transaction_takes_one_branch_and_a_read_only_one_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let create = |value: &str| TxnRequest {
        compare: vec![Compare {
            range: KeyRange::single("k"),
            target: CompareTarget::Create(0),
            result: CompareResult::Equal,
        }],
        success: vec![Op::Put(put("k", value)), Op::Range(get("k"))],
        failure: vec![Op::Range(get("k"))],
    };
    let first = client.txn(&anyone(), create("one"), Consistency::Linearizable).await.expect("answered");
    assert!(first.body.succeeded);
    assert_eq!(first.header.revision, 2);
    let second = client.txn(&anyone(), create("two"), Consistency::Linearizable).await.expect("answered");
    assert!(!second.body.succeeded);
    match &second.body.replies[..] {
        [OpReply::Range(range)] => assert_eq!(range.kvs[0].value, "one"),
        other => panic!("one range was asked for, not {other:?}"),
    }
    let entries = node.log_use().entries;
    let read = TxnRequest { success: vec![Op::Range(get("k"))], ..TxnRequest::default() };
    client.txn(&anyone(), read, Consistency::Linearizable).await.expect("answered");
    assert_eq!(node.log_use().entries, entries);
    node.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let empty = client.put(&anyone(), put("", "v")).await;
    assert_eq!(empty.map(|_| ()), Err(Error::Invalid(Invalid::EmptyKey)));
    let large = "v".repeat(1_572_864);
    assert_eq!(client.put(&anyone(), put("k", &large)).await.map(|_| ()), Err(NotNow::TooLarge.into()));
    let fits = "v".repeat(1_572_864 - 200);
    client.put(&anyone(), put("k", &fits)).await.expect("just fits");
    let future = RangeRequest { revision: 9, ..get("k") };
    let refused = client.range(&anyone(), future, Consistency::Linearizable).await.map(|_| ());
    assert_eq!(refused, Err(Refusal::Future { wanted: 9, current: 2 }.into()));
    assert_eq!(client.header().revision, 2);
    node.shutdown().await;
}

#[tokio::test]
async fn compaction_forgets_and_a_physical_one_waits_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for n in 0..3000 {
        client.put(&anyone(), put("k", &n.to_string())).await.expect("answered");
    }
    let before = client.hash_kv(&anyone(), 0).await.expect("hashed").body;
    assert_eq!((before.compact_revision, before.hash_revision), (-1, 3001));
    within("physical compaction", client.compact(&anyone(), 2500, true)).await.expect("compacted");
    let old = RangeRequest { revision: 2000, ..get("k") };
    let refused = client.range(&anyone(), old, Consistency::Linearizable).await.map(|_| ());
    assert_eq!(refused, Err(Refusal::Compacted { wanted: 2000, compacted: 2500 }.into()));
    let again = client.compact(&anyone(), 2500, false).await.map(|_| ());
    assert_eq!(again, Err(Refusal::Compacted { wanted: 2500, compacted: 2500 }.into()));
    let after = client.hash_kv(&anyone(), 0).await.expect("hashed").body;
    assert_eq!((after.compact_revision, after.hash_revision), (2500, 3001));
    assert_eq!(value_of(&client, "k").await.as_deref(), Some("2999"));
    node.shutdown().await;
}
