//! Repair: what is whole is served again, what is lost is said, and no revision comes back with another
//! meaning. Each test damages the files of a real store, RocksDB's among them.
#![cfg(feature = "rocks")]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::log::LogOptions;
use bramble_store::repair::{Examination, Findings, LEAP, Part, RepairError, Repaired, Source};
use bramble_store::types::{KeyRange, LeaseId, PutRequest, RangeRequest};

/// A small ring, so that it wraps soon.
fn options() -> EmbeddedOptions {
    let log = LogOptions {
        segment_bytes: 16 * 4096,
        first_fill_bytes: 16 * 4096,
        ring_segments: 3,
        ..LogOptions::default()
    };
    EmbeddedOptions { log, ..EmbeddedOptions::default() }
}

struct Lab {
    /// Removes the directory in the end.
    _temp: tempfile::TempDir,
    dir: PathBuf,
    /// What each revision left: key → (value, mod revision).
    states: BTreeMap<i64, BTreeMap<String, (String, i64)>>,
}

impl Lab {
    /// Writes `puts` keys, and flushes the engine after each of `flushes`.
    fn new(puts: usize, flushes: &[usize]) -> Lab {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("data");
        let mut lab = Lab { _temp: temp, dir, states: BTreeMap::from([(1, BTreeMap::new())]) };
        let store = lab.open();
        for n in 0..puts {
            lab.put(&store, &format!("key/{:03}", n % 200), &format!("value {n} {}", noise(n)));
            if flushes.contains(&n) {
                store.flush().expect("the disk works");
            }
        }
        store.close().expect("the disk works");
        lab
    }

    fn open(&self) -> Embedded {
        Embedded::open(&self.dir, options()).expect("it opens")
    }

    fn put(&mut self, store: &Embedded, key: &str, value: &str) {
        let revision = store.put(key.to_owned(), value.to_owned()).expect("the disk works").revision;
        let mut state = self.states.last_key_value().expect("it begins with one").1.clone();
        state.insert(key.to_owned(), (value.to_owned(), revision));
        self.states.insert(revision, state);
    }

    fn newest(&self) -> i64 {
        *self.states.last_key_value().expect("it begins with one").0
    }

    fn examine(&self) -> Examination {
        Examination::of(&self.dir).expect("it can be repaired")
    }

    /// Looks, looks whether the look changed nothing, repairs.
    fn repair(&self) -> (Findings, Repaired) {
        assert!(Embedded::open(&self.dir, options()).is_err(), "it is not damaged enough to be refused");
        let before = contents(&self.dir);
        let examination = self.examine();
        let findings = examination.findings().clone();
        drop(examination);
        let after = contents(&self.dir);
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "files came or went");
        assert!(before == after, "looking changed a file");
        let repaired = self.examine().repair().expect("repaired");
        println!("{findings:#?}\n{repaired:#?}");
        assert!(repaired.kept_at.is_dir());
        assert!(self.examine().findings().damages.is_empty(), "damaged after a repair");
        (findings, repaired)
    }

    /// Everything there was is there, at the same revisions.
    fn is_whole(&self) {
        let store = self.open();
        assert_eq!(store.revision(), self.newest());
        assert_eq!(state(&store), self.states[&self.newest()]);
        let first = RangeRequest { revision: 2, ..RangeRequest::new(KeyRange::single("key/000")) };
        assert_eq!(store.range(&first).expect("history is there").kvs.len(), 1);
        store.close().expect("the disk works");
    }

    /// The state of revision `saved` is there, and revisions go on far above all that were handed out.
    fn goes_on_from(&mut self, saved: i64) {
        let store = self.open();
        assert_eq!(state(&store), self.states[&saved]);
        assert!(store.revision() >= self.newest() + LEAP / 2, "{}", store.revision());
        let old = RangeRequest { revision: saved.max(2), ..RangeRequest::new(KeyRange::single("key/000")) };
        assert!(store.range(&old).is_err(), "history of another meaning");
        // It works on, also when the compaction of everything old has come to its end.
        self.put(&store, "after", "the repair");
        while store.maintain(std::time::Duration::ZERO).expect("the disk works").more {}
        store.flush().expect("the disk works");
        store.close().expect("the disk works");
        assert_eq!(self.open().get("after").expect("readable").expect("written").value, "the repair");
    }
}

/// Text that no compression makes smaller.
fn noise(seed: usize) -> String {
    let mut state = seed as u64 | 1 << 40;
    let mut text = String::new();
    for _ in 0..40 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x}", state >> 33));
    }
    text
}

fn state(store: &Embedded) -> BTreeMap<String, (String, i64)> {
    let all = store.range(&RangeRequest::new(KeyRange::prefix("key/"))).expect("readable");
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    all.kvs.iter().map(|kv| (text(&kv.key), (text(&kv.value), kv.mod_revision))).collect()
}

/// Every file of the directory but the lock.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with("LOCK") {
            found.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    found
}

fn change(path: &Path, by: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    by(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

/// The newest file of the engine whose name begins or ends so.
fn engine_file(dir: &Path, part: &str) -> PathBuf {
    let files = contents(&dir.join("engine")).into_keys();
    let named = |path: &PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        name.starts_with(part) || name.ends_with(part)
    };
    files.filter(named).max().unwrap_or_else(|| panic!("no {part}"))
}

/// The block of the log in which a text lies: segment and offset.
fn in_log(dir: &Path, text: &str) -> (PathBuf, usize) {
    let mut found = contents(&dir.join("log")).into_iter().filter_map(|(path, bytes)| {
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
        Some((path, at))
    });
    found.next().unwrap_or_else(|| panic!("{text:?} is not in the log"))
}

#[test]
fn a_whole_directory_is_left_alone() {
    let lab = Lab::new(10, &[]);
    let before = contents(&lab.dir);
    let examination = lab.examine();
    assert!(examination.findings().damages.is_empty() && examination.finished().is_none());
    drop(examination);
    assert!(before == contents(&lab.dir));
    let open = lab.open();
    let refused = Examination::of(&lab.dir).err().expect("it is in use").to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(open);
    let nothing = Examination::of(&lab.dir.join("absent"));
    assert!(matches!(nothing.err(), Some(RepairError::DataDir(_))));
}

#[test]
fn damage_in_the_log_below_what_the_engine_has_loses_nothing() {
    let lab = Lab::new(30, &[20]);
    let (path, at) = in_log(&lab.dir, "value 17 ");
    change(&path, |bytes| bytes[at] ^= 1);
    let (findings, repaired) = lab.repair();
    assert_eq!(findings.damages[0].part, Part::Log);
    assert_eq!(findings.damages[0].path, path);
    let (from, to) = findings.damages[0].bytes.expect("a range");
    assert!((from..to).contains(&(at as u64)), "{from}..{to} for {at}");
    assert_eq!((findings.source, findings.loss.is_none()), (Source::Engine, true));
    assert_eq!(repaired.saved_revision, repaired.revision);
    lab.is_whole();
}

#[test]
fn damage_in_the_log_above_it_loses_what_follows() {
    let mut lab = Lab::new(30, &[20]);
    let (path, at) = in_log(&lab.dir, "value 25 ");
    change(&path, |bytes| bytes[at] ^= 1);
    let (findings, repaired) = lab.repair();
    // The first put is entry 0 and makes revision 2.
    assert_eq!(findings.loss.entries, Some(25..=29));
    assert_eq!((findings.replay, findings.loss.maybe_more), (Some(21..=24), false));
    assert_eq!(repaired.saved_revision, Some(26));
    lab.goes_on_from(26);
}

#[test]
fn a_segment_that_is_missing_loses_what_follows() {
    let mut lab = Lab::new(40, &[]);
    let (path, _) = in_log(&lab.dir, "value 39 ");
    assert!(path.ends_with("00000002.seg"), "{}", path.display());
    fs::remove_file(&path).expect("it was there");
    let (findings, repaired) = lab.repair();
    assert!(findings.loss.maybe_more, "nobody knows what was in it");
    let saved = repaired.saved_revision.expect("the log was damaged");
    assert!((25..41).contains(&saved), "{saved}");
    lab.goes_on_from(saved);
}

#[test]
fn a_log_that_is_gone_is_noticed() {
    let mut lab = Lab::new(30, &[20]);
    fs::remove_dir_all(lab.dir.join("log")).expect("it was there");
    let (findings, repaired) = lab.repair();
    assert!(findings.loss.maybe_more && findings.damages[0].part == Part::Log);
    assert_eq!(repaired.saved_revision, Some(22));
    lab.goes_on_from(22);
}

#[test]
fn a_log_that_reaches_back_is_all_that_is_needed() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("a table", |dir| change(&engine_file(dir, ".sst"), |bytes| bytes[40] ^= 1)),
        ("the list", |dir| change(&engine_file(dir, "MANIFEST"), |bytes| bytes.truncate(bytes.len() / 2))),
        ("CURRENT is gone", |dir| fs::remove_file(dir.join("engine/CURRENT")).expect("it was there")),
        ("a table is gone", |dir| fs::remove_file(engine_file(dir, ".sst")).expect("it was there")),
        ("the engine is gone", |dir| fs::remove_dir_all(dir.join("engine")).expect("it was there")),
    ];
    for (what, harm) in harms {
        println!("{what}");
        let lab = Lab::new(25, &[5, 10]);
        harm(&lab.dir);
        // What lies in a table is read when it is asked for.
        if what == "a table" {
            let found = lab.examine().findings().clone();
            assert_eq!(found.damages[0].path, engine_file(&lab.dir, ".sst"), "{found:?}");
            lab.examine().repair().expect("repaired");
        } else {
            let (findings, _) = lab.repair();
            assert_eq!((findings.source, findings.loss.is_none()), (Source::Log, true), "{what}");
        }
        lab.is_whole();
    }
}

/// A history of several tables that the log has long let go of, with users' leases in it.
fn wrapped() -> Lab {
    let flushes: Vec<usize> = (0..800).filter(|n| n % 100 == 99).collect();
    Lab::new(805, &flushes)
}

#[test]
fn a_hole_in_the_history_is_all_that_is_lost() {
    let mut lab = wrapped();
    let store = lab.open();
    let lease = store.lease_grant(LeaseId::NONE, 600).expect("granted");
    let leased = PutRequest { key: "leased".into(), value: "v".into(), lease, ..PutRequest::default() };
    store.put_with(leased).expect("the disk works");
    store.flush().expect("the disk works");
    store.close().expect("the disk works");
    let tables: Vec<PathBuf> = contents(&lab.dir.join("engine"))
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "sst"))
        .collect();
    let text = "value 250 ";
    let table = tables.iter().find(|path| {
        let bytes = fs::read(path).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    });
    let table = table.expect("it is stored").clone();
    change(&table, |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("found above");
        bytes[at] ^= 1;
    });
    let examination = lab.examine();
    let findings = examination.findings().clone();
    println!("{findings:#?}");
    assert_eq!((findings.source, &findings.damages[0].path), (Source::Rows, &table));
    let [hole] = &findings.loss.holes[..] else { panic!("{:?}", findings.loss.holes) };
    assert!(hole.after < 252 && hole.before.is_some_and(|before| before > 252 && before < 300), "{hole:?}");
    assert!(findings.loss.entries.is_none() && findings.loss.tables.is_empty());
    examination.repair().expect("repaired");
    // The damaged revisions were overwritten later, so that every key is what it was.
    let newest = lab.newest();
    lab.goes_on_from(newest);
    let store = lab.open();
    assert_eq!(store.get("leased").expect("readable").expect("kept").lease, lease);
    store.lease_revoke(lease).expect("it is there");
    assert!(store.get("leased").expect("readable").is_none(), "its keys hang on it");
}

#[test]
fn a_key_whose_newest_version_is_lost_is_what_it_was_before() {
    let mut lab = wrapped();
    let (text, key) = ("value 799 ", "key/199");
    let mut tables = contents(&lab.dir.join("engine")).into_iter();
    let (table, at) = tables
        .find_map(|(path, bytes)| {
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
            path.extension().is_some_and(|e| e == "sst").then_some((path, at))
        })
        .expect("it is stored");
    change(&table, |bytes| bytes[at] ^= 1);
    let examination = lab.examine();
    println!("{:#?}", examination.findings());
    let hole = examination.findings().loss.holes[0].clone();
    let lost = |revision: i64| revision > hole.after && hole.before.is_none_or(|before| revision < before);
    assert!(lost(801), "{hole:?}");
    examination.repair().expect("repaired");
    let store = lab.open();
    let found = store.get(key).expect("readable").expect("an older version");
    assert!(found.value.starts_with(b"value 599 "), "{found:?}");
    let newest = lab.states[&lab.newest()].clone();
    let kept = newest.iter().filter(|(_, (_, revision))| !lost(*revision));
    let there = state(&store);
    assert!(kept.clone().count() > 100 && kept.clone().all(|(key, value)| there.get(key) == Some(value)));
    drop(store);
    lab.states.insert(0, there);
    lab.goes_on_from(0);
}

#[test]
fn a_list_of_tables_is_made_anew() {
    for part in ["MANIFEST", "CURRENT"] {
        let mut lab = wrapped();
        change(&engine_file(&lab.dir, part), |bytes| bytes.truncate(3));
        let (findings, _) = lab.repair();
        assert_eq!((findings.source, findings.loss.list), (Source::Rows, true));
        assert!(findings.loss.holes.is_empty() && findings.loss.entries.is_none());
        let newest = lab.newest();
        lab.goes_on_from(newest);
    }
}

#[test]
fn without_engine_and_first_entries_there_is_no_repair() {
    let lab = wrapped();
    fs::remove_dir_all(lab.dir.join("engine")).expect("it was there");
    assert!(Embedded::open(&lab.dir, options()).is_err(), "it must not begin anew");
    fs::remove_dir_all(lab.dir.join("engine")).ok();
    let refused = Examination::of(&lab.dir).err().expect("nothing to begin with").to_string();
    assert!(refused.contains("begins with entry") && refused.contains("backup"), "{refused}");
}

/// Between the two halves of a repair nobody takes one for a whole.
#[test]
fn a_repair_that_was_cut_short_is_finished() {
    let lab = Lab::new(10, &[5]);
    fs::create_dir_all(lab.dir.join("damaged-1")).expect("a directory");
    fs::write(lab.dir.join("REPAIR"), "damaged-1").expect("a file");
    fs::create_dir(lab.dir.join("repair.new")).expect("a directory");
    fs::rename(lab.dir.join("log"), lab.dir.join("repair.new/log")).expect("moved");
    let refused = Embedded::open(&lab.dir, options()).expect_err("it is not whole").to_string();
    assert!(refused.contains("cut short") && refused.contains("bramblectl repair --data-dir"), "{refused}");
    let examination = lab.examine();
    assert_eq!(examination.finished(), Some(&*lab.dir.join("damaged-1")));
    assert!(examination.findings().damages.is_empty());
    drop(examination);
    lab.is_whole();
}

#[test]
fn small_files_are_written_anew() {
    let lab = Lab::new(10, &[5]);
    let identity = lab.dir.join("IDENTITY");
    let whole = fs::read(&identity).expect("a file");
    for bit in (0..whole.len() * 8).step_by(7) {
        change(&identity, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let examination = lab.examine();
        assert_eq!(examination.findings().source, Source::Untouched);
        if bit % 91 == 0 {
            examination.repair().expect("repaired");
            assert_eq!(fs::read(&identity).expect("a file"), whole, "bit {bit}");
        }
        fs::write(&identity, &whole).expect("a file");
    }
    fs::remove_file(lab.dir.join("FORMAT")).expect("it was there");
    let (findings, repaired) = lab.repair();
    assert_eq!(findings.damages[0].part, Part::Format);
    assert_eq!(repaired.revision, None);
    lab.is_whole();
    fs::write(&identity, "nothing").expect("a file");
    let refused = Examination::of(&lab.dir).err().expect("nobody knows").to_string();
    assert!(refused.contains("copy the IDENTITY"), "{refused}");
    fs::write(lab.dir.join("FORMAT"), "bramble data 2\n").expect("a file");
    let refused = Examination::of(&lab.dir).err().expect("a newer one").to_string();
    assert!(refused.contains("newer bramble"), "{refused}");
}

/// A log of one segment, filled from the start, of which the engine has nothing but the first entries. The
/// last put but one is in a frame of several blocks.
fn in_one_segment() -> Lab {
    let mut lab = Lab::new(4, &[1]);
    let store = lab.open();
    lab.put(&store, "key/004", &format!("value 4 {}", "long ".repeat(1500)));
    lab.put(&store, "key/005", "value 5 ");
    store.close().expect("the disk works");
    lab
}

/// Where in a segment the block is in which a text begins.
fn block_of(bytes: &[u8], text: &str) -> usize {
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes());
    at.unwrap_or_else(|| panic!("{text:?} is not in the log")) / 4096 * 4096
}

/// Gives a segment's header, which was changed, its checksum.
fn sum_header(bytes: &mut [u8]) {
    let sum = crc32fast::hash(&bytes[..508]);
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// Damages the end of the log's only segment: a repair says that more may be lost, and leaps.
fn loses_its_end(what: &str, by: impl FnOnce(&mut Vec<u8>)) {
    println!("{what}");
    let mut lab = in_one_segment();
    let (path, _) = in_log(&lab.dir, "value 5 ");
    assert!(path.ends_with("00000000.seg"), "{}", path.display());
    change(&path, by);
    let (findings, repaired) = lab.repair();
    assert!(findings.loss.maybe_more, "{what}: entries are gone, and nobody says so");
    let saved = repaired.saved_revision.expect("the log was damaged");
    assert!((3..lab.newest()).contains(&saved), "{what}: {saved}");
    lab.goes_on_from(saved);
}

#[test]
fn a_segment_that_is_cut_short_may_have_held_more() {
    loses_its_end("at the end of a frame", |bytes| bytes.truncate(block_of(bytes, "value 4 ")));
    loses_its_end("inside a frame", |bytes| bytes.truncate(block_of(bytes, "value 4 ") + 4096));
    loses_its_end("inside a block", |bytes| bytes.truncate(block_of(bytes, "value 4 ") + 4096 + 700));
    loses_its_end("behind the header", |bytes| bytes.truncate(4096));
    // A file that grew after its header was written: only damage elsewhere keeps the log from being opened.
    loses_its_end("after it had grown", |bytes| {
        let damaged = block_of(bytes, "value 0 ") + 100;
        bytes[damaged] ^= 1;
        bytes.truncate(block_of(bytes, "value 4 "));
        bytes[32..40].copy_from_slice(&8192u64.to_le_bytes());
        sum_header(bytes);
    });
}

#[test]
fn blocks_of_later_frames_prove_that_there_was_more() {
    loses_its_end("the frame's first block is whole", |bytes| {
        let (long, last) = (block_of(bytes, "value 4 "), block_of(bytes, "value 5 "));
        bytes[long + 4096 + 100] ^= 1;
        // The payload alone: by its header the frame proves that the long one was synced.
        bytes[last + 100] ^= 1;
        let end = last + 4096;
        bytes[end..].fill(0);
    });
    loses_its_end("two blocks changed places", |bytes| {
        let (second, last) = (block_of(bytes, "value 4 ") + 4096, block_of(bytes, "value 5 "));
        let (front, back) = bytes.split_at_mut(last);
        front[second..second + 4096].swap_with_slice(&mut back[..4096]);
        bytes[last + 4096..].fill(0);
    });
    loses_its_end("the frame's first block is empty", |bytes| {
        let (long, last) = (block_of(bytes, "value 4 "), block_of(bytes, "value 5 "));
        bytes[long..long + 4096].fill(0);
        bytes[last + 100] ^= 1;
        bytes[last + 4096..].fill(0);
    });
}

/// A vote in the header is no sign that the log has all it had.
#[test]
fn a_vote_without_a_whole_frame_is_no_whole_log() {
    type Harm = fn(&mut Vec<u8>);
    let harms: [(&str, Harm); 2] = [
        ("no frame is whole", |bytes| {
            bytes.iter_mut().skip(4096 + 100).step_by(4096).for_each(|byte| *byte ^= 1)
        }),
        ("no frame is left", |bytes| bytes.truncate(4096)),
    ];
    for (what, harm) in harms {
        loses_its_end(what, |bytes| {
            // The flags of a vote that is committed.
            bytes[60] |= 3;
            sum_header(bytes);
            harm(bytes);
        });
    }
}

#[test]
fn an_identity_of_the_wrong_size_is_not_searched_for_a_bit() {
    let lab = Lab::new(3, &[]);
    let identity = lab.dir.join("IDENTITY");
    change(&identity, |bytes| bytes.resize(4 << 20, b'x'));
    let refused = Examination::of(&lab.dir).err().expect("nobody knows").to_string();
    assert!(refused.contains("copy the IDENTITY"), "{refused}");
}
