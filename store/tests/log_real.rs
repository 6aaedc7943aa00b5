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
