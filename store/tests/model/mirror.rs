//! The two engines side by side: the same entries give the same answers and the same rows, byte for
//! byte, through flushes, compaction and reopening.
use std::path::Path;

use bramble_store::command::{Action, AlarmChange, AuthChange};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::rocks::{Rocks, RocksOptions};
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::store::{self, Reader, Scrub, Writer};

use crate::random::Random;
use crate::users::Office;
use crate::{entry, for_seeds, plain};

fn open_rocks(path: &Path) -> (Rocks, Writer<Rocks>, Reader<Rocks>) {
    let rocks = Rocks::open(path, RocksOptions::default()).expect("opens");
    let (writer, reader) = store::open(rocks.clone()).expect("opens");
    (rocks, writer, reader)
}

/// Every row but the fences: where those stand depends on when a state was reopened.
fn rows(view: &impl Read) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    for family in [Family::Rev, Family::Idx] {
        let mut cursor = view.cursor(family);
        cursor.seek(b"").expect("seeks");
        while let Some((row, value)) = cursor.row() {
            let is_fence = family == Family::Idx && (row[0] == b'f' || row == b"mfences");
            if !is_fence {
                found.push((family, row.to_vec(), value.to_vec()));
            }
            cursor.next().expect("steps");
        }
    }
    found
}

fn history_rows(view: &impl Read) -> usize {
    rows(view).iter().filter(|(family, ..)| *family == Family::Rev).count()
}

fn finish_scrub<E: Engine>(writer: &mut Writer<E>) {
    while writer.scrub(100).expect("scrubs") == Scrub::More {}
}

/// Of everything something, but nothing that would make the rest be refused.
fn action(random: &mut Random, main: i64) -> Action {
    if !random.one_in(6) {
        return random.action(main);
    }
    loop {
        match random.admin_action(&Office::default()) {
            Action::Auth(AuthChange::Enable)
            | Action::Alarm(AlarmChange::Activate { .. } | AlarmChange::OverQuota { .. }) => {}
            action => return action,
        }
    }
}

#[test]
fn both_engines_hold_the_same_rows() {
    for_seeds(8, |seed| {
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let mem = Mem::new();
        let (mut mem_writer, mem_reader) = store::open(mem.clone()).expect("opens");
        let (mut rocks, mut writer, mut reader) = open_rocks(folder.path());
        let (mut log, mut replayed) = (Vec::new(), 0);
        for _ in 0..300 {
            let main = reader.view().revision();
            match random.below(20) {
                0 => {
                    writer.prepare_flush().expect("prepares");
                    writer.flusher().flush().expect("flushes");
                }
                1 => {
                    drop((rocks, writer, reader));
                    (rocks, writer, reader) = open_rocks(folder.path());
                    let from = writer.applied().map_or(0, |applied| applied.index as usize + 1);
                    replayed += log.len() - from;
                    writer.apply(&log[from..]).expect("replays");
                    // The erasing may have to be done again too.
                    finish_scrub(&mut writer);
                    finish_scrub(&mut mem_writer);
                }
                2..=4 => {
                    let rows_max = 1 + random.below(9) as usize;
                    let (erased, versions) = (mem_writer.erased(), history_rows(&mem.view()));
                    let both = (writer.scrub(rows_max), mem_writer.scrub(rows_max));
                    assert_eq!(both.0.expect("scrubs"), both.1.expect("scrubs"));
                    let gone = versions - history_rows(&mem.view());
                    assert_eq!(mem_writer.erased() - erased, gone as u64);
                }
                5..=8 => {
                    let range = random.range(main);
                    assert_eq!(plain(reader.view().range(&range)), plain(mem_reader.view().range(&range)));
                }
                _ => {
                    let next = [entry(log.len() as u64, action(&mut random, main))];
                    let both = (writer.apply(&next), mem_writer.apply(&next));
                    assert_eq!(both.0.expect("applies"), both.1.expect("applies"));
                    log.extend(next);
                }
            }
            if random.one_in(20) {
                assert_eq!(rows(&rocks.view()), rows(&mem.view()));
            }
        }
        assert_eq!(rows(&rocks.view()), rows(&mem.view()));
        eprintln!("seed {seed}: {} entries, {replayed} replayed", log.len());
    });
}
