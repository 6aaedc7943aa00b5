//! Leases end when they should, and not before.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_server::config::Profile;
use bramble_server::node::budget::{Budget, Kind};
use bramble_server::node::error::Error;
use bramble_server::node::memory::Memory;
use bramble_store::error::{Invalid, Refusal};
use bramble_store::types::{EventKind, LeaseId, PutRequest};

use super::*;

async fn hang(client: &bramble_server::node::Client, key: &str, lease: LeaseId) {
    let request = PutRequest { lease, ..put(key, "v") };
    client.put(&anyone(), request).await.expect("the lease is there");
}

#[tokio::test]
async fn a_lease_ends_on_time_and_its_keys_go_at_one_revision() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let begun = Instant::now();
    let granted = client.lease_grant(&anyone(), LeaseId::NONE, 1).await.expect("granted").body;
    assert!(granted.id.0 > 0);
    assert_eq!(granted.ttl_s, 2);
    for key in ["c", "a", "b"] {
        hang(&client, key, granted.id).await;
    }
    let left = client.lease_time_to_live(&anyone(), granted.id, true).await.expect("answered").body;
    assert_eq!((left.granted_ttl_s, left.keys.len()), (2, 3));
    assert!((0..=2).contains(&left.ttl_s));
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    stream.create(WatchCreate::new(everything())).await.expect("asked");
    assert!(next(&mut stream).await.created);
    let gone = next(&mut stream).await;
    let took = begun.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&took), "{took:?}");
    let keys: Vec<_> = gone.events.iter().map(|event| (event.kind, event.kv.key.clone())).collect();
    assert_eq!(keys, ["a", "b", "c"].map(|key| (EventKind::Delete, key.into())));
    assert_eq!(client.lease_keep_alive(&anyone(), granted.id).await.expect("answered").body, 0);
    let left = client.lease_time_to_live(&anyone(), granted.id, true).await.expect("answered").body;
    assert_eq!(left.ttl_s, -1);
    node.shutdown().await;
}

#[tokio::test]
async fn renewed_leases_stay_and_revoked_ones_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for id in [5, -7] {
        client.lease_grant(&anyone(), LeaseId(id), 2).await.expect("granted");
    }
    let taken = client.lease_grant(&anyone(), LeaseId(5), 2).await.map(|_| ());
    assert_eq!(taken, Err(Refusal::LeaseExists.into()));
    let long = client.lease_grant(&anyone(), LeaseId(6), 9_000_000_001).await.map(|_| ());
    assert_eq!(long, Err(Error::Invalid(Invalid::TtlTooLarge { ttl_s: 9_000_000_001 })));
    hang(&client, "renewed", LeaseId(5)).await;
    hang(&client, "forgotten", LeaseId(-7)).await;
    let begun = Instant::now();
    while value_of(&client, "forgotten").await.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the lease did not end");
        assert_eq!(client.lease_keep_alive(&anyone(), LeaseId(5)).await.expect("answered").body, 2);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(value_of(&client, "renewed").await.is_some());
    assert_eq!(client.leases(&anyone()).await.expect("answered").body, [LeaseId(5)]);
    client.lease_revoke(&anyone(), LeaseId(5)).await.expect("revoked");
    assert!(value_of(&client, "renewed").await.is_none());
    let again = client.lease_revoke(&anyone(), LeaseId(5)).await.map(|_| ());
    assert_eq!(again, Err(Refusal::LeaseNotFound.into()));
    node.shutdown().await;
}

#[tokio::test]
async fn a_restart_only_lengthens_leases() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let id = node.client().lease_grant(&anyone(), LeaseId::NONE, 3).await.expect("granted").body.id;
    hang(&node.client(), "k", id).await;
    node.shutdown().await;
    let node = start(dir.path()).await;
    let begun = Instant::now();
    let client = node.client();
    let left = client.lease_time_to_live(&anyone(), id, true).await.expect("answered").body;
    assert_eq!((left.granted_ttl_s, left.keys.len()), (3, 1));
    while value_of(&client, "k").await.is_some() {
        assert!(begun.elapsed() < Duration::from_secs(7), "the lease did not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(2900), "{:?}", begun.elapsed());
    node.shutdown().await;
}

#[tokio::test]
async fn many_leases_end_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = Arc::new(node.client());
    let mut grants = tokio::task::JoinSet::new();
    for n in 0..300 {
        let client = client.clone();
        grants.spawn(async move {
            let id = client.lease_grant(&anyone(), LeaseId::NONE, 2).await.expect("granted").body.id;
            hang(&client, &format!("k{n}"), id).await;
        });
    }
    grants.join_all().await;
    let begun = Instant::now();
    while !client.leases(&anyone()).await.expect("answered").body.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(8), "leases are left over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let all = bramble_store::types::RangeRequest::new(everything());
    assert_eq!(client.range(&anyone(), all, Default::default()).await.expect("answered").body.count, 0);
    node.shutdown().await;
}

/// A clock that stands still until it is told.
#[derive(Default)]
struct HandClock(std::sync::Mutex<Duration>);

impl HandClock {
    fn forward(&self, time: Duration) {
        *self.0.lock().expect("no panic") += time;
    }
}

impl bramble_store::seams::Clock for HandClock {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }
}

async fn by_hand(dir: &Path, lease_checkpoints: bool) -> (Node, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let config = bramble_server::config::Config { lease_checkpoints, ..Default::default() };
    let builder = Node::builder().config(config).data_dir(dir).in_process_only().clock(clock.clone());
    let node = builder.build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    // It has taken its leases over: what is granted from now on ends by this clock.
    node.client().leases(&anyone()).await.expect("answered");
    (node, clock)
}

async fn left_of(node: &Node, id: LeaseId) -> i64 {
    let left = node.client().lease_time_to_live(&anyone(), id, false).await.expect("answered").body;
    left.ttl_s
}

/// Waits until the node has proposed and applied something of its own.
async fn until_applied_more(node: &Node, than: u64) {
    let begun = Instant::now();
    while node.client().status(&anyone()).await.expect("answered").body.applied_index <= than {
        assert!(begun.elapsed() < PATIENCE, "nothing was written down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long [`until_looked`] takes on the clock.
const LOOKED: Duration = Duration::from_secs(6);

/// Waits until the node has looked at its leases: one ends, and then another, for what is written down
/// after the first has ended is there when the second has. How many commands that took.
async fn until_looked(node: &Node, clock: &HandClock) -> u64 {
    let (client, begun) = (node.client(), Instant::now());
    let canaries = [LeaseId(101), LeaseId(102)];
    for canary in canaries {
        client.lease_grant(&anyone(), canary, 2).await.expect("granted");
        clock.forward(LOOKED / canaries.len() as u32);
        while client.leases(&anyone()).await.expect("answered").body.contains(&canary) {
            assert!(begun.elapsed() < PATIENCE, "the node does not look");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // Each was granted and revoked.
    2 * canaries.len() as u64
}

async fn applied(node: &Node) -> u64 {
    node.client().status(&anyone()).await.expect("answered").body.applied_index
}

#[tokio::test]
async fn a_checkpoint_outlives_a_restart_and_a_renewal_takes_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (node, clock) = by_hand(dir.path(), true).await;
    let (idle, busy) = (LeaseId(1), LeaseId(2));
    for id in [idle, busy] {
        node.client().lease_grant(&anyone(), id, 1000).await.expect("granted");
    }
    clock.forward(Duration::from_secs(290));
    let before = applied(&node).await + until_looked(&node, &clock).await;
    assert_eq!(applied(&node).await, before, "nothing is due before 300 s");
    clock.forward(Duration::from_secs(110) - LOOKED);
    until_applied_more(&node, before).await;
    assert_eq!(applied(&node).await, before + 1, "both in one command");
    // The answer comes when the checkpoint is taken back, so no crash makes the lease shorter.
    assert_eq!(node.client().lease_keep_alive(&anyone(), busy).await.expect("renewed").body, 1000);
    assert_eq!(applied(&node).await, before + 2);
    assert_eq!(node.client().lease_keep_alive(&anyone(), busy).await.expect("renewed").body, 1000);
    assert_eq!(applied(&node).await, before + 2, "once is enough");
    node.shutdown().await;

    let (node, _clock) = by_hand(dir.path(), true).await;
    let (left, whole) = (left_of(&node, idle).await, left_of(&node, busy).await);
    // Never less than is truly left, and at most the time of an election more.
    assert!((600..=602).contains(&left), "{left}");
    assert!((1000..=1002).contains(&whole), "{whole}");
    node.shutdown().await;
}

#[tokio::test]
async fn without_checkpoints_a_restart_gives_the_whole_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let (node, clock) = by_hand(dir.path(), false).await;
    node.client().lease_grant(&anyone(), LeaseId(1), 1000).await.expect("granted");
    clock.forward(Duration::from_secs(400));
    let before = applied(&node).await + until_looked(&node, &clock).await;
    assert_eq!(applied(&node).await, before);
    node.shutdown().await;
    let (node, _clock) = by_hand(dir.path(), false).await;
    assert!(left_of(&node, LeaseId(1)).await >= 1000);
    node.shutdown().await;
}

/// A lease may have any number of keys, and there may be any number of leases: what is told of them is
/// counted like any other answer.
#[tokio::test]
async fn what_is_told_of_leases_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for id in 1..=300 {
        client.lease_grant(&anyone(), LeaseId(id), 600).await.expect("granted");
    }
    let key_bytes = 200;
    for n in 0..50 {
        hang(&client, &format!("{n:0key_bytes$}"), LeaseId(7)).await;
    }
    let budget = Budget::new(Memory::of(Profile::Default).clients);
    let share = budget.connection().expect("a connection");
    let counted = || Caller { place: share.place(Kind::Requests), ..anyone() };
    let used = || budget.usage(Kind::AnswerBytes).used;

    let caller = counted();
    let told = client.lease_time_to_live(&caller, LeaseId(7), true).await.expect("answered").body;
    assert_eq!(told.keys.len(), 50);
    assert!((50 * key_bytes..10 * 50 * key_bytes).contains(&used()), "{} B", used());
    drop(caller);
    assert_eq!(used(), 0);

    let caller = counted();
    let told = client.leases(&caller).await.expect("answered").body;
    assert_eq!(told.len(), 300);
    let bytes = 300 * size_of::<LeaseId>();
    assert!((bytes..20 * bytes).contains(&used()), "{} B", used());
    drop(caller);
    assert_eq!(used(), 0);
    node.shutdown().await;
}

/// A counter of `/metrics`.
fn counted(node: &Node, name: &str) -> u64 {
    let page = node.metrics_text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("the member counts it");
    line.trim().parse::<f64>().expect("a number") as u64
}

/// Nobody waits for the end of a lease, so a hundred of them are no hundred writes.
#[tokio::test]
async fn leases_that_end_together_are_written_together() {
    const LEASES: u64 = 100;
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let caller = anyone();
    let grants = (0..LEASES).map(|_| client.lease_grant(&caller, LeaseId::NONE, 2));
    futures_util::future::try_join_all(grants).await.expect("granted");
    let (entries, flushes) = ("bramble_log_entries_total ", "bramble_flushes_total{cause=\"log\"} ");
    let before = (counted(&node, entries), counted(&node, flushes));
    let begun = Instant::now();
    while !client.leases(&anyone()).await.expect("answered").body.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(6), "they do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (entries, flushes) = (counted(&node, entries) - before.0, counted(&node, flushes) - before.1);
    println!("{entries} entries in {flushes} flushes");
    assert_eq!(entries, LEASES);
    // Two looks at the deadlines, when the grants lie between them.
    assert!(flushes <= 4, "{entries} revokes were written in {flushes} flushes");
    node.shutdown().await;
}
