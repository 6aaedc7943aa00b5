//! What the generator knows about the two servers: enough to aim at edges, never what to expect.
use std::collections::{BTreeMap, BTreeSet};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::response_op::Response;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::words::{Reply, Request};
use crate::world_auth::AuthWorld;

/// What a session is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keys, leases, watches; the bytes of records are equal, so hashes are compared.
    Plain,
    /// The same with leases whose ids the server picks.
    Picked,
    /// Users, roles and permissions beside.
    Auth,
    /// Alarms beside.
    Alarms,
}

/// In this order, over and over.
pub const KINDS: [Kind; 6] = [Kind::Plain, Kind::Auth, Kind::Picked, Kind::Auth, Kind::Alarms, Kind::Auth];

/// See the module.
#[derive(Debug)]
pub struct World {
    pub kind: Kind,
    /// The newest revision.
    pub revision: i64,
    /// The compaction floor, -1 before the first.
    pub floor: i64,
    /// Revisions at which was compacted.
    pub compactions: Vec<i64>,
    /// Revisions at which something was put after something was deleted.
    pub remade: BTreeSet<i64>,
    /// Leases that exist, by the oracle's id.
    pub leases: Vec<i64>,
    /// Kind and member of the alarms that are on.
    pub alarms: BTreeSet<(i32, u64)>,
    /// Keys that won an election, and at which revision they were made.
    pub held: BTreeMap<Bytes, i64>,
    pub auth: AuthWorld,
}

/// Few keys, so that requests meet; some of them nasty.
const KEYS: &[&[u8]] = &[
    b"a",
    b"ab",
    b"abc",
    b"a\0",
    b"a\xff",
    b"b",
    b"ba",
    b"bb",
    b"c",
    b"d",
    b"e",
    b"f",
    b"k/1",
    b"k/2",
    b"k/3",
    b"k/4",
    b"k/5",
    b"k/6",
    b"l",
    b"z",
    b"\0",
    b"\0\0",
    b"\x01",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff",
];
const VALUES: &[&[u8]] = &[b"", b"x", b"y", b"z", b"xx", b"\0", b"\xff", b"a longer value, to have one"];

impl World {
    /// A fresh store.
    pub fn new(kind: Kind) -> Self {
        World {
            kind,
            revision: 1,
            floor: -1,
            compactions: Vec::new(),
            remade: BTreeSet::new(),
            leases: Vec::new(),
            alarms: BTreeSet::new(),
            held: BTreeMap::new(),
            auth: AuthWorld::default(),
        }
    }

    /// Whether ids that the server picks may hang on keys. Then the bytes of records differ between the
    /// sides, so hashes are not compared, nor the order of such ids.
    pub fn picked_leases(&self) -> bool {
        self.kind == Kind::Picked
    }

    /// Follows what the oracle has done. The leases that it granted are the session's business.
    pub fn learn(&mut self, request: &Request, reply: &Reply) {
        match (request, reply) {
            (Request::Compact(asked), _) => {
                self.floor = asked.revision;
                self.compactions.push(asked.revision);
            }
            (Request::LeaseRevoke(asked), _) => self.leases.retain(|id| *id != asked.id),
            (_, Reply::Txn(told)) if puts_after_deletes(told, &mut false) => {
                self.remade.extend(told.header.as_ref().map(|header| header.revision));
            }
            (_, Reply::Campaign(won)) => {
                self.held.extend(won.leader.iter().map(|leader| (leader.key.clone(), leader.rev)));
            }
            (Request::Alarm(asked), Reply::Alarm(told)) => {
                for alarm in told.alarms.iter().map(|alarm| (alarm.alarm, alarm.member_id)) {
                    match asked.action {
                        1 => drop(self.alarms.insert(alarm)),
                        2 => drop(self.alarms.remove(&alarm)),
                        _ => {}
                    }
                }
            }
            _ => self.auth.learn(request),
        }
    }

    /// A key; now and then none.
    pub fn key(&self, chance: &mut Chance, wild: u32) -> Bytes {
        if chance.percent(wild / 2) {
            return Bytes::new();
        }
        if chance.percent(1) {
            return Bytes::from(vec![b'm'; 300]);
        }
        Bytes::from_static(chance.pick::<&[u8]>(KEYS))
    }

    /// A range: key and range_end in all their meanings.
    pub fn range(&self, chance: &mut Chance, wild: u32) -> (Bytes, Bytes) {
        let key = self.key(chance, wild);
        let end = match chance.below(100) {
            0..=34 => Bytes::new(),
            35..=54 => prefix_end(&key),
            55..=69 => Bytes::from_static(b"\0"),
            70..=74 => return (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            75..=79 => key.clone(),
            _ => Bytes::from_static(chance.pick::<&[u8]>(KEYS)),
        };
        (key, end)
    }

    /// A value from a small set, so that values tie.
    pub fn value(&self, chance: &mut Chance) -> Bytes {
        Bytes::from_static(chance.pick::<&[u8]>(VALUES))
    }

    /// A revision to read at.
    pub fn read_revision(&self, chance: &mut Chance, wild: u32) -> i64 {
        if chance.percent(wild) {
            return match chance.below(6) {
                0 => -1,
                1 => -5,
                2 => i64::MIN,
                3 => i64::MAX,
                4 => self.revision + 1,
                _ => self.floor - 1,
            };
        }
        match chance.below(10) {
            0..=5 => 0,
            6 => self.revision,
            7 => self.floor.max(1),
            _ => chance.between(self.floor.max(1), self.revision),
        }
    }

    /// A revision somewhere around the history, for filters and compares.
    pub fn some_revision(&self, chance: &mut Chance) -> i64 {
        match chance.below(10) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => self.revision,
            _ => chance.between((self.revision - 30).max(1), self.revision + 1),
        }
    }

    /// A lease for a put: mostly none.
    pub fn lease(&self, chance: &mut Chance, wild: u32) -> i64 {
        match chance.below(100) {
            0..=69 => 0,
            roll if roll < 70 + wild as usize / 2 => *chance.pick(&[987_654, -3, i64::MIN]),
            _ => self.some_lease(chance),
        }
    }

    /// A lease that exists, if there is one.
    pub fn some_lease(&self, chance: &mut Chance) -> i64 {
        if self.leases.is_empty() { 0 } else { *chance.pick(&self.leases) }
    }
}

/// Whether something was put after something was deleted, here or before.
fn puts_after_deletes(told: &pb::TxnResponse, deleted: &mut bool) -> bool {
    told.responses.iter().any(|op| match &op.response {
        Some(Response::ResponseDeleteRange(told)) => {
            *deleted |= told.deleted > 0;
            false
        }
        Some(Response::ResponsePut(_)) => *deleted,
        Some(Response::ResponseTxn(told)) => puts_after_deletes(told, deleted),
        _ => false,
    })
}

/// The end of the range of keys that begin with `prefix`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff);
    let Some(last) = kept else { return Bytes::from_static(b"\0") };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    end.into()
}
