//! The bytes of a small log, pinned: a change of them is a change of the format. `golden/log_bytes.txt`
//! shows them block by block; `BRAMBLE_GOLDEN=write` writes it anew.
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::disk::sim::SimDisk;
use bramble_store::log::{Log, LogOptions, Recovered, Vote};
use bramble_store::types::LogId;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/log_bytes.txt");

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 8 * 4096,
        ring_segments: 2,
        first_fill_bytes: 8 * 4096,
        ..LogOptions::default()
    }
}

/// Every kind of record, a frame of three blocks, and a passing on to a second segment.
fn write(disk: &SimDisk) {
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), Path::new("/log"), options()).expect("an empty disk");
    let id = |term, index| LogId { term, index };
    let entry = |id, payload| Entry { id, payload };
    log.save_vote(Vote { term: 1, node: 300, committed: true });
    log.append(&[
        entry(id(1, 0), Payload::Membership("members".into())),
        entry(id(1, 1), Payload::Blank),
        entry(id(1, 2), Payload::Command("put".into())),
    ])
    .expect("they follow");
    log.save_committed(id(1, 1));
    log.flush().expect("the disk works");
    log.truncate_after(Some(id(1, 1))).expect("it is there");
    log.append(&[entry(id(2, 2), Payload::Command(vec![0x61; 9000].into()))]).expect("it follows");
    log.flush().expect("the disk works");
    log.note_durable(id(1, 1));
    log.purge(id(1, 1));
    log.append(&[entry(id(2, 3), Payload::Command(vec![0x62; 9000].into()))]).expect("it follows");
    log.flush().expect("the disk works");
    log.note_durable(id(2, 9));
    log.reset_to(id(2, 9)).expect("the engine is there");
    log.save_note("note".into());
    log.seal().expect("the disk works");
}

/// The bytes of all files in hexadecimal, with runs of equal bytes shortened.
fn show(disk: &SimDisk) -> String {
    let mut text = String::new();
    for (path, _) in disk.files() {
        let bytes = disk.contents(&path).expect("it is listed");
        for (number, block) in bytes.chunks(4096).enumerate() {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            write!(text, "{name} block {number}:").expect("a string takes everything");
            for run in block.chunk_by(|a, b| a == b) {
                match run.len() {
                    1..4 => run.iter().try_for_each(|byte| write!(text, " {byte:02x}")),
                    length => write!(text, " {:02x}*{length}", run[0]),
                }
                .expect("a string takes everything");
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_bytes_of_a_small_log_are_these() {
    let disk = SimDisk::new(1);
    write(&disk);
    let shown = show(&disk);
    if std::env::var("BRAMBLE_GOLDEN").is_ok_and(|how| how == "write") {
        std::fs::write(GOLDEN, &shown).expect("the source is writable");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("the file is in the repository");
    assert_eq!(shown, golden, "the format of the log has changed");
}

#[test]
fn the_pinned_bytes_are_read_back() {
    let disk = SimDisk::new(1);
    write(&disk);
    let (log, recovered) = Log::open(Arc::new(disk), Path::new("/log"), options()).expect("it is whole");
    let at = Some(LogId { term: 2, index: 9 });
    let vote = Some(Vote { term: 1, node: 300, committed: true });
    let committed = Some(LogId { term: 1, index: 1 });
    let note = Some("note".into());
    assert_eq!(recovered, Recovered { vote, purged: at, last: at, committed, note, torn_frames: 0 });
    assert_eq!((log.last(), log.term_of(9), log.term_of(3)), (at, Some(2), None));
}
