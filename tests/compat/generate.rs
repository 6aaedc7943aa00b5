//! Random requests with every option. `wild` is how often, in percent, something senseless is chosen.
use bramble_proto::etcdserverpb as pb;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::generate_txn;
use crate::watching::Act;
use crate::words::Request;
use crate::world::World;

/// The longest value sent now and then: above the limit of a request, below that of a message.
const TOO_LARGE_BYTES: usize = 1_700_000;
/// Above the limit of a message.
const MESSAGE_TOO_LARGE_BYTES: usize = 2_200_000;

/// Which RPC to call, by weight.
const WEIGHTS: &[(u32, &str)] = &[
    (30, "Range"),
    (20, "Put"),
    (7, "DeleteRange"),
    (22, "Txn"),
    (2, "Compact"),
    (4, "LeaseGrant"),
    (2, "LeaseRevoke"),
    (2, "LeaseKeepAlive"),
    (3, "LeaseTimeToLive"),
    (1, "LeaseLeases"),
    (1, "Status"),
    (3, "HashKV"),
    (2, "Alarm"),
    (1, "MemberList"),
];

/// A unary request.
pub fn request(world: &World, chance: &mut Chance) -> Request {
    let mut roll = chance.below(100) as u32;
    let chosen = WEIGHTS.iter().find(|(weight, _)| {
        let here = roll < *weight;
        roll = roll.saturating_sub(*weight);
        here
    });
    request_to(chosen.map_or("Range", |(_, rpc)| rpc), world, chance)
}

/// A request to this RPC.
pub fn request_to(rpc: &str, world: &World, chance: &mut Chance) -> Request {
    let wild = *chance.pick(&[0, 5, 5, 30]);
    match rpc {
        "Put" => Request::Put(put(world, chance, wild)),
        "DeleteRange" => Request::Delete(delete(world, chance, wild)),
        "Txn" => Request::Txn(generate_txn::txn(world, chance, wild)),
        "Compact" => Request::Compact(compaction(world, chance, wild)),
        "LeaseGrant" => Request::Grant(grant(world, chance)),
        "LeaseRevoke" => Request::Revoke(pb::LeaseRevokeRequest { id: lease_asked(world, chance) }),
        "LeaseKeepAlive" => Request::KeepAlive(pb::LeaseKeepAliveRequest { id: lease_asked(world, chance) }),
        "LeaseTimeToLive" => Request::TimeToLive(pb::LeaseTimeToLiveRequest {
            id: lease_asked(world, chance),
            keys: chance.percent(60),
        }),
        "LeaseLeases" => Request::Leases,
        "Status" => Request::Status,
        "HashKV" => Request::HashKv(pb::HashKvRequest { revision: world.read_revision(chance, wild + 20) }),
        "Alarm" => Request::Alarm(pb::AlarmRequest {
            action: 0,
            member_id: *chance.pick(&[0, 1, u64::MAX]),
            alarm: *chance.pick(&[0, 1, 2, 7]),
        }),
        "MemberList" => Request::Members(pb::MemberListRequest { linearizable: chance.percent(50) }),
        _ => Request::Range(range(world, chance, wild, true)),
    }
}

/// A range. Enum values that do not exist are only allowed where nothing is written beside.
pub fn range(world: &World, chance: &mut Chance, wild: u32, unknown_enums: bool) -> pb::RangeRequest {
    let (key, range_end) = world.range(chance, wild);
    let unknown = unknown_enums && chance.percent(4);
    pb::RangeRequest {
        key,
        range_end,
        limit: *chance.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5, 10, -1, i64::MAX, i64::MIN]),
        revision: world.read_revision(chance, wild),
        sort_order: if unknown { *chance.pick(&[3, -1]) } else { *chance.pick(&[0, 0, 0, 1, 2]) },
        // A target that does not exist is not compared here; Bramble's answer has a test of its own.
        sort_target: *chance.pick(&[0, 0, 0, 0, 1, 2, 3, 4]),
        serializable: chance.percent(20),
        keys_only: chance.percent(15),
        count_only: chance.percent(10),
        min_mod_revision: filter(world, chance),
        max_mod_revision: filter(world, chance),
        min_create_revision: filter(world, chance),
        max_create_revision: filter(world, chance),
    }
}

fn filter(world: &World, chance: &mut Chance) -> i64 {
    if chance.percent(10) { world.some_revision(chance) } else { 0 }
}

/// A put.
pub fn put(world: &World, chance: &mut Chance, wild: u32) -> pb::PutRequest {
    let ignore_value = chance.percent(8);
    let ignore_lease = chance.percent(8);
    let mut value =
        if ignore_value && !chance.percent(15 + wild) { Bytes::new() } else { world.value(chance) };
    if chance.below(120) == 0 {
        value = Bytes::from(vec![b'v'; *chance.pick(&[TOO_LARGE_BYTES, MESSAGE_TOO_LARGE_BYTES, 300_000])]);
    }
    pb::PutRequest {
        key: world.key(chance, wild),
        value,
        lease: match ignore_lease {
            true if chance.percent(30 + wild) => world.some_lease(chance).max(1),
            true => 0,
            false => world.lease(chance, wild),
        },
        prev_kv: chance.percent(30),
        ignore_value,
        ignore_lease,
    }
}

/// A delete.
pub fn delete(world: &World, chance: &mut Chance, wild: u32) -> pb::DeleteRangeRequest {
    let (key, range_end) = world.range(chance, wild);
    // Deleting everything every time would leave nothing to compare.
    let range_end = if range_end.as_ref() == b"\0" && !chance.percent(15) { Bytes::new() } else { range_end };
    pb::DeleteRangeRequest { key, range_end, prev_kv: chance.percent(40) }
}

fn compaction(world: &World, chance: &mut Chance, wild: u32) -> pb::CompactionRequest {
    let revision = match chance.below(100) {
        // Revision 0 can be compacted once, as the first.
        0..=69 if world.floor < 0 => 0,
        0..=9 => world.floor,
        10..=14 => 0,
        15..=17 => -7,
        18..=24 => world.revision + 1,
        25..=29 => *chance.pick(&[i64::MAX, i64::MIN]),
        30..=36 => world.revision,
        _ if chance.percent(wild) => world.floor - 1,
        _ => chance.between(world.floor.max(0) + 1, world.revision.min(world.floor.max(1) + 40)),
    };
    pb::CompactionRequest { revision, physical: chance.percent(35) }
}

fn grant(world: &World, chance: &mut Chance) -> pb::LeaseGrantRequest {
    let picked = chance.percent(if world.picked_leases { 60 } else { 20 });
    let id = if picked {
        0
    } else {
        *chance.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 77, -1, -9, i64::MAX, i64::MIN])
    };
    let ttl = match chance.below(10) {
        0 | 3 => *chance.pick(&[0, -5, 1, 1, 1, i64::MIN]),
        1 => *chance.pick(&[9_000_000_001, i64::MAX]),
        2 => 9_000_000_000,
        _ => chance.between(100, 5000),
    };
    pb::LeaseGrantRequest { ttl, id }
}

fn lease_asked(world: &World, chance: &mut Chance) -> i64 {
    match chance.below(10) {
        0 => 0,
        1 => *chance.pick(&[987_654, -3, i64::MIN]),
        _ => world.some_lease(chance),
    }
}

/// What to do with a stream whose living and retired watchers are these.
pub fn act(world: &World, chance: &mut Chance, living: &[i64], retired: &[i64]) -> Act {
    match chance.below(100) {
        0..=64 => Act::Create(watch(world, chance, living)),
        65..=76 if !living.is_empty() => Act::Cancel(*chance.pick(living)),
        77..=79 if !retired.is_empty() => Act::Cancel(*chance.pick(retired)),
        80..=82 => Act::Cancel(*chance.pick(&[4242, -1, i64::MIN])),
        83..=95 => Act::Progress,
        _ => Act::Nothing,
    }
}

fn watch(world: &World, chance: &mut Chance, living: &[i64]) -> pb::WatchCreateRequest {
    let (key, range_end) = world.range(chance, 10);
    let watch_id = match chance.below(20) {
        0 => *chance.pick(&[7, 100, -5, i64::MAX]),
        1 if !living.is_empty() => *chance.pick(living),
        _ => 0,
    };
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: start_revision(world, chance),
        progress_notify: chance.percent(20),
        filters: chance.pick(&[&[][..], &[], &[], &[0], &[1], &[0, 1], &[9]]).to_vec(),
        prev_kv: chance.percent(50),
        watch_id,
        fragment: chance.percent(30),
    }
}

fn start_revision(world: &World, chance: &mut Chance) -> i64 {
    match chance.below(20) {
        0..=6 => 0,
        7 => -1,
        8 => *chance.pick(&[i64::MIN, -1000]),
        9 => world.revision,
        10 => world.revision + 1,
        11 => world.revision + chance.between(2, 15),
        12 => world.floor.max(1),
        13..=15 => (world.floor - chance.between(1, 20)).max(1),
        _ => chance.between(world.floor.max(1), world.revision),
    }
}
