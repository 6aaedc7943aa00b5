//! The data directory: made whole or not at all, and every refusal says what to do.
use std::path::Path;
use std::sync::Arc;

use bramble_store::data_dir::{DataDir, DataDirError, Ids};
use bramble_store::disk::real::RealDisk;
use bramble_store::disk::sim::{Fault, SimDisk};
use bramble_store::disk::{Disk, Open};

const IDS: Ids = Ids { cluster: 1, member: 0xfeed, instance: u64::MAX };
const OTHER: Ids = Ids { cluster: 9, member: 9, instance: 9 };

fn open(disk: &SimDisk, ids: Ids) -> Result<DataDir, DataDirError> {
    DataDir::open(Arc::new(disk.clone()), Path::new("/var/bramble"), ids)
}

#[test]
fn the_ids_of_the_first_whole_start_stay() {
    let disk = SimDisk::new(1);
    let dir = open(&disk, IDS).expect("an empty disk");
    assert!(dir.fresh() && dir.ids() == IDS);
    drop(dir);
    let dir = open(&disk, OTHER).expect("it is there");
    assert!(!dir.fresh() && dir.ids() == IDS);
    let text = disk.contents(Path::new("/var/bramble/IDENTITY")).expect("it was written");
    let golden =
        "cluster 0000000000000001\nmember 000000000000feed\ninstance ffffffffffffffff\ncrc32 9792e57f\n";
    assert_eq!(String::from_utf8_lossy(&text), golden);
    let format = disk.contents(Path::new("/var/bramble/FORMAT")).expect("it was written");
    assert_eq!(format, b"bramble data 1\n");
}

#[test]
fn a_first_start_may_be_cut_at_every_call() {
    for seed in 0..200 {
        for call in 1.. {
            let disk = SimDisk::new(seed * 100 + call);
            disk.cut_at_call(Some(call));
            if let Ok(dir) = open(&disk, IDS) {
                assert!(call > 8, "a first start makes more than {call} calls");
                assert_eq!(dir.ids(), IDS);
                disk.cut();
                assert_eq!(open(&disk, OTHER).expect("it was whole").ids(), IDS, "seed {seed}");
                break;
            }
            disk.power_on();
            let dir = open(&disk, OTHER).unwrap_or_else(|e| panic!("seed {seed} call {call}: {e}"));
            // Ids are the first start's or the second's, never a mixture, and from now on they stay.
            assert!(dir.ids() == IDS || dir.ids() == OTHER);
            let ids = dir.ids();
            disk.cut();
            assert_eq!(open(&disk, Ids { cluster: 0, ..IDS }).expect("it is there").ids(), ids);
        }
    }
}

#[test]
fn failing_calls_say_what_to_do() {
    for call in 1..=8 {
        for (fault, words) in [
            (Fault::Full, "no space left"),
            (Fault::ReadOnly, "read-only file system"),
            (Fault::Io, "cannot"),
        ] {
            let disk = SimDisk::new(call);
            disk.fail_at_call(call, fault);
            let e = open(&disk, IDS).err().unwrap_or_else(|| panic!("call {call} failed unnoticed"));
            assert!(e.to_string().contains(words), "{e}");
            open(&disk, IDS).unwrap_or_else(|e| panic!("after call {call} failed: {e}"));
        }
    }
}

#[test]
fn damage_and_strangers_are_refused() {
    let path = |name: &str| Path::new("/var/bramble").join(name);
    let disk = SimDisk::new(5);
    drop(open(&disk, IDS).expect("an empty disk"));
    let whole = disk.contents(&path("IDENTITY")).expect("it is there");
    for byte in 0..whole.len() as u64 {
        for bit in 0..8 {
            disk.flip_bit(&path("IDENTITY"), byte, bit).expect("it is there");
            let e =
                open(&disk, IDS).err().unwrap_or_else(|| panic!("bit {bit} of byte {byte} went unnoticed"));
            assert!(e.to_string().contains("IDENTITY is damaged"), "{e}");
            disk.set_contents(&path("IDENTITY"), &whole).expect("it is there");
        }
    }
    disk.set_contents(&path("FORMAT"), b"bramble data 2\n").expect("it is there");
    let e = open(&disk, IDS).err().expect("a newer format");
    assert!(matches!(e, DataDirError::Newer { found: 2, known: 1, .. }), "{e}");
    disk.set_contents(&path("FORMAT"), b"bramble data x\n").expect("it is there");
    assert!(matches!(open(&disk, IDS), Err(DataDirError::Damaged { .. })));
    disk.set_contents(&path("FORMAT"), b"bramble data 1\n").expect("it is there");
    disk.create_dir(&path("log")).expect("new");
    disk.unlink(&path("IDENTITY")).expect("it is there");
    let e = open(&disk, IDS).err().expect("data without an identity");
    assert!(e.to_string().contains("IDENTITY is damaged: the file is missing"), "{e}");

    let stranger = SimDisk::new(6);
    stranger.create_dir(Path::new("/var")).expect("new");
    stranger.create_dir(Path::new("/var/bramble")).expect("new");
    stranger.open(&path("thesis.odt"), Open::CreateNew).expect("new");
    assert!(matches!(open(&stranger, IDS), Err(DataDirError::Foreign { .. })));
    stranger.create_dir(&path("member")).expect("new");
    let e = open(&stranger, IDS).err().expect("etcd's directory");
    assert!(matches!(e, DataDirError::Etcd { .. }), "{e}");
    assert!(e.to_string().contains("import"), "{e}");
}

#[test]
fn one_process_at_a_time_on_a_real_disk() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().expect("a temporary directory");
    let path = temp.path().join("a/b");
    let real = || DataDir::open(Arc::new(RealDisk), &path, IDS);
    let first = real().expect("a new directory");
    let e = real().err().expect("it is held");
    let (holder, ours) = (e.to_string(), format!("pid {}", std::process::id()));
    assert!(holder.contains(&ours), "{holder}");
    let mode = |p: &Path| std::fs::metadata(p).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("IDENTITY")), mode(&path.join("LOCK"))), (0o700, 0o600, 0o600));
    drop(first);
    assert_eq!(real().expect("it was let go").ids(), IDS);
    let file = temp.path().join("file");
    std::fs::write(&file, "x").expect("a file");
    let e = DataDir::open(Arc::new(RealDisk), &file, IDS).err().expect("a file");
    assert!(matches!(e, DataDirError::NotADirectory { .. }), "{e}");
}
