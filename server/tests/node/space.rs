//! The quota: writes are refused when it is used up, and come back by themselves when there is space.
use std::time::Instant;

use bramble_server::config::Config;
use bramble_server::node::client::{Client, Granted};
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::command::AlarmChange;
use bramble_store::types::{
    AlarmKind, Compare, CompareResult, CompareTarget, DeleteRequest, LeaseId, Op, TxnRequest,
};
use bytes::Bytes;

use super::*;

const QUOTA_BYTES: i64 = 6 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// A node that has raised the alarm looks every second whether there is space again.
const THREE_LOOKS: Duration = Duration::from_secs(3);

async fn with_quota(dir: &Path, quota_bytes: i64) -> Node {
    let config = Config { quota_bytes, ..Config::default() };
    let node = Node::builder().config(config).data_dir(dir).in_process_only().build().await;
    let node = node.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

/// A value that no compression makes smaller.
fn noise(seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(VALUE_BYTES / 8).flatten().collect()
}

async fn fill_one(client: &Client, n: u64) -> Result<(), Error> {
    let request = PutRequest { key: format!("fill/{n:05}").into(), value: noise(n), ..PutRequest::default() };
    client.put(&anyone(), request).await.map(drop)
}

fn no_space() -> Error {
    Refusal::NoSpace.into()
}

async fn alarms(client: &Client) -> Vec<(u64, AlarmKind)> {
    client.alarms(&anyone()).await.expect("listed").body
}

/// Waits until the alarm is raised, or is not.
async fn until_raised(client: &Client, raised: bool) {
    let begun = Instant::now();
    while alarms(client).await.is_empty() == raised {
        assert!(begun.elapsed() < PATIENCE, "raised: {:?}", alarms(client).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Puts until nothing can be given back any more: refused, and still refused after the node has tried.
async fn fill(client: &Client) -> u64 {
    let mut filled = 0;
    let mut refused_since = None;
    loop {
        match fill_one(client, filled).await {
            Ok(()) => (filled, refused_since) = (filled + 1, None),
            Err(error) => {
                assert_eq!(error, no_space());
                let since: &Instant = refused_since.get_or_insert_with(Instant::now);
                // It looks every second, and has then given back what there was.
                if since.elapsed() > Duration::from_secs(4) {
                    return filled;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(filled < 1000, "the quota does not hold");
    }
}

#[tokio::test]
async fn a_full_store_refuses_writes_and_takes_them_back_when_there_is_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_quota(dir.path(), QUOTA_BYTES).await;
    let (client, member) = (node.client(), node.ids().member);
    let lease = client.lease_grant(&anyone(), LeaseId::NONE, 600).await.expect("granted").body;
    put_at(&client, "kept", "v").await;
    let filled = fill(&client).await;
    let bytes = filled * VALUE_BYTES as u64;
    assert!((QUOTA_BYTES as u64 / 2..QUOTA_BYTES as u64).contains(&bytes), "{filled} values, {bytes} B");
    assert_eq!(alarms(&client).await, [(member, AlarmKind::NoSpace)]);
    let status = client.status(&anyone()).await.expect("answered").body;
    assert_eq!(status.errors, [format!("memberID:{member} alarm:NOSPACE ")]);
    assert_eq!(status.quota_bytes, QUOTA_BYTES);

    refused_are_those_that_take_space(&client).await;
    what_makes_room_goes_on(&client, lease).await;

    // It is a part of the state, and so is that the quota did it.
    node.shutdown().await;
    let node = with_quota(dir.path(), QUOTA_BYTES).await;
    let client = node.client();
    assert_eq!(alarms(&client).await, [(member, AlarmKind::NoSpace)]);
    let all = DeleteRequest { range: KeyRange::prefix("fill/"), prev_kv: false };
    let deleted = client.delete(&anyone(), all).await.expect("deletes go on");
    assert_eq!(deleted.body.deleted as u64, filled);
    client.compact(&anyone(), deleted.header.revision, false).await.expect("compaction goes on");
    until_raised(&client, false).await;
    let after = client.status(&anyone()).await.expect("answered").body;
    assert!(after.db_bytes < QUOTA_BYTES as u64 / 2 && after.errors.is_empty(), "{after:?}");
    put_at(&client, "k", "writes are back").await;
    assert_eq!(value_of(&client, "kept").await.as_deref(), Some("v"));
    node.shutdown().await;
}

async fn refused_are_those_that_take_space(client: &Client) {
    assert_eq!(client.put(&anyone(), put("k", "v")).await.map(drop), Err(no_space()));
    let too_large = client.put(&anyone(), put("k", &"v".repeat(2 << 20))).await.map(drop);
    assert_eq!(too_large, Err(NotNow::TooLarge.into()), "what will never pass is told first");
    let grant = client.lease_grant(&anyone(), LeaseId::NONE, 60).await;
    assert_eq!(grant.map(drop), Err(no_space()));
    let nested = TxnRequest { success: vec![Op::Put(put("k", "v"))], ..TxnRequest::default() };
    let compare = Compare {
        range: KeyRange::single("kept"),
        target: CompareTarget::Version(7),
        result: CompareResult::Equal,
    };
    // The branch that would be taken puts nothing.
    let txn = TxnRequest { compare: vec![compare], success: vec![Op::Txn(nested)], failure: vec![] };
    assert_eq!(client.txn(&anyone(), txn, Default::default()).await.map(drop), Err(no_space()));
}

async fn what_makes_room_goes_on(client: &Client, lease: Granted) {
    assert_eq!(value_of(client, "kept").await.as_deref(), Some("v"));
    assert_eq!(client.lease_keep_alive(&anyone(), lease.id).await.expect("renewed").body, 600);
    client.lease_revoke(&anyone(), lease.id).await.expect("revoked");
    let delete = DeleteRequest { range: KeyRange::single("absent"), prev_kv: false };
    let txn = TxnRequest { success: vec![Op::Delete(delete)], ..TxnRequest::default() };
    client.txn(&anyone(), txn, Default::default()).await.expect("a transaction without a put");
    client.defragment(&anyone()).await.expect("defragmented");
}

#[tokio::test]
async fn an_alarm_that_somebody_asked_for_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_quota(dir.path(), QUOTA_BYTES).await;
    let (client, member) = (node.client(), node.ids().member);
    let raise = AlarmChange::Activate { member, kind: AlarmKind::NoSpace };
    let raised = client.change_alarm(&anyone(), Some(raise)).await.expect("raised").body;
    assert_eq!(raised, [(member, AlarmKind::NoSpace)]);
    assert_eq!(client.put(&anyone(), put("k", "v")).await.map(drop), Err(no_space()));
    // What would clear the quota's own: something is erased, the node looks.
    client.compact(&anyone(), 1, true).await.expect("compacted");
    let cleared = tokio::time::timeout(THREE_LOOKS, until_raised(&client, false)).await;
    assert!(cleared.is_err(), "nobody has cleared it");
    let caller = anyone();
    let other = AlarmChange::Deactivate { member: 0, kind: AlarmKind::NoSpace };
    assert_eq!(client.change_alarm(&caller, Some(other)).await.expect("answered").body, [], "0 is nobody");
    let this = AlarmChange::Deactivate { member, kind: AlarmKind::NoSpace };
    assert_eq!(client.change_alarm(&caller, Some(this)).await.expect("answered").body, raised);
    put_at(&client, "k", "v").await;
    node.shutdown().await;
}

#[tokio::test]
async fn corruption_stops_writes_of_every_kind() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let (client, member) = (node.client(), node.ids().member);
    put_at(&client, "k", "v").await;
    let raise = AlarmChange::Activate { member, kind: AlarmKind::Corrupt };
    client.change_alarm(&anyone(), Some(raise)).await.expect("raised");
    let corrupt = || Err(Error::Refused(Refusal::Corrupt));
    let delete = DeleteRequest { range: KeyRange::single("k"), prev_kv: false };
    assert_eq!(client.delete(&anyone(), delete).await.map(drop), corrupt());
    assert_eq!(client.compact(&anyone(), 1, false).await.map(drop), corrupt());
    assert_eq!(client.put(&anyone(), put("k", "v")).await.map(drop), corrupt());
    assert_eq!(value_of(&client, "k").await.as_deref(), Some("v"));
    node.shutdown().await;
}

#[tokio::test]
async fn without_a_quota_nothing_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_quota(dir.path(), -1).await;
    let client = node.client();
    for n in 0..150 {
        fill_one(&client, n).await.expect("put");
    }
    assert!(alarms(&client).await.is_empty());
    assert_eq!(client.status(&anyone()).await.expect("answered").body.quota_bytes, -1);
    node.shutdown().await;
}

fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("the directory");
    // Files may go while they are looked at.
    let sizes = entries.flatten().filter_map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => Some(disk_bytes(&entry.path())),
        Ok(meta) => Some(meta.len()),
        Err(_) => None,
    });
    sizes.sum()
}

/// The folders of the data directory, by name.
fn folders(dir: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dir).expect("the directory").flatten();
    let mut folders: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), disk_bytes(&entry.path())))
        .collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn defragmenting_gives_the_disk_back_while_the_node_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = with_quota(dir.path(), -1).await;
    let client = node.client();
    for n in 0..400 {
        fill_one(&client, n).await.expect("put");
    }
    // Physical compaction flushes: what is deleted afterwards is in files, not in memory.
    client.compact(&anyone(), 2, true).await.expect("compacted");
    let all = DeleteRequest { range: KeyRange::prefix("fill/"), prev_kv: false };
    let deleted = client.delete(&anyone(), all).await.expect("deleted").header.revision;
    let kept = put_at(&client, "kept", "v").await;
    client.compact(&anyone(), deleted, true).await.expect("compacted");
    let (before, ring) = (folders(dir.path()), node.log_use());
    let served = {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                put_at(&client, "served", &n.to_string()).await;
                assert_eq!(value_of(&client, "served").await, Some(n.to_string()));
            }
        })
    };
    // Three at once share what they can.
    let caller = anyone();
    let asked = [client.defragment(&caller), client.defragment(&caller), client.defragment(&caller)];
    for done in within("defragmenting", futures_util::future::join_all(asked)).await {
        done.expect("defragmented");
    }
    served.await.expect("no panic");
    let after = folders(dir.path());
    println!("{before:?} → {after:?}, log {ring:?} → {:?}", node.log_use());
    let names = |folders: &[(String, u64)]| folders.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    let shrunk: Vec<_> = before.iter().zip(&after).filter(|(before, after)| after.1 < before.1 / 4).collect();
    assert_eq!(shrunk.len(), 1, "the engine, and nothing but the engine: {before:?} → {after:?}");
    assert!(shrunk[0].0.1 > 20 << 20, "there was something to give back: {before:?}");
    let range = RangeRequest { revision: kept, ..get("kept") };
    let read = client.range(&anyone(), range, Default::default()).await.expect("read").body;
    assert_eq!(read.kvs.len(), 1);
    node.shutdown().await;
}
