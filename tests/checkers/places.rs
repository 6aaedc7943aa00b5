//! Where in a history damage can be done: calls of every kind, at random.
use bramble_tests::chance::Chance;
use bramble_tests::history::replay::{Cause, Log, changed};
use bramble_tests::history::{
    Answer, Body, Call, History, KeyValue, Op, OpAnswer, Outcome, Range, Request, Span, Txn,
};
use bytes::Bytes;

/// A call that fits, at random.
pub fn some(history: &History, chance: &mut Chance, is: impl Fn(&Call) -> bool) -> Option<usize> {
    let found: Vec<usize> = (0..history.calls.len()).filter(|index| is(&history.calls[*index])).collect();
    if found.is_empty() { None } else { Some(*chance.pick(&found)) }
}

/// The key that an up-to-date read of one key found.
pub fn got(call: &Call) -> Option<&KeyValue> {
    match (&call.request, &call.answer()?.body) {
        (Request::Op(Op::Range(range)), Body::Op(OpAnswer::Range { kvs, .. })) => {
            let plain = range.revision == 0 && !range.serializable && matches!(range.keys, Span::Key(_));
            kvs.first().filter(|_| plain)
        }
        _ => None,
    }
}

pub fn got_mut(call: &mut Call) -> Option<&mut Vec<KeyValue>> {
    match &mut call.outcome {
        Outcome::Answered(Answer { body: Body::Op(OpAnswer::Range { kvs, .. }), .. }) => Some(kvs),
        _ => None,
    }
}

/// Changes what one read of one key found.
pub fn spoil_read(history: &mut History, chance: &mut Chance, spoil: impl Fn(&mut KeyValue)) -> Option<()> {
    let read = some(history, chance, |call| got(call).is_some())?;
    spoil(got_mut(&mut history.calls[read])?.first_mut()?);
    Some(())
}

pub fn answer_mut(call: &mut Call) -> Option<&mut Answer> {
    match &mut call.outcome {
        Outcome::Answered(answer) => Some(answer),
        Outcome::Refused(_) | Outcome::Unknown => None,
    }
}

pub fn writes(call: &Call) -> bool {
    call.answer().is_some_and(changed)
}

/// The answered call that made a revision.
pub fn maker<'a>(history: &'a History, log: &Log, revision: i64) -> Option<(usize, &'a Call)> {
    match log.at(revision)?.cause {
        Cause::Call(call) => Some((call, &history.calls[call])),
        Cause::Unknown | Cause::LeaseEnd { .. } | Cause::LeasePart(_) => None,
    }
}

/// The key before a change that was over when a call began, and written before that change began: nobody, blind to
/// revisions or not, can take it for what the call may have found.
pub fn overwritten(
    history: &History,
    log: &Log,
    call: &Call,
    revision: i64,
    key: &Bytes,
) -> Option<KeyValue> {
    let (_, writer) = maker(history, log, revision)?;
    let event = log.at(revision)?.events.iter().find(|event| event.kv.key == *key)?;
    let old = event.prev.clone()?;
    let (_, before) = maker(history, log, old.modified)?;
    (before.ended < writer.began && writer.ended < call.began).then_some(old)
}

/// An answered write whose value an up-to-date read of the key found.
pub fn read_write(history: &History, log: &Log, chance: &mut Chance) -> Option<(usize, usize)> {
    let of = |call: &Call| maker(history, log, got(call)?.modified).map(|(writer, _)| writer);
    let read = some(history, chance, |call| of(call).is_some())?;
    Some((of(&history.calls[read])?, read))
}

/// An up-to-date list of several keys, and what it found.
pub fn listed(call: &Call) -> Option<&Vec<KeyValue>> {
    match (&call.request, &call.answer()?.body) {
        (Request::Op(Op::Range(Range { revision: 0, serializable: false, .. })), Body::Op(answer)) => {
            match answer {
                OpAnswer::Range { kvs, .. } if kvs.len() > 1 => Some(kvs),
                _ => None,
            }
        }
        _ => None,
    }
}

pub fn is_txn(call: &Call) -> bool {
    matches!(call.request, Request::Txn(Txn { .. }))
}

/// A read that is not of the present, and found something.
pub fn past(call: &Call, serializable: bool) -> bool {
    let of_past = match &call.request {
        Request::Op(Op::Range(range)) => {
            (range.revision > 0 && !serializable) || (range.serializable && serializable)
        }
        _ => false,
    };
    let found =
        |answer: &Answer| matches!(&answer.body, Body::Op(OpAnswer::Range { kvs, .. }) if !kvs.is_empty());
    of_past && call.answer().is_some_and(found)
}
