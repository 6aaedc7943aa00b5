//! Damage to what clients were told. Replay and both searches must find it, each what it can see.
use bramble_tests::chance::Chance;
use bramble_tests::history::replay::{self, Log};
use bramble_tests::history::{
    Answer, Body, Call, History, KeyValue, Op, OpAnswer, Outcome, Property, Range, Refusal, Request, Span,
    search, search_key,
};
use bytes::Bytes;

use crate::places::{
    answer_mut, got, got_mut, is_txn, listed, maker, overwritten, past, read_write, some, spoil_read, writes,
};
use crate::spoilt::{Damage, all_are_found};

use Property::{Answers, Compaction, Linearizable, RealTime, Revisions};

/// Damage, the guarantee that replay finds broken, and whether the searches see it: the one over the whole store, and
/// the one key by key that is blind to revisions.
const KINDS: [(&str, Damage, Property, bool, bool); 30] = [
    ("stale read", stale_read, Answers, true, true),
    ("phantom value", phantom_value, Answers, true, true),
    ("lost update", lost_update, Revisions, true, true),
    ("version too high", version_too_high, Answers, true, true),
    ("key created earlier", created_earlier, Answers, true, false),
    ("key changed earlier", changed_earlier, Answers, true, false),
    ("another lease", another_lease, Answers, true, true),
    ("value of another key", value_of_another_key, Answers, true, true),
    ("compares the other way", compares_the_other_way, Answers, true, false),
    ("answered twice", answered_twice, Revisions, true, true),
    ("refused but done", refused_but_done, Revisions, true, true),
    ("acknowledged but not done", acknowledged_but_not_done, Revisions, true, false),
    ("deleted one more", deleted_one_more, Answers, true, false),
    ("wrong previous value", wrong_previous_value, Answers, true, true),
    ("wrong deleted value", wrong_deleted_value, Answers, true, true),
    ("seen before it was asked", seen_before_it_was_asked, RealTime, true, true),
    ("revisions swapped", revisions_swapped, RealTime, true, false),
    ("revision used twice", revision_used_twice, Revisions, true, false),
    ("revision left out", revision_left_out, Revisions, true, false),
    ("revision of the future", revision_of_the_future, RealTime, true, false),
    ("revision of the past", revision_of_the_past, RealTime, true, false),
    ("key left out of a list", key_left_out_of_a_list, Answers, true, false),
    ("torn transaction", torn_transaction, Answers, true, true),
    ("deleted key is back", deleted_key_is_back, Answers, true, true),
    ("key blinks", key_blinks, Answers, true, true),
    ("count too high", count_too_high, Answers, true, false),
    ("past rewritten", past_rewritten, Answers, false, false),
    ("serializable phantom", serializable_phantom, Answers, false, false),
    ("read below a compaction", read_below_a_compaction, Compaction, false, false),
    ("refused as compacted", refused_as_compacted, Compaction, false, false),
];

#[test]
fn replay_finds_all_damage() {
    let kinds: Vec<_> = KINDS.iter().map(|kind| (kind.0, kind.1, kind.2)).collect();
    all_are_found(&kinds, |history, _| replay::check(history).1);
}

#[test]
fn the_search_over_the_store_finds_damage() {
    let kinds: Vec<_> =
        KINDS.iter().filter(|kind| kind.3).map(|kind| (kind.0, kind.1, Linearizable)).collect();
    all_are_found(&kinds, |history, _| search::whole(history, search::STATES_MAX));
}

/// Here nothing but answers and times is left: neither a watch nor a revision helps.
#[test]
fn the_blind_search_finds_damage() {
    let kinds: Vec<_> =
        KINDS.iter().filter(|kind| kind.4).map(|kind| (kind.0, kind.1, Linearizable)).collect();
    all_are_found(&kinds, |history, _| search_key::by_key(history, search::STATES_MAX));
}

fn stale_read(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let old = |call: &Call| got(call).and_then(|kv| overwritten(history, log, call, kv.modified, &kv.key));
    let read = some(history, chance, |call| old(call).is_some())?;
    let old = old(&history.calls[read])?;
    *got_mut(&mut history.calls[read])?.first_mut()? = old;
    Some(())
}

fn phantom_value(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_read(history, chance, |kv| kv.value = Bytes::from_static(b"nobody's"))
}

fn lost_update(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (write, _) = read_write(history, log, chance)?;
    history.calls.remove(write);
    Some(())
}

fn version_too_high(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_read(history, chance, |kv| kv.version += 1000)
}

fn created_earlier(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_read(history, chance, |kv| kv.create -= 1)
}

fn changed_earlier(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_read(history, chance, |kv| kv.modified -= 1)
}

fn another_lease(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_read(history, chance, |kv| kv.lease += 1)
}

fn value_of_another_key(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let one = some(history, chance, |call| got(call).is_some())?;
    let key = got(&history.calls[one])?.key.clone();
    let other = some(history, chance, |call| got(call).is_some_and(|kv| kv.key != key))?;
    let mut kv = got(&history.calls[other])?.clone();
    kv.key = key;
    *got_mut(&mut history.calls[one])?.first_mut()? = kv;
    Some(())
}

fn compares_the_other_way(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    // With leases it would be found by what its other branch does to them.
    let leases =
        |call: &Call| replay::ops(&call.request).any(|op| matches!(op, Op::Put(put) if put.lease != 0));
    let txn = some(history, chance, |call| is_txn(call) && call.answer().is_some() && !leases(call))?;
    match &mut answer_mut(&mut history.calls[txn])?.body {
        Body::Txn { succeeded, .. } => *succeeded = !*succeeded,
        _ => return None,
    }
    Some(())
}

/// A write that was told what it overwrote, which cannot be overwritten twice.
fn answered_twice(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let told = |call: &Call| matches!(call.answer()?.body, Body::Op(OpAnswer::Put(Some(_)))).then_some(());
    let write = some(history, chance, |call| told(call).is_some())?;
    history.calls.push(history.calls[write].clone());
    Some(())
}

fn refused_but_done(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (write, _) = read_write(history, log, chance)?;
    history.calls[write].outcome = Outcome::Refused(Refusal::NotNow);
    Some(())
}

fn acknowledged_but_not_done(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let put = |call: &Call| matches!(&call.request, Request::Op(Op::Put(put)) if !put.prev_kv);
    let refused = |call: &Call| put(call) && matches!(call.outcome, Outcome::Refused(_));
    let call = some(history, chance, refused)?;
    let other = some(history, chance, writes)?;
    let revision = history.calls[other].answer()?.revision;
    history.calls[call].outcome = Outcome::Answered(Answer { revision, body: Body::Op(OpAnswer::Put(None)) });
    Some(())
}

fn deleted_one_more(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let deletes = |call: &Call| {
        call.answer().is_some_and(|answer| matches!(answer.body, Body::Op(OpAnswer::Delete { .. })))
    };
    let call = some(history, chance, |call| deletes(call) && writes(call))?;
    match &mut answer_mut(&mut history.calls[call])?.body {
        Body::Op(OpAnswer::Delete { deleted, .. }) => *deleted += 1,
        _ => return None,
    }
    Some(())
}

fn wrong_previous_value(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let told = |call: &Call| matches!(call.answer()?.body, Body::Op(OpAnswer::Put(Some(_)))).then_some(());
    let call = some(history, chance, |call| told(call).is_some())?;
    match &mut answer_mut(&mut history.calls[call])?.body {
        Body::Op(OpAnswer::Put(Some(prev))) => prev.value = Bytes::from_static(b"nobody's"),
        _ => return None,
    }
    Some(())
}

fn wrong_deleted_value(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let told = |call: &Call| match &call.answer()?.body {
        Body::Op(OpAnswer::Delete { prev, .. }) if !prev.is_empty() => Some(()),
        _ => None,
    };
    let call = some(history, chance, |call| told(call).is_some())?;
    match &mut answer_mut(&mut history.calls[call])?.body {
        Body::Op(OpAnswer::Delete { prev, .. }) => prev.first_mut()?.value = Bytes::from_static(b"nobody's"),
        _ => return None,
    }
    Some(())
}

fn seen_before_it_was_asked(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (write, read) = read_write(history, log, chance)?;
    let after = history.calls[read].ended;
    let length = history.calls[write].ended - history.calls[write].began;
    (history.calls[write].began, history.calls[write].ended) = (after + 1, after + 1 + length);
    Some(())
}

fn revisions_swapped(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let next = |call: &Call| {
        let (index, after) = maker(history, log, call.answer()?.revision + 1)?;
        (call.ended < after.began && writes(after)).then_some(index)
    };
    let before = some(history, chance, |call| writes(call) && next(call).is_some())?;
    let after = next(&history.calls[before])?;
    answer_mut(&mut history.calls[before])?.revision += 1;
    answer_mut(&mut history.calls[after])?.revision -= 1;
    Some(())
}

fn revision_used_twice(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let one = some(history, chance, writes)?;
    let other = some(history, chance, writes).filter(|other| *other != one)?;
    answer_mut(&mut history.calls[one])?.revision = history.calls[other].answer()?.revision;
    Some(())
}

/// All that was told from some revision on is one higher.
fn revision_left_out(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let write = some(history, chance, writes)?;
    let from = history.calls[write].answer()?.revision;
    let raise = |revision: &mut i64| *revision += i64::from(*revision >= from);
    let raise_kv = |kv: &mut KeyValue| {
        raise(&mut kv.create);
        raise(&mut kv.modified);
    };
    for answer in history.calls.iter_mut().filter_map(answer_mut) {
        raise(&mut answer.revision);
        let answers = match &mut answer.body {
            Body::Op(answer) => std::slice::from_mut(answer),
            Body::Txn { answers, .. } => answers.as_mut_slice(),
            Body::Done | Body::Granted(_) | Body::KeptAlive(_) => &mut [],
        };
        for answer in answers {
            match answer {
                OpAnswer::Range { kvs, .. } => kvs.iter_mut().for_each(raise_kv),
                OpAnswer::Put(prev) => prev.iter_mut().for_each(raise_kv),
                OpAnswer::Delete { prev, .. } => prev.iter_mut().for_each(raise_kv),
            }
        }
    }
    for message in history.watches.iter_mut().flat_map(|watch| &mut watch.messages) {
        raise(&mut message.revision);
        if let bramble_tests::history::What::Events { events, .. } = &mut message.what {
            for event in events {
                raise_kv(&mut event.kv);
                event.prev.iter_mut().for_each(raise_kv);
            }
        }
    }
    Some(())
}

fn revision_of_the_future(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| got(call).is_some())?;
    let ended = history.calls[read].ended;
    let late = some(history, chance, |call| writes(call) && call.began > ended)?;
    let revision = history.calls[late].answer()?.revision;
    maker(history, log, revision)?;
    answer_mut(&mut history.calls[read])?.revision = revision;
    Some(())
}

fn revision_of_the_past(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| got(call).is_some())?;
    let began = history.calls[read].began;
    let before = some(history, chance, |call| writes(call) && call.ended < began)?;
    let revision = history.calls[before].answer()?.revision;
    answer_mut(&mut history.calls[read])?.revision = revision - 1;
    Some(())
}

fn key_left_out_of_a_list(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let list = some(history, chance, |call| listed(call).is_some())?;
    match &mut answer_mut(&mut history.calls[list])?.body {
        Body::Op(OpAnswer::Range { kvs, count, .. }) => {
            kvs.remove(0);
            *count -= 1;
        }
        _ => return None,
    }
    Some(())
}

/// A list that shows two changes of one transaction is made to show one of them undone.
fn torn_transaction(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let torn = |call: &Call| {
        let kvs = listed(call)?;
        kvs.iter().enumerate().find_map(|(index, kv)| {
            let both = kvs[..index].iter().any(|other| other.modified == kv.modified);
            let txn = maker(history, log, kv.modified).is_some_and(|(_, call)| is_txn(call));
            let old = overwritten(history, log, call, kv.modified, &kv.key)?;
            (both && txn).then_some((index, old))
        })
    };
    let list = some(history, chance, |call| torn(call).is_some())?;
    let (index, old) = torn(&history.calls[list])?;
    *got_mut(&mut history.calls[list])?.get_mut(index)? = old;
    Some(())
}

/// A read after an answered delete of just this key finds it.
fn deleted_key_is_back(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let gone = |call: &Call| {
        let Request::Op(Op::Range(Range { keys: Span::Key(key), revision: 0, serializable: false, .. })) =
            &call.request
        else {
            return None;
        };
        let before =
            |change: &&replay::Change| change.revision <= call.answer().map_or(0, |answer| answer.revision);
        let last = log.changes().iter().take_while(before).flat_map(|change| &change.events);
        let event = last.filter(|event| event.kv.key == *key).last()?;
        let (_, delete) = maker(history, log, event.kv.modified)?;
        let certain = event.delete && matches!(delete.request, Request::Op(_));
        overwritten(history, log, call, event.kv.modified, key).filter(|_| certain)
    };
    let read = some(history, chance, |call| gone(call).is_some())?;
    let kv = gone(&history.calls[read])?;
    answer_mut(&mut history.calls[read])?.body =
        Body::Op(OpAnswer::Range { kvs: vec![kv], count: 1, more: false });
    Some(())
}

/// Of three reads that find the same, one after the other, the second finds nothing.
fn key_blinks(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let same = |one: &Call, other: &Call| got(one).is_some() && got(one) == got(other);
    let middle = |call: &Call| {
        let before = history.calls.iter().any(|other| same(call, other) && other.ended < call.began);
        before && history.calls.iter().any(|other| same(call, other) && call.ended < other.began)
    };
    let read = some(history, chance, middle)?;
    answer_mut(&mut history.calls[read])?.body =
        Body::Op(OpAnswer::Range { kvs: Vec::new(), count: 0, more: false });
    Some(())
}

fn count_too_high(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let list = some(history, chance, |call| listed(call).is_some())?;
    match &mut answer_mut(&mut history.calls[list])?.body {
        Body::Op(OpAnswer::Range { count, .. }) => *count += 1,
        _ => return None,
    }
    Some(())
}

fn past_rewritten(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| past(call, false))?;
    got_mut(&mut history.calls[read])?.first_mut()?.version += 1;
    Some(())
}

fn serializable_phantom(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| past(call, true))?;
    got_mut(&mut history.calls[read])?.first_mut()?.value = Bytes::from_static(b"nobody's");
    Some(())
}

fn read_below_a_compaction(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| past(call, false))?;
    let Request::Op(Op::Range(range)) = &history.calls[read].request else { return None };
    let revision = range.revision;
    let compacts = |call: &Call| {
        matches!(call.request, Request::Compact(at) if at > revision) && call.answer().is_some()
    };
    let compaction = some(history, chance, compacts)?;
    let after = history.calls[compaction].ended;
    (history.calls[read].began, history.calls[read].ended) = (after + 1, after + 2);
    Some(())
}

fn refused_as_compacted(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let read = some(history, chance, |call| past(call, false))?;
    let compacts = |call: &Call| {
        matches!(call.request, Request::Compact(_)) && !matches!(call.outcome, Outcome::Refused(_))
    };
    let ended = history.calls[read].ended;
    if history.calls.iter().any(|call| compacts(call) && call.began <= ended) {
        return None;
    }
    history.calls[read].outcome = Outcome::Refused(Refusal::Compacted);
    Some(())
}
