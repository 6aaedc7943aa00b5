//! What an engine says it has done to its device, against the files that are there.
#![cfg(feature = "rocks")]
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_store::engine::mem::Mem;
use bramble_store::engine::rocks::{Rocks, RocksOptions};
use bramble_store::engine::{Batch, Change, Engine, EngineWork, Family};
use bytes::Bytes;

mod common;
use common::Random;

/// Rows that do not compress, under keys that come again in every batch.
fn write(engine: &impl Engine, random: &mut Random, rows: usize) -> u64 {
    let value = |random: &mut Random| -> Bytes { (0..1024).map(|_| random.next_u64() as u8).collect() };
    let mut changes = Vec::new();
    for row in 0..rows {
        let key = Bytes::from(format!("key {row:06}"));
        changes.push(Change { family: Family::Idx, key, value: Some(value(random)) });
    }
    let bytes = changes.iter().map(|row| row.key.len() + 1024).sum::<usize>() as u64;
    engine.write(Batch { changes }).expect("writes");
    bytes
}

fn table_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a directory").map(|file| file.expect("a file"));
    let tables = files.filter(|file| file.file_name().to_string_lossy().ends_with(".sst"));
    tables.map(|file| file.metadata().expect("its size").len()).sum()
}

#[test]
fn flushes_and_compactions_are_counted_in_the_bytes_of_their_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let rocks = Rocks::open(dir.path(), RocksOptions::default()).expect("opens");
    let mut random = Random::new(7);
    assert_eq!((rocks.work().flush_bytes, rocks.work().compaction_written_bytes), (0, 0));
    let written = write(&rocks, &mut random, 2000);
    assert_eq!(rocks.work().flush_bytes, 0, "in memory so far");
    rocks.flush().expect("flushes");
    let first = rocks.work().flush_bytes;
    assert_eq!(first, table_bytes(dir.path()));
    assert!(first >= written, "{first} of {written}");
    // The same keys in four files are merged by and by. RocksDB counts what it read after what it wrote.
    let deadline = Instant::now() + Duration::from_secs(60);
    let told = |work: EngineWork| {
        work.compaction_written_bytes > 0 && work.compaction_read_bytes >= work.compaction_written_bytes
    };
    while !told(rocks.work()) {
        assert!(
            Instant::now() < deadline,
            "nothing is compacted, or more written than read: {:?}",
            rocks.work()
        );
        write(&rocks, &mut random, 200);
        rocks.flush().expect("flushes");
    }
    assert!(rocks.work().flush_bytes > first);
}

#[test]
fn pinned_views_are_counted_while_they_are_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let rocks = Rocks::open(dir.path(), RocksOptions::default()).expect("opens");
    assert_eq!(rocks.work().pinned_views, 0);
    let (one, two) = (rocks.view(), rocks.view());
    let copy = one.clone();
    assert_eq!(rocks.work().pinned_views, 2, "a copy pins nothing more");
    drop((one, two));
    assert_eq!(rocks.work().pinned_views, 1);
    drop(copy);
    assert_eq!(rocks.work().pinned_views, 0);
}

#[test]
fn the_engine_in_memory_counts_what_it_makes_durable() {
    let mem = Mem::new();
    let written = write(&mem, &mut Random::new(7), 10);
    assert_eq!(mem.work().flush_bytes, 0);
    mem.flush().expect("flushes");
    mem.flush().expect("flushes");
    assert_eq!(mem.work().flush_bytes, written);
}

#[test]
fn a_rate_holds_a_flush_back() {
    let took = |rate_bytes_max| {
        let dir = tempfile::tempdir().expect("a directory");
        let options = RocksOptions { rate_bytes_max, ..RocksOptions::default() };
        let rocks = Rocks::open(dir.path(), options).expect("opens");
        write(&rocks, &mut Random::new(7), 4000);
        let begun = Instant::now();
        rocks.flush().expect("flushes");
        begun.elapsed()
    };
    // 4 MB at 2 MB a second, of which some may go at once.
    let held_back = took(Some(2_000_000));
    assert!(held_back > Duration::from_secs(1), "{held_back:?}");
    assert!(took(None) < held_back, "it was not the rate");
}
