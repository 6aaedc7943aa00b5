//! What the world recorded, in the words of the harness's histories, and the truth as one more watch: of all
//! keys, from the first revision to the last, which no compaction and no power cut interrupts.
use bramble_server::node::client::{Consistency, WatchResponse};
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::types::{self as store, EventKind, KeyRange, OpReply, RangeEnd};
use bramble_tests::history::{
    Answer, Body, Call, Compare, Event, History, KeyValue, Message, Op, OpAnswer, Outcome, Put, Range,
    Refusal as Refused, Relation, Request, Response, Span, Target, Time, Txn, Watch, What,
};

use crate::record::{self, Reply};
use crate::truth::{Change, Truth};

/// A second, but for the nanoseconds that tell apart what happens at one instant.
pub const SECOND: Time = 1_000_000_000 - 20_000;

/// The whole history.
///
/// # Errors
/// Somebody was refused who should not have been, or told what there is no word for.
pub fn history(recorded: &record::History, truth: &Truth, led: Vec<Time>) -> Result<History, String> {
    let mut history = History { second: SECOND, led, ..History::default() };
    for call in &recorded.calls {
        let Some(request) = request(&call.op) else { continue };
        let outcome = match &call.outcome {
            record::Outcome::Open => Outcome::Unknown,
            record::Outcome::Refused(error) => Outcome::Refused(refused(call, error, recorded.floor)?),
            record::Outcome::Answered(reply, revision) => {
                Outcome::Answered(Answer { revision: *revision, body: body(reply, *revision)? })
            }
        };
        let (client, began, ended) = (call.client, call.began, call.ended);
        history.calls.push(Call { client, began, ended, request, outcome });
    }
    // First, as it is the one to believe.
    history.watches.push(witness(truth, recorded.known));
    history.watches.extend(recorded.watches.iter().cloned());
    Ok(history)
}

/// The watch that saw it all. It ends with a mark at what somebody was told of last: all of that was made.
fn witness(truth: &Truth, known: i64) -> Watch {
    let mut messages = vec![Message { at: 0, revision: 1, what: What::Created }];
    let mut last = 0;
    for (revision, moment) in &truth.moments {
        let events = moment.changes.iter().map(change).collect();
        last = moment.at;
        messages.push(Message {
            at: moment.at,
            revision: *revision,
            what: What::Events { events, more: false },
        });
    }
    messages.push(Message { at: last + 1, revision: known.max(truth.revision()), what: What::Progress });
    let (keys, start) = (Span::all(), 1);
    let (no_put, no_delete, prev_kv, fragment) = (false, false, false, false);
    Watch { client: u32::MAX, began: 0, keys, start, no_put, no_delete, prev_kv, fragment, messages }
}

fn change(change: &Change) -> Event {
    Event { kv: kv(&change.kv), delete: change.tombstone, prev: None }
}

/// There is no word for who only asks what time a lease has left.
fn request(op: &record::Op) -> Option<Request> {
    Some(match op {
        record::Op::Put(request) => Request::Op(put(request)),
        record::Op::Delete(request) => Request::Op(delete(request)),
        record::Op::Range(request, consistency) => {
            Request::Op(range(request, matches!(consistency, Consistency::Serializable)))
        }
        record::Op::Txn(txn) => {
            let ops = |ops: &[store::Op]| ops.iter().map(op_of).collect();
            let compares = txn.compare.iter().map(compare).collect();
            Request::Txn(Txn { compares, success: ops(&txn.success), failure: ops(&txn.failure) })
        }
        record::Op::Compact { revision, .. } => Request::Compact(*revision),
        record::Op::Grant { id, ttl_s } => Request::Grant { lease: id.0, ttl_s: *ttl_s },
        record::Op::KeepAlive(id) => Request::KeepAlive(id.0),
        record::Op::Revoke(id) => Request::Revoke(id.0),
        record::Op::TimeToLive(_) => return None,
    })
}

fn op_of(op: &store::Op) -> Op {
    match op {
        store::Op::Put(request) => put(request),
        store::Op::Delete(request) => delete(request),
        store::Op::Range(request) => range(request, false),
        store::Op::Txn(_) => unreachable!("nobody here nests transactions"),
    }
}

fn put(request: &store::PutRequest) -> Op {
    let store::PutRequest { key, value, lease, prev_kv, .. } = request.clone();
    Op::Put(Put { key, value, lease: lease.0, prev_kv })
}

fn delete(request: &store::DeleteRequest) -> Op {
    Op::Delete { keys: span(&request.range), prev_kv: request.prev_kv }
}

fn range(request: &store::RangeRequest, serializable: bool) -> Op {
    let (keys, revision, limit) = (span(&request.range), request.revision, request.limit as usize);
    Op::Range(Range { keys, revision, limit, serializable })
}

/// Keys.
pub fn span(range: &KeyRange) -> Span {
    let start = range.start.clone();
    match &range.end {
        RangeEnd::Single => Span::Key(start),
        RangeEnd::Before(end) => Span::Between(start, end.clone()),
        RangeEnd::Open => Span::From(start),
    }
}

fn compare(compare: &store::Compare) -> Compare {
    let target = match &compare.target {
        store::CompareTarget::Version(given) => Target::Version(*given),
        store::CompareTarget::Create(given) => Target::Create(*given),
        store::CompareTarget::Mod(given) => Target::Mod(*given),
        store::CompareTarget::Value(given) => Target::Value(given.clone()),
        store::CompareTarget::Lease(given) => Target::Lease(given.0),
    };
    let relation = match compare.result {
        store::CompareResult::Equal => Relation::Equal,
        store::CompareResult::Greater => Relation::Greater,
        store::CompareResult::Less => Relation::Less,
        store::CompareResult::NotEqual => Relation::NotEqual,
    };
    Compare { key: compare.range.start.clone(), target, relation }
}

fn kv(kv: &store::KeyValue) -> KeyValue {
    let store::KeyValue { key, create_revision, mod_revision, version, value, lease } = kv.clone();
    KeyValue { key, value, create: create_revision, modified: mod_revision, version, lease: lease.0 }
}

/// An answer. The revisions inside of it, for which a history has no room, are looked at here.
fn body(reply: &Reply, revision: i64) -> Result<Body, String> {
    let mut inner = Vec::new();
    let body = match reply {
        Reply::Put(reply) => Body::Op(op_answer(&OpReply::Put(reply.clone()), &mut inner)),
        Reply::Delete(reply) => Body::Op(op_answer(&OpReply::Delete(reply.clone()), &mut inner)),
        Reply::Range(reply) => Body::Op(op_answer(&OpReply::Range(reply.clone()), &mut inner)),
        Reply::Txn(reply) => {
            let mut answer = |reply: &OpReply| op_answer(reply, &mut inner);
            let answers = reply.replies.iter().map(&mut answer).collect();
            inner.push((reply.revision, true));
            Body::Txn { succeeded: reply.succeeded, answers }
        }
        Reply::Compacted | Reply::Revoked | Reply::Left(_) => Body::Done,
        Reply::Granted(ttl_s) => Body::Granted(*ttl_s),
        Reply::KeptAlive(ttl_s) => Body::KeptAlive(*ttl_s),
    };
    // What only reads is told the revision before the first change of its transaction, or after it.
    let changes = inner.iter().position(|(_, changed)| *changed).unwrap_or(0);
    let wrote = matches!(&body, Body::Txn { .. }) && changes + 1 < inner.len();
    let due = |place: usize| revision - i64::from(wrote && place < changes);
    match inner.iter().enumerate().find(|(place, (told, _))| *told != due(*place)) {
        Some((place, _)) => {
            Err(format!("at revision {revision} answer {place} is of another one: {reply:?}"))
        }
        None => Ok(body),
    }
}

/// Pushes the revision it was told, and whether it changed something.
fn op_answer(reply: &OpReply, inner: &mut Vec<(i64, bool)>) -> OpAnswer {
    match reply {
        OpReply::Range(reply) => {
            inner.push((reply.revision, false));
            let kvs = reply.kvs.iter().map(kv).collect();
            OpAnswer::Range { kvs, count: reply.count as usize, more: reply.more }
        }
        OpReply::Put(reply) => {
            inner.push((reply.revision, true));
            OpAnswer::Put(reply.prev_kv.as_ref().map(kv))
        }
        OpReply::Delete(reply) => {
            inner.push((reply.revision, reply.deleted > 0));
            let prev = reply.prev_kvs.iter().map(kv).collect();
            OpAnswer::Delete { deleted: reply.deleted as usize, prev }
        }
        OpReply::Txn(_) => unreachable!("nobody here nests transactions"),
    }
}

/// Why somebody was refused. Who asks here gives no cause for any other reason.
fn refused(call: &record::Call, error: &Error, floor: i64) -> Result<Refused, String> {
    use record::Op;
    match (error, &call.op) {
        (Error::NotNow(NotNow::Unsupported(_) | NotNow::TooLarge), _) => {}
        // Whether there was room is looked at elsewhere.
        (Error::NotNow(_) | Error::Refused(Refusal::NoSpace), _) => return Ok(Refused::NotNow),
        (Error::Refused(Refusal::LeaseNotFound), Op::Put(_) | Op::Txn(_) | Op::Revoke(_)) => {
            return Ok(Refused::LeaseNotFound);
        }
        (Error::Refused(Refusal::Compacted { wanted, compacted }), Op::Range(request, _))
            if wanted < compacted && request.revision == *wanted && *compacted <= floor =>
        {
            return Ok(Refused::Compacted);
        }
        (Error::Refused(Refusal::Compacted { compacted, .. }), Op::Compact { .. }) if *compacted <= floor => {
            return Ok(Refused::Compacted);
        }
        _ => {}
    }
    Err(format!("{call:?} was refused wrongly"))
}

/// What a watcher was told at a moment.
pub fn messages(at: Time, response: &WatchResponse) -> Vec<Message> {
    let said = Response {
        created: response.created,
        canceled: response.canceled.then_some(response.compact_revision),
        events: response.events.iter().map(event).collect(),
        more: response.fragment,
    };
    said.messages(at, response.header.revision)
}

fn event(event: &store::Event) -> Event {
    let delete = event.kind == EventKind::Delete;
    Event { kv: kv(&event.kv), delete, prev: event.prev_kv.as_ref().map(kv) }
}
