//! What is erased gives its space back, on the disk, while others read and write.
#![cfg(feature = "rocks")]
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bramble_store::engine::rocks::{Rocks, RocksOptions};
use bramble_store::engine::{Batch, Change, Cursor, Engine, Family, Profile, Read};
use bytes::Bytes;

mod common;
use common::Random;

const ROWS: u32 = 20_000;

fn disk_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("the directory");
    files.map(|file| file.expect("a file").metadata().map_or(0, |meta| meta.len())).sum()
}

fn row(family: Family, n: u32, value: Option<Bytes>) -> Change {
    Change { family, key: Bytes::copy_from_slice(&n.to_be_bytes()), value }
}

/// Bytes that no compression makes smaller.
fn noise(random: &mut Random) -> Bytes {
    (0..128).flat_map(|_| (random.below(usize::MAX) as u64).to_le_bytes()).collect()
}

fn keys(read: &impl Read, family: Family) -> Vec<u32> {
    let mut cursor = read.cursor(family);
    cursor.seek(&[]).expect("seeks");
    let mut keys = Vec::new();
    while let Some((key, value)) = cursor.row() {
        assert!(!value.is_empty());
        keys.push(u32::from_be_bytes(key.try_into().expect("four bytes")));
        cursor.next().expect("steps");
    }
    keys
}

fn defragment(engine: &Rocks) {
    engine.flush().expect("flushed");
    for part in engine.parts().expect("parts") {
        engine.defragment(&part).expect("defragmented");
    }
}

#[test]
fn erased_rows_give_their_space_back_while_rows_are_written() {
    for profile in [Profile::Default, Profile::Pi] {
        let dir = tempfile::tempdir().expect("a directory");
        let engine =
            Rocks::open(dir.path(), RocksOptions { profile, ..RocksOptions::default() }).expect("opens");
        let mut random = Random::new(7);
        for first in (0..ROWS).step_by(1000) {
            let changes = (first..first + 1000).flat_map(|n| {
                let value = noise(&mut random);
                [row(Family::Rev, n, Some(value.clone())), row(Family::Idx, n, Some(value.slice(..64)))]
            });
            engine.write(Batch { changes: changes.collect() }).expect("written");
            if first % 4000 == 0 {
                engine.flush().expect("flushed");
            }
        }
        let kept = |n: &u32| n.is_multiple_of(50);
        let before = engine.view();
        let erased = (0..ROWS).filter(|n| !kept(n));
        let changes = erased.flat_map(|n| [Family::Rev, Family::Idx].map(|family| row(family, n, None)));
        engine.write(Batch { changes: changes.collect() }).expect("written");
        engine.flush().expect("flushed");
        let full = disk_bytes(dir.path());
        assert!(full > 20_000_000, "{full}");

        defragment(&engine);
        let pinned = disk_bytes(dir.path());
        assert!(pinned > 20_000_000, "a view still sees them: {pinned}");
        assert_eq!(keys(&before, Family::Rev).len() as u32, ROWS);
        drop(before);

        let done = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut n = ROWS;
                while !done.load(Ordering::Relaxed) || n < ROWS + 100 {
                    let change = row(Family::Idx, n, Some("v".into()));
                    engine.write(Batch { changes: vec![change] }).expect("written");
                    n += 1;
                }
                n
            });
            defragment(&engine);
            done.store(true, Ordering::Relaxed);
            writer.join().expect("no panic")
        });
        let after = disk_bytes(dir.path());
        assert!(after < full / 8, "{full} → {after}");
        let size = engine.size();
        assert!(size.total_bytes < full / 8, "{size:?}");
        let expected: Vec<u32> = (0..ROWS).filter(kept).collect();
        let view = engine.view();
        assert_eq!(keys(&view, Family::Rev), expected);
        assert_eq!(keys(&view, Family::Idx), expected.into_iter().chain(ROWS..written).collect::<Vec<_>>());
        println!("{profile:?}: {full} B → {pinned} B with a view → {after} B");
    }
}
