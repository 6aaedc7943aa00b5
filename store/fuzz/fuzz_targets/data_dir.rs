//! The small files of a data directory: it is refused or opened, and an opened one opens again with the same
//! ids. The input: for each file its length (0 = there is none) and bytes.
#![no_main]
use std::path::Path;
use std::sync::Arc;

use bramble_store::data_dir::{DataDir, Ids};
use bramble_store::disk::sim::SimDisk;
use bramble_store::disk::{Disk, Open};
use bramble_store_fuzz::Parts;
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 7] = ["FORMAT", "IDENTITY", "FORMAT.new", "IDENTITY.new", "LOCK", "notes", "member"];

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let disk = SimDisk::new(1);
    let dir = Path::new("/data");
    disk.create_dir(dir).expect("an empty disk");
    for name in FILES {
        let bytes = parts.bytes();
        if !bytes.is_empty() {
            disk.open(&dir.join(name), Open::CreateNew).expect("a new file");
            disk.set_contents(&dir.join(name), bytes).expect("it is there");
        }
    }
    if parts.byte() % 2 == 1 {
        disk.create_dir(&dir.join("log")).expect("a new directory");
    }
    let open = |member| DataDir::open(Arc::new(disk.clone()), dir, Ids { cluster: 1, member, instance: 3 });
    let first = match open(2) {
        Ok(opened) => opened.ids(),
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return;
        }
    };
    let again = open(9).expect("what was opened once");
    assert!(again.ids() == first && !again.fresh());
});
