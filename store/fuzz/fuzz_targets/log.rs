//! A log on a disk: opening it is refused or done, and what was opened can be read, written, and opened
//! again with the same entries. The input is `segments`' or, after a 255, the bytes of one segment.
#![no_main]
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::disk::sim::SimDisk;
use bramble_store::disk::{Disk, Open};
use bramble_store::error::Fatal;
use bramble_store::log::{Log, LogOptions};
use bramble_store::types::LogId;
use bramble_store_fuzz::Parts;
use bramble_store_fuzz::segments::{self, SEGMENT_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let files = match input.first() {
        Some(255) => {
            parts.byte();
            let mut bytes = parts.all().to_vec();
            bytes.resize(SEGMENT_BYTES, 0);
            vec![bytes]
        }
        _ => segments::of(&mut parts),
    };
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/log")).expect("an empty disk");
    for (number, bytes) in files.iter().enumerate() {
        let path = Path::new("/log").join(format!("{number:08}.seg"));
        disk.open(&path, Open::CreateNew).expect("a new file");
        disk.set_contents(&path, bytes).expect("it is there");
    }
    let Some(entries) = open(&disk, true) else {
        return;
    };
    if let Some(again) = open(&disk, false) {
        assert_eq!(again, entries, "what was read must be there again");
    }
});

/// Opens the log, and gives all its entries; `write`: and one more, flushed.
fn open(disk: &SimDisk, write: bool) -> Option<Vec<Entry>> {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES as u64,
        ring_segments: 2,
        first_fill_bytes: SEGMENT_BYTES as u64,
        ..LogOptions::default()
    };
    let opened = Log::open(Arc::new(disk.clone()), Path::new("/log"), options);
    let (mut log, recovered) = match opened {
        Ok(opened) => opened,
        // What was opened, and written to, is not damaged. (It may have used up its starts.)
        Err(fatal @ Fatal::Damaged { .. }) if !write => panic!("{fatal}"),
        Err(_) => return None,
    };
    let last = log.last();
    let next = last.map_or(Some(0), |last| last.index.checked_add(1))?;
    if write {
        let id = LogId { term: last.map_or(1, |last| last.term), index: next };
        log.append(&[Entry { id, payload: Payload::Blank }]).ok()?;
        log.flush().ok()?;
    }
    let first = recovered.purged.map_or(Some(0), |purged| purged.index.checked_add(1))?;
    let behind = log.last().map_or(Some(first), |last| last.index.checked_add(1))?;
    Some(log.read(first..behind, u64::MAX).expect("what was opened can be read"))
}
