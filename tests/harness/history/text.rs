//! A history in words, for those who read why it is wrong.
use bytes::Bytes;

use super::{
    Answer, Body, Call, Event, History, KeyValue, NEVER, Op, OpAnswer, Outcome, Property, Request, Span,
    Violation,
};

/// Calls shown around one that is wrong.
const NEIGHBOURS: usize = 9;

/// Violations told of one history; after the first few they are echoes.
pub const VIOLATIONS_MAX: usize = 20;

/// What is wrong with a call, and what happened around it.
pub fn violation(property: Property, history: &History, call: usize, what: &str) -> Violation {
    let at = history.calls.get(call).map_or(0, |call| call.began);
    Violation::new(property, format!("{what}\n{}", around(history, at, Some(call))))
}

/// The calls that began around a moment, in the order in which they began; one of them is pointed at.
pub fn around(history: &History, at: u64, pointed: Option<usize>) -> String {
    let mut near: Vec<usize> = (0..history.calls.len()).collect();
    near.sort_by_key(|index| (history.calls[*index].began.abs_diff(at), *index));
    near.truncate(NEIGHBOURS);
    near.sort_by_key(|index| (history.calls[*index].began, *index));
    let line = |index: &usize| {
        let mark = if Some(*index) == pointed { "-->" } else { "   " };
        format!("{mark} {}\n", call(&history.calls[*index]))
    };
    near.iter().map(line).collect()
}

/// A call in one line.
pub fn call(call: &Call) -> String {
    let ended = if call.ended == NEVER { "…".to_string() } else { call.ended.to_string() };
    let outcome = match &call.outcome {
        Outcome::Answered(answer) => self::answer(answer),
        Outcome::Refused(refusal) => format!("refused: {refusal:?}"),
        Outcome::Unknown => "unknown".to_string(),
    };
    format!("client {} [{} {ended}] {} => {outcome}", call.client, call.began, request(&call.request))
}

fn request(request: &Request) -> String {
    match request {
        Request::Op(op) => self::op(op),
        Request::Txn(txn) => {
            let compares: Vec<String> = txn
                .compares
                .iter()
                .map(|compare| format!("{} {:?} {:?}", bytes(&compare.key), compare.relation, compare.target))
                .collect();
            format!("if {} then {} else {}", compares.join(" and "), ops(&txn.success), ops(&txn.failure))
        }
        Request::Compact(revision) => format!("compact {revision}"),
        Request::Grant { lease, ttl_s } => format!("grant {lease} for {ttl_s} s"),
        Request::Revoke(lease) => format!("revoke {lease}"),
        Request::KeepAlive(lease) => format!("keep {lease} alive"),
    }
}

fn ops(ops: &[Op]) -> String {
    format!("({})", ops.iter().map(op).collect::<Vec<_>>().join(", "))
}

fn op(op: &Op) -> String {
    match op {
        Op::Range(range) => {
            let at = if range.revision == 0 { String::new() } else { format!(" at {}", range.revision) };
            let how = if range.serializable { " (serializable)" } else { "" };
            format!("get {}{at}{how}", span(&range.keys))
        }
        Op::Put(put) if put.lease != 0 => {
            format!("put {}={} on lease {}", bytes(&put.key), bytes(&put.value), put.lease)
        }
        Op::Put(put) => format!("put {}={}", bytes(&put.key), bytes(&put.value)),
        Op::Delete { keys, .. } => format!("delete {}", span(keys)),
    }
}

/// Keys in words.
pub fn span(span: &Span) -> String {
    match span {
        Span::Key(key) => bytes(key),
        Span::Between(from, to) => format!("[{}, {})", bytes(from), bytes(to)),
        Span::From(from) => format!("[{}, …)", bytes(from)),
    }
}

fn answer(answer: &Answer) -> String {
    format!("revision {}: {}", answer.revision, body(&answer.body))
}

/// An answer without its revision.
pub fn body(body: &Body) -> String {
    match body {
        Body::Op(answer) => op_answer(answer),
        Body::Txn { succeeded, answers } => {
            let answers: Vec<String> = answers.iter().map(op_answer).collect();
            format!("{} ({})", if *succeeded { "success" } else { "failure" }, answers.join(", "))
        }
        Body::Done => "done".to_string(),
        Body::Granted(ttl_s) => format!("granted {ttl_s} s"),
        Body::KeptAlive(ttl_s) => format!("kept alive {ttl_s} s"),
    }
}

fn op_answer(answer: &OpAnswer) -> String {
    let list = |kvs: &[KeyValue]| kvs.iter().map(kv).collect::<Vec<_>>().join(" ");
    match answer {
        OpAnswer::Range { kvs, count, more } => {
            let more = if *more { " and more" } else { "" };
            format!("{count} keys: {}{more}", list(kvs))
        }
        OpAnswer::Put(None) => "put".to_string(),
        OpAnswer::Put(Some(prev)) => format!("put over {}", kv(prev)),
        OpAnswer::Delete { deleted, prev } => format!("deleted {deleted} {}", list(prev)),
    }
}

/// A key and what it holds: `key=value{create modified version}`.
pub fn kv(kv: &KeyValue) -> String {
    let lease = if kv.lease == 0 { String::new() } else { format!(" lease {}", kv.lease) };
    let place = format!("{{created {} changed {} version {}{lease}}}", kv.create, kv.modified, kv.version);
    format!("{}={}{place}", bytes(&kv.key), bytes(&kv.value))
}

/// An event in words.
pub fn event(event: &Event) -> String {
    let prev = event.prev.as_ref().map_or_else(String::new, |prev| format!(" over {}", kv(prev)));
    match event.delete {
        true => format!("{} deleted at {}{prev}", bytes(&event.kv.key), event.kv.modified),
        false => format!("{}{prev}", kv(&event.kv)),
    }
}

/// Several of them.
pub fn events(events: &[Event]) -> String {
    events.iter().map(event).collect::<Vec<_>>().join("; ")
}

fn bytes(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}
