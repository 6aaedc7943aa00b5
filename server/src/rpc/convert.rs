//! The only place that knows both vocabularies: etcd's messages and the store's words.
//!
//! Requests: what a message cannot say (an operation with nothing set, an unknown number of an enum)
//! is refused here, in the order in which etcd looks at a request, which is why the store's static
//! checks of single operations run here too, before the next operation is looked at.
//! Answers: the outermost has a whole header, one inside a transaction only the revision.
pub mod auth;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::{
    CompareResult as PbResult, CompareTarget as PbTarget, TargetUnion,
};
use bramble_proto::etcdserverpb::range_request::{SortOrder as PbOrder, SortTarget as PbSortTarget};
use bramble_proto::etcdserverpb::request_op::Request as PbOp;
use bramble_proto::etcdserverpb::response_op::Response as PbOpResponse;
use bramble_proto::etcdserverpb::watch_create_request::FilterType;
use bramble_proto::mvccpb;
use bramble_proto::mvccpb::event::EventType;
use bramble_proto::v3electionpb as electionpb;
use bramble_store::error::Invalid;
use bramble_store::mvcc::check;
use bramble_store::types::{
    AlarmKind, Compare, CompareResult, CompareTarget, DeleteReply, DeleteRequest, Detail, Event, EventKind,
    KeyRange, KeyValue, LeaseId, Op, OpReply, PutReply, PutRequest, RangeReply, RangeRequest, RevisionFilter,
    SortOrder, SortTarget, TxnReply, TxnRequest,
};
use bytes::Bytes;
use tonic::Status;

use super::status;
use crate::node::client::{
    Alarm, Answer, Blob, Consistency, Header, LeaderKey, Member, RangeChunk, WatchCreate, WatchResponse,
};
use crate::version;

// ---- requests ----

/// The consistency that a message asks for.
pub fn consistency(serializable: bool) -> Consistency {
    if serializable { Consistency::Serializable } else { Consistency::Linearizable }
}

/// The consistency of a transaction that only reads: serializable when every range in it is, in both
/// branches; so is one without operations. One that writes has no use for it.
pub fn txn_consistency(request: &pb::TxnRequest) -> Consistency {
    let mut ops = request.success.iter().chain(&request.failure);
    consistency(ops.all(|op| matches!(&op.request, Some(PbOp::RequestRange(range)) if range.serializable)))
}

/// A range.
///
/// # Errors
/// An empty key, then an unknown sort order or target.
pub fn range(request: pb::RangeRequest) -> Result<RangeRequest, Status> {
    if request.key.is_empty() {
        return Err(status::of(Invalid::EmptyKey));
    }
    let order = PbOrder::try_from(request.sort_order).map_err(|_| status::of(Invalid::SortOption))?;
    let target = PbSortTarget::try_from(request.sort_target).map_err(|_| status::of(Invalid::SortOption))?;
    Ok(RangeRequest {
        limit: request.limit,
        revision: request.revision,
        order: match order {
            PbOrder::None => SortOrder::None,
            PbOrder::Ascend => SortOrder::Ascend,
            PbOrder::Descend => SortOrder::Descend,
        },
        target: match target {
            PbSortTarget::Key => SortTarget::Key,
            PbSortTarget::Version => SortTarget::Version,
            PbSortTarget::Create => SortTarget::Create,
            PbSortTarget::Mod => SortTarget::Mod,
            PbSortTarget::Value => SortTarget::Value,
        },
        detail: match (request.count_only, request.keys_only) {
            (true, _) => Detail::CountOnly,
            (false, true) => Detail::KeysOnly,
            (false, false) => Detail::Full,
        },
        filter: RevisionFilter {
            min_mod: request.min_mod_revision,
            max_mod: request.max_mod_revision,
            min_create: request.min_create_revision,
            max_create: request.max_create_revision,
        },
        range: KeyRange::from_wire(request.key, request.range_end),
    })
}

/// A put.
pub fn put(request: pb::PutRequest) -> PutRequest {
    PutRequest {
        key: request.key,
        value: request.value,
        lease: LeaseId(request.lease),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A delete.
pub fn delete(request: pb::DeleteRangeRequest) -> DeleteRequest {
    DeleteRequest { range: KeyRange::from_wire(request.key, request.range_end), prev_kv: request.prev_kv }
}

/// A transaction with at most `ops_max` operations; one inside has what this one leaves over. Depth is
/// bounded by the decoder, which gives up at 100 levels of messages (50 of transactions).
///
/// # Errors
/// The first thing that etcd would refuse, keys written twice apart.
pub fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<TxnRequest, Status> {
    let count = request.compare.len().max(request.success.len()).max(request.failure.len());
    if count > ops_max {
        return Err(status::of(Invalid::TooManyOps { count, max: ops_max }));
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(status::of(Invalid::EmptyKey));
    }
    let branch = |ops: Vec<pb::RequestOp>| -> Result<Vec<Op>, Status> {
        ops.into_iter().map(|one| op(one, ops_max - count)).collect()
    };
    Ok(TxnRequest {
        compare: request.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: branch(request.success)?,
        failure: branch(request.failure)?,
    })
}

fn op(op: pb::RequestOp, ops_max: usize) -> Result<Op, Status> {
    match op.request {
        Some(PbOp::RequestRange(request)) => range(request).map(Op::Range),
        Some(PbOp::RequestPut(request)) => {
            let request = put(request);
            check::put(&request).map_err(status::of)?;
            Ok(Op::Put(request))
        }
        Some(PbOp::RequestDeleteRange(request)) => {
            let request = delete(request);
            check::delete(&request).map_err(status::of)?;
            Ok(Op::Delete(request))
        }
        Some(PbOp::RequestTxn(request)) => txn(request, ops_max).map(Op::Txn),
        None => Err(status::of(Invalid::EmptyOp)),
    }
}

/// A compare. etcd takes an unknown relation as "holds" and an unknown field as equal to anything; a
/// guard that guards nothing would let a write through that was meant to be refused, so both are refused.
fn compare(compare: pb::Compare) -> Result<Compare, Status> {
    let result = match PbResult::try_from(compare.result) {
        Ok(PbResult::Equal) => CompareResult::Equal,
        Ok(PbResult::Greater) => CompareResult::Greater,
        Ok(PbResult::Less) => CompareResult::Less,
        Ok(PbResult::NotEqual) => CompareResult::NotEqual,
        Err(_) => return Err(Status::invalid_argument("etcdserver: invalid compare result")),
    };
    let Ok(target) = PbTarget::try_from(compare.target) else {
        return Err(Status::invalid_argument("etcdserver: invalid compare target"));
    };
    let target = compare_target(target, compare.target_union);
    Ok(Compare { range: KeyRange::from_wire(compare.key, compare.range_end), target, result })
}

/// The field and what it is compared with: zero when that is not given, or given for another field.
fn compare_target(target: PbTarget, given: Option<TargetUnion>) -> CompareTarget {
    match (target, given) {
        (PbTarget::Version, Some(TargetUnion::Version(version))) => CompareTarget::Version(version),
        (PbTarget::Version, _) => CompareTarget::Version(0),
        (PbTarget::Create, Some(TargetUnion::CreateRevision(revision))) => CompareTarget::Create(revision),
        (PbTarget::Create, _) => CompareTarget::Create(0),
        (PbTarget::Mod, Some(TargetUnion::ModRevision(revision))) => CompareTarget::Mod(revision),
        (PbTarget::Mod, _) => CompareTarget::Mod(0),
        (PbTarget::Value, Some(TargetUnion::Value(value))) => CompareTarget::Value(value),
        (PbTarget::Value, _) => CompareTarget::Value(Bytes::new()),
        (PbTarget::Lease, Some(TargetUnion::Lease(lease))) => CompareTarget::Lease(LeaseId(lease)),
        (PbTarget::Lease, _) => CompareTarget::Lease(LeaseId::NONE),
    }
}

/// A watcher. An empty key is the lowest key; filters that are unknown filter nothing, as in etcd.
pub fn watch_create(request: pb::WatchCreateRequest) -> WatchCreate {
    let key = if request.key.is_empty() { Bytes::from_static(b"\0") } else { request.key };
    WatchCreate {
        range: KeyRange::from_wire(key, request.range_end),
        start_revision: request.start_revision,
        progress_notify: request.progress_notify,
        no_put: request.filters.contains(&FilterType::Noput.into()),
        no_delete: request.filters.contains(&FilterType::Nodelete.into()),
        prev_kv: request.prev_kv,
        watch_id: request.watch_id,
        fragment: request.fragment,
    }
}

// ---- answers ----

/// A whole header.
pub fn header(header: Header) -> pb::ResponseHeader {
    pb::ResponseHeader {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.raft_term,
    }
}

/// The header of an answer inside a transaction.
fn inner_header(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader { revision, ..pb::ResponseHeader::default() }
}

/// One version of a key.
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease.0,
    }
}

/// Answer of a range.
pub fn range_response(header: pb::ResponseHeader, reply: RangeReply) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: reply.kvs.into_iter().map(key_value).collect(),
        more: reply.more,
        count: reply.count,
    }
}

/// A chunk of a streamed range; only the last has a header.
pub fn range_chunk(chunk: RangeChunk) -> pb::RangeStreamResponse {
    let kvs = chunk.kvs.into_iter().map(key_value).collect();
    let range_response = match chunk.end {
        None => pb::RangeResponse { kvs, ..pb::RangeResponse::default() },
        Some(end) => {
            pb::RangeResponse { header: Some(header(end.header)), kvs, more: end.more, count: end.count }
        }
    };
    pb::RangeStreamResponse { range_response: Some(range_response) }
}

/// A part of a snapshot.
pub fn snapshot_blob(blob: Blob) -> pb::SnapshotResponse {
    pb::SnapshotResponse {
        header: None,
        remaining_bytes: blob.remaining,
        blob: blob.bytes,
        version: version::ETCD_STORAGE.to_owned(),
    }
}

/// Answer of a put.
pub fn put_response(header: pb::ResponseHeader, reply: PutReply) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: reply.prev_kv.map(key_value) }
}

/// Answer of a delete.
pub fn delete_response(header: pb::ResponseHeader, reply: DeleteReply) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: reply.deleted,
        prev_kvs: reply.prev_kvs.into_iter().map(key_value).collect(),
    }
}

/// Answer of a transaction.
pub fn txn_response(header: pb::ResponseHeader, reply: TxnReply) -> pb::TxnResponse {
    pb::TxnResponse {
        header: Some(header),
        succeeded: reply.succeeded,
        responses: reply.replies.into_iter().map(op_response).collect(),
    }
}

fn op_response(reply: OpReply) -> pb::ResponseOp {
    let response = match reply {
        OpReply::Range(range) => {
            PbOpResponse::ResponseRange(range_response(inner_header(range.revision), range))
        }
        OpReply::Put(put) => PbOpResponse::ResponsePut(put_response(inner_header(put.revision), put)),
        OpReply::Delete(delete) => {
            PbOpResponse::ResponseDeleteRange(delete_response(inner_header(delete.revision), delete))
        }
        // A transaction inside has a header with nothing in it.
        OpReply::Txn(txn) => PbOpResponse::ResponseTxn(txn_response(pb::ResponseHeader::default(), txn)),
    };
    pb::ResponseOp { response: Some(response) }
}

/// What a watch stream says.
pub fn watch_response(response: WatchResponse) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(header(response.header)),
        watch_id: response.watch_id,
        created: response.created,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
        cancel_reason: response.cancel_reason,
        fragment: response.fragment,
        events: response.events.into_iter().map(event).collect(),
    }
}

fn event(event: Event) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => EventType::Put,
        EventKind::Delete => EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev_kv.map(key_value),
    }
}

/// A leadership as a client names it.
pub fn leader_key_of(leader: electionpb::LeaderKey) -> LeaderKey {
    let electionpb::LeaderKey { name, key, rev, lease } = leader;
    LeaderKey { name, key, created: rev, lease: LeaseId(lease) }
}

/// A leadership.
pub fn leader_key(leader: LeaderKey) -> electionpb::LeaderKey {
    let LeaderKey { name, key, created, lease } = leader;
    electionpb::LeaderKey { name, key, rev: created, lease: lease.0 }
}

/// A leader's key and value.
pub fn leader_response(leader: Answer<KeyValue>) -> electionpb::LeaderResponse {
    electionpb::LeaderResponse { header: Some(header(leader.header)), kv: Some(key_value(leader.body)) }
}

/// An alarm that is raised.
pub fn alarm_member((member_id, kind): Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id, alarm: alarm_type(kind) }
}

/// The number of an alarm.
pub fn alarm_type(kind: AlarmKind) -> i32 {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace.into(),
        AlarmKind::Corrupt => pb::AlarmType::Corrupt.into(),
    }
}

/// The alarm of a number, or none.
///
/// # Errors
/// A number that no alarm has; etcd writes such alarms down.
pub fn alarm_kind(number: i32) -> Result<Option<AlarmKind>, Status> {
    match pb::AlarmType::try_from(number) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(AlarmKind::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(AlarmKind::Corrupt)),
        Err(_) => Err(Status::invalid_argument("etcdserver: unknown alarm type")),
    }
}

/// A member of the cluster.
pub fn member(member: Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}

/// Bytes as the messages have them; nobody has more than 8 EiB.
pub fn bytes_i64(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
