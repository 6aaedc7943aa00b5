//! Bits of the medium flip while the power is off. The server then refuses to start or to answer and names
//! the file, or shows exactly what it had.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bramble_bench::cardsim::CardOptions;
use bramble_tests::chance::Chance;

use crate::lab::{self, END_WITHIN, Lab};
use crate::ledger::Findings;

/// Flips tried for each kind of file.
const FLIPS_PER_KIND: usize = 3;

/// A place on the medium, and whose it is.
struct Flip {
    file: PathBuf,
    within_file: u64,
    on_medium: u64,
    bit: u8,
}

/// How a flip ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The server did not start.
    Refused,
    /// It started and ended when it met the damage.
    Ended,
    /// Everything is as it was.
    Harmless,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_are_refused_by_name_or_harmless() {
    let Some(card) = lab::card(CardOptions { bytes: 128 << 20, ..CardOptions::ext4() }) else { return };
    let mut lab = Lab::new(card, super::seed());
    fill(&mut lab).await;
    let flips = choose(&lab.data(), &mut lab.chance);
    lab.card.unplug().expect("nobody uses the card");
    let sound = std::fs::read(lab.card.image()).expect("the image");
    let promised = lab.load.copy();
    let mut outcomes: BTreeMap<(String, Outcome), u64> = BTreeMap::new();
    for flip in flips {
        // In place: the disk has the image open.
        std::fs::write(lab.card.image(), &sound).expect("the image");
        lab.load = promised.copy();
        lab.card.flip(flip.on_medium, flip.bit).expect("the image");
        lab.card.plug_in().expect("no flip is in the file system's own blocks");
        let outcome = after(&mut lab, &flip).await;
        *outcomes.entry((kind(&flip.file), outcome)).or_default() += 1;
        lab.card.unplug().expect("nobody uses the card");
    }
    for ((kind, outcome), count) in &outcomes {
        println!("{kind:>12} {count:>3} {outcome:?}");
    }
    let refused = |kind: &str| outcomes.contains_key(&(kind.to_owned(), Outcome::Refused));
    assert!(refused("log"), "no damage to the log was noticed");
}

/// A server's day: data in the log and in the engine's files, and a clean stop.
async fn fill(lab: &mut Lab) {
    let mut server = lab.start().unwrap_or_else(|log| panic!("{log}"));
    let tasks = lab.load.begin(&server.url).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(server.terminate(END_WITHIN).is_some(), "it does not stop:\n{}", server.log());
    lab.load.end(tasks).await;
}

async fn after(lab: &mut Lab, flip: &Flip) -> Outcome {
    let name = flip.file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let place = format!("byte {} of {}", flip.within_file, flip.file.display());
    let named = |log: &str| {
        assert!(!log.contains("panicked"), "{place}:\n{log}");
        // Damage to the name in CURRENT may make it the name of another list, which is not there.
        let named = log.contains(&name) || (name == "CURRENT" && log.contains("MANIFEST-"));
        assert!(named, "{place} is damaged, and the server does not name it:\n{log}");
    };
    let mut server = match lab.start() {
        Ok(server) => server,
        Err(log) => {
            named(&log);
            return Outcome::Refused;
        }
    };
    match lab.load.check(&server.url).await {
        Ok(findings) => {
            assert_eq!(findings, Findings::default(), "{place} is damaged, and that is served");
            Outcome::Harmless
        }
        Err(_) => {
            assert!(server.wait_exit(END_WITHIN).is_some(), "{place} is damaged, and the server goes on");
            named(&server.log());
            Outcome::Ended
        }
    }
}

/// What a file is for.
fn kind(file: &Path) -> String {
    let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let folder = file.parent().and_then(Path::file_name).map(|folder| folder.to_string_lossy().into_owned());
    match (folder.as_deref(), file.extension()) {
        (Some("log"), _) => "log".to_owned(),
        (_, Some(extension)) => extension.to_string_lossy().into_owned(),
        (_, None) => name.split('-').next().unwrap_or(&name).to_owned(),
    }
}

/// Places in files of every kind, in pages that are not empty.
fn choose(data: &Path, chance: &mut Chance) -> Vec<Flip> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files(data) {
        kinds.entry(kind(&file)).or_default().push(file);
    }
    println!("kinds of files: {:?}", kinds.keys());
    let mut flips = Vec::new();
    for files in kinds.values() {
        let pages: Vec<_> = files.iter().flat_map(|file| pages(file)).collect();
        if pages.is_empty() {
            continue;
        }
        for _ in 0..FLIPS_PER_KIND {
            let (file, page, on_medium, len) = chance.pick(&pages).clone();
            let at = chance.below(len) as u64;
            let bit = chance.below(8) as u8;
            flips.push(Flip { file, within_file: page * PAGE + at, on_medium: on_medium + at, bit });
        }
    }
    flips
}

/// A block of the file system.
const PAGE: u64 = 4096;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the data directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The pages of a file that are not empty: which of the file, where on the medium, how much of it is used.
fn pages(file: &Path) -> Vec<(PathBuf, u64, u64, usize)> {
    let bytes = std::fs::read(file).expect("a file of the server");
    let extents = extents(file);
    let mut pages = Vec::new();
    for (page, bytes) in (0..).zip(bytes.chunks(PAGE as usize)) {
        let extent = extents.iter().find(|(first, _, count)| (*first..first + count).contains(&page));
        let empty = bytes.iter().all(|byte| *byte == 0);
        if let Some((first, on_medium, _)) = extent.filter(|_| !empty) {
            pages.push((file.to_owned(), page, (on_medium + page - first) * PAGE, bytes.len()));
        }
    }
    pages
}

/// Where a file lies: first page in the file, first page on the medium, count.
fn extents(file: &Path) -> Vec<(u64, u64, u64)> {
    let output = Command::new("filefrag").args(["-s", "-v", &format!("-b{PAGE}")]).arg(file).output();
    let output = output.expect("filefrag comes with ext4's tools");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "   0:        0..     255:      34816..     35071:    256:             last,eof"
    let extent = |line: &str| {
        let numbers: Vec<u64> = line.split([':', '.', ' ']).filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [_, first, last, on_medium, ..] => Some((*first, *on_medium, last + 1 - first)),
            _ => None,
        }
    };
    text.lines().filter(|line| line.contains("..")).filter_map(extent).collect()
}
