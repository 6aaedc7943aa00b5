//! History that is compacted before the engine flushes never reaches the device: of a record that was put and
//! erased in one memtable only the note that it is gone is written.
#![cfg(feature = "rocks")]
use std::path::Path;
use std::time::Duration;

use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::types::{Op, PutRequest, TxnRequest};

mod common;
use common::Random;

/// Keys that are written over and over, all of them at each revision.
const KEYS: usize = 100;
const REVISIONS: i64 = 150;
const VALUE_BYTES: usize = 1024;
/// Compaction follows closely.
const KEPT: i64 = 2;

fn table_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().expect("its size") {
        folder if folder.is_dir() => table_bytes(&entry.path()),
        file if entry.file_name().to_string_lossy().ends_with(".sst") => file.len(),
        _ => 0,
    };
    entries.map(bytes).sum()
}

/// Bytes of the tables after the first flush, with compaction close behind or without.
fn flushed(compacted: bool) -> u64 {
    let memory = Path::new("/dev/shm");
    let dir = match memory.exists() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let dir = dir.expect("a directory");
    let store = Embedded::open(dir.path(), EmbeddedOptions::default()).expect("opens");
    let mut random = Random::new(11);
    for revision in 0..REVISIONS {
        let put = |key| {
            Op::Put(PutRequest {
                key: format!("hot/{key:03}").into(),
                value: (0..VALUE_BYTES).map(|_| random.next_u64() as u8).collect(),
                ..PutRequest::default()
            })
        };
        store
            .txn(TxnRequest { success: (0..KEYS).map(put).collect(), ..TxnRequest::default() })
            .expect("written");
        if compacted && revision > KEPT {
            store.compact(store.revision() - KEPT).expect("compacted");
        }
        while store.maintain(Duration::from_secs(1)).expect("maintained").more {}
    }
    assert_eq!(table_bytes(dir.path()), 0, "it all lies in memory so far");
    store.flush().expect("flushed");
    let bytes = table_bytes(dir.path());
    store.close().expect("closed");
    bytes
}

#[test]
fn what_is_erased_before_a_flush_is_not_written() {
    let (whole, kept) = (flushed(false), flushed(true));
    let payload = (KEYS * VALUE_BYTES) as u64 * REVISIONS as u64;
    println!("of {payload} bytes put {whole} are flushed, and {kept} with compaction close behind");
    assert!(whole > payload, "nothing was compacted: {whole} of {payload}");
    let there = (KEYS * VALUE_BYTES) as u64 * (KEPT as u64 + 1);
    assert!(kept < there + payload / 20, "{kept} bytes for {there} that are still there");
}
