//! Damage to what watches were sent. The validator of the guarantee that is broken must find it.
use bramble_tests::chance::Chance;
use bramble_tests::history::replay::Log;
use bramble_tests::history::{Event, History, KeyValue, Message, Property, Watch, What, watch};
use bytes::Bytes;

use crate::spoilt::{Damage, all_are_found};

use Property::{
    Atomic, Bookmarkable, CompactedWatch, Content, Filter, Header, Lifecycle, Ordered, PrevKv, Reliable,
    Resumable, Start, Unique,
};

const KINDS: [(&str, Damage, Property); 32] = [
    ("event of a key outside", event_of_a_key_outside, Filter),
    ("event of a hidden kind", event_of_a_hidden_kind, Filter),
    ("messages swapped", messages_swapped, Ordered),
    ("events of a message turned", events_turned, Ordered),
    ("events of a revision turned", revision_turned, Ordered),
    ("message twice", message_twice, Unique),
    ("event twice in a message", event_twice, Unique),
    ("revision in two messages", revision_in_two_messages, Atomic),
    ("part of a revision", part_of_a_revision, Atomic),
    ("pieces nobody asked for", pieces_nobody_asked_for, Atomic),
    ("mark too early", mark_too_early, Bookmarkable),
    ("mark too high", mark_too_high, Bookmarkable),
    ("event after its mark", event_after_its_mark, Bookmarkable),
    ("begins too late", begins_too_late, Resumable),
    ("wrong value", wrong_value, Content),
    ("wrong version", wrong_version, Content),
    ("creation told as change", creation_told_as_change, Content),
    ("wrong lease", wrong_lease, Content),
    ("delete told as put", delete_told_as_put, Content),
    ("message left out", message_left_out, Reliable),
    ("event made up", event_made_up, Reliable),
    ("previous value missing", previous_missing, PrevKv),
    ("previous value older", previous_older, PrevKv),
    ("previous value unasked", previous_unasked, PrevKv),
    ("event before the start", event_before_the_start, Start),
    ("mark before the start", mark_before_the_start, Start),
    ("created twice", created_twice, Lifecycle),
    ("never created", never_created, Lifecycle),
    ("goes on after its end", goes_on_after_its_end, Lifecycle),
    ("compacted without reason", compacted_without_reason, CompactedWatch),
    ("header goes back", header_goes_back, Header),
    ("header ahead of time", header_ahead_of_time, Header),
];

#[test]
fn the_validators_find_all_damage() {
    all_are_found(&KINDS, watch::check);
}

/// A history whose compactions matter: a watch that begins below one goes on as if nothing were lost.
#[test]
fn a_silent_skip_is_found() {
    let kinds: Vec<(&str, Damage, Property)> =
        COMPACTED.iter().chain(&KINDS[..11]).map(|kind| (kind.0, kind.1, kind.2)).collect();
    all_are_found(&kinds, watch::check);
}

const COMPACTED: [(&str, Damage, Property); 2] = [
    ("skips what is compacted", skips_what_is_compacted, CompactedWatch),
    ("wrong compact revision", wrong_compact_revision, CompactedWatch),
];

fn events_of(message: &Message) -> &[Event] {
    match &message.what {
        What::Events { events, .. } => events,
        What::Created | What::Progress | What::Canceled(_) => &[],
    }
}

fn events_mut(message: &mut Message) -> Option<&mut Vec<Event>> {
    match &mut message.what {
        What::Events { events, .. } => Some(events),
        What::Created | What::Progress | What::Canceled(_) => None,
    }
}

/// A watch and a message of it that fit, at random.
fn some(
    history: &History,
    chance: &mut Chance,
    is: impl Fn(&Watch, usize) -> bool,
) -> Option<(usize, usize)> {
    let all = history.watches.iter().enumerate();
    let all = all.flat_map(|(index, watch)| (0..watch.messages.len()).map(move |message| (index, message)));
    let found: Vec<(usize, usize)> =
        all.filter(|(index, message)| is(&history.watches[*index], *message)).collect();
    if found.is_empty() { None } else { Some(*chance.pick(&found)) }
}

fn has_events(watch: &Watch, message: usize) -> bool {
    !events_of(&watch.messages[message]).is_empty()
}

/// A message that is whole: neither a piece nor the end of pieces.
fn is_whole(watch: &Watch, message: usize) -> bool {
    let piece = |index: usize| matches!(watch.messages[index].what, What::Events { more: true, .. });
    has_events(watch, message) && !piece(message) && !(message > 0 && piece(message - 1))
}

/// Changes one event that fits.
fn spoil_event(
    history: &mut History,
    chance: &mut Chance,
    is: impl Fn(&Watch, &Event) -> bool,
    spoil: impl Fn(&mut Event),
) -> Option<()> {
    let fits = |watch: &Watch, message: usize| {
        events_of(&watch.messages[message]).iter().any(|event| is(watch, event))
    };
    let (watch, message) = some(history, chance, fits)?;
    let place = events_of(&history.watches[watch].messages[message])
        .iter()
        .position(|event| is(&history.watches[watch], event))?;
    spoil(events_mut(&mut history.watches[watch].messages[message])?.get_mut(place)?);
    Some(())
}

fn event_of_a_key_outside(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let narrow =
        |watch: &Watch, _: &Event| !watch.keys.is_all() && !watch.keys.contains(&Bytes::from_static(b"a"));
    spoil_event(history, chance, narrow, |event| event.kv.key = Bytes::from_static(b"a"))
}

fn event_of_a_hidden_kind(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let hides =
        |watch: &Watch, message: usize| has_events(watch, message) && !watch.no_put && !watch.no_delete;
    let (watch, message) = some(history, chance, hides)?;
    let delete = events_of(&history.watches[watch].messages[message]).first()?.delete;
    let watch = &mut history.watches[watch];
    *(if delete { &mut watch.no_delete } else { &mut watch.no_put }) = true;
    Some(())
}

fn messages_swapped(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let pair = |watch: &Watch, message: usize| {
        message + 1 < watch.messages.len() && is_whole(watch, message) && is_whole(watch, message + 1)
    };
    let (watch, message) = some(history, chance, pair)?;
    let (before, after) = history.watches[watch].messages.split_at_mut(message + 1);
    std::mem::swap(&mut before.last_mut()?.what, &mut after.first_mut()?.what);
    Some(())
}

/// Turns the first two neighbours among a message's events that fit.
fn turn(history: &mut History, chance: &mut Chance, is: impl Fn(&Event, &Event) -> bool) -> Option<()> {
    let place = |watch: &Watch, message: usize| {
        events_of(&watch.messages[message]).windows(2).position(|pair| is(&pair[0], &pair[1]))
    };
    let (watch, message) = some(history, chance, |watch, message| place(watch, message).is_some())?;
    let place = place(&history.watches[watch], message)?;
    events_mut(&mut history.watches[watch].messages[message])?.swap(place, place + 1);
    Some(())
}

fn events_turned(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    turn(history, chance, |before, after| before.kv.modified != after.kv.modified)
}

fn revision_turned(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    turn(history, chance, |before, after| before.kv.modified == after.kv.modified)
}

fn message_twice(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let copy = history.watches[watch].messages[message].clone();
    history.watches[watch].messages.insert(message, copy);
    Some(())
}

fn event_twice(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let events = events_mut(&mut history.watches[watch].messages[message])?;
    let place = chance.below(events.len());
    events.insert(place, events[place].clone());
    Some(())
}

/// Two neighbours of one revision in a whole message.
fn together(watch: &Watch, message: usize) -> Option<usize> {
    let events = events_of(&watch.messages[message]);
    let place = events.windows(2).position(|pair| pair[0].kv.modified == pair[1].kv.modified);
    place.filter(|_| is_whole(watch, message))
}

fn revision_in_two_messages(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, |watch, message| together(watch, message).is_some())?;
    let place = together(&history.watches[watch], message)?;
    let rest = events_mut(&mut history.watches[watch].messages[message])?.split_off(place + 1);
    let mut second = history.watches[watch].messages[message].clone();
    second.what = What::Events { events: rest, more: false };
    history.watches[watch].messages.insert(message + 1, second);
    Some(())
}

fn part_of_a_revision(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, |watch, message| together(watch, message).is_some())?;
    let place = together(&history.watches[watch], message)?;
    events_mut(&mut history.watches[watch].messages[message])?.remove(place + chance.below(2));
    Some(())
}

fn pieces_nobody_asked_for(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let plain = |watch: &Watch, message: usize| !watch.fragment && has_events(watch, message);
    let (watch, message) = some(history, chance, plain)?;
    match &mut history.watches[watch].messages[message].what {
        What::Events { more, .. } => *more = true,
        What::Created | What::Progress | What::Canceled(_) => return None,
    }
    Some(())
}

fn insert(history: &mut History, watch: usize, place: usize, revision: i64, what: What) {
    let messages = &mut history.watches[watch].messages;
    let at = messages[place.min(messages.len() - 1)].at;
    messages.insert(place, Message { at, revision, what });
}

fn mark_too_early(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let revision = events_of(&history.watches[watch].messages[message]).last()?.kv.modified;
    insert(history, watch, message, revision, What::Progress);
    Some(())
}

/// A mark that was right is put where events were still to come.
fn mark_too_high(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let marked = |watch: &Watch, message: usize| {
        message > 0 && watch.messages[message].what == What::Progress && is_whole(watch, message - 1)
    };
    let (watch, message) = some(history, chance, marked)?;
    history.watches[watch].messages.swap(message - 1, message);
    Some(())
}

fn event_after_its_mark(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let marked = |watch: &Watch, message: usize| {
        watch.messages[message].what == What::Progress
            && watch.messages[..message].iter().any(|one| !events_of(one).is_empty())
    };
    let (watch, message) = some(history, chance, marked)?;
    let old =
        history.watches[watch].messages[..message].iter().rfind(|one| !events_of(one).is_empty())?.clone();
    history.watches[watch].messages.insert(message + 1, old);
    Some(())
}

/// What came first is left out.
fn begins_too_late(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let first = |watch: &Watch, message: usize| {
        let before = watch.messages[..message].iter().any(|one| !events_of(one).is_empty());
        let later = watch.messages[message + 1..].iter().any(|one| !events_of(one).is_empty());
        watch.start > 0 && !before && later && has_events(watch, message)
    };
    let (watch, message) = some(history, chance, first)?;
    history.watches[watch].messages.remove(message);
    Some(())
}

fn wrong_value(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_event(
        history,
        chance,
        |_, event| !event.delete,
        |event| event.kv.value = Bytes::from_static(b"nobody's"),
    )
}

fn wrong_version(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_event(history, chance, |_, event| !event.delete, |event| event.kv.version += 1)
}

fn creation_told_as_change(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_event(history, chance, |_, event| event.kv.version == 1, |event| event.kv.create -= 1)
}

fn wrong_lease(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_event(history, chance, |_, event| !event.delete, |event| event.kv.lease += 1)
}

fn delete_told_as_put(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    spoil_event(history, chance, |_, event| event.delete, |event| event.delete = false)
}

fn message_left_out(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let later = |watch: &Watch, message: usize| {
        is_whole(watch, message) && watch.messages[message + 1..].iter().any(|one| !events_of(one).is_empty())
    };
    let (watch, message) = some(history, chance, later)?;
    history.watches[watch].messages.remove(message);
    Some(())
}

fn event_made_up(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let everything = history.watches[watch].keys.clone();
    let key = Bytes::from_static(b"k77");
    let events = events_mut(&mut history.watches[watch].messages[message])?;
    let modified = events.last()?.kv.modified;
    let value = Bytes::from_static(b"nobody's");
    let kv = KeyValue { key: key.clone(), value, create: modified, modified, version: 1, lease: 0 };
    events.push(Event { kv, delete: false, prev: None });
    everything.contains(&key).then_some(())
}

/// Revisions from which on nothing is compacted in this history.
fn kept(history: &History) -> i64 {
    let asked = history.calls.iter().filter_map(|call| match call.request {
        bramble_tests::history::Request::Compact(revision) => Some(revision),
        _ => None,
    });
    asked.max().unwrap_or(0)
}

fn previous_missing(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let kept = kept(history);
    let has = |_: &Watch, event: &Event| event.prev.is_some() && event.kv.modified > kept;
    spoil_event(history, chance, has, |event| event.prev = None)
}

fn previous_older(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let has = |_: &Watch, event: &Event| event.prev.is_some();
    spoil_event(history, chance, has, |event| event.prev.iter_mut().for_each(|prev| prev.version -= 1))
}

fn previous_unasked(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, _) = some(history, chance, |watch, message| {
        watch.prev_kv && events_of(&watch.messages[message]).iter().any(|event| event.prev.is_some())
    })?;
    history.watches[watch].prev_kv = false;
    Some(())
}

fn event_before_the_start(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) =
        some(history, chance, |watch, message| watch.start > 0 && has_events(watch, message))?;
    history.watches[watch].start =
        events_of(&history.watches[watch].messages[message]).first()?.kv.modified + 1;
    Some(())
}

fn mark_before_the_start(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, |watch, message| {
        watch.start > 1 && watch.messages[message].what == What::Created
    })?;
    let revision = history.watches[watch].start - 1;
    insert(history, watch, message + 1, revision, What::Progress);
    Some(())
}

fn created_twice(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let revision = history.watches[watch].messages[message].revision;
    insert(history, watch, message + 1, revision, What::Created);
    Some(())
}

fn never_created(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, _) = some(history, chance, |watch, message| watch.start > 0 && has_events(watch, message))?;
    history.watches[watch].messages.remove(0);
    Some(())
}

fn goes_on_after_its_end(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, has_events)?;
    let revision = history.watches[watch].messages[message].revision;
    insert(history, watch, message, revision, What::Canceled(0));
    Some(())
}

/// A watch that could have gone on is told that it cannot.
fn compacted_without_reason(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let last =
        |watch: &Watch, message: usize| message + 1 == watch.messages.len() && has_events(watch, message);
    let (watch, message) = some(history, chance, last)?;
    let reached = events_of(&history.watches[watch].messages[message]).last()?.kv.modified;
    insert(history, watch, message + 1, 0, What::Canceled(reached.min(kept(history)).max(1)));
    Some(())
}

/// The end of a watch by compaction, after which another was begun in its place.
fn compacted(watch: &Watch, message: usize) -> bool {
    matches!(watch.messages[message].what, What::Canceled(1..))
}

/// The watch is told nothing and sent what is left.
fn skips_what_is_compacted(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let certain: Vec<(i64, u64)> = history
        .calls
        .iter()
        .filter_map(|call| match call.request {
            bramble_tests::history::Request::Compact(revision) if call.answer().is_some() => {
                Some((revision, call.ended))
            }
            _ => None,
        })
        .collect();
    let below =
        |watch: &Watch| certain.iter().any(|(floor, ended)| watch.start < *floor && *ended < watch.began);
    let (watch, message) =
        some(history, chance, |watch, message| compacted(watch, message) && watch.start > 0 && below(watch))?;
    let What::Canceled(floor) = history.watches[watch].messages[message].what else { return None };
    let keys = history.watches[watch].keys.clone();
    let events: Vec<Event> =
        log.at(floor)?.events.iter().filter(|event| keys.contains(&event.kv.key)).cloned().collect();
    let one = &mut history.watches[watch].messages[message];
    (one.revision, one.what) = (log.last(), What::Events { events, more: false });
    Some(())
}

fn wrong_compact_revision(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, compacted)?;
    let beyond = kept(history) + 1;
    history.watches[watch].messages[message].what = What::Canceled(beyond);
    Some(())
}

fn header_goes_back(history: &mut History, _: &Log, chance: &mut Chance) -> Option<()> {
    let grows = |watch: &Watch, message: usize| {
        message > 0
            && watch.messages[message].revision > 0
            && watch.messages[..message].iter().all(|one| one.revision > 0)
    };
    let (watch, message) = some(history, chance, grows)?;
    let before = history.watches[watch].messages[message - 1].revision;
    history.watches[watch].messages[message].revision = before - 1;
    Some(())
}

fn header_ahead_of_time(history: &mut History, log: &Log, chance: &mut Chance) -> Option<()> {
    let (watch, message) = some(history, chance, |_, _| true)?;
    let at = history.watches[watch].messages[message].at;
    let later = log.changes().iter().find(|change| change.began > at)?;
    let told = &mut history.watches[watch].messages[message];
    told.revision = later.revision;
    matches!(told.what, What::Created | What::Progress | What::Events { .. }).then_some(())
}
