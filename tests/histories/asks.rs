//! What the clients of a run ask for.
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bramble_tests::chance::Chance;
use bramble_tests::history::{
    Body, Compare, KeyValue, Op, OpAnswer, Outcome, Put, Range, Relation, Request, Span, Target, Txn,
};
use bytes::Bytes;

use crate::run::Run;

/// Keys that all clients fight for.
const KEYS: usize = 10;

/// One client's memory and chance.
pub struct Asker {
    client: u32,
    chance: Chance,
    values: u64,
    /// What it last saw of each key, to compare with.
    seen: BTreeMap<Bytes, KeyValue>,
}

impl Asker {
    pub fn new(client: u32, seed: u64) -> Asker {
        let chance = Chance::from_seed(seed.wrapping_mul(1000).wrapping_add(u64::from(client)));
        Asker { client, chance, values: 0, seen: BTreeMap::new() }
    }

    /// Takes in what was found.
    pub fn learn(&mut self, outcome: &Outcome) {
        let Outcome::Answered(answer) = outcome else { return };
        let answers = match &answer.body {
            Body::Op(answer) => std::slice::from_ref(answer),
            Body::Txn { answers, .. } => answers.as_slice(),
            Body::Done | Body::Granted(_) | Body::KeptAlive(_) => &[],
        };
        for answer in answers {
            if let OpAnswer::Range { kvs, .. } = answer {
                self.seen.extend(kvs.iter().map(|kv| (kv.key.clone(), kv.clone())));
            }
        }
    }

    pub fn request(&mut self, run: &Run) -> Request {
        match self.chance.below(1000) {
            0..300 => {
                let key = self.key();
                Request::Op(self.put(run, key))
            }
            300..550 => Request::Op(self.get()),
            550..620 => Request::Op(self.list(0)),
            620..660 => {
                let newest = run.newest.load(Ordering::Relaxed);
                let revision = self.chance.between((newest - 200).max(1), newest + 2);
                Request::Op(self.list(revision))
            }
            660..740 => {
                let several = Span::Between(self.key(), self.key());
                let keys = if self.chance.percent(90) { Span::Key(self.key()) } else { several };
                Request::Op(Op::Delete { keys, prev_kv: self.chance.percent(50) })
            }
            740..920 => Request::Txn(self.txn(run)),
            920..935 => {
                Request::Grant { lease: run.lease(true, &mut self.chance), ttl_s: self.chance.between(2, 3) }
            }
            935..960 => Request::Op(self.leased(run)),
            960..985 => Request::KeepAlive(run.lease(false, &mut self.chance)),
            985..995 => Request::Revoke(run.lease(false, &mut self.chance)),
            _ => {
                // The watch of all keys is never overtaken.
                let reached = run.witnessed.load(Ordering::Relaxed);
                Request::Compact(self.chance.between((reached - 300).max(1), reached))
            }
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.chance.below(KEYS)))
    }

    fn span(&mut self) -> Span {
        let (from, to) = (self.key(), self.key());
        match self.chance.below(20) {
            0 => Span::all(),
            1 => Span::From(from),
            _ => Span::Between(from.clone().min(to.clone()), from.max(to)),
        }
    }

    fn put(&mut self, run: &Run, key: Bytes) -> Op {
        self.values += 1;
        let value = Bytes::from(format!("{}-{}", self.client, self.values));
        let lease = if self.chance.percent(20) { run.lease(false, &mut self.chance) } else { 0 };
        Op::Put(Put { key, value, lease, prev_kv: self.chance.percent(50) })
    }

    /// On keys of its own, so that it ends with some.
    fn leased(&mut self, run: &Run) -> Op {
        let lease = run.lease(false, &mut self.chance);
        let key = Bytes::from(format!("q{lease}-{}", self.chance.below(3)));
        self.values += 1;
        let value = Bytes::from(format!("{}-{}", self.client, self.values));
        Op::Put(Put { key, value, lease, prev_kv: false })
    }

    fn get(&mut self) -> Op {
        let keys = Span::Key(self.key());
        Op::Range(Range { keys, revision: 0, limit: 0, serializable: self.chance.percent(10) })
    }

    fn list(&mut self, revision: i64) -> Op {
        let limit = if self.chance.percent(30) { 3 } else { 0 };
        Op::Range(Range { keys: self.span(), revision, limit, serializable: false })
    }

    fn txn(&mut self, run: &Run) -> Txn {
        let compares = (0..1 + self.chance.below(2)).map(|_| self.compare()).collect();
        Txn { compares, success: self.branch(run), failure: self.branch(run) }
    }

    /// Each key once: two puts of a key, or a put and a delete, are not allowed.
    fn branch(&mut self, run: &Run) -> Vec<Op> {
        let mut keys: Vec<Bytes> = (0..3).map(|_| self.key()).collect();
        keys.sort();
        keys.dedup();
        keys.truncate(self.chance.below(4));
        let op = |asker: &mut Asker, key: Bytes| match asker.chance.below(4) {
            0 => Op::Delete { keys: Span::Key(key), prev_kv: asker.chance.percent(50) },
            1 => Op::Range(Range { keys: Span::Key(key), revision: 0, limit: 0, serializable: false }),
            _ => asker.put(run, key),
        };
        keys.into_iter().map(|key| op(self, key)).collect()
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let now = self.seen.get(&key).cloned();
        let field = |pick: fn(&KeyValue) -> i64| now.as_ref().map_or(0, pick);
        let target = match self.chance.below(6) {
            0 => Target::Create(0),
            1 => Target::Create(field(|kv| kv.create)),
            2 => Target::Mod(field(|kv| kv.modified)),
            3 => Target::Version(field(|kv| kv.version)),
            4 => Target::Lease(field(|kv| kv.lease)),
            _ => Target::Value(now.as_ref().map_or_else(Bytes::new, |kv| kv.value.clone())),
        };
        let relations =
            [Relation::Equal, Relation::Equal, Relation::NotEqual, Relation::Greater, Relation::Less];
        Compare { key, target, relation: *self.chance.pick(&relations) }
    }
}
