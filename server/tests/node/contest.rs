//! Locks and elections that the node keeps: one at a time, in turn, and nobody waits for the dead.
use std::time::Instant;

use bramble_server::config::Profile;
use bramble_server::node::budget::{Budget, Kind};
use bramble_server::node::client::{Client, ContestError, LeaderKey};
use bramble_server::node::error::{Error, Refusal};
use bramble_server::node::memory::Memory;
use bramble_store::types::{KeyValue, LeaseId};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::*;

async fn lease(client: &Client, ttl_s: i64) -> LeaseId {
    client.lease_grant(&anyone(), LeaseId::NONE, ttl_s).await.expect("granted").body.id
}

async fn locked(client: &Client, lease: LeaseId) -> Bytes {
    let name = Bytes::from_static(b"door");
    within("the lock", client.lock(&anyone(), &name, lease)).await.expect("locked").body
}

/// Begins to wait for the lock.
fn waiter(client: &Client, lease: LeaseId) -> JoinHandle<Result<Bytes, ContestError>> {
    let client = client.clone();
    let name = Bytes::from_static(b"door");
    tokio::spawn(async move { client.lock(&anyone(), &name, lease).await.map(|locked| locked.body) })
}

fn campaigner(client: &Client, lease: LeaseId, value: &str) -> JoinHandle<Result<LeaderKey, ContestError>> {
    let (client, value) = (client.clone(), Bytes::copy_from_slice(value.as_bytes()));
    let name = Bytes::from_static(b"throne");
    tokio::spawn(async move { client.campaign(&anyone(), &name, lease, value).await.map(|won| won.body) })
}

async fn keys(client: &Client, prefix: &'static str) -> Vec<KeyValue> {
    let all = RangeRequest::new(KeyRange::prefix(prefix));
    client.range(&anyone(), all, Default::default()).await.expect("read").body.kvs
}

/// Waits until so many keys begin with `prefix`.
async fn until_keys(client: &Client, prefix: &'static str, number: usize) {
    let begun = Instant::now();
    while keys(client, prefix).await.len() != number {
        assert!(begun.elapsed() < PATIENCE, "{:?}", keys(client, prefix).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ended<T>(task: JoinHandle<T>) -> T {
    within("a contest", task).await.expect("no panic")
}

#[tokio::test]
async fn a_lock_is_held_by_one_and_handed_on_in_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let (first, second, third) =
        (lease(&client, 60).await, lease(&client, 60).await, lease(&client, 60).await);
    let key = locked(&client, first).await;
    assert_eq!(key, format!("door/{:x}", first.0));
    assert_eq!(locked(&client, first).await, key, "the same lease again answers at once");
    let waits = waiter(&client, second);
    until_keys(&client, "door/", 2).await;
    let waits_too = waiter(&client, third);
    until_keys(&client, "door/", 3).await;
    assert!(!waits.is_finished() && !waits_too.is_finished());
    client.unlock(&anyone(), &key).await.expect("unlocked");
    let key = ended(waits).await.expect("locked");
    assert_eq!(key, format!("door/{:x}", second.0));
    until_keys(&client, "door/", 2).await;
    assert!(!waits_too.is_finished(), "the third waits for the second");
    client.unlock(&anyone(), &key).await.expect("unlocked");
    let key = ended(waits_too).await.expect("locked");
    for _ in 0..2 {
        client.unlock(&anyone(), &key).await.expect("a key that is gone is no error");
    }
    assert!(keys(&client, "door/").await.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn two_competitors_never_hold_a_lock_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut turns = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (client, inside) = (node.client(), inside.clone());
        turns.spawn(async move {
            for _ in 0..40 {
                let key = locked(&client, LeaseId::NONE).await;
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                client.unlock(&anyone(), &key).await.expect("unlocked");
            }
        });
    }
    within("forty turns each", turns.join_all()).await;
    assert!(keys(&node.client(), "door/").await.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn who_stops_waiting_leaves_no_place_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let holder = locked(&client, lease(&client, 60).await).await;
    let goes_away = waiter(&client, lease(&client, 60).await);
    until_keys(&client, "door/", 2).await;
    let stays = waiter(&client, lease(&client, 60).await);
    until_keys(&client, "door/", 3).await;
    goes_away.abort();
    until_keys(&client, "door/", 2).await;
    assert!(!stays.is_finished(), "the holder is still there");
    client.unlock(&anyone(), &holder).await.expect("unlocked");
    ended(stays).await.expect("locked");

    let leader = ended(campaigner(&client, lease(&client, 60).await, "a")).await.expect("won");
    let goes_away = campaigner(&client, lease(&client, 60).await, "b");
    until_keys(&client, "throne/", 2).await;
    goes_away.abort();
    until_keys(&client, "throne/", 1).await;
    client.resign(&anyone(), &leader).await.expect("resigned");
    assert!(keys(&client, "throne/").await.is_empty());
    node.shutdown().await;
}

#[tokio::test]
async fn the_end_of_a_lease_hands_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let (short, long) = (lease(&client, 2).await, lease(&client, 60).await);
    locked(&client, short).await;
    let next = ended(waiter(&client, long)).await.expect("locked once the first lease ended");
    assert_eq!(next, format!("door/{:x}", long.0));

    // The lease of one who waits ends before its turn.
    let hapless = lease(&client, 60).await;
    let waits = waiter(&client, hapless);
    until_keys(&client, "door/", 2).await;
    client.lease_revoke(&anyone(), hapless).await.expect("revoked");
    client.unlock(&anyone(), &next).await.expect("unlocked");
    assert_eq!(ended(waits).await, Err(ContestError::SessionExpired));

    let unknown = client.lock(&anyone(), &"door".into(), LeaseId(4711)).await.map(|_| ());
    assert_eq!(unknown, Err(ContestError::Request(Refusal::LeaseNotFound.into())));
    node.shutdown().await;
}

#[tokio::test]
async fn without_a_lease_a_place_ends_with_one_of_sixty_seconds() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let key = locked(&client, LeaseId::NONE).await;
    let held = keys(&client, "door/").await;
    assert_eq!((held.len(), &held[0].key), (1, &key));
    let left = client.lease_time_to_live(&anyone(), held[0].lease, true).await.expect("answered").body;
    assert_eq!((left.granted_ttl_s, left.keys), (60, vec![key]));
    node.shutdown().await;
}

#[tokio::test]
async fn an_election_has_one_leader_whose_values_are_observed() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let name = Bytes::from_static(b"throne");
    let nobody = client.leader(&anyone(), &name).await.map(|_| ());
    assert_eq!(nobody, Err(ContestError::NoLeader));
    let mut observed = client.observe(&anyone(), &name);
    let mut seen = async || {
        let leader = within("a leader", observed.next()).await.expect("goes on").expect("no error");
        assert!(leader.header.revision >= leader.body.mod_revision);
        String::from_utf8_lossy(&leader.body.value).into_owned()
    };
    let (first, second) = (lease(&client, 60).await, lease(&client, 60).await);
    let leads = ended(campaigner(&client, first, "one")).await.expect("won");
    assert_eq!((leads.key.as_ref(), leads.lease), (format!("throne/{:x}", first.0).as_bytes(), first));
    assert_eq!(seen().await, "one");
    let waits = campaigner(&client, second, "two");
    until_keys(&client, "throne/", 2).await;
    let found = client.leader(&anyone(), &name).await.expect("a leader").body;
    assert_eq!((found.create_revision, found.value.as_ref()), (leads.created, &b"one"[..]));

    client.proclaim(&anyone(), &leads, "more".into()).await.expect("proclaimed");
    assert_eq!(seen().await, "more");
    // To campaign again with another value puts it; with the same one it changes nothing.
    let again = ended(campaigner(&client, first, "most")).await.expect("still leads");
    assert_eq!((again.created, seen().await.as_str()), (leads.created, "most"));
    let before = client.header().revision;
    assert_eq!(ended(campaigner(&client, first, "most")).await.expect("still leads"), again);
    assert_eq!(client.header().revision, before);
    assert!(!waits.is_finished());

    client.resign(&anyone(), &leads).await.expect("resigned");
    let next = ended(waits).await.expect("won");
    assert_eq!(seen().await, "two");
    let late = client.proclaim(&anyone(), &leads, "late".into()).await.map(|_| ());
    assert_eq!(late, Err(ContestError::NotLeader));
    client.resign(&anyone(), &leads).await.expect("what has ended can be resigned");
    assert_eq!(client.leader(&anyone(), &name).await.expect("a leader").body.value.as_ref(), b"two");

    client.lease_revoke(&anyone(), next.lease).await.expect("revoked");
    let third = ended(campaigner(&client, LeaseId::NONE, "three")).await.expect("won");
    assert_eq!(seen().await, "three");
    assert_ne!(third.lease, LeaseId::NONE);
    let empty = LeaderKey { key: Bytes::new(), ..third };
    let refused = client.proclaim(&anyone(), &empty, Bytes::new()).await.map(|_| ());
    assert_eq!(refused, Err(ContestError::Request(Error::Invalid(bramble_store::error::Invalid::EmptyKey))));
    node.shutdown().await;
}

#[tokio::test]
async fn who_wins_after_its_lease_has_ended_does_not_lead() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let leads = ended(campaigner(&client, lease(&client, 60).await, "one")).await.expect("won");
    let hapless = lease(&client, 60).await;
    let waits = campaigner(&client, hapless, "two");
    until_keys(&client, "throne/", 2).await;
    client.lease_revoke(&anyone(), hapless).await.expect("revoked");
    client.resign(&anyone(), &leads).await.expect("resigned");
    assert_eq!(ended(waits).await, Err(ContestError::NotLeader));
    node.shutdown().await;
}

#[tokio::test]
async fn what_compaction_takes_does_not_disturb_those_who_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let holder = locked(&client, lease(&client, 60).await).await;
    let waits = waiter(&client, lease(&client, 60).await);
    until_keys(&client, "door/", 2).await;
    let newest = put_at(&client, "other", "v").await;
    client.compact(&anyone(), newest, true).await.expect("compacted");
    client.unlock(&anyone(), &holder).await.expect("unlocked");
    ended(waits).await.expect("locked");
    node.shutdown().await;
}

/// A stream lives long: what it has read and watched once is not counted for ever.
#[tokio::test]
async fn who_observes_many_leaders_takes_no_more_than_for_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let budget = Budget::new(Memory::of(Profile::Default).clients);
    let share = budget.connection().expect("a connection");
    let counted = Caller { place: share.place(Kind::OtherStreams), ..anyone() };
    let mut observed = client.observe(&counted, &Bytes::from_static(b"throne"));
    let used = || [Kind::AnswerBytes, Kind::Watches].map(|kind| budget.usage(kind).used);
    let value = "v".repeat(10_000);
    let mut most = [0, 0];
    for round in 0..20 {
        let leads = ended(campaigner(&client, lease(&client, 60).await, &format!("{round}{value}")))
            .await
            .expect("won");
        let seen = within("a leader", observed.next()).await.expect("goes on").expect("no error").body;
        assert_eq!(seen.key, leads.key);
        most = [0, 1].map(|n| most[n].max(used()[n]));
        client.resign(&anyone(), &leads).await.expect("resigned");
    }
    assert!((1..100_000).contains(&most[0]) && (1..4).contains(&most[1]), "{most:?}");
    drop((observed, counted));
    let begun = Instant::now();
    while used() != [0, 0] {
        assert!(begun.elapsed() < PATIENCE, "{:?}", used());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.shutdown().await;
}

/// One who waits looks again whenever somebody before it goes, and takes nothing for that meanwhile.
#[tokio::test]
async fn who_waits_for_its_turn_takes_nothing_meanwhile() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let budget = Budget::new(Memory::of(Profile::Default).clients);
    let share = budget.connection().expect("a connection");
    let name = Bytes::from_static(b"throne");
    let value = "v".repeat(100_000);
    let leads = ended(campaigner(&client, lease(&client, 60).await, &value)).await.expect("won");
    let place = share.place(Kind::Requests).expect("a place");
    let (counted, own) = (Caller { place: Some(place), ..anyone() }, lease(&client, 60).await);
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.campaign(&counted, &name, own, "mine".into()).await }
    });
    until_keys(&client, "throne/", 2).await;
    let begun = Instant::now();
    while budget.usage(Kind::Watches).used == 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not watch");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let used = budget.usage(Kind::AnswerBytes).used;
    assert!(used < value.len(), "{used} B");
    client.resign(&anyone(), &leads).await.expect("resigned");
    ended(waits).await.expect("won");
    node.shutdown().await;
}
