//! The owner's note rides with frames: it costs no write, and is there after a restart, wherever the ring is.
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::disk::sim::SimDisk;
use bramble_store::log::{Log, LogOptions};
use bramble_store::types::LogId;
use bytes::Bytes;

fn open(disk: &SimDisk) -> (Log, Option<Bytes>) {
    let options = LogOptions { segment_bytes: 8 * 4096, first_fill_bytes: 8 * 4096, ..LogOptions::default() };
    let (log, recovered) =
        Log::open(Arc::new(disk.clone()), Path::new("/log"), options).expect("it is whole");
    (log, recovered.note)
}

fn put(log: &mut Log) -> LogId {
    let id = LogId { term: 1, index: log.last().map_or(0, |last| last.index + 1) };
    log.append(&[Entry { id, payload: Payload::Command("put".into()) }]).expect("it follows");
    id
}

#[test]
fn a_note_waits_for_a_frame_and_costs_no_write_of_its_own() {
    let disk = SimDisk::new(1);
    let (mut log, none) = open(&disk);
    assert_eq!(none, None);
    put(&mut log);
    log.flush().expect("the disk works");
    let before = disk.counts();
    put(&mut log);
    log.flush().expect("the disk works");
    let without = disk.counts().writes - before.writes;
    let before = disk.counts();
    log.save_note("one".into());
    assert!(!log.pending(), "nobody waits for it");
    log.flush().expect("the disk works");
    assert_eq!(disk.counts(), before, "nothing but the note: nothing is written");
    put(&mut log);
    log.flush().expect("the disk works");
    assert_eq!(disk.counts().writes - before.writes, without);
    assert_eq!(open(&disk.survivor()).1, Some("one".into()));
    log.save_note("two".into());
    assert_eq!(open(&disk.survivor()).1, Some("one".into()), "the newer one is nowhere yet");
}

#[test]
fn a_note_is_written_again_behind_each_passing_on() {
    let disk = SimDisk::new(2);
    let (mut log, _) = open(&disk);
    log.save_note("kept".into());
    for round in 0..200 {
        let id = put(&mut log);
        log.flush().expect("the disk works");
        log.note_durable(id);
        log.purge(id);
        // What a restart finds, at every place of the ring.
        let (mut again, note) = open(&disk.survivor());
        assert_eq!(note, Some("kept".into()), "round {round}, epoch {}", log.usage().epoch);
        if round % 16 == 5 {
            put(&mut again);
            again.flush().expect("the disk works");
        }
    }
    assert!(log.usage().epoch > 2 * log.usage().segments, "the ring has come round");
}

#[test]
fn a_seal_takes_the_note_along_and_is_written_for_it_alone() {
    let disk = SimDisk::new(3);
    let (mut log, _) = open(&disk);
    put(&mut log);
    log.save_note("one".into());
    log.seal().expect("the disk works");
    let before = disk.counts();
    log.seal().expect("the disk works");
    assert_eq!(disk.counts(), before, "sealed, and nothing new");
    log.save_note("two".into());
    log.seal().expect("the disk works");
    assert_eq!(disk.counts().writes, before.writes + 1);
    log.seal().expect("the disk works");
    assert_eq!(disk.counts().writes, before.writes + 1);
    assert_eq!(open(&disk.survivor()).1, Some("two".into()));
}
