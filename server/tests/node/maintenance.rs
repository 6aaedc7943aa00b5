//! What operators ask for: hashes, downgrades, who leads.
use bramble_server::node::error::{Error, Invalid, NotNow, Refusal};
use bramble_store::types::LeaseId;

use super::*;

#[tokio::test]
async fn the_hash_is_of_the_state_and_not_of_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let hash = async |node: &Node| node.client().hash(&anyone()).await.expect("hashed");
    for n in 0..100 {
        put_at(&node.client(), &format!("k{}", n % 10), &n.to_string()).await;
    }
    node.client().lease_grant(&anyone(), LeaseId(7), 600).await.expect("granted");
    let first = hash(&node).await;
    assert_eq!(first.header.revision, 101);
    node.client().defragment(&anyone()).await.expect("defragmented");
    assert_eq!(hash(&node).await.body, first.body, "other files");
    node.shutdown().await;
    let node = start(dir.path()).await;
    assert_eq!(hash(&node).await.body, first.body, "another term, and entries without effect");
    node.client().lease_grant(&anyone(), LeaseId(8), 600).await.expect("granted");
    let leases = hash(&node).await.body;
    assert_ne!(leases, first.body, "leases count");
    put_at(&node.client(), "k", "v").await;
    assert!(![first.body, leases].contains(&hash(&node).await.body), "keys count");
    node.shutdown().await;
}

#[tokio::test]
async fn a_downgrade_is_written_down_until_it_is_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    let shown = async |client: &bramble_server::node::Client| {
        client.status(&anyone()).await.expect("answered").body.downgrade
    };
    let none: Error = Refusal::NoDowngrade.into();
    assert_eq!(client.end_downgrade(&anyone()).await.map(drop), Err(none.clone()));
    for (target, error) in [
        ("three", Invalid::DowngradeFormat),
        ("", Invalid::DowngradeFormat),
        ("3.4", Invalid::DowngradeTarget),
        ("3.6", Invalid::DowngradeTarget),
        ("2.5", Invalid::DowngradeTarget),
    ] {
        let asked = client.check_downgrade(&anyone(), target).await.map(drop);
        assert_eq!(asked, Err(error.clone().into()), "{target}");
        let asked = client.begin_downgrade(&anyone(), target).await.map(drop);
        assert_eq!(asked, Err(error.into()), "{target}");
    }
    client.check_downgrade(&anyone(), "3.5").await.expect("it could begin");
    assert_eq!(shown(&client).await, None, "that was only asked");
    client.begin_downgrade(&anyone(), "3.5.30").await.expect("begun");
    assert_eq!(shown(&client).await.as_deref(), Some("3.5.0"));
    let running: Error = Refusal::DowngradeInProgress.into();
    assert_eq!(client.check_downgrade(&anyone(), "3.5").await.map(drop), Err(running.clone()));
    assert_eq!(client.begin_downgrade(&anyone(), "3.5").await.map(drop), Err(running));
    node.shutdown().await;
    let node = start(dir.path()).await;
    let client = node.client();
    assert_eq!(shown(&client).await.as_deref(), Some("3.5.0"));
    client.end_downgrade(&anyone()).await.expect("ended");
    assert_eq!(shown(&client).await, None);
    assert_eq!(client.end_downgrade(&anyone()).await.map(drop), Err(none));
    node.shutdown().await;
}

#[tokio::test]
async fn the_only_member_leads_and_nobody_else_can() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    client.move_leader(&anyone(), node.ids().member).await.expect("it leads already");
    for stranger in [0, 1, u64::MAX] {
        assert_eq!(client.move_leader(&anyone(), stranger).await, Err(NotNow::BadTransferee.into()));
    }
    node.shutdown().await;
}

/// What is applied is not answered as if it had not been: who finds many waiting for a flush waits, too.
#[tokio::test]
async fn compactions_wait_for_their_flush_however_many_they_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = start(dir.path()).await;
    let client = node.client();
    for n in 0..300 {
        put_at(&client, "k", &n.to_string()).await;
    }
    // Begun one after the other, so that none is below the one before, and waited for together.
    let mut asked = tokio::task::JoinSet::new();
    for revision in 2..300 {
        let client = client.clone();
        asked.spawn(async move { client.compact(&anyone(), revision, true).await });
    }
    let mut applied = 0;
    for done in within("compacting", asked.join_all()).await {
        match done {
            Ok(_) => applied += 1,
            Err(error) => assert!(matches!(error, Error::Refused(Refusal::Compacted { .. })), "{error:?}"),
        }
    }
    println!("{applied} compactions were waited for");
    assert!(applied > 64, "{applied}");
    node.shutdown().await;
}
