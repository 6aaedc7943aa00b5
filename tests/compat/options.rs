//! Which options a request uses, for the grid: each option with the class of its value.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::TargetUnion;
use bramble_proto::etcdserverpb::request_op::Request as Op;

use tonic::Code;

use crate::call::{Call, Identity};
use crate::watching::Twin;
use crate::words::{Outcome, Reply, Request};
use crate::world::{Kind, World};
use crate::{blocked, options_auth};

/// The options of a call.
pub fn of(call: &Call, world: &World) -> Vec<String> {
    let mut found = vec!["any".to_string()];
    match &call.request {
        Request::Range(it) => range(it, world, &mut found),
        Request::Put(it) => put(it, world, &mut found),
        Request::DeleteRange(it) => delete(it, &mut found),
        Request::Txn(it) => txn(it, world, 0, &mut found),
        Request::Compact(it) => {
            found.push(format!("revision={}", revision(it.revision, world)));
            found.push(format!("physical={}", it.physical));
        }
        Request::LeaseGrant(it) => {
            found.push(format!("id={}", if it.id == 0 { "picked" } else { sign(it.id) }));
            found.push(format!("ttl={}", ttl(it.ttl)));
        }
        Request::LeaseRevoke(it) => found.push(lease("id", it.id, world)),
        Request::LeaseKeepAlive(it) => found.push(lease("id", it.id, world)),
        Request::LeaseTimeToLive(it) => {
            found.push(lease("id", it.id, world));
            found.push(format!("keys={}", it.keys));
        }
        Request::HashKV(it) => found.push(format!("revision={}", revision(it.revision, world))),
        Request::Alarm(it) => {
            found.push(format!("action={} x alarm={}", it.action, it.alarm));
            found.push(format!("alarm={}", it.alarm));
        }
        Request::MemberList(it) => found.push(format!("linearizable={}", it.linearizable)),
        other => options_auth::of(other, world, &mut found),
    }
    found.extend(around(call, world));
    found.sort();
    found.dedup();
    found
}

/// What goes beside a request, and what state it meets.
fn around(call: &Call, world: &World) -> Option<String> {
    let path = call.request.path();
    match world.kind {
        Kind::Auth if !world.auth.enabled && path.contains(".Maintenance/") => None,
        Kind::Auth => Some(of_identity(&call.asker.identity, world)),
        _ if !path.contains(".KV/") && !path.contains(".Lease/") => None,
        Kind::Alarms => {
            let on = world.alarms.first().map(|(kind, _)| *kind);
            Some(format!("{WITH_ALARM}{on:?}"))
        }
        Kind::Plain | Kind::Picked => call.asker.metadata.first().map(|(key, _)| format!("{BESIDE}{key}")),
    }
}

const AS: &str = "as ";
const WITH_ALARM: &str = "with alarm ";
const BESIDE: &str = "beside ";

/// Who asks, and whether that matters.
pub fn of_identity(identity: &Identity, world: &World) -> String {
    let class = if world.auth.enabled { world.auth.class(identity) } else { "anyone, auth disabled" };
    format!("{AS}{class}")
}

/// What a request without a token hears; so does one that adds a user without a name.
const NOBODY: &str = "etcdserver: user name is empty";

/// Outcomes that only some sessions meet.
const ALARM: &str = "alarm";
const DENIED: &str = "denied";
const UNKNOWN_ASKER: &str = "unknown asker";

/// What is heard while an alarm is on.
const ALARMS: [&str; 2] = ["etcdserver: mvcc: database space exceeded", "etcdserver: corrupt cluster"];

/// Whether sessions of this kind can meet this option with this outcome.
pub fn can_be_met(kind: Kind, option: &str, outcome: &str) -> bool {
    let told_of_alarm = outcome == ALARM || ALARMS.iter().any(|text| option.ends_with(text));
    let told_of_asker = [DENIED, UNKNOWN_ASKER].contains(&outcome);
    if told_of_alarm && kind != Kind::Alarms || told_of_asker && kind != Kind::Auth {
        return false;
    }
    match kind {
        Kind::Auth => !option.starts_with(WITH_ALARM) && !option.starts_with(BESIDE),
        Kind::Alarms => !option.starts_with(AS) && !option.starts_with(BESIDE),
        Kind::Plain | Kind::Picked => !option.starts_with(AS) && !option.starts_with(WITH_ALARM),
    }
}

/// The class of an outcome.
pub fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Err(refused) if refused.code == Code::PermissionDenied => DENIED,
        Err(refused) if *refused == blocked::refused() => "blocked",
        Err(refused) if ALARMS.contains(&refused.text.as_str()) => ALARM,
        Err(refused) if refused.code == Code::Unauthenticated || refused.text == NOBODY => UNKNOWN_ASKER,
        Err(_) => "refused",
        Ok(Reply::Range(range)) if range.more => "more",
        Ok(Reply::Range(range)) if range.count == 0 => "none",
        Ok(Reply::DeleteRange(delete)) if delete.deleted == 0 => "none",
        Ok(Reply::Txn(txn)) if txn.succeeded => "then",
        Ok(Reply::Txn(_)) => "else",
        Ok(Reply::LeaseTimeToLive(left)) if left.ttl < 0 => "none",
        Ok(Reply::LeaseKeepAlive(alive)) if alive.ttl == 0 => "none",
        Ok(_) => "ok",
    }
}

/// The options of a new watcher.
pub fn of_watch(create: &pb::WatchCreateRequest, twin: &Twin, world: &World) -> Vec<String> {
    let mut found = vec![
        "any".to_string(),
        format!("range={}", keys(&create.key, &create.range_end)),
        format!("start={}", revision(create.start_revision, world)),
        format!("filters={:?}", create.filters),
        format!("prev_kv={}", create.prev_kv),
        format!("fragment={}", create.fragment),
        format!("progress_notify={}", create.progress_notify),
        format!("watch_id={}", if create.watch_id == 0 { "picked" } else { sign(create.watch_id) }),
    ];
    if world.kind == Kind::Auth {
        found.push(of_identity(&twin.asker.identity, world));
    }
    found
}

fn range(it: &pb::RangeRequest, world: &World, found: &mut Vec<String>) {
    found.push(format!("range={}", keys(&it.key, &it.range_end)));
    found.push(format!(
        "limit={}",
        if it.limit == 0 {
            "0"
        } else if it.limit == i64::MAX {
            "max"
        } else {
            sign(it.limit)
        }
    ));
    found.push(format!("revision={}", revision(it.revision, world)));
    let (order, target) = (known(it.sort_order, 2), known(it.sort_target, 4));
    if order == "unknown" {
        found.push("order=unknown".to_string());
    } else {
        found.push(format!("order={order} x target={target}"));
    }
    let flags = [
        (it.serializable, "serializable"),
        (it.keys_only, "keys_only"),
        (it.count_only, "count_only"),
        (it.min_mod_revision != 0, "min_mod_revision"),
        (it.max_mod_revision != 0, "max_mod_revision"),
        (it.min_create_revision != 0, "min_create_revision"),
        (it.max_create_revision != 0, "max_create_revision"),
    ];
    found.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_string()));
}

fn put(it: &pb::PutRequest, world: &World, found: &mut Vec<String>) {
    let size = match it.value.len() {
        0 => "0",
        1..=1000 => "small",
        1001..=1_000_000 => "large",
        1_000_001..=2_000_000 => "above a request",
        _ => "above a message",
    };
    found.push(format!("key={}", if it.key.is_empty() { "none" } else { "some" }));
    found.push(format!("value={size}"));
    if it.lease != 0 {
        found.push(lease("lease", it.lease, world));
    }
    let flags =
        [(it.prev_kv, "prev_kv"), (it.ignore_value, "ignore_value"), (it.ignore_lease, "ignore_lease")];
    found.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_string()));
}

fn delete(it: &pb::DeleteRangeRequest, found: &mut Vec<String>) {
    found.push(format!("range={}", keys(&it.key, &it.range_end)));
    found.push(format!("prev_kv={}", it.prev_kv));
}

fn txn(it: &pb::TxnRequest, world: &World, depth: usize, found: &mut Vec<String>) {
    found.push(format!("depth={depth}"));
    found.extend(it.compare.iter().flat_map(compare));
    let ops = it.compare.len().max(it.success.len()).max(it.failure.len());
    if ops >= 128 {
        found.push(format!("ops={ops}"));
    }
    for op in it.success.iter().chain(&it.failure) {
        let mut inner = Vec::new();
        let name = match &op.request {
            None => "nothing",
            Some(Op::RequestRange(it)) => {
                range(it, world, &mut inner);
                inner.retain(|option| !option.starts_with("order") && !option.starts_with("limit"));
                "range"
            }
            Some(Op::RequestPut(it)) => {
                put(it, world, &mut inner);
                "put"
            }
            Some(Op::RequestDeleteRange(it)) => {
                delete(it, &mut inner);
                "delete"
            }
            Some(Op::RequestTxn(it)) => {
                txn(it, world, depth + 1, found);
                "txn"
            }
        };
        found.push(format!("op={name}"));
        found.extend(inner.into_iter().map(|option| format!("op={name} {option}")));
    }
}

fn compare(it: &pb::Compare) -> Vec<String> {
    let about = match (&it.target_union, it.target) {
        (None, _) => "unset",
        (Some(TargetUnion::Version(_)), 0)
        | (Some(TargetUnion::CreateRevision(_)), 1)
        | (Some(TargetUnion::ModRevision(_)), 2)
        | (Some(TargetUnion::Value(_)), 3)
        | (Some(TargetUnion::Lease(_)), 4) => "set",
        _ => "of another target",
    };
    let over = if it.range_end.is_empty() { "key" } else { "range" };
    let (target, result) = (known(it.target, 4), known(it.result, 3));
    if target == "unknown" || result == "unknown" {
        return vec!["compare with an unknown enum".to_string()];
    }
    vec![
        format!("compare target={target} x result={result}"),
        format!("compare target={target} x value {about}"),
        format!("compare target={target} x over {over}"),
    ]
}

/// The class of a range.
pub fn keys(key: &[u8], end: &[u8]) -> &'static str {
    match (key, end) {
        (b"", _) => "no key",
        (_, b"") => "single",
        (b"\0", b"\0") => "all",
        (_, b"\0") => "from",
        _ if end <= key => "inverted",
        _ => "interval",
    }
}

fn revision(revision: i64, world: &World) -> &'static str {
    match revision {
        0 => "0",
        i64::MAX => "max",
        negative if negative < 0 => "negative",
        future if future > world.revision => "future",
        below if below < world.floor => "below the floor",
        floor if floor == world.floor => "floor",
        current if current == world.revision => "current",
        _ => "past",
    }
}

/// The class of a lease.
pub fn lease(name: &str, id: i64, world: &World) -> String {
    let class = if world.leases.contains(&id) { "known" } else { "unknown" };
    format!("{name}={class}")
}

fn ttl(ttl: i64) -> &'static str {
    match ttl {
        i64::MIN..=0 => "none",
        1..=74 => "below the least",
        75..=9_000_000_000 => "legal",
        _ => "too large",
    }
}

fn sign(number: i64) -> &'static str {
    if number < 0 { "negative" } else { "positive" }
}

fn known(number: i32, greatest: i32) -> String {
    if (0..=greatest).contains(&number) { number.to_string() } else { "unknown".to_string() }
}
