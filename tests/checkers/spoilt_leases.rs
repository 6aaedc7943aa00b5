//! Damage to what is known of leases.
use bramble_tests::chance::Chance;
use bramble_tests::history::lease::{self, Bounds};
use bramble_tests::history::replay::{self, Cause, Log};
use bramble_tests::history::{
    Answer, Body, Call, History, Op, OpAnswer, Outcome, Property, Put, Range, Refusal, Request, Span, What,
};
use bytes::Bytes;

use crate::spoilt::{Damage, all_are_found};
use crate::world::{LATE, SECOND};

use Property::{AllKeys, Attached, Early, Late, Renewed, Ttl};

const KINDS: [(&str, Damage, Property); 19] = [
    ("granted for longer than it lived", granted_for_longer, Early),
    ("renewed just before its end", renewed_just_before_its_end, Early),
    ("not there for a keep-alive", missing_for_a_keep_alive, Early),
    ("not there for a put", missing_for_a_put, Early),
    ("not there for a revoke", missing_for_a_revoke, Early),
    ("ended without its revoke", ended_without_its_revoke, Early),
    ("one key is left", one_key_is_left, AllKeys),
    ("lived longer than granted", lived_longer, Late),
    ("still there at the end", still_there_at_the_end, Late),
    ("renewed after its time", renewed_after_its_time, Late),
    ("renewed after its revoke", renewed_after_its_revoke, Renewed),
    ("renewed after its end", renewed_after_its_end, Renewed),
    ("renewed but never granted", renewed_but_never_granted, Renewed),
    ("renewed before it was granted", renewed_before_it_was_granted, Renewed),
    ("key hung on none", key_hung_on_none, Attached),
    ("key hung on after its revoke", key_hung_on_after_its_revoke, Attached),
    ("key hung on before its grant", key_hung_on_before_its_grant, Attached),
    ("granted for less", granted_for_less, Ttl),
    ("renewed for less", renewed_for_less, Ttl),
];

#[test]
fn the_lease_checker_finds_all_damage() {
    all_are_found(&KINDS, |history, _| {
        let (log, _) = replay::check(history);
        lease::check(history, &log, Bounds { late: LATE })
    });
}

fn some<T: Clone>(found: Vec<T>, chance: &mut Chance) -> Option<T> {
    if found.is_empty() { None } else { Some(chance.pick(&found).clone()) }
}

/// Leases that the clock ended and nothing else can have: id, revision, when that was seen.
fn ended(log: &Log) -> Vec<(i64, i64, u64)> {
    let end = |change: &replay::Change| match change.cause {
        Cause::LeaseEnd { lease, asked: false } => Some((lease, change.revision, change.seen)),
        _ => None,
    };
    log.changes().iter().filter_map(end).collect()
}

/// Answered grants: call, lease, seconds, end.
fn granted(history: &History) -> Vec<(usize, i64, i64, u64)> {
    let grant = |(index, call): (usize, &Call)| match (&call.request, &call.answer()?.body) {
        (Request::Grant { lease, .. }, Body::Granted(ttl_s)) => Some((index, *lease, *ttl_s, call.ended)),
        _ => None,
    };
    history.calls.iter().enumerate().filter_map(grant).collect()
}

fn grant_of(history: &History, lease: i64) -> Option<(usize, i64, i64, u64)> {
    granted(history).into_iter().find(|grant| grant.1 == lease)
}

/// Answered revokes: call, lease, revision, end.
fn revoked(history: &History) -> Vec<(usize, i64, i64, u64)> {
    let revoke = |(index, call): (usize, &Call)| match call.request {
        Request::Revoke(lease) => Some((index, lease, call.answer()?.revision, call.ended)),
        _ => None,
    };
    history.calls.iter().enumerate().filter_map(revoke).collect()
}

/// The revision that was current at a moment.
fn current(log: &Log, at: u64) -> i64 {
    log.changes().iter().take_while(|change| change.seen < at).last().map_or(1, |change| change.revision)
}

fn add(history: &mut History, (began, ended): (u64, u64), request: Request, outcome: Outcome) {
    history.calls.push(Call { client: 77, began, ended, request, outcome });
}

fn kept_alive(log: &Log, at: u64, ttl_s: i64) -> Outcome {
    Outcome::Answered(Answer { revision: current(log, at), body: Body::KeptAlive(ttl_s) })
}

fn put_on(lease: i64) -> Request {
    let (key, value) = (Bytes::from_static(b"k1"), Bytes::from_static(b"added"));
    Request::Op(Op::Put(Put { key, value, lease, prev_kv: false }))
}

/// Nobody asks for its end, and nobody's wish to have it longer got lost.
fn untouched(history: &History, lease: i64) -> bool {
    !history.calls.iter().any(|call| match call.request {
        Request::Revoke(id) => id == lease,
        Request::KeepAlive(id) | Request::Grant { lease: id, .. } => id == lease && call.unknown(),
        _ => false,
    })
}

fn granted_for_longer(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, ..) = some(ended(log), chance)?;
    let (grant, ..) = grant_of(history, lease)?;
    for call in &mut history.calls {
        if let (Request::KeepAlive(id), Outcome::Answered(answer)) = (&call.request, &mut call.outcome)
            && *id == lease
            && answer.body != Body::KeptAlive(0)
        {
            answer.body = Body::KeptAlive(1000);
        }
    }
    let Outcome::Answered(answer) = &mut history.calls[grant].outcome else { return None };
    answer.body = Body::Granted(1000);
    Some(())
}

fn renewed_just_before_its_end(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, _, seen) = some(ended(log), chance)?;
    let (.., ttl_s, _) = grant_of(history, lease)?;
    add(history, (seen - 2, seen - 1), Request::KeepAlive(lease), kept_alive(log, seen - 2, ttl_s));
    Some(())
}

/// A lease that nobody revokes, and the time just after it was granted.
fn just_granted(history: &History, chance: &mut Chance) -> Option<(i64, (u64, u64))> {
    let free = granted(history).into_iter().filter(|grant| untouched(history, grant.1)).collect();
    let (call, lease, ttl_s, ended) = some(free, chance)?;
    let alive = history.calls[call].began + ttl_s as u64 * SECOND > ended + 10;
    alive.then_some((lease, (ended + 1, ended + 2)))
}

fn missing_for_a_keep_alive(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, at) = just_granted(history, chance)?;
    add(history, at, Request::KeepAlive(lease), kept_alive(log, at.0, 0));
    Some(())
}

fn missing_for_a_put(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, at) = just_granted(history, chance)?;
    add(history, at, put_on(lease), Outcome::Refused(Refusal::LeaseNotFound));
    Some(())
}

fn missing_for_a_revoke(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, at) = just_granted(history, chance)?;
    add(history, at, Request::Revoke(lease), Outcome::Refused(Refusal::LeaseNotFound));
    Some(())
}

/// A revoke that took keys was never asked for, so the lease ended by itself.
fn ended_without_its_revoke(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let took_keys = |revoke: &(usize, i64, i64, u64)| {
        let made = log.at(revoke.2).is_some_and(|change| change.cause == Cause::Call(revoke.0));
        let asks =
            history.calls.iter().filter(|call| matches!(call.request, Request::Revoke(id) if id == revoke.1));
        made && asks.count() == 1 && log.at(revoke.2 + 1).is_some()
    };
    let (call, lease, revision, _) = some(revoked(history).into_iter().filter(took_keys).collect(), chance)?;
    let (grant, _, ttl_s, _) = grant_of(history, lease)?;
    // The next revision is what tells now that it had ended. And no call of unknown outcome may have ended it.
    let seen = log.at(revision + 1)?.seen;
    let unknown = history.calls.iter().any(|call| call.unknown() && call.began <= seen);
    let within = !unknown && history.calls[grant].began + ttl_s as u64 * SECOND > seen;
    history.calls.remove(call);
    within.then_some(())
}

/// The watches are not sent the deletion of one of its keys.
fn one_key_is_left(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    // A call of unknown outcome may have deleted just the others.
    let nobody =
        |end: &(i64, i64, u64)| !history.calls.iter().any(|call| call.unknown() && call.began <= end.2);
    let several =
        |end: &(i64, i64, u64)| log.at(end.1).is_some_and(|change| change.events.len() > 1) && nobody(end);
    let (_, revision, _) = some(ended(log).into_iter().filter(several).collect(), chance)?;
    let key = log.at(revision)?.events.first()?.kv.key.clone();
    for message in history.watches.iter_mut().flat_map(|watch| &mut watch.messages) {
        if let What::Events { events, .. } = &mut message.what {
            events.retain(|event| event.kv.modified != revision || event.kv.key != key);
        }
    }
    Some(())
}

fn lived_longer(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let clean = |end: &(i64, i64, u64)| untouched(history, end.0);
    let (lease, revision, _) = some(ended(log).into_iter().filter(clean).collect(), chance)?;
    let (grant, ..) = grant_of(history, lease)?;
    // It was granted and renewed long before, so that it should have ended long before.
    for call in &mut history.calls {
        let of =
            matches!(call.request, Request::KeepAlive(id) | Request::Grant { lease: id, .. } if id == lease);
        if let Outcome::Answered(answer) = &mut call.outcome
            && of
        {
            (call.began, call.ended, answer.revision) = (0, 1, 1);
        }
    }
    let late = 1 + history.calls[grant].answer().map_or(0, |_| 5 * SECOND) + LATE;
    let still = history.calls.iter().any(|call| {
        let plain = matches!(&call.request, Request::Op(Op::Put(_)));
        plain && call.began > late && call.answer().is_some_and(|answer| answer.revision < revision)
    });
    still.then_some(())
}

fn still_there_at_the_end(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let mut state = bramble_tests::history::model::State::default();
    log.changes().iter().flat_map(|change| &change.events).for_each(|event| state.follow(event));
    let left: Vec<i64> = state.leases().filter(|lease| untouched(history, *lease)).collect();
    let lease = some(left, chance)?;
    grant_of(history, lease)?;
    let last = history.calls.iter().filter(|call| !call.unknown()).map(|call| call.ended).max()?;
    let at = last + 100 * SECOND;
    let range =
        Range { keys: Span::Key(Bytes::from_static(b"zzz")), revision: 0, limit: 0, serializable: false };
    let body = Body::Op(OpAnswer::Range { kvs: Vec::new(), count: 0, more: false });
    let answer = Answer { revision: log.last(), body };
    add(history, (at, at + 1), Request::Op(Op::Range(range)), Outcome::Answered(answer));
    Some(())
}

fn renewed_after_its_time(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let free = granted(history).into_iter().filter(|grant| untouched(history, grant.1)).collect();
    let (_, lease, ttl_s, _) = some(free, chance)?;
    let last = history.calls.iter().filter(|call| !call.unknown()).map(|call| call.ended).max()?;
    let at = last + 100 * SECOND;
    add(history, (at, at + 1), Request::KeepAlive(lease), kept_alive(log, at, ttl_s));
    Some(())
}

fn renewed_after_its_revoke(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (_, lease, _, ended) = some(revoked(history), chance)?;
    add(history, (ended + 1, ended + 2), Request::KeepAlive(lease), kept_alive(log, ended, 2));
    Some(())
}

fn renewed_after_its_end(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (lease, _, seen) = some(ended(log), chance)?;
    add(history, (seen + 1, seen + 2), Request::KeepAlive(lease), kept_alive(log, seen, 2));
    Some(())
}

fn renewed_but_never_granted(history: &mut History, log: &Log, _: &mut Chance) -> Option<()> {
    add(history, (100, 110), Request::KeepAlive(4711), kept_alive(log, 100, 2));
    Some(())
}

fn renewed_before_it_was_granted(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (grant, lease, ..) = some(granted(history), chance)?;
    let began = history.calls[grant].began;
    if began < 3 {
        return None;
    }
    add(history, (began - 3, began - 2), Request::KeepAlive(lease), kept_alive(log, began - 3, 2));
    Some(())
}

/// An answered put of one key that is hung on another lease instead.
fn hang(history: &mut History, chance: &mut Chance, is: impl Fn(&Call) -> bool, lease: i64) -> Option<()> {
    let plain =
        |call: &Call| matches!(call.request, Request::Op(Op::Put(_))) && call.answer().is_some() && is(call);
    let puts = (0..history.calls.len()).filter(|index| plain(&history.calls[*index])).collect();
    let call = some(puts, chance)?;
    match &mut history.calls[call].request {
        Request::Op(Op::Put(put)) => put.lease = lease,
        _ => return None,
    }
    Some(())
}

fn key_hung_on_none(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    hang(history, chance, |call| call.began < 1000, 4711)
}

fn key_hung_on_after_its_revoke(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (_, lease, revision, _) = some(revoked(history), chance)?;
    hang(history, chance, |call| call.answer().is_some_and(|answer| answer.revision > revision), lease)
}

fn key_hung_on_before_its_grant(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (grant, lease, ..) = some(granted(history), chance)?;
    let began = history.calls[grant].began;
    hang(history, chance, |call| call.ended < began, lease)
}

fn granted_for_less(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (grant, _, ttl_s, _) = some(granted(history), chance)?;
    let Outcome::Answered(answer) = &mut history.calls[grant].outcome else { return None };
    answer.body = Body::Granted(ttl_s - 1);
    Some(())
}

fn renewed_for_less(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let renews = |call: &Call| match (&call.request, call.answer()?.body.clone()) {
        (Request::KeepAlive(lease), Body::KeptAlive(1..)) => grant_of(history, *lease).map(|_| ()),
        _ => None,
    };
    let found = (0..history.calls.len()).filter(|index| renews(&history.calls[*index]).is_some()).collect();
    let call = some(found, chance)?;
    let Outcome::Answered(answer) = &mut history.calls[call].outcome else { return None };
    answer.body = Body::KeptAlive(1);
    Some(())
}
