//! Random transactions: nested up to three levels, every compare, every shape of operation.
use std::collections::HashSet;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::TargetUnion;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::generate::{delete, put, range};
use crate::world::World;

/// How many operations etcd allows in a transaction.
const OPS_MAX: usize = 128;
/// How deep the generated ones nest.
const DEPTH_MAX: u32 = 3;
/// The alarm that there is no space.
const NO_SPACE: i32 = 1;

/// What one transaction is about.
struct Plan {
    wild: u32,
    /// Writes avoid keys that the transaction has written, so that most are accepted.
    tidy: bool,
    /// No writes at all; only then enum values that do not exist, which the two sides take differently.
    reads: bool,
    /// Keys written so far.
    written: HashSet<Bytes>,
}

/// A transaction that the oracle survives.
pub fn txn(world: &World, chance: &mut Chance, wild: u32) -> pb::TxnRequest {
    if chance.percent(wild / 5) {
        return crowded(world, chance);
    }
    if chance.percent(2) {
        return pb::TxnRequest::default();
    }
    let mut plan =
        Plan { wild, tidy: chance.percent(70), reads: chance.percent(15), written: HashSet::new() };
    loop {
        let candidate = level(world, chance, &mut plan, 0);
        let full = world.alarms.iter().any(|(kind, _)| *kind == NO_SPACE);
        if !(keeps_what_it_deletes(&candidate) || full && puts_only_below(&candidate)) {
            return candidate;
        }
    }
}

fn level(world: &World, chance: &mut Chance, plan: &mut Plan, depth: u32) -> pb::TxnRequest {
    let compares = *chance.pick(&[0, 1, 1, 1, 2, 3]);
    pb::TxnRequest {
        compare: (0..compares).map(|_| compare(world, chance, plan.wild, plan.reads)).collect(),
        success: branch(world, chance, plan, depth),
        failure: branch(world, chance, plan, depth),
    }
}

fn branch(world: &World, chance: &mut Chance, plan: &mut Plan, depth: u32) -> Vec<pb::RequestOp> {
    let ops = *chance.pick(&[0, 1, 1, 2, 2, 3, 4]);
    (0..ops).map(|_| pb::RequestOp { request: op(world, chance, plan, depth) }).collect()
}

fn op(world: &World, chance: &mut Chance, plan: &mut Plan, depth: u32) -> Option<Op> {
    let wild = plan.wild / 3;
    match chance.below(100) {
        0..=29 => Some(Op::RequestRange(range(world, chance, wild, plan.reads))),
        30..=44 if depth < DEPTH_MAX => Some(Op::RequestTxn(level(world, chance, plan, depth + 1))),
        45..=46 if chance.percent(wild) => None,
        _ if plan.reads => Some(Op::RequestRange(range(world, chance, wild, true))),
        47..=84 => {
            let mut request = put(world, chance, wild);
            for _ in 0..20 {
                if !plan.tidy || !plan.written.contains(&request.key) {
                    break;
                }
                request = put(world, chance, wild);
            }
            plan.written.insert(request.key.clone());
            request.value.truncate(1000);
            Some(Op::RequestPut(request))
        }
        _ => {
            let mut request = delete(world, chance, wild);
            if plan.tidy {
                request.range_end = Bytes::new();
                if !plan.written.insert(request.key.clone()) {
                    return Some(Op::RequestRange(range(world, chance, wild, false)));
                }
            }
            Some(Op::RequestDeleteRange(request))
        }
    }
}

fn compare(world: &World, chance: &mut Chance, wild: u32, unknown: bool) -> pb::Compare {
    let (key, range_end) = world.range(chance, wild / 3);
    let target =
        if unknown && chance.percent(15) { *chance.pick(&[5, -1]) } else { *chance.pick(&[0, 1, 2, 3, 4]) };
    let mut result =
        if unknown && chance.percent(15) { *chance.pick(&[4, -1]) } else { *chance.pick(&[0, 0, 1, 2, 3]) };
    let about = if chance.percent(8) { *chance.pick(&[0, 1, 2, 3, 4]) } else { target };
    if world.picked_leases() && target == 4 && (result == 1 || result == 2) {
        result = 0;
    }
    let target_union = match about {
        _ if chance.percent(6) => None,
        0 => Some(TargetUnion::Version(*chance.pick(&[0, 1, 2, 3, -1, i64::MAX]))),
        1 => Some(TargetUnion::CreateRevision(world.some_revision(chance))),
        2 => Some(TargetUnion::ModRevision(world.some_revision(chance))),
        3 => Some(TargetUnion::Value(world.value(chance))),
        4 => Some(TargetUnion::Lease(if chance.percent(40) { 0 } else { world.some_lease(chance) })),
        _ => None,
    };
    let range_end = if chance.percent(60) { Bytes::new() } else { range_end };
    pb::Compare { result, target, key, range_end, target_union }
}

/// More compares or operations than allowed, or exactly as many, flat or nested.
fn crowded(world: &World, chance: &mut Chance) -> pb::TxnRequest {
    let count = *chance.pick(&[OPS_MAX, OPS_MAX + 1]);
    let reads = |count: usize| -> Vec<pb::RequestOp> {
        let read = pb::RangeRequest { key: Bytes::from_static(b"a"), ..Default::default() };
        vec![pb::RequestOp { request: Some(Op::RequestRange(read)) }; count]
    };
    match chance.below(4) {
        0 => pb::TxnRequest { success: reads(count), ..Default::default() },
        1 => pb::TxnRequest { failure: reads(count), ..Default::default() },
        2 => {
            let compare = compare(world, chance, 0, false);
            pb::TxnRequest { compare: vec![compare; count], ..Default::default() }
        }
        _ => {
            let inner = pb::TxnRequest { success: reads(1), ..Default::default() };
            let mut success = reads(count - 3);
            success.push(pb::RequestOp { request: Some(Op::RequestTxn(inner)) });
            pb::TxnRequest { success, ..Default::default() }
        }
    }
}

/// A put that keeps the value or lease of a key which the same transaction deletes before: not compared
/// here, Bramble's answer has a test of its own.
fn keeps_what_it_deletes(txn: &pb::TxnRequest) -> bool {
    let mut deletes = false;
    let mut keeps = false;
    look(txn, &mut deletes, &mut keeps);
    deletes && keeps
}

/// Puts in nested transactions and nowhere else. Without space etcd counts those since 3.6.14, as Bramble
/// does; the oracle would make them. Bramble's answer has a test of its own.
fn puts_only_below(txn: &pb::TxnRequest) -> bool {
    let ops = || txn.success.iter().chain(&txn.failure).filter_map(|op| op.request.as_ref());
    let below = ops().any(|op| matches!(op, Op::RequestTxn(inner) if puts_at_all(inner)));
    below && !ops().any(|op| matches!(op, Op::RequestPut(_)))
}

fn puts_at_all(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestPut(_)) => true,
        Some(Op::RequestTxn(inner)) => puts_at_all(inner),
        _ => false,
    })
}

fn look(txn: &pb::TxnRequest, deletes: &mut bool, keeps: &mut bool) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Op::RequestDeleteRange(_)) => *deletes = true,
            Some(Op::RequestPut(put)) => *keeps |= put.ignore_value || put.ignore_lease,
            Some(Op::RequestTxn(inner)) => look(inner, deletes, keeps),
            _ => {}
        }
    }
}
