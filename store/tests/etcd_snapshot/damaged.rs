//! Damaged files, by seed: each is refused with a reason, or read; and what was read keeps what a state
//! promises, down to the last put and delete.
use std::collections::BTreeMap;

use bramble_store::error::Fatal;
use bramble_store::snapshot::etcd::{Given, ImportError};
use bramble_store::store;

use crate::common::{Random, with_seeds};
use crate::imported;
use crate::state::{file_of, random_state, write_and_delete_everything};

const PAGE: usize = 4096;
/// Together with the seeds below at least 1,000.
const DAMAGED_OF_EACH: usize = 60;
const STATES: u64 = 20;

#[test]
fn a_thousand_damaged_files_are_refused_or_read() {
    with_seeds(STATES, |random| {
        let (_, reader) = random_state(random, 150);
        let whole = file_of(reader.view());
        let mut ends = BTreeMap::<&str, usize>::new();
        for _ in 0..DAMAGED_OF_EACH {
            let mut file = whole.clone();
            for _ in 0..1 + random.below(3) {
                damage(random, &mut file);
            }
            *ends.entry(end_of(&file, random)).or_default() += 1;
        }
        assert!(ends.len() > 1, "all {DAMAGED_OF_EACH} ended alike: {ends:?}");
    });
}

fn end_of(file: &[u8], random: &mut Random) -> &'static str {
    let raise = if random.one_in(4) { 1_000 } else { 0 };
    let engine = match imported(file, Given { raise }) {
        Ok((_, engine)) => engine,
        Err(ImportError::Fatal(fatal)) => panic!("the engine is in memory: {fatal}"),
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return "refused";
        }
    };
    let (mut writer, reader) = store::open(engine).expect("what was imported opens");
    let hash = reader.view().hash();
    hash.map_err(|error| error.to_string()).expect("what was imported can be read");
    write_and_delete_everything(&mut writer, &reader);
    "read"
}

/// One thing that happens to files.
fn damage(random: &mut Random, file: &mut Vec<u8>) {
    if file.len() < 3 * PAGE {
        return;
    }
    let pages = file.len() / PAGE;
    let page = |random: &mut Random| random.below(pages) * PAGE;
    match random.below(8) {
        0 => {
            let bit = random.below(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
        }
        1 => file.truncate(random.below(file.len())),
        2 => {
            let (one, other) = (page(random), page(random));
            for at in 0..PAGE {
                file.swap(one + at, other + at);
            }
        }
        3 => {
            let (from, to) = (page(random), page(random));
            file.copy_within(from..from + PAGE, to);
            file[to..to + 8].copy_from_slice(&((to / PAGE) as u64).to_le_bytes());
        }
        4 => {
            let (at, length) = (page(random), 1 + random.below(PAGE));
            file[at..at + length].fill(0);
        }
        // Heads are at multiples of 4 near the beginning of a page: the fields in them.
        5 | 6 => {
            let at = page(random) + 4 * random.below(30);
            let value =
                [0, 1, 2, 3, 15, 16, 17, 0x7fff_ffff, u32::MAX, random.below(5_000) as u32][random.below(10)];
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        _ => change_meta(random, file),
    }
}

/// A meta page that says something else and has the checksum of that.
fn change_meta(random: &mut Random, file: &mut [u8]) {
    let meta = PAGE * random.below(2);
    let field = meta + 24 + 8 * random.below(6);
    let value = [0, 1, 2, 3, u64::MAX, 1 << 40, random.below(40) as u64][random.below(7)];
    file[field..field + 8].copy_from_slice(&value.to_le_bytes());
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let checksum = file[meta + 16..meta + 72].iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    file[meta + 72..meta + 80].copy_from_slice(&checksum.to_le_bytes());
}

/// A history that etcd cannot have written, in a file that is whole.
#[test]
fn histories_that_cannot_be_are_refused() {
    let record = |key: &'static str, at: i64, create: i64, version: i64| {
        let kv = bramble_store::types::KeyValue {
            key: key.into(),
            create_revision: create,
            mod_revision: at,
            version,
            ..Default::default()
        };
        (name(at, false), bramble_store::codec::encode_key_value(&kv))
    };
    let gone = |key: &'static str, at: i64| {
        let kv = bramble_store::types::KeyValue { key: key.into(), ..Default::default() };
        (name(at, true), bramble_store::codec::encode_key_value(&kv))
    };
    let good = [record("a", 2, 2, 1), record("a", 3, 2, 2), gone("a", 4), record("a", 5, 5, 1)];
    imported(&file_with(&good), Given::default()).expect("a lawful one");
    let bad: [(&[_], &str); 8] = [
        (&[record("a", 2, 2, 1), record("a", 3, 3, 1)], "key a, revision 3.0: it cannot follow"),
        (&[record("a", 2, 2, 1), record("a", 3, 2, 3)], "key a, revision 3.0: it cannot follow"),
        (&[record("a", 3, 2, 2)], "key a, revision 3.0: it cannot follow"),
        (&[gone("a", 3)], "key a, revision 3.0: it cannot follow"),
        (&[record("a", 2, 3, 1)], "contradicts itself"),
        (&[record("a", 2, 2, 0)], "contradicts itself"),
        (&[record("", 2, 2, 1)], "cannot be read"),
        (&[record("a", 2, 2, 1), gone("a", 2)], "there twice"),
    ];
    for (records, text) in bad {
        match imported(&file_with(records), Given::default()) {
            Err(ImportError::Fatal(Fatal::Inconsistent(what))) => panic!("{what}"),
            Err(refused) => assert!(refused.to_string().contains(text), "{refused} instead of {text}"),
            Ok(_) => panic!("imported: {text}"),
        }
    }
    // Below the floor nobody looks.
    imported(&file_with(&[gone("a", 3)]), Given { raise: 5 }).expect("compacted");
}

fn name(main: i64, tombstone: bool) -> Vec<u8> {
    let mark: &[u8] = if tombstone { b"t" } else { b"" };
    [&main.to_be_bytes()[..], b"_", &[0; 8], mark].concat()
}

fn file_with(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let pass = || {
        let mut writer = bramble_store::snapshot::bbolt::Writer::default();
        for (name, record) in records {
            writer.put(name, record).expect("sorted");
        }
        writer.end_bucket("key");
        writer.finish()
    };
    let (pages, layout) = pass();
    [layout.metas(), pages].concat()
}
