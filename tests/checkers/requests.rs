//! What the world's clients ask for.
use bramble_tests::history::{Compare, Op, Put, Range, Relation, Request, Span, Target, Txn};
use bytes::Bytes;

use crate::world::World;

impl World {
    pub fn request(&mut self) -> Request {
        match self.chance.below(100) {
            0..30 => Request::Op(self.put()),
            30..54 => Request::Op(self.get()),
            54..60 => Request::Op(self.list(0)),
            60..65 => {
                let revision = self.past() + i64::from(self.chance.percent(5)) * 1000;
                Request::Op(self.list(revision))
            }
            65..73 => Request::Op(self.delete()),
            73..88 => Request::Txn(self.txn()),
            88 => Request::Compact(self.past()),
            89..93 => {
                let lease = self.lease(true);
                Request::Grant { lease, ttl_s: self.chance.between(2, 5) }
            }
            93..98 => Request::KeepAlive(self.lease(false)),
            _ => Request::Revoke(self.lease(false)),
        }
    }

    fn put(&mut self) -> Op {
        let key = self.key();
        self.put_of(key)
    }

    fn put_of(&mut self, key: Bytes) -> Op {
        let value = self.value();
        let lease = if self.chance.percent(25) { self.lease(false) } else { 0 };
        Op::Put(Put { key, value, lease, prev_kv: self.chance.percent(50) })
    }

    fn get(&mut self) -> Op {
        let keys = Span::Key(self.key());
        Op::Range(Range { keys, revision: 0, limit: 0, serializable: self.chance.percent(10) })
    }

    fn list(&mut self, revision: i64) -> Op {
        let keys = self.span();
        let limit = if self.chance.percent(30) { 2 } else { 0 };
        Op::Range(Range { keys, revision, limit, serializable: false })
    }

    fn delete(&mut self) -> Op {
        let keys = if self.chance.percent(90) { Span::Key(self.key()) } else { self.span() };
        Op::Delete { keys, prev_kv: self.chance.percent(50) }
    }

    fn txn(&mut self) -> Txn {
        let compares = (0..1 + self.chance.below(2)).map(|_| self.compare()).collect();
        Txn { compares, success: self.branch(), failure: self.branch() }
    }

    /// Each key once: etcd refuses two puts of a key, and a put with a delete of it.
    fn branch(&mut self) -> Vec<Op> {
        let mut keys: Vec<Bytes> = (0..3).map(|_| self.key()).collect();
        keys.sort();
        keys.dedup();
        keys.truncate(self.chance.below(4));
        let op = |world: &mut World, key: Bytes| match world.chance.below(4) {
            0 => Op::Delete { keys: Span::Key(key), prev_kv: world.chance.percent(50) },
            1 => Op::Range(Range { keys: Span::Key(key), revision: 0, limit: 0, serializable: false }),
            _ => world.put_of(key),
        };
        keys.into_iter().map(|key| op(self, key)).collect()
    }

    fn compare(&mut self) -> Compare {
        let key = self.key();
        let now = self.state.get(&key).cloned();
        let field = |pick: fn(&bramble_tests::history::KeyValue) -> i64| now.as_ref().map_or(0, pick);
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
