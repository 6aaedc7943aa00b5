//! The log on a real file system, with and without direct I/O.
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::disk::Disk;
use bramble_store::disk::real::RealDisk;
use bramble_store::log::{Log, LogOptions, Vote};
use bramble_store::types::LogId;

fn entry(index: u64) -> Entry {
    Entry { id: LogId { term: 3, index }, payload: Payload::Command(vec![index as u8; 1000].into()) }
}

/// Writes, closes and reopens a log of 400 entries that goes several times around its ring.
fn write_and_read_back(dir: &Path, frame_align: u32) {
    let options =
        LogOptions { frame_align, segment_bytes: 256 << 10, recent_bytes: 10_000, ..LogOptions::default() };
    let open = || Log::open(Arc::new(RealDisk), dir, options.clone()).expect("a log on a real disk");
    let (mut log, _) = open();
    let reader = log.reader();
    log.save_vote(Vote { term: 3, node: 1, committed: true });
    for index in 0..400 {
        log.append(&[entry(index)]).expect("it follows");
        assert_eq!(log.flush().expect("the disk works").last, Some(LogId { term: 3, index }));
        if index % 8 == 0 {
            log.fill_ahead(1 << 20).expect("the disk works");
        }
        if index % 100 == 99 {
            log.note_durable(LogId { term: 3, index: index - 60 });
            log.purge(LogId { term: 3, index: index - 50 });
            let old = reader.read(index - 59..index - 49, u64::MAX).expect("they are in frames");
            assert_eq!(old, (index - 59..index - 49).map(entry).collect::<Vec<_>>());
        }
    }
    assert!(log.usage().epoch > 3, "{:?}", log.usage());
    log.seal().expect("the disk works");
    drop(log);
    let (log, recovered) = open();
    assert_eq!(recovered.vote, Some(Vote { term: 3, node: 1, committed: true }));
    assert_eq!((recovered.torn_frames, recovered.last), (0, Some(LogId { term: 3, index: 399 })));
    assert_eq!(recovered.purged, Some(LogId { term: 3, index: 339 }));
    let entries = log.read(340..400, u64::MAX).expect("they are there");
    assert_eq!(entries, (340..400).map(entry).collect::<Vec<_>>());
    assert!(RealDisk.free_bytes(dir).expect("a file system") > 0);
}

#[test]
fn a_log_on_the_file_system_of_temporary_files() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    write_and_read_back(&temp.path().join("4k"), 4096);
    write_and_read_back(&temp.path().join("16k"), 16384);
}

#[test]
fn a_log_on_a_file_system_in_memory() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        println!("SKIPPED: no /dev/shm on this machine");
        return;
    }
    let temp = tempfile::tempdir_in(shm).expect("a temporary directory");
    write_and_read_back(&temp.path().join("log"), 4096);
}

#[test]
fn a_first_start_writes_one_mebibyte_and_is_small() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("log");
    let (mut log, recovered) = Log::open(Arc::new(RealDisk), &dir, LogOptions::default()).expect("a new log");
    assert_eq!(recovered, bramble_store::log::Recovered::default());
    let bytes = |name: &str| std::fs::metadata(dir.join(name)).expect("it is there").len();
    assert_eq!(bytes("00000000.seg"), 1 << 20);
    assert!(log.fill_ahead(u64::MAX).expect("the disk works"));
    assert_eq!(bytes("00000000.seg"), (1 << 20) + (256 << 10), "one step is bounded");
}

/// The device has turned out to be another than it was taken for.
#[test]
fn a_log_that_is_given_a_smaller_ring_is_not_full_by_that() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let large =
        LogOptions { frame_align: 16384, segment_bytes: 1 << 20, ring_segments: 4, ..LogOptions::default() };
    let small = LogOptions { segment_bytes: 256 << 10, ..LogOptions::default() };
    let open = |options: &LogOptions| {
        Log::open(Arc::new(RealDisk), &temp.path().join("log"), options.clone())
            .expect("a log on a real disk")
            .0
    };
    let write = |log: &mut Log, entries: std::ops::Range<u64>| {
        for index in entries {
            log.append(&[entry(index)]).expect("it follows");
            log.flush().expect("the disk works");
        }
    };
    let mut log = open(&large);
    assert_eq!(log.usage().ring_bytes, 4 << 20);
    // Two and a half segments.
    write(&mut log, 0..160);
    drop(log);
    let mut log = open(&small);
    write(&mut log, 160..161);
    let usage = log.usage();
    assert_eq!((usage.used_bytes >> 20, usage.ring_bytes), (3, (3 << 20) + (1 << 20)), "{usage:?}");
    // What was left is not counted when it is not needed any more.
    log.note_durable(LogId { term: 3, index: 160 });
    log.purge(LogId { term: 3, index: 160 });
    write(&mut log, 161..300);
    assert_eq!(log.usage().ring_bytes, 1 << 20, "{:?}", log.usage());
}
