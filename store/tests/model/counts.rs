//! Counting on many keys: fences that split, merge, are written and are repaired.
use std::collections::BTreeSet;

use bramble_store::command::Action;
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Engine, Family};
use bramble_store::store;
use bramble_store::types::*;
use bytes::Bytes;

use crate::random::Random;
use crate::{entry, for_seeds, rows_of};

const KEYS: u64 = 6_000;

fn key(number: u64) -> Bytes {
    format!("/registry/{number:05}").into()
}

fn some_range(random: &mut Random) -> KeyRange {
    let ends = (key(random.below(KEYS)), key(random.below(KEYS)));
    let end = if random.one_in(4) { Bytes::from_static(b"\0") } else { ends.1 };
    KeyRange::from_wire(ends.0, end)
}

/// A bulk change: a run of new keys, scattered ones, or a range away.
fn change(random: &mut Random) -> Action {
    let put = |number| Op::Put(PutRequest { key: key(number), ..PutRequest::default() });
    let txn = |numbers: BTreeSet<u64>| {
        Action::Txn(TxnRequest { success: numbers.into_iter().map(put).collect(), ..TxnRequest::default() })
    };
    let start = random.below(KEYS);
    match random.below(8) {
        0 => Action::Delete(DeleteRequest { range: some_range(random), prev_kv: false }),
        1..=4 => txn((start..start + 500).map(|number| number % KEYS).collect()),
        _ => txn((0..200).map(|_| random.below(KEYS)).collect()),
    }
}

#[test]
fn counts_are_exact_whatever_was_flushed() {
    for_seeds(4, |seed| {
        let mut random = Random::new(seed);
        let engine = Mem::new();
        let (mut writer, mut reader) = store::open(engine.clone()).expect("opens");
        let (mut log, mut past) = (Vec::new(), vec![BTreeSet::new(); 2]);
        for index in 0..120 {
            let next = entry(index, change(&mut random));
            let applied = writer.apply(std::slice::from_ref(&next)).expect("applies");
            log.push(next);
            let mut keys: BTreeSet<Bytes> = past.last().expect("some").clone();
            for change in applied.changes.iter().flat_map(|of| &of.changes) {
                match change.kind {
                    EventKind::Put => keys.insert(change.kv.key.clone()),
                    EventKind::Delete => keys.remove(&change.kv.key),
                };
            }
            if !applied.changes.is_empty() {
                past.push(keys);
            }
            for _ in 0..3 {
                check(&mut random, &reader.view(), &past);
            }
            match random.below(12) {
                0 => writer.prepare_flush().expect("prepares"),
                1 => {
                    writer.flusher().flush().expect("flushes");
                }
                2 => {
                    engine.crash();
                    (writer, reader) = store::open(engine.clone()).expect("opens");
                    let from = writer.applied().map_or(0, |applied| applied.index as usize + 1);
                    writer.apply(&log[from..]).expect("replays");
                }
                _ => {}
            }
        }
        writer.prepare_flush().expect("prepares");
        let fences = rows_of(&engine.view(), Family::Idx, b"f");
        let live = past.last().expect("some").len();
        assert!(fences <= 2 + live / 50 && fences * 256 >= live, "{fences} fences for {live} keys");
    });
}

fn check<V: bramble_store::engine::Read>(
    random: &mut Random,
    view: &store::ReadView<V>,
    past: &[BTreeSet<Bytes>],
) {
    let main = past.len() as i64 - 1;
    let revision = if random.one_in(2) { 0 } else { 1 + random.below(main as u64) as i64 };
    let detail = if random.one_in(2) { Detail::CountOnly } else { Detail::KeysOnly };
    // Pages within a fence, and such as hold the beginning of the one that they end in.
    let limit_max = if random.one_in(2) { 20 } else { 900 };
    let request = RangeRequest {
        revision,
        detail,
        limit: 1 + random.below(limit_max) as i64,
        ..RangeRequest::new(some_range(random))
    };
    let then = &past[if revision == 0 { main } else { revision } as usize];
    let expected = then.iter().filter(|key| request.range.contains(key)).count() as i64;
    let reply = view.range(&request).expect("reads");
    assert_eq!(reply.count, expected, "{request:?}");
    if detail == Detail::KeysOnly {
        assert_eq!(reply.kvs.len() as i64, expected.min(request.limit));
        assert_eq!(reply.more, expected > request.limit);
    }
}
