//! Random requests with every option. `wild` is how often, in percent, something senseless is chosen.
use bramble_proto::etcdserverpb as pb;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::call::{Asker, Call, Identity};
use crate::names::{ONE_BELOW, SELF};
use crate::watching::{Act, Twin};
use crate::words::Request;
use crate::world::{Kind, World};
use crate::{generate_auth, generate_locks, generate_txn};

/// The longest value sent now and then: above the limit of a request, below that of a message.
const TOO_LARGE_BYTES: usize = 1_700_000;
/// How many leases there are before an alarm is raised: none are granted while it is on.
const LEASES_BEFORE_ALARM: usize = 3;
/// Above the limit of a message.
const MESSAGE_TOO_LARGE_BYTES: usize = 2_200_000;

/// Which RPC to call, by weight, whatever the session is about.
const COMMON: &[(u32, &str)] = &[
    (300, "Range"),
    (200, "Put"),
    (70, "DeleteRange"),
    (220, "Txn"),
    (30, "Compact"),
    (50, "LeaseGrant"),
    (25, "LeaseRevoke"),
    (30, "LeaseKeepAlive"),
    (30, "LeaseTimeToLive"),
    (10, "LeaseLeases"),
    (10, "Status"),
    (30, "HashKV"),
    (20, "Alarm"),
    (10, "MemberList"),
    (4, "Hash"),
    (2, "Defragment"),
    (8, "MoveLeader"),
    (12, "Downgrade"),
];
/// Beside those, without users: these ask the server in their own name.
const LOCKS: &[(u32, &str)] =
    &[(8, "Lock"), (6, "Unlock"), (12, "Campaign"), (8, "Proclaim"), (6, "Leader"), (8, "Resign")];
/// Beside those, with users.
const AUTH: &[(u32, &str)] = &[
    (2, "AuthEnable"),
    (8, "AuthDisable"),
    (10, "AuthStatus"),
    (70, "Authenticate"),
    (40, "UserAdd"),
    (15, "UserGet"),
    (5, "UserList"),
    (12, "UserDelete"),
    (12, "UserChangePassword"),
    (50, "UserGrantRole"),
    (20, "UserRevokeRole"),
    (30, "RoleAdd"),
    (15, "RoleGet"),
    (5, "RoleList"),
    (12, "RoleDelete"),
    (70, "RoleGrantPermission"),
    (35, "RoleRevokePermission"),
];

/// What a session calls beside [`COMMON`].
fn special(kind: Kind) -> &'static [(u32, &'static str)] {
    match kind {
        Kind::Plain | Kind::Alarms => LOCKS,
        Kind::Picked => &[],
        Kind::Auth => AUTH,
    }
}

/// Whether sessions of this kind call this RPC.
pub fn is_called(kind: Kind, rpc: &str) -> bool {
    COMMON.iter().chain(special(kind)).any(|(_, name)| *name == rpc)
}

/// A call of any RPC.
pub fn call(world: &World, chance: &mut Chance) -> Call {
    if world.kind == Kind::Auth
        && chance.percent(30)
        && let Some(call) = generate_auth::missing(world, chance)
    {
        return call;
    }
    // Most of such a session is under an alarm.
    if world.kind == Kind::Alarms && world.alarms.is_empty() && chance.percent(30) {
        let granted = world.leases.len() >= LEASES_BEFORE_ALARM;
        return call_to(if granted { "Alarm" } else { "LeaseGrant" }, world, chance);
    }
    let all = || COMMON.iter().chain(special(world.kind));
    let sum: u32 = all().map(|(weight, _)| weight).sum();
    let mut roll = chance.below(sum as usize) as u32;
    let chosen = all().find(|(weight, _)| {
        let here = roll < *weight;
        roll = roll.saturating_sub(*weight);
        here
    });
    call_to(chosen.map_or("Range", |(_, rpc)| rpc), world, chance)
}

/// A call of this RPC.
pub fn call_to(rpc: &str, world: &World, chance: &mut Chance) -> Call {
    let request = request_to(rpc, world, chance);
    around(request, world, chance)
}

/// Adds who asks, and what may go beside a request.
fn around(mut request: Request, world: &World, chance: &mut Chance) -> Call {
    if world.kind == Kind::Auth {
        generate_auth::turn_ranges(&mut request);
    }
    let identity = match world.kind {
        Kind::Auth => generate_auth::identity(&request, world, chance),
        _ => Identity::Nobody,
    };
    Call { request, asker: asker(identity, chance) }
}

/// Who opens a stream of watches.
pub fn watcher(world: &World, chance: &mut Chance) -> Asker {
    let like = match chance.percent(30) {
        true => Request::Status(pb::StatusRequest {}),
        false => Request::Range(pb::RangeRequest::default()),
    };
    around(like, world, chance).asker
}

fn asker(identity: Identity, chance: &mut Chance) -> Asker {
    let metadata = match chance.below(30) {
        0 => vec![("hasleader", b"true".as_slice())],
        1 => vec![("client-api-version", b"3.5".as_slice())],
        2 => vec![("grpc-timeout", b"1H".as_slice())],
        _ => Vec::new(),
    };
    Asker { identity, in_authorization: chance.percent(20), metadata }
}

fn request_to(rpc: &str, world: &World, chance: &mut Chance) -> Request {
    let wild = *chance.pick(&[0, 5, 5, 30]);
    match rpc {
        "Range" => Request::Range(range(world, chance, wild, true)),
        "Put" => Request::Put(put(world, chance, wild)),
        "DeleteRange" => Request::DeleteRange(delete(world, chance, wild)),
        "Txn" => Request::Txn(generate_txn::txn(world, chance, wild)),
        "Compact" => Request::Compact(compaction(world, chance, wild)),
        "LeaseGrant" => Request::LeaseGrant(grant(world, chance)),
        "LeaseRevoke" => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: lease_asked(world, chance) }),
        "LeaseKeepAlive" => {
            Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: lease_asked(world, chance) })
        }
        "LeaseTimeToLive" => Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest {
            id: lease_asked(world, chance),
            keys: chance.percent(60),
        }),
        "LeaseLeases" => Request::LeaseLeases(pb::LeaseLeasesRequest {}),
        "MemberList" => Request::MemberList(pb::MemberListRequest { linearizable: chance.percent(50) }),
        "HashKV" => Request::HashKV(pb::HashKvRequest { revision: world.read_revision(chance, wild + 20) }),
        _ => generate_auth::request_to(rpc, world, chance)
            .or_else(|| generate_locks::request_to(rpc, world, chance))
            .unwrap_or_else(|| maintenance(rpc, world, chance)),
    }
}

fn maintenance(rpc: &str, world: &World, chance: &mut Chance) -> Request {
    match rpc {
        "Alarm" => Request::Alarm(alarm(world, chance)),
        "Hash" => Request::Hash(pb::HashRequest {}),
        "Defragment" => Request::Defragment(pb::DefragmentRequest {}),
        "MoveLeader" => {
            let target_id = *chance.pick(&[SELF, 0, 77, u64::MAX]);
            Request::MoveLeader(pb::MoveLeaderRequest { target_id })
        }
        "Downgrade" => {
            let version =
                chance.pick(&[ONE_BELOW, ONE_BELOW, "", "x", "3", "3.0", "4.0.0", "9.9"]).to_string();
            let version = if chance.percent(20) { format!("{version}.0") } else { version };
            // To enable one has a walk of its own: the oracle does it, and answers after seven seconds.
            Request::Downgrade(pb::DowngradeRequest { action: *chance.pick(&[0, 0, 2, 7, -1]), version })
        }
        _ => Request::Status(pb::StatusRequest {}),
    }
}

/// Alarms of one kind at a time: of two, the oracle forgets the first. An action that does not exist is
/// not compared, nor an alarm of a kind that does not exist raised: the oracle does not survive it.
fn alarm(world: &World, chance: &mut Chance) -> pb::AlarmRequest {
    let member_id = *chance.pick(&[SELF, SELF, 0, 77, u64::MAX]);
    if world.kind != Kind::Alarms || chance.percent(20) {
        return pb::AlarmRequest { action: 0, member_id, alarm: *chance.pick(&[0, 1, 2, 7]) };
    }
    let on: Vec<&(i32, u64)> = world.alarms.iter().collect();
    match on.first() {
        Some((_, _)) if chance.percent(75) => {
            let (alarm, member_id) = **chance.pick(&on);
            pb::AlarmRequest { action: 2, member_id, alarm }
        }
        Some((kind, _)) if chance.percent(50) => pb::AlarmRequest { action: 1, member_id, alarm: *kind },
        None if world.leases.len() < LEASES_BEFORE_ALARM => {
            pb::AlarmRequest { action: 0, member_id, alarm: 0 }
        }
        None if chance.percent(70) => {
            pb::AlarmRequest { action: 1, member_id, alarm: *chance.pick(&[0, 1, 1, 2, 2]) }
        }
        _ => pb::AlarmRequest { action: 2, member_id, alarm: *chance.pick(&[0, 1, 2, 7]) },
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
    let picked = chance.percent(if world.picked_leases() { 60 } else { 20 });
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

/// What to do with a stream that has these living watchers.
pub fn act(world: &World, chance: &mut Chance, living: &[i64], twin: &Twin) -> Act {
    let retired = &twin.retired;
    match chance.below(100) {
        0..=64 => {
            let mut create = watch(world, chance, living);
            // With users, the oracle asks of an open end only whether its first key may be read.
            if world.kind == Kind::Auth && create.range_end.as_ref() == b"\0" {
                create.range_end = Bytes::new();
            }
            // What the oracle has erased at the floor must be told from what it has not sent yet.
            if twin.waits(world.revision) && create.start_revision == world.floor {
                create.start_revision = 0;
            }
            if world.kind == Kind::Auth {
                generate_auth::turn(&mut create.key, &mut create.range_end);
            }
            Act::Create(create)
        }
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
