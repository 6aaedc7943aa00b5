//! An embedded store from open to close: `cargo run --release -p bramble-store --example embedded [DIR]`.
//!
//! Run it again with the same directory: the history goes on where it was.
use std::time::{Duration, Instant};

use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::types::{KeyRange, LeaseId, PutRequest, RangeRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = std::env::temp_dir().join(format!("bramble-example-{}", std::process::id()));
    let path = std::env::args_os().nth(1).map_or_else(|| temporary.clone(), Into::into);
    let store = Embedded::open(&path, EmbeddedOptions::default())?;
    println!("open at revision {}", store.revision());

    let written = store.put("lamp/kitchen", "on")?;
    store.put("lamp/hall", "off")?;
    let lamps = store.range(&RangeRequest::new(KeyRange::prefix("lamp/")))?;
    for lamp in &lamps.kvs {
        println!("{} = {} (version {})", lamp.key.escape_ascii(), lamp.value.escape_ascii(), lamp.version);
    }

    // The past stays readable until it is compacted.
    let mut watch = store.watch(KeyRange::prefix("lamp/"), written.revision);
    for event in watch.next(Duration::ZERO)? {
        println!("revision {}: {:?} {}", event.kv.mod_revision, event.kind, event.kv.key.escape_ascii());
    }

    // A lease takes its keys with it. The store reads no clock: the host says what time it is.
    let lease = store.lease_grant(LeaseId::NONE, 1)?;
    store.put_with(PutRequest { key: "here".into(), lease, ..PutRequest::default() })?;
    let clock = Instant::now();
    while store.get("here")?.is_some() {
        let due = store.maintain(clock.elapsed())?.next_lease_end.unwrap_or_default();
        std::thread::sleep(due.saturating_sub(clock.elapsed()).min(Duration::from_secs(1)));
    }
    println!("the lease ended after {:.1?}", clock.elapsed());

    store.close()?;
    if path == temporary {
        std::fs::remove_dir_all(&path)?;
    }
    Ok(())
}
