//! Damaged files of a real store, RocksDB's among them: whatever happens to one, what is served is what was
//! written, or it is refused with the file's name.
//!
//! `BRAMBLE_DAMAGES=1000` damages each kind of file so often, instead of 150 times.
#![cfg(feature = "rocks")]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bramble_store::disk::sim::Rng;
use bramble_store::embedded::{Embedded, EmbeddedOptions};
use bramble_store::log::LogOptions;
use bramble_store::types::{KeyRange, LeaseId, PutRequest, RangeRequest};

/// Damages of each kind of file, unless the environment says another number.
const DAMAGES: u64 = 150;
const BLOCK: usize = 4096;

type Kind = (&'static str, fn(&Path) -> bool);

/// The kinds, and how their files are told from others.
const KINDS: [Kind; 9] = [
    ("log segment", |path| path.starts_with("log")),
    ("head of a segment, with the vote", |path| path.starts_with("log")),
    ("table", |path| path.extension().is_some_and(|end| end == "sst")),
    ("MANIFEST", |path| begins(path, "engine/MANIFEST")),
    ("CURRENT", |path| begins(path, "engine/CURRENT")),
    ("OPTIONS", |path| begins(path, "engine/OPTIONS")),
    ("the engine's IDENTITY", |path| begins(path, "engine/IDENTITY")),
    ("FORMAT", |path| begins(path, "FORMAT")),
    ("IDENTITY", |path| begins(path, "IDENTITY")),
];

fn begins(path: &Path, with: &str) -> bool {
    path.to_string_lossy().starts_with(with)
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn options() -> EmbeddedOptions {
    let log = LogOptions {
        segment_bytes: 16 * 4096,
        first_fill_bytes: 16 * 4096,
        ring_segments: 3,
        ..LogOptions::default()
    };
    EmbeddedOptions { log, ..EmbeddedOptions::default() }
}

/// Every file below `dir`, by its path in it.
fn files(dir: &Path, below: &Path, found: &mut Files) {
    for entry in fs::read_dir(dir.join(below)).expect("a directory").flatten() {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            files(dir, &path, found);
        } else if !path.ends_with("LOCK") {
            found.insert(path, fs::read(entry.path()).expect("a file"));
        }
    }
}

fn lay_out(dir: &Path, all: &Files) {
    fs::remove_dir_all(dir).ok();
    for (path, bytes) in all {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("it lies in the directory")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

/// All there is to read: every revision that is not compacted, and what hangs on a lease.
fn everything(store: &Embedded, oldest: i64) -> Result<String, String> {
    let mut seen = format!("{}", store.revision());
    let every = |revision| {
        let all = RangeRequest { revision, ..RangeRequest::new(KeyRange::prefix("")) };
        store.range(&all).map_err(|why| why.to_string())
    };
    for revision in (oldest..=store.revision()).step_by(7).chain([0]) {
        for kv in every(revision)?.kvs {
            let value = crc32fast_of(&kv.value);
            seen += &format!(
                "{revision} {:?} {value} {} {} {:?};",
                kv.key, kv.mod_revision, kv.version, kv.lease
            );
        }
    }
    Ok(seen)
}

/// Enough to tell values apart.
fn crc32fast_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(14_695_981_039_346_656_037, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    })
}

/// A store with tables, history, tombstones, a lease, and entries that are in the log alone.
struct Template {
    now: Files,
    /// The same directory some time before.
    earlier: Files,
    oldest: i64,
    truth: String,
}

fn template(dir: &Path) -> Template {
    let store = Embedded::open(dir, options()).expect("a new directory");
    let (mut rng, mut earlier) = (Rng::new(1), Files::new());
    let lease = store.lease_grant(LeaseId::NONE, 600).expect("granted");
    let mut oldest = 2;
    for n in 0..230u64 {
        let noise: Vec<u8> = (0..40).flat_map(|_| rng.number().to_le_bytes()).collect();
        let request = PutRequest {
            key: format!("key/{:02}", n % 60).into(),
            value: noise.into(),
            lease: if n % 9 == 0 { lease } else { LeaseId::NONE },
            ..PutRequest::default()
        };
        store.put_with(request).expect("the disk works");
        if n % 13 == 12 {
            store.delete(format!("key/{:02}", (n * 7) % 60)).expect("the disk works");
        }
        if n % 40 == 39 {
            store.flush().expect("the disk works");
        }
        if n == 120 {
            files(dir, Path::new(""), &mut earlier);
            oldest = store.revision() - 30;
            store.compact(oldest).expect("the disk works");
            while store.maintain(std::time::Duration::ZERO).expect("the disk works").more {}
        }
    }
    let truth = everything(&store, oldest).expect("whole");
    store.close().expect("the disk works");
    let mut now = Files::new();
    files(dir, Path::new(""), &mut now);
    Template { now, earlier, oldest, truth }
}

/// Damages the bytes of a file, and says how.
fn damage(bytes: &mut Vec<u8>, head: bool, earlier: Option<&Vec<u8>>, rng: &mut Rng) -> String {
    let size = bytes.len() as u64;
    // A header has 512 bytes.
    let at = rng.below(if head { 512 } else { size }) as usize;
    match rng.below(5) {
        0 => {
            let bit = rng.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        1 => {
            let from = at / 512 * 512;
            let to = (from + 512).min(bytes.len());
            bytes[from..to].fill(0);
            format!("bytes {from}..{to} zeroed")
        }
        2 if size as usize >= 2 * BLOCK => {
            let blocks = size / BLOCK as u64;
            let (one, other) = (rng.below(blocks) as usize * BLOCK, rng.below(blocks) as usize * BLOCK);
            let kept = bytes[one..one + BLOCK].to_vec();
            bytes.copy_within(other..other + BLOCK, one);
            bytes[other..other + BLOCK].copy_from_slice(&kept);
            format!("blocks at {one} and {other} swapped")
        }
        3 => {
            bytes.truncate(at);
            format!("truncated at {at}")
        }
        _ => {
            let from = at / BLOCK * BLOCK;
            let Some(stale) =
                earlier.and_then(|earlier| earlier.get(from..(from + BLOCK).min(earlier.len())))
            else {
                bytes.truncate(from);
                return format!("truncated at {from}");
            };
            let to = (from + stale.len()).min(bytes.len());
            bytes[from..to].copy_from_slice(&stale[..to - from]);
            format!("bytes {from}..{to} of an earlier time")
        }
    }
}

/// `Ok(true)`: refused by name. `Ok(false)`: all there is what was written.
fn judge(dir: &Path, file: &Path, template: &Template) -> Result<bool, String> {
    let told = match Embedded::open(dir, options()) {
        Err(why) => Err(why.to_string()),
        Ok(store) => everything(&store, template.oldest),
    };
    let name = file.file_name().expect("a name").to_string_lossy();
    match told {
        Ok(seen) if seen == template.truth => Ok(false),
        Ok(seen) => Err(format!("served {} bytes of another state", seen.len())),
        // A file that is missing behind a damaged list is named instead of the list; a segment that nothing
        // names any more, by its directory and its epoch.
        Err(why) if [&*name, "/engine", "/log is damaged"].iter().any(|place| why.contains(place)) => {
            Ok(true)
        }
        // The two do not belong together: which of them lost something cannot be told from either.
        Err(why) if why.contains("the log begins behind entry") => Ok(true),
        Err(why) => Err(format!("refused without a name: {why}")),
    }
}

#[test]
fn damaged_files_are_refused_by_name_or_harmless() {
    let temp = tempfile::tempdir().expect("a directory");
    let (home, dir) = (temp.path().join("template"), temp.path().join("damaged"));
    let template = template(&home);
    lay_out(&dir, &template.now);
    assert_eq!(judge(&dir, Path::new("none"), &template), Ok(false), "undamaged");
    let damages = std::env::var("BRAMBLE_DAMAGES").map_or(DAMAGES, |text| text.parse().expect("a number"));
    let seed = std::env::var("BRAMBLE_SEED").map_or(7, |text| text.parse().expect("a number"));
    println!("BRAMBLE_SEED={seed}");
    let mut rng = Rng::new(seed);
    for (kind, is_kind) in KINDS {
        let candidates: Vec<&PathBuf> = template.now.keys().filter(|path| is_kind(path)).collect();
        assert!(!candidates.is_empty(), "there is no {kind}");
        let (mut refused, mut harmless, mut same) = (0, 0, 0);
        for _ in 0..damages {
            let path = candidates[rng.below(candidates.len() as u64) as usize];
            let mut all = template.now.clone();
            let bytes = all.get_mut(path).expect("a file");
            let how = damage(bytes, kind.starts_with("head"), template.earlier.get(path), &mut rng);
            if *bytes == template.now[path] {
                same += 1;
                continue;
            }
            lay_out(&dir, &all);
            match judge(&dir, path, &template) {
                Ok(true) => refused += 1,
                Ok(false) => harmless += 1,
                Err(wrong) => panic!("{} {how}: {wrong}", path.display()),
            }
        }
        println!("{kind}: {refused} refused, {harmless} harmless, {same} left the file as it was");
        // A block of an earlier time, or a swap in a small file, may change nothing; most do.
        assert!(refused + harmless > damages / 4, "{kind}");
    }
}
