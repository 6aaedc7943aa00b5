//! An engine that flushes by itself: RocksDB does when its memtables are a third over their budget.
use std::sync::Arc;
use std::time::Instant;

use bramble_server::config::Config;
use bramble_server::node::error::NotNow;
use bramble_store::disk::sim::SimDisk;
use bramble_store::engine::mem::Mem;

use super::*;

/// More than the log's ring holds.
const PUTS: u64 = 80;
const VALUE_BYTES: usize = 1 << 20;

/// Found by the simulated world: the log was full of entries that the engine had flushed by itself. Nothing was
/// left to flush, so nobody told the log what it may let go of, and all writes were refused for ever.
#[tokio::test]
async fn the_log_lets_go_of_what_the_engine_has_flushed_by_itself() {
    let (disk, engine) = (SimDisk::new(1), Mem::new());
    let config = Config { quota_bytes: -1, ..Config::default() };
    let builder = Node::builder().config(config).data_dir("/data").in_process_only();
    let builder = builder.storage(Arc::new(disk.clone()), engine.clone());
    let node = builder.build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    let (client, value) = (node.client(), "v".repeat(VALUE_BYTES));
    for number in 0..PUTS {
        let begun = Instant::now();
        loop {
            engine.flush_behind(0);
            match client.put(&anyone(), put("k", &value)).await {
                Ok(_) => break,
                Err(error) => assert_eq!(error, NotNow::TooManyRequests.into(), "put {number}"),
            }
            assert!(begun.elapsed() < PATIENCE, "put {number} is refused for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    node.shutdown().await;
}
