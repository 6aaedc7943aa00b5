//! After a crash an engine holds a prefix of the batches, whole in both families, and at least
//! those written before the last flush that returned.
//!
//! Every batch of these tests writes one row to each family and the number of the batch, so that a
//! family ahead of the other, a torn batch or a lost one shows as a wrong count.
use bramble_store::engine::{Batch, Change, Cursor, Engine, Family, Read, mem::Mem};
use bytes::Bytes;

mod common;

const APPLIED: &[u8] = b"applied";

fn numbered(number: u64, value: Bytes) -> Batch {
    let row = |family, key: &[u8], value: Bytes| Change {
        family,
        key: Bytes::copy_from_slice(key),
        value: Some(value),
    };
    let digits = Bytes::copy_from_slice(&number.to_be_bytes());
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let name = [b"k", scattered.as_slice(), &digits].concat();
    Batch {
        changes: vec![
            row(Family::Rev, &digits, value),
            row(Family::Idx, &name, digits.clone()),
            row(Family::Idx, APPLIED, digits),
        ],
    }
}

/// The number of the last batch; panics unless exactly the batches up to it are there.
fn whole_prefix(view: &impl Read) -> u64 {
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let applied = view.get(Family::Idx, APPLIED).expect("get").map_or(0, |digits| number(&digits));
    let (mut rows, mut cursor) = (0, view.cursor(Family::Rev));
    cursor.seek(b"").expect("seek");
    while let Some((key, _)) = cursor.row() {
        rows += 1;
        assert_eq!(number(key), rows, "rev has a gap");
        cursor.next().expect("next");
    }
    assert_eq!(rows, applied, "rows in rev, applied id");
    let (mut names, mut cursor) = (0, view.cursor(Family::Idx));
    cursor.seek(b"k").expect("seek");
    while cursor.row().is_some() {
        names += 1;
        cursor.next().expect("next");
    }
    assert_eq!(names, applied, "rows in idx, applied id");
    applied
}

#[test]
fn mem_returns_to_its_last_flush() {
    common::with_seeds(20, |random| {
        let engine = Mem::new();
        let (mut written, mut flushed) = (0, 0);
        for _ in 0..200 {
            match random.below(10) {
                0 => {
                    engine.flush().expect("flush");
                    flushed = written;
                    assert_eq!(engine.size().unflushed_bytes, 0);
                }
                1 => {
                    let before = engine.view();
                    engine.crash();
                    assert_eq!(whole_prefix(&before), written, "a view outlives the crash");
                    written = flushed;
                }
                _ => {
                    written += 1;
                    engine.write(numbered(written, Bytes::from_static(b"v"))).expect("write");
                    assert!(engine.size().unflushed_bytes > 0);
                }
            }
            assert_eq!(whole_prefix(&engine.view()), written);
        }
    });
}

#[cfg(feature = "rocks")]
mod rocks {
    use super::common::Random;
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    use bramble_store::engine::rocks::{Rocks, RocksOptions};
    use bramble_store::error::Fatal;

    const DIR: &str = "BRAMBLE_CRASH_DIR";

    fn open(dir: &Path) -> Rocks {
        Rocks::open(dir, RocksOptions::default()).expect("open")
    }

    /// Incompressible, so that memtables and files grow with the count.
    fn filler(random: &mut Random) -> Bytes {
        (0..256).flat_map(|_| random.next_u64().to_be_bytes()).collect()
    }

    /// The child: writes until it is killed, flushes now and then beside the writing, and says how
    /// far it is. In a normal run of the tests it has nothing to do.
    #[test]
    fn child_writes_until_killed() {
        let Ok(dir) = std::env::var(DIR) else { return };
        let engine = open(Path::new(&dir));
        let applied = AtomicU64::new(whole_prefix(&engine.view()));
        let mut random = Random::new(applied.load(Ordering::SeqCst));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let before = applied.load(Ordering::SeqCst);
                    engine.flush().expect("flush");
                    say("flushed", before);
                    while applied.load(Ordering::SeqCst) < before + 3000 {
                        std::thread::yield_now();
                    }
                }
            });
            loop {
                let next = applied.load(Ordering::SeqCst) + 1;
                engine.write(numbered(next, filler(&mut random))).expect("write");
                applied.store(next, Ordering::SeqCst);
                if next.is_multiple_of(100) {
                    say("written", next);
                }
            }
        });
    }

    fn say(what: &str, number: u64) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{what} {number}").expect("the parent listens");
        out.flush().expect("the parent listens");
    }

    /// A child that is killed when the test that started it fails.
    struct Victim(Child);

    impl Victim {
        fn start(dir: &Path) -> Victim {
            let test = std::env::current_exe().expect("this test's own file");
            let child = Command::new(test)
                .args(["--exact", "rocks::child_writes_until_killed", "--nocapture"])
                .env(DIR, dir)
                .stdout(Stdio::piped())
                .spawn()
                .expect("start the child");
            Victim(child)
        }

        /// Kills it once it has written `more` batches; the last flush it reported.
        fn kill_after(mut self, more: u64) -> u64 {
            let out = BufReader::new(self.0.stdout.take().expect("piped"));
            let (mut first, mut flushed) = (None, 0);
            for line in out.lines() {
                let line = line.expect("the child's words");
                let Some((what, number)) = line.split_once(' ') else { continue };
                let Ok(number) = number.parse::<u64>() else { continue };
                match what {
                    "flushed" => flushed = number,
                    "written" if number >= *first.get_or_insert(number) + more => break,
                    _ => {}
                }
            }
            drop(self);
            flushed
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            // Both only fail when it is gone already.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn rocks_killed_while_writing_keeps_a_whole_prefix() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Vec::new();
        for more in [100, 2_500, 3_300, 7_000, 11_000, 14_000] {
            let flushed = Victim::start(dir.path()).kill_after(more);
            let applied = whole_prefix(&open(dir.path()).view());
            assert!(applied >= flushed, "flushed {flushed}, found {applied}");
            kept.push(applied);
        }
        assert!(kept.is_sorted(), "{kept:?}");
        assert!(kept.iter().any(|applied| *applied > 0), "something was flushed: {kept:?}");
    }

    #[test]
    fn rocks_closed_without_a_flush_returns_to_the_last_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = open(dir.path());
        (1..=10).for_each(|n| engine.write(numbered(n, Bytes::new())).expect("write"));
        engine.flush().expect("flush");
        (11..=20).for_each(|n| engine.write(numbered(n, Bytes::new())).expect("write"));
        assert_eq!(whole_prefix(&engine.view()), 20);
        drop(engine);
        assert_eq!(whole_prefix(&open(dir.path()).view()), 10);
    }

    #[test]
    fn rocks_is_locked_while_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = open(dir.path());
        let second = Rocks::open(dir.path(), RocksOptions::default());
        assert!(matches!(second, Err(Fatal::Engine(text)) if text.to_lowercase().contains("lock")));
        drop(first);
        open(dir.path());
    }

    #[test]
    fn rocks_reports_a_flipped_bit_instead_of_serving_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = open(dir.path());
        let mut random = Random::new(7);
        (1..=500).for_each(|n| engine.write(numbered(n, filler(&mut random))).expect("write"));
        engine.flush().expect("flush");
        drop(engine);
        flip_in_largest_file(dir.path());
        let damaged = match Rocks::open(dir.path(), RocksOptions::default()) {
            Err(fatal) => Err(fatal),
            Ok(engine) => read_all(&engine.view()),
        };
        let text = damaged.expect_err("a damaged row was served").to_string();
        assert!(text.contains("Corruption"), "{text}");
    }

    fn flip_in_largest_file(dir: &Path) {
        let files = std::fs::read_dir(dir).expect("list").map(|file| file.expect("list").path());
        let tables = files.filter(|path| path.extension().is_some_and(|e| e == "sst"));
        let largest = tables.max_by_key(|path| path.metadata().expect("size").len()).expect("a table");
        let mut bytes = std::fs::read(&largest).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&largest, bytes).expect("write");
    }

    fn read_all(view: &impl Read) -> Result<(), Fatal> {
        for family in [Family::Rev, Family::Idx] {
            let mut cursor = view.cursor(family);
            cursor.seek(b"")?;
            while cursor.row().is_some() {
                cursor.next()?;
            }
        }
        Ok(())
    }

    #[test]
    fn sizes_follow_the_data() {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = open(dir.path());
        let mut random = Random::new(7);
        let unflushed = |engine: &Rocks| engine.size().unflushed_bytes;
        let empty = unflushed(&engine);
        (1..=500).for_each(|n| engine.write(numbered(n, filler(&mut random))).expect("write"));
        assert!(unflushed(&engine) > empty + 1_000_000, "{:?}", engine.size());
        engine.flush().expect("flush");
        assert!(unflushed(&engine) < 100_000, "{:?}", engine.size());
        assert!((1_000_000..1_500_000).contains(&engine.size().total_bytes), "{:?}", engine.size());
        assert!(engine.size().in_use_bytes > 900_000, "{:?}", engine.size());
    }
}
