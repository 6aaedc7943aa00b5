//! A disk that others fill up, at any byte: puts are refused, what makes room goes on, and puts come back by
//! themselves.
//!
//! `BRAMBLE_FULL_POSITIONS=500` tries so many instead of twelve.
use std::sync::Arc;
use std::time::Instant;

use bramble_server::config::Config;
use bramble_server::node::client::Client;
use bramble_server::node::error::Refusal;
use bramble_store::disk::sim::{Rng, SimDisk};
use bramble_store::engine::mem::Mem;
use bramble_store::types::{AlarmKind, DeleteRequest, LeaseId};

use super::*;

const POSITIONS: u64 = 12;
/// Nodes at once, each with some of the positions.
const NODES: u64 = 4;
/// What the node keeps for flushes.
const RESERVE_BYTES: u64 = 64 << 20;
/// How long writes may stay away once there is space.
const BACK_WITHIN: Duration = Duration::from_secs(10);
const RING_BYTES: u64 = 64 << 20;

async fn node_on(disk: &SimDisk, engine: &Mem) -> Node {
    let config = Config { quota_bytes: -1, ..Config::default() };
    let storage = (Arc::new(disk.clone()), engine.clone());
    let builder = Node::builder().config(config).data_dir("/data").in_process_only();
    let node = builder.storage(storage.0, storage.1).build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

/// Puts until it is refused, which must be soon.
async fn until_refused(client: &Client, acknowledged: &mut u64) {
    let value = "v".repeat(50_000);
    for _ in 0..200 {
        let key = format!("key/{:03}", *acknowledged % 300);
        match client.put(&anyone(), put(&key, &value)).await {
            Ok(_) => *acknowledged += 1,
            Err(error) => return assert_eq!(error, Refusal::NoSpace.into()),
        }
    }
    panic!("10 MB were taken by a disk that is full");
}

async fn what_makes_room_goes_on(client: &Client, lease: LeaseId, acknowledged: u64) {
    let newest = format!("key/{:03}", (acknowledged - 1) % 300);
    assert!(value_of(client, &newest).await.is_some(), "reads go on");
    let delete = DeleteRequest { range: KeyRange::single(newest.clone()), prev_kv: false };
    let deleted = client.delete(&anyone(), delete).await.expect("deletes go on");
    assert_eq!(deleted.body.deleted, 1);
    client.compact(&anyone(), deleted.header.revision, false).await.expect("compaction goes on");
    client.lease_keep_alive(&anyone(), lease).await.expect("leases are kept");
    let status = client.status(&anyone()).await.expect("answered").body;
    assert!(status.errors.iter().any(|error| error.contains("NOSPACE")), "{:?}", status.errors);
}

async fn positions(seed: u64, count: u64) {
    let (disk, engine, mut rng) = (SimDisk::new(seed), Mem::new(), Rng::new(seed));
    let node = node_on(&disk, &engine).await;
    let client = node.client();
    let lease = client.lease_grant(&anyone(), LeaseId::NONE, 600).await.expect("granted").body.id;
    let ring = || disk.files().iter().map(|(_, bytes)| bytes).sum::<u64>();
    within("the ring", async {
        while ring() < RING_BYTES {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut acknowledged = 0;
    for _ in 0..count {
        for _ in 0..1 + rng.below(30) {
            let key = format!("key/{:03}", acknowledged % 300);
            put_at(&client, &key, &"w".repeat(rng.below(100_000) as usize)).await;
            acknowledged += 1;
        }
        let free_bytes = rng.below(RESERVE_BYTES);
        disk.set_free_bytes(free_bytes);
        until_refused(&client, &mut acknowledged).await;
        what_makes_room_goes_on(&client, lease, acknowledged).await;
        disk.set_free_bytes(RESERVE_BYTES * 2);
        let begun = Instant::now();
        while let Err(error) = client.put(&anyone(), put("back", "again")).await {
            assert_eq!(error, Refusal::NoSpace.into());
            assert!(begun.elapsed() < BACK_WITHIN, "with {free_bytes} bytes, seed {seed}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(
        client
            .alarms(&anyone())
            .await
            .expect("listed")
            .body
            .iter()
            .all(|(_, kind)| *kind != AlarmKind::NoSpace)
    );
    let revision = client.header().revision;
    node.shutdown().await;
    // A start needs no space.
    disk.set_free_bytes(0);
    engine.crash();
    let node = node_on(&disk, &engine).await;
    assert!(node.client().header().revision >= revision);
    assert_eq!(value_of(&node.client(), "back").await.as_deref(), Some("again"));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_may_be_full_at_any_byte() {
    let all =
        std::env::var("BRAMBLE_FULL_POSITIONS").map_or(POSITIONS, |text| text.parse().expect("a number"));
    let mut nodes = tokio::task::JoinSet::new();
    for seed in 0..NODES {
        nodes.spawn(positions(seed, all.div_ceil(NODES)));
    }
    while let Some(done) = nodes.join_next().await {
        done.expect("positions that went well");
    }
}
