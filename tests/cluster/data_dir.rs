//! What a server may find on the disk. Each time: one clear line, no panic, and an end.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use bramble_tests::wire::Wire;

/// How long a server that cannot start may take to say so.
const END_WITHIN: Duration = Duration::from_secs(10);

/// It must have ended with an error, and one line of its log must hold all these words.
fn ends_saying(server: &mut Server, words: &[&str]) {
    let status = server.wait_exit(END_WITHIN);
    let log = server.log();
    let status = status.unwrap_or_else(|| panic!("still running; its log:\n{log}"));
    assert!(!status.success(), "it ended well; its log:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
    let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
    let line = line.unwrap_or_else(|| panic!("no line says {words:?}:\n{log}"));
    println!("{line}");
}

#[test]
fn a_second_process() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let mut first = setup.clone().start();
    let mut second = setup.spawn();
    ends_saying(&mut second, &["data"]);
    assert!(first.alive(), "the first goes on");
}

#[test]
fn a_newer_format() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let setup = Setup::bramble().data_dir(&data);
    drop(setup.clone().start());
    std::fs::write(data.join("FORMAT"), "bramble data 2\n").expect("a file");
    ends_saying(&mut setup.spawn(), &["FORMAT says 2", "newer"]);
}

#[test]
fn not_a_data_directory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("holiday.jpg"), "not ours").expect("a file");
    ends_saying(&mut Setup::bramble().data_dir(dir.path()).spawn(), &[&dir.path().display().to_string()]);
    let file = dir.path().join("holiday.jpg");
    ends_saying(&mut Setup::bramble().data_dir(&file).spawn(), &["holiday.jpg"]);
}

/// A file system in memory, mounted for one test.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn tmpfs(at: &'a Path, options: &str) -> Option<Mount<'a>> {
        let may = tools::root() && mount(&["-t", "tmpfs", "-o", options, "bramble-tests"], at);
        if may {
            return Some(Mount(at));
        }
        // Not a matter of tools: a CI without the right to mount is a fair one.
        println!("SKIPPED: no right to mount a file system");
        None
    }

    fn resize(&self, bytes: u64) {
        assert!(mount(&["-o", &format!("remount,size={bytes}")], self.0), "a remount");
    }

    fn read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], self.0), "a remount");
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).status().is_ok_and(|status| status.success())
}

#[test]
fn a_read_only_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mount) = Mount::tmpfs(dir.path(), "size=200m") else { return };
    mount.read_only();
    ends_saying(&mut Setup::bramble().data_dir(&dir.path().join("data")).spawn(), &["ead-only"]);
}

#[test]
fn a_disk_too_small_to_begin() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(_mount) = Mount::tmpfs(dir.path(), "size=512k") else { return };
    ends_saying(&mut Setup::bramble().data_dir(&dir.path().join("data")).spawn(), &["o space left"]);
}

/// Puts are refused while there is room to go on, and come back by themselves. A disk that others fill to the
/// last byte ends the process with the next flush; what was acknowledged is there once there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mounted) = Mount::tmpfs(dir.path(), "size=200m") else { return };
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let mut server = setup.clone().start();
    let wire = Wire::connect(&server.url).await;
    let mut acknowledged = 0;
    let refused = loop {
        match wire.kv().put(noise(acknowledged)).await {
            Ok(_) => acknowledged += 1,
            Err(status) => break status,
        }
        assert!(acknowledged < 4000, "the disk never filled");
    };
    println!("{acknowledged} values of 100 kB were acknowledged on 200 MB");
    assert!(acknowledged > 100, "the disk had room for more");
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");

    assert_eq!(count(&wire).await, i64::from(acknowledged), "reads go on");
    let first = pb::DeleteRangeRequest { key: 0u32.to_be_bytes().to_vec().into(), ..Default::default() };
    let deleted = wire.kv().delete_range(first).await.expect("deletes go on").into_inner();
    let revision = deleted.header.expect("a header").revision;
    let compaction = pb::CompactionRequest { revision, physical: true };
    wire.kv().compact(compaction).await.expect("compaction goes on");
    assert!(server.alive());

    mounted.resize(1 << 30);
    let begun = std::time::Instant::now();
    while let Err(status) = wire.kv().put(noise(0)).await {
        assert_eq!(status.message(), refused.message());
        assert!(begun.elapsed() < Duration::from_secs(10), "writes do not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Nobody leaves the process its reserve.
    let stat = rustix::fs::statvfs(dir.path()).expect("a file system");
    mounted.resize((stat.f_blocks - stat.f_bavail + 16) * stat.f_frsize);
    let flush = wire.maintenance().defragment(pb::DefragmentRequest {}).await;
    assert!(flush.is_err(), "there was space for a flush");
    ends_saying(&mut server, &["o space left"]);
    mounted.resize(1 << 30);
    let server = setup.start();
    assert_eq!(count(&Wire::connect(&server.url).await).await, i64::from(acknowledged));
}

/// 100 kB that do not compress, under a key for each index.
fn noise(index: u32) -> pb::PutRequest {
    let mut chance = bramble_tests::chance::Chance::from_seed(u64::from(index));
    let value: Vec<u8> = (0..12_500).flat_map(|_| chance.roll().to_le_bytes()).collect();
    pb::PutRequest { key: index.to_be_bytes().to_vec().into(), value: value.into(), ..Default::default() }
}

async fn count(wire: &Wire) -> i64 {
    let all =
        pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), count_only: true, ..Default::default() };
    wire.kv().range(all).await.expect("a read").into_inner().count
}
