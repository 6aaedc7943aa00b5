//! Random commands against a naive model, with crashes, replays, flushes and compaction in between.
//!
//! One seed decides a run; a failure prints it. `SEED=n cargo test -p bramble-store --test model`
//! runs one again, `SEEDS=n` runs n times as many.
mod counts;
#[cfg(feature = "rocks")]
mod mirror;
mod naive;
mod pages;
mod random;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::error::{ReadError, Refusal};
use bramble_store::store::{self, Reader, Scrub, Writer};
use bramble_store::types::*;
use naive::Naive;
use random::Random;

/// Runs `one` for many seeds, and says which one failed.
pub fn for_seeds(seeds: u64, one: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..seeds * number("SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| one(seed))) {
            eprintln!("failed with SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// An entry that carries one action.
pub fn entry(index: u64, action: Action) -> Entry {
    let id = LogId { term: 1 + index / 50, index };
    let command = Command {
        request: RequestId { member: 7, counter: index },
        origin: Origin::default(),
        required_version: 1,
        fence_term: None,
        action,
    };
    let bytes = codec::encode(&command);
    assert_eq!(codec::decode(bytes.clone()).expect("decodes"), command);
    Entry { id, payload: Payload::Command(bytes) }
}

struct World {
    random: Random,
    engine: Mem,
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    log: Vec<Entry>,
    model: Naive,
}

impl World {
    fn new(seed: u64) -> Self {
        let engine = Mem::new();
        let (writer, reader) = store::open(engine.clone()).expect("opens");
        World { random: Random::new(seed), engine, writer, reader, log: Vec::new(), model: Naive::default() }
    }

    fn turn(&mut self) {
        match self.random.below(24) {
            0 => self.crash(),
            1 | 2 => self.scrub(),
            3 => self.flush(),
            4..=9 => self.read(),
            _ => self.write(),
        }
    }

    /// A group of entries: the answers and changes are the model's.
    fn write(&mut self) {
        let mut group = Vec::new();
        let (mut outcomes, before) = (Vec::new(), self.model.history.len());
        for _ in 0..1 + self.random.below(4) {
            let index = (self.log.len() + group.len()) as u64;
            if self.random.one_in(20) {
                group.push(Entry { id: LogId { term: 1 + index / 50, index }, payload: Payload::Blank });
                outcomes.push(Ok(store::Reply::None));
                continue;
            }
            let action = self.random.action(self.model.main);
            outcomes.push(self.model.apply(&action));
            group.push(entry(index, action));
        }
        let applied = self.writer.apply(&group).expect("applies");
        let answers: Vec<_> = applied.answers.into_iter().map(|answer| answer.outcome).collect();
        assert_eq!(answers, outcomes);
        let changes: Vec<_> = applied
            .changes
            .iter()
            .flat_map(|of| {
                of.changes
                    .iter()
                    .map(|change| (Revision { main: of.main, sub: change.sub }, change.kv.clone()))
            })
            .collect();
        let expected: Vec<_> = self.model.history[before..].iter().map(|r| (r.at, r.kv.clone())).collect();
        assert_eq!(changes, expected);
        self.log.extend(group);
    }

    fn flush(&mut self) {
        if !self.random.one_in(3) {
            self.writer.prepare_flush().expect("prepares");
        }
        self.writer.flusher().flush().expect("flushes");
    }

    fn scrub(&mut self) {
        let rows_max = 1 + self.random.below(6) as usize;
        match self.writer.scrub(rows_max).expect("scrubs") {
            Scrub::More => {}
            Scrub::Idle | Scrub::Done { .. } => {
                let view = self.engine.view();
                assert_eq!(rows_of(&view, Family::Rev, b""), self.model.kept());
                assert_eq!(rows_of(&view, Family::Idx, b"k"), self.model.kept());
            }
        }
    }

    /// Power goes; what the engine has not flushed is replayed, maybe grouped otherwise.
    fn crash(&mut self) {
        let hash = self.reader.view().hash_kv(0).expect("hashes");
        let whole = self.reader.view().hash().expect("hashes");
        if self.random.one_in(2) {
            self.engine.crash();
        }
        (self.writer, self.reader) = store::open(self.engine.clone()).expect("opens");
        let from = self.writer.applied().map_or(0, |applied| applied.index as usize + 1);
        for group in self.log[from..].chunks(1 + self.random.below(9) as usize) {
            self.writer.apply(group).expect("replays");
        }
        assert_eq!(self.reader.view().hash_kv(0).expect("hashes"), hash);
        assert_eq!(self.reader.view().hash().expect("hashes"), whole);
    }

    fn read(&mut self) {
        let view = self.reader.view();
        let (main, floor) = (self.model.main, self.model.floor);
        assert_eq!((view.revision(), view.compacted()), (main, floor));
        let range = self.random.range(main);
        assert_eq!(plain(view.range(&range)), self.model.range(&range), "{range:?}");

        let txn = self.random.txn(main);
        if txn.is_read_only() {
            let expected = self.model.clone().apply(&Action::Txn(txn.clone())).map(|reply| match reply {
                store::Reply::Txn(reply) => reply,
                other => panic!("{other:?}"),
            });
            assert_eq!(plain(view.txn(&txn)), expected, "{txn:?}");
        }

        let at = self.random.revision(main);
        let expected = match at {
            _ if at > main => Err(Refusal::Future { wanted: at, current: main }),
            _ if at > 0 && at < floor => Err(Refusal::Compacted { wanted: at, compacted: floor }),
            0 => Ok((self.model.hash_kv(main), main)),
            _ => Ok((self.model.hash_kv(at), at)),
        };
        assert_eq!(plain(view.hash_kv(at)), expected);
        self.read_history();
        for id in [1, 2, 3, -4].map(LeaseId) {
            let granted = view.lease(id).expect("reads").map(|lease| lease.ttl_s);
            assert_eq!(granted, self.model.leases.get(&id).copied());
            assert_eq!(view.lease_keys(id).expect("reads"), self.model.on_lease(id));
        }
        assert_eq!(view.leases().expect("reads").len(), self.model.leases.len());
    }

    fn read_history(&mut self) {
        let view = self.reader.view();
        let (from, rows_max) = (self.random.revision(self.model.main), 1 + self.random.below(9) as usize);
        if from < self.model.floor {
            let refusal = Refusal::Compacted { wanted: from, compacted: self.model.floor };
            assert_eq!(plain(view.changes(from, rows_max)), Err(refusal));
            return;
        }
        let found = view.changes(from, rows_max).expect("reads");
        let found: Vec<_> = found
            .iter()
            .flat_map(|of| {
                of.changes
                    .iter()
                    .map(|change| (Revision { main: of.main, sub: change.sub }, change.kv.clone()))
            })
            .collect();
        let all: Vec<_> =
            self.model.history.iter().filter(|r| from <= r.at.main).map(|r| (r.at, r.kv.clone())).collect();
        assert_eq!(found, all[..found.len()]);
        let whole = all.get(found.len()).is_none_or(|next| next.0.sub == 0);
        assert!(whole && found.len() >= rows_max.min(all.len()), "{found:?} of {all:?}");
        for (at, kv) in found {
            let before = Some(at.main - 1).filter(|main| *main >= self.model.floor);
            let expected = before.and_then(|main| self.model.get(&kv.key, main));
            assert_eq!(view.before(&kv.key, at.main).expect("reads"), expected);
        }
    }
}

/// An answer that can be compared.
pub fn plain<T>(answer: Result<T, ReadError>) -> Result<T, Refusal> {
    answer.map_err(|error| match error {
        ReadError::Refused(refusal) => refusal,
        ReadError::Fatal(fatal) => panic!("{fatal}"),
    })
}

/// How many rows of a family begin with `prefix`.
pub fn rows_of(view: &impl Read, family: Family, prefix: &[u8]) -> usize {
    let mut cursor = view.cursor(family);
    cursor.seek(prefix).expect("seeks");
    let mut rows = 0;
    while cursor.row().is_some_and(|(row, _)| row.starts_with(prefix)) {
        rows += 1;
        cursor.next().expect("steps");
    }
    rows
}

#[test]
fn random_commands_answer_as_the_model_does() {
    for_seeds(1_000, |seed| {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.turn();
        }
        world.crash();
        world.read();
    });
}
