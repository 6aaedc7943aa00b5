//! Calls of a history over gRPC, and what comes back as an outcome.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use bramble_proto::etcdserverpb::request_op::Request as RequestOp;
use bramble_proto::etcdserverpb::response_op::Response as ResponseOp;
use bramble_proto::mvccpb;
use bytes::Bytes;
use tonic::{Code, Status};

use super::{
    Answer, Body, Compare, Event, KeyValue, Message, Op, OpAnswer, Outcome, Refusal, Relation, Request,
    Response, Span, Target, Time, Watch,
};
use crate::wire::Wire;

/// Asks a server. Only what certainly did not take place is refused; whatever else goes wrong leaves it unknown.
///
/// # Panics
/// When the server says that the request is not a valid one: that is a mistake of the test or of the server.
pub async fn ask(wire: &Wire, request: &Request) -> Outcome {
    match answer(wire, request).await {
        Ok((header, body)) => Outcome::Answered(Answer { revision: revision(header), body }),
        Err(status) => failed(&status),
    }
}

type Answered = Result<(Option<pb::ResponseHeader>, Body), Status>;

async fn answer(wire: &Wire, request: &Request) -> Answered {
    match request {
        Request::Op(Op::Range(asked)) => {
            let answer = wire.kv().range(range(asked)).await?.into_inner();
            Ok((answer.header, Body::Op(ranged(answer))))
        }
        Request::Op(Op::Put(asked)) => {
            let answer = wire.kv().put(put(asked)).await?.into_inner();
            Ok((answer.header, Body::Op(OpAnswer::Put(answer.prev_kv.map(kv)))))
        }
        Request::Op(Op::Delete { keys, prev_kv }) => {
            let answer = wire.kv().delete_range(delete(keys, *prev_kv)).await?.into_inner();
            Ok((answer.header, Body::Op(deleted(answer))))
        }
        Request::Txn(asked) => {
            let ops = |ops: &[Op]| ops.iter().map(op).collect();
            let compare = asked.compares.iter().map(compare).collect();
            let request =
                pb::TxnRequest { compare, success: ops(&asked.success), failure: ops(&asked.failure) };
            let answer = wire.kv().txn(request).await?.into_inner();
            let answers = answer.responses.into_iter().map(op_answer).collect();
            Ok((answer.header, Body::Txn { succeeded: answer.succeeded, answers }))
        }
        Request::Compact(revision) => {
            let request = pb::CompactionRequest { revision: *revision, physical: false };
            Ok((wire.kv().compact(request).await?.into_inner().header, Body::Done))
        }
        Request::Grant { lease, ttl_s } => {
            let request = pb::LeaseGrantRequest { ttl: *ttl_s, id: *lease };
            let answer = wire.lease().lease_grant(request).await?.into_inner();
            Ok((answer.header, Body::Granted(answer.ttl)))
        }
        Request::Revoke(lease) => {
            let request = pb::LeaseRevokeRequest { id: *lease };
            Ok((wire.lease().lease_revoke(request).await?.into_inner().header, Body::Done))
        }
        Request::KeepAlive(lease) => {
            let requests = tokio_stream::once(pb::LeaseKeepAliveRequest { id: *lease });
            let mut answers = wire.lease().lease_keep_alive(requests).await?.into_inner();
            let answer = answers.message().await?.ok_or_else(|| Status::unavailable("no answer"))?;
            Ok((answer.header, Body::KeptAlive(answer.ttl)))
        }
    }
}

fn failed(status: &Status) -> Outcome {
    let refused = match (status.code(), status.message()) {
        (Code::OutOfRange, text) if text.contains("has been compacted") => Refusal::Compacted,
        (Code::OutOfRange, text) if text.contains("is a future revision") => Refusal::Future,
        (Code::NotFound, text) if text.contains("lease not found") => Refusal::LeaseNotFound,
        (Code::FailedPrecondition, text) if text.contains("lease already exists") => Refusal::LeaseExists,
        (Code::ResourceExhausted, text) if text.contains("too many requests") => Refusal::NotNow,
        (Code::InvalidArgument | Code::Unimplemented, text) => panic!("not a valid request: {text}"),
        _ => return Outcome::Unknown,
    };
    Outcome::Refused(refused)
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// A span as key and end.
fn bounds(span: &Span) -> (Bytes, Bytes) {
    let zero = Bytes::from_static(b"\0");
    match span {
        Span::Key(key) => (key.clone(), Bytes::new()),
        Span::Between(from, to) => (from.clone(), to.clone()),
        Span::From(from) if from.is_empty() => (zero.clone(), zero),
        Span::From(from) => (from.clone(), zero),
    }
}

fn range(asked: &super::Range) -> pb::RangeRequest {
    let (key, range_end) = bounds(&asked.keys);
    pb::RangeRequest {
        key,
        range_end,
        limit: i64::try_from(asked.limit).unwrap_or(i64::MAX),
        revision: asked.revision,
        serializable: asked.serializable,
        ..Default::default()
    }
}

fn put(asked: &super::Put) -> pb::PutRequest {
    let super::Put { key, value, lease, prev_kv } = asked.clone();
    pb::PutRequest { key, value, lease, prev_kv, ..Default::default() }
}

fn delete(keys: &Span, prev_kv: bool) -> pb::DeleteRangeRequest {
    let (key, range_end) = bounds(keys);
    pb::DeleteRangeRequest { key, range_end, prev_kv }
}

fn op(op: &Op) -> pb::RequestOp {
    let request = match op {
        Op::Range(asked) => RequestOp::RequestRange(range(asked)),
        Op::Put(asked) => RequestOp::RequestPut(put(asked)),
        Op::Delete { keys, prev_kv } => RequestOp::RequestDeleteRange(delete(keys, *prev_kv)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(compare: &Compare) -> pb::Compare {
    let (target, given) = match &compare.target {
        Target::Create(given) => (CompareTarget::Create, TargetUnion::CreateRevision(*given)),
        Target::Mod(given) => (CompareTarget::Mod, TargetUnion::ModRevision(*given)),
        Target::Version(given) => (CompareTarget::Version, TargetUnion::Version(*given)),
        Target::Lease(given) => (CompareTarget::Lease, TargetUnion::Lease(*given)),
        Target::Value(given) => (CompareTarget::Value, TargetUnion::Value(given.clone())),
    };
    let result = match compare.relation {
        Relation::Equal => CompareResult::Equal,
        Relation::Greater => CompareResult::Greater,
        Relation::Less => CompareResult::Less,
        Relation::NotEqual => CompareResult::NotEqual,
    };
    pb::Compare {
        key: compare.key.clone(),
        target: target.into(),
        result: result.into(),
        target_union: Some(given),
        ..Default::default()
    }
}

fn ranged(answer: pb::RangeResponse) -> OpAnswer {
    let count = usize::try_from(answer.count).unwrap_or(usize::MAX);
    OpAnswer::Range { kvs: answer.kvs.into_iter().map(kv).collect(), count, more: answer.more }
}

fn deleted(answer: pb::DeleteRangeResponse) -> OpAnswer {
    let deleted = usize::try_from(answer.deleted).unwrap_or(usize::MAX);
    OpAnswer::Delete { deleted, prev: answer.prev_kvs.into_iter().map(kv).collect() }
}

fn op_answer(answer: pb::ResponseOp) -> OpAnswer {
    match answer.response {
        Some(ResponseOp::ResponseRange(answer)) => ranged(answer),
        Some(ResponseOp::ResponsePut(answer)) => OpAnswer::Put(answer.prev_kv.map(kv)),
        Some(ResponseOp::ResponseDeleteRange(answer)) => deleted(answer),
        Some(ResponseOp::ResponseTxn(_)) | None => panic!("an answer to what was not asked: {answer:?}"),
    }
}

fn kv(kv: mvccpb::KeyValue) -> KeyValue {
    let mvccpb::KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
    KeyValue { key, value, create: create_revision, modified: mod_revision, version, lease }
}

/// The request that creates a watch.
pub fn create(watch: &Watch) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;
    let (key, range_end) = bounds(&watch.keys);
    let hidden = [(watch.no_put, FilterType::Noput), (watch.no_delete, FilterType::Nodelete)];
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: watch.start,
        prev_kv: watch.prev_kv,
        fragment: watch.fragment,
        filters: hidden.into_iter().filter(|(hidden, _)| *hidden).map(|(_, filter)| filter.into()).collect(),
        ..Default::default()
    }
}

/// What a response on the stream of one watch says.
pub fn messages(at: Time, response: pb::WatchResponse) -> Vec<Message> {
    let said = Response {
        created: response.created,
        canceled: response.canceled.then_some(response.compact_revision),
        events: response.events.into_iter().map(event).collect(),
        more: response.fragment,
    };
    said.messages(at, revision(response.header))
}

fn event(event: mvccpb::Event) -> Event {
    let delete = event.r#type() == mvccpb::event::EventType::Delete;
    Event { kv: kv(event.kv.unwrap_or_default()), delete, prev: event.prev_kv.map(kv) }
}
