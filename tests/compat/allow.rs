//! Where the two sides may differ, and why. Everything else is a bug in one of them.
//!
//! Two kinds: *loose* rules bring two answers into one form where etcd itself promises nothing (the
//! order of equal elements, the second in which a remaining time is asked); *known* differences are
//! answers that Bramble gives otherwise on purpose, each as exact as an equality.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::response_op::Response;
use bramble_proto::mvccpb::{Event, KeyValue};
use tonic::Code;

use crate::allow_auth;
use crate::call::Call;
use crate::words::{Outcome, Refused, Reply, Request};
use crate::world::World;

/// The longest time to live of a lease.
const TTL_MAX_S: i64 = 9_000_000_000;

/// One known difference.
pub struct Known {
    /// What it is about.
    pub name: &'static str,
    /// Why Bramble answers otherwise.
    pub reason: &'static str,
    /// Whether these two answers are exactly that.
    pub explains: fn(&World, &Call, &Outcome, &Outcome) -> bool,
}

/// The allow-list.
pub fn known() -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().chain(allow_auth::KNOWN)
}

const KNOWN: &[Known] = &[
    Known {
        name: "sort option",
        reason: "a sort order or target that does not exist: etcd 3.5 ignores it, etcd 3.6 refuses it; Bramble \
                 claims 3.6",
        explains: sort_option,
    },
    Known {
        name: "compare enum",
        reason: "a compare whose result or target does not exist: etcd takes the first for true and the second \
                 for zero, and goes on; Bramble refuses what it does not understand",
        explains: compare_enum,
    },
    Known {
        name: "hash revision",
        reason: "HashKV tells since etcd 3.6 which revision was hashed; 3.5 has no such field",
        explains: hash_revision,
    },
    Known {
        name: "hash of a compaction",
        reason: "etcd remembers the hash it took when it compacted, with the floor before that, and answers with \
                 it when exactly that revision is asked for (revision 0 after a compaction at 0 included); \
                 Bramble always hashes what is there",
        explains: compaction_hash,
    },
    Known {
        name: "a lease too long under an alarm",
        reason: "etcd tells of an alarm before it looks at the time to live; Bramble, as everywhere, says first \
                 what is wrong with the request, for that will not pass",
        explains: too_long_under_alarm,
    },
    Known {
        name: "nested reads under CORRUPT",
        reason: "etcd takes a transaction with another one in it for a write, whatever that does; to Bramble what \
                 only reads is a read, and goes on",
        explains: nested_reads_under_corrupt,
    },
];

fn sort_option(_world: &World, call: &Call, _theirs: &Outcome, ours: &Outcome) -> bool {
    let refused = matches!(ours, Err(refused)
        if refused.code == Code::InvalidArgument && refused.text == "etcdserver: invalid sort option");
    let unknown = match &call.request {
        Request::Range(range) => unknown_sort(range),
        Request::Txn(txn) => txn_has_unknown_sort(txn),
        _ => false,
    };
    refused && unknown
}

fn unknown_sort(range: &pb::RangeRequest) -> bool {
    !(0..=2).contains(&range.sort_order) || !(0..=4).contains(&range.sort_target)
}

fn txn_has_unknown_sort(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestRange(range)) => unknown_sort(range),
        Some(Op::RequestTxn(inner)) => txn_has_unknown_sort(inner),
        _ => false,
    })
}

fn compare_enum(_world: &World, call: &Call, _theirs: &Outcome, ours: &Outcome) -> bool {
    let texts = ["etcdserver: invalid compare result", "etcdserver: invalid compare target"];
    let refused = matches!(ours, Err(refused)
        if refused.code == Code::InvalidArgument && texts.contains(&refused.text.as_str()));
    refused && matches!(&call.request, Request::Txn(txn) if has_unknown_compare(txn))
}

fn has_unknown_compare(txn: &pb::TxnRequest) -> bool {
    let here = txn.compare.iter().any(|it| !(0..=3).contains(&it.result) || !(0..=4).contains(&it.target));
    here || txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestTxn(inner)) => has_unknown_compare(inner),
        _ => false,
    })
}

fn hash_revision(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let (Request::HashKV(asked), Ok(Reply::HashKV(theirs)), Ok(Reply::HashKV(ours))) =
        (&call.request, theirs, ours)
    else {
        return false;
    };
    let current = ours.header.as_ref().map_or(0, |header| header.revision);
    let wanted = if asked.revision == 0 { current } else { asked.revision };
    let same = pb::HashKvResponse { hash_revision: 0, ..*ours }
        == pb::HashKvResponse { hash_revision: 0, ..*theirs };
    same && theirs.hash_revision == 0 && ours.hash_revision == wanted
}

fn compaction_hash(world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let (Request::HashKV(asked), Ok(Reply::HashKV(theirs))) = (&call.request, theirs) else { return false };
    let remembered = world.compactions.contains(&asked.revision) && theirs.compact_revision < world.floor;
    let hashed = if asked.revision == 0 { world.revision } else { asked.revision };
    let as_it_is = match ours {
        Ok(Reply::HashKV(ours)) => {
            theirs.header == ours.header
                && ours.compact_revision == world.floor
                && ours.hash_revision == hashed
                && hashed >= world.floor
        }
        Err(refused) => hashed < world.floor && refused.code == Code::OutOfRange,
        Ok(_) => false,
    };
    remembered && as_it_is
}

fn too_long_under_alarm(_world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let alarm = [
        Refused::new(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        Refused::new(Code::DataLoss, "etcdserver: corrupt cluster"),
    ];
    let too_long = Refused::new(Code::OutOfRange, "etcdserver: too large lease TTL");
    matches!(&call.request, Request::LeaseGrant(asked) if asked.ttl > TTL_MAX_S)
        && theirs.as_ref().is_err_and(|refused| alarm.contains(refused))
        && *ours == Err(too_long)
}

fn nested_reads_under_corrupt(world: &World, call: &Call, theirs: &Outcome, ours: &Outcome) -> bool {
    let corrupt = Refused::new(Code::DataLoss, "etcdserver: corrupt cluster");
    let as_it_is = match ours {
        Ok(Reply::Txn(read)) => read.header.as_ref().is_some_and(|header| header.revision == world.revision),
        Err(refused) => refused.code == Code::OutOfRange,
        Ok(_) => false,
    };
    *theirs == Err(corrupt)
        && as_it_is
        && matches!(&call.request, Request::Txn(txn) if only_reads(txn) && has_another_in_it(txn))
}

fn only_reads(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
        Some(Op::RequestRange(_)) => true,
        Some(Op::RequestTxn(inner)) => only_reads(inner),
        _ => false,
    })
}

fn has_another_in_it(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| matches!(op.request, Some(Op::RequestTxn(_))))
}

/// The known difference of watches.
pub const AT_THE_FLOOR: &str = "a key changed twice in the revision that was compacted at: etcd erases the first \
    change, Bramble keeps everything at the floor, so that a watch from there sees the revision whole";

/// Whether a watcher got the same from both sides, but for changes at the floor that etcd has erased.
pub fn erased_at_the_floor(floor: i64, theirs: &[pb::WatchResponse], ours: &[pb::WatchResponse]) -> bool {
    let (at_floor, later) = split(floor, theirs);
    let (our_at_floor, our_later) = split(floor, ours);
    let mut candidates = our_at_floor.iter();
    let all_there = at_floor.iter().all(|event| candidates.any(|candidate| candidate == event));
    all_there && later == our_later
}

/// Events at the floor, and what else was said.
fn split(floor: i64, responses: &[pb::WatchResponse]) -> (Vec<Event>, Vec<pb::WatchResponse>) {
    let at = |event: &Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision == floor);
    let mut rest = responses.to_vec();
    let found =
        responses.iter().flat_map(|response| &response.events).filter(|event| at(event)).cloned().collect();
    rest.iter_mut().for_each(|response| response.events.retain(|event| !at(event)));
    rest.retain(|response| response.created || response.canceled || !response.events.is_empty());
    (found, rest)
}

/// Applies the loose rules to both answers.
pub fn loosen(request: &Request, theirs: &mut Outcome, ours: &mut Outcome) {
    match (request, theirs, ours) {
        (Request::Range(asked), Ok(Reply::Range(theirs)), Ok(Reply::Range(ours))) => {
            ties(asked, theirs, ours)
        }
        (Request::Txn(asked), Ok(Reply::Txn(theirs)), Ok(Reply::Txn(ours))) => txn_ties(asked, theirs, ours),
        // The second may turn between the two questions, and a busy machine may take one more.
        (
            Request::LeaseTimeToLive(_),
            Ok(Reply::LeaseTimeToLive(theirs)),
            Ok(Reply::LeaseTimeToLive(ours)),
        ) if theirs.ttl > 0 && ours.ttl > 0 && theirs.ttl.abs_diff(ours.ttl) <= 3 => {
            ours.ttl = theirs.ttl;
        }
        (Request::RoleGet(_), Ok(Reply::RoleGet(theirs)), Ok(Reply::RoleGet(ours))) => {
            allow_auth::order_permissions(&mut theirs.perm, &mut ours.perm);
        }
        _ => {}
    }
}

fn txn_ties(asked: &pb::TxnRequest, theirs: &mut pb::TxnResponse, ours: &mut pb::TxnResponse) {
    let ops = if theirs.succeeded { &asked.success } else { &asked.failure };
    for ((op, theirs), ours) in ops.iter().zip(&mut theirs.responses).zip(&mut ours.responses) {
        match (&op.request, &mut theirs.response, &mut ours.response) {
            (
                Some(Op::RequestRange(asked)),
                Some(Response::ResponseRange(a)),
                Some(Response::ResponseRange(b)),
            ) => {
                ties(asked, a, b);
            }
            (Some(Op::RequestTxn(asked)), Some(Response::ResponseTxn(a)), Some(Response::ResponseTxn(b))) => {
                txn_ties(asked, a, b);
            }
            _ => {}
        }
    }
}

/// etcd's sort is not stable: keys whose target is equal come in any order, and where the limit cuts
/// through such a group, any of them may have been kept. Groups are brought into key order; of a group
/// that was cut only the number is compared.
fn ties(asked: &pb::RangeRequest, theirs: &mut pb::RangeResponse, ours: &mut pb::RangeResponse) {
    if asked.sort_target == 0 || unknown_sort(asked) {
        return;
    }
    let hidden = asked.keys_only && asked.sort_target == 4;
    // With neither an order nor a filter etcd cuts in key order first; then no group is cut.
    let filtered = asked.min_mod_revision | asked.max_mod_revision | asked.min_create_revision;
    let sorts_first = asked.sort_order != 0 || (filtered | asked.max_create_revision) != 0;
    let cut = sorts_first && theirs.more && ours.more;
    for kvs in [&mut theirs.kvs, &mut ours.kvs] {
        for group in kvs.chunk_by_mut(|a, b| hidden || target(asked, a) == target(asked, b)) {
            group.sort_by(|a, b| a.key.cmp(&b.key));
        }
        if cut && let Some(last) = kvs.last().cloned() {
            let of_last = |kv: &KeyValue| hidden || target(asked, kv) == target(asked, &last);
            kvs.iter_mut().filter(|kv| of_last(kv)).for_each(|kv| *kv = KeyValue::default());
        }
    }
}

fn target(asked: &pb::RangeRequest, kv: &KeyValue) -> Vec<u8> {
    match asked.sort_target {
        1 => kv.version.to_be_bytes().to_vec(),
        2 => kv.create_revision.to_be_bytes().to_vec(),
        3 => kv.mod_revision.to_be_bytes().to_vec(),
        _ => kv.value.to_vec(),
    }
}
