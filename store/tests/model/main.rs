//! Random commands against a naive model, with crashes, replays, flushes and compaction in between.
//!
//! One seed decides a run; a failure prints it. `SEED=n cargo test -p bramble-store --test model`
//! runs one again, `SEEDS=n` runs n times as many.
mod admin;
mod counts;
#[cfg(feature = "rocks")]
mod mirror;
mod naive;
mod pages;
mod random;
mod users;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bramble_store::auth::Need;
use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Cursor, Engine, Family, Read};
use bramble_store::error::{ReadError, Refusal};
use bramble_store::store::{self, Reader, Scrub, Writer};
use bramble_store::types::*;
use naive::Naive;
use random::Random;
use users::{Office, Person};

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

/// An entry that carries one action of nobody.
pub fn entry(index: u64, action: Action) -> Entry {
    entry_of(index, Origin::default(), false, action)
}

/// An entry that carries one action of somebody, or of the leader.
fn entry_of(index: u64, origin: Origin, fenced: bool, action: Action) -> Entry {
    let id = LogId { term: 1 + index / 50, index };
    let command = Command {
        request: RequestId { member: 7, counter: index },
        origin,
        required_version: 1,
        fence_term: fenced.then_some(id.term),
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
    /// One in so many actions is about users, alarms, checkpoints or downgrades.
    admin_one_in: u64,
    reached: [u64; 6],
}

impl World {
    fn new(seed: u64, admin_one_in: u64) -> Self {
        let engine = Mem::new();
        let (writer, reader) = store::open(engine.clone()).expect("opens");
        let (random, log, model) = (Random::new(seed), Vec::new(), Naive::default());
        World { random, engine, writer, reader, log, model, admin_one_in, reached: [0; 6] }
    }

    /// Turns auth on.
    fn set_up(&mut self) {
        let origin = Origin { user: "root".to_owned(), auth_revision: 1 };
        for change in self.random.setup() {
            let index = self.log.len() as u64;
            let action = Action::Auth(change);
            let outcome = self.model.apply(index, &origin, false, &action);
            let entry = entry_of(index, origin.clone(), false, action);
            let applied = self.writer.apply(std::slice::from_ref(&entry)).expect("applies");
            assert_eq!(applied.answers[0].outcome, outcome);
            self.log.push(entry);
        }
        self.model.office.effects.clear();
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
            let admin = self.random.one_in(self.admin_one_in);
            let action = match admin {
                true => self.random.admin_action(&self.model.office),
                false => self.random.action(self.model.main),
            };
            let fenced = matches!(action, Action::LeaseRevoke { .. }) && self.random.one_in(3);
            let origin = match fenced {
                true => Origin::default(),
                false => self.random.origin(&self.model.office, admin),
            };
            let outcome = self.model.apply(index, &origin, fenced, &action);
            self.count(admin, &outcome);
            outcomes.push(outcome);
            group.push(entry_of(index, origin, fenced, action));
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
        assert_eq!(applied.auth, std::mem::take(&mut self.model.office.effects));
        self.log.extend(group);
    }

    fn count(&mut self, admin: bool, outcome: &store::Outcome) {
        let on = self.model.office.on;
        let reached = [
            on && !admin && outcome.is_ok(),
            on && !admin && *outcome == Err(Refusal::PermissionDenied),
            *outcome == Err(Refusal::AuthRevisionOld),
            on && admin && outcome.is_ok(),
            *outcome == Err(Refusal::NoSpace),
            *outcome == Err(Refusal::Corrupt),
        ];
        self.reached.iter_mut().zip(reached).for_each(|(times, reached)| *times += u64::from(reached));
    }

    fn flush(&mut self) {
        // An engine flushes by itself too, behind any batch.
        if self.random.one_in(3) {
            return self.engine.flush_behind(self.random.below(3));
        }
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
                let versions = rows_of(&view, Family::Idx, b"k") + rows_of(&view, Family::Idx, b"o");
                let rows = [rows_of(&view, Family::Rev, b""), versions];
                assert_eq!(rows, [self.model.kept(); 2], "rows that a compaction leaves");
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
        assert_eq!((view.revision(), view.compacted()), (main, floor), "revision and floor");
        let range = self.random.range(main);
        assert_eq!(plain(view.range(&range)), self.model.range(&range), "{range:?}");

        let txn = self.random.txn(main);
        if txn.is_read_only() {
            // A view is not asked who asks, nor about alarms.
            let mut model = Naive { office: Office::default(), ..self.model.clone() };
            let outcome = model.apply(0, &Origin::default(), false, &Action::Txn(txn.clone()));
            let expected = outcome.map(|reply| match reply {
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
            assert_eq!(view.lease(id).expect("reads"), self.model.leases.get(&id).copied());
            assert_eq!(view.lease_keys(id).expect("reads"), self.model.on_lease(id), "keys on {id:?}");
            self.read_keys_within(id);
        }
        let leases = view.leases().expect("reads");
        assert_eq!(leases.len(), self.model.leases.len());
        assert_eq!(view.leases_within(&|_| true).expect("reads"), Some(leases.clone()));
        assert_eq!(view.leases_within(&|_| false).expect("reads"), leases.is_empty().then_some(leases));
        self.read_office();
    }

    /// The keys of a lease in just enough room, and in one key's less.
    fn read_keys_within(&self, id: LeaseId) {
        let (view, keys) = (self.reader.view(), self.model.on_lease(id));
        for keys_max in [keys.len(), keys.len().saturating_sub(1)] {
            let left = std::cell::Cell::new(keys_max);
            let room = |bytes: usize| {
                assert!(bytes > 0);
                left.get().checked_sub(1).map(|fewer| left.set(fewer)).is_some()
            };
            let read = view.lease_keys_within(id, &room).expect("reads");
            assert_eq!(read, (keys.len() <= keys_max).then(|| keys.clone()));
        }
    }

    /// Users, roles, alarms; and what somebody may do.
    fn read_office(&mut self) {
        let (view, office) = (self.reader.view(), &self.model.office);
        assert_eq!((view.auth().enabled, view.auth().revision), (office.on, office.revision()));
        let mut people = office.people.clone();
        people.sort_by(|a, b| a.name.cmp(&b.name));
        let users = people.into_iter().map(|Person { name, password, no_password, roles }| {
            let roles = roles.into_iter().collect();
            User { name, password, no_password, roles }
        });
        assert_eq!(view.users().expect("reads"), users.collect::<Vec<_>>());
        let mut roles = office.roles.clone();
        roles.sort_by(|a, b| a.0.cmp(&b.0));
        let roles = roles.into_iter().map(|(name, permissions)| Role { name, permissions });
        assert_eq!(view.roles().expect("reads"), roles.collect::<Vec<_>>());
        assert_eq!(view.alarms(), office.alarms.iter().copied().collect::<Vec<_>>());
        for member in 1..3 {
            assert_eq!(view.over_quota(member), office.by_quota.contains(&member));
        }
        assert_eq!(view.downgrade(), office.downgrade.as_deref());

        let origin = self.random.origin(office, false);
        for _ in 0..4 {
            let (range, write) = (self.random.range_of_keys(), self.random.one_in(2));
            let need = if write { Need::Write(range.clone()) } else { Need::Read(range.clone()) };
            let expected = office.admit_keys(&origin, write, &range);
            assert_eq!(plain(view.permit(&origin, &need)), expected, "{origin:?} {need:?} {office:?}");
        }
        assert_eq!(plain(view.permit(&origin, &Need::Root)), office.admit_root(&origin.user));
        let id = LeaseId(self.random.pick(&[1, 2, 3, -4]));
        let of_lease = if office.admit_root(&origin.user).is_ok() { vec![] } else { self.model.on_lease(id) };
        let mut keys = of_lease.into_iter().map(KeyRange::single);
        let expected = keys.try_for_each(|key| office.admit_keys(&origin, false, &key));
        assert_eq!(plain(view.permit(&origin, &Need::ReadLease(id))), expected);
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
            let found = view.before(&kv.key, at.main).expect("reads");
            assert_eq!(found, expected, "{kv:?} before {}, compacted at {}", at.main, self.model.floor);
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
        let mut world = World::new(seed, 12);
        for _ in 0..120 {
            world.turn();
        }
        world.crash();
        world.read();
    });
}

/// Mostly changes of users and roles, and requests by those users.
#[test]
fn users_may_do_what_the_model_lets_them() {
    let reached = RefCell::new([0; 6]);
    for_seeds(10_000, |seed| {
        let mut world = World::new(seed, 2);
        world.set_up();
        for _ in 0..40 {
            world.turn();
        }
        world.crash();
        world.read();
        reached.borrow_mut().iter_mut().zip(world.reached).for_each(|(all, one)| *all += one);
    });
    let reached = reached.into_inner();
    println!("done, denied, too old, changed, no space, corrupt: {reached:?}");
    if std::env::var_os("SEED").is_none() {
        assert!(reached.iter().all(|times| *times > 1_000), "{reached:?}");
    }
}
