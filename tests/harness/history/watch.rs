//! What a watch may rely on, each guarantee by itself, against the replayed log.
//!
//! The nine that etcd's own tests check (filter, ordered, unique, atomic, bookmarkable, resumable, creation and
//! version, reliable, prev_kv) and four more: nothing before the start, one creation and one end, compaction told as
//! it is, headers that never go back. `prev_kv` may be left out only where the revision before is compacted.
use std::collections::{HashMap, HashSet};

use super::order::Floors;
use super::replay::Log;
use super::text::{self, VIOLATIONS_MAX};
use super::{Event, History, Message, Property, Time, Violation, Watch, What};

type Validator = fn(&View<'_>) -> Option<String>;

/// All of them. Each looks at one thing, so that what it says is what is wrong.
const VALIDATORS: [(Property, Validator); 13] = [
    (Property::Filter, filter),
    (Property::Ordered, ordered),
    (Property::Unique, unique),
    (Property::Atomic, atomic),
    (Property::Bookmarkable, bookmarkable),
    (Property::Resumable, resumable),
    (Property::Content, content),
    (Property::Reliable, reliable),
    (Property::PrevKv, prev_kv),
    (Property::Start, start),
    (Property::Lifecycle, lifecycle),
    (Property::CompactedWatch, compacted),
    (Property::Header, header),
];

/// Every watch of a history.
pub fn check(history: &History, log: &Log) -> Vec<Violation> {
    let floors = Floors::of(history);
    let mut violations = Vec::new();
    for watch in &history.watches {
        let view = View::of(watch, log, &floors);
        for (property, validator) in VALIDATORS {
            if let Some(what) = validator(&view) {
                violations.push(Violation::new(property, format!("{}: {what}", view.name())));
            }
        }
        if violations.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    violations
}

/// How many events a history's watches were sent.
pub fn events(history: &History) -> usize {
    let messages = history.watches.iter().flat_map(|watch| &watch.messages);
    messages
        .map(|message| if let What::Events { events, .. } = &message.what { events.len() } else { 0 })
        .sum()
}

/// A watch and what it is compared with.
struct View<'a> {
    watch: &'a Watch,
    log: &'a Log,
    floors: &'a Floors,
    /// Its events, in the order in which they came, each with its message.
    events: Vec<(&'a Message, &'a Event)>,
    /// The first revision due.
    first: i64,
}

impl<'a> View<'a> {
    fn of(watch: &'a Watch, log: &'a Log, floors: &'a Floors) -> View<'a> {
        let with_events = |message: &'a Message| match &message.what {
            What::Events { events, .. } => Some(events.iter().map(move |event| (message, event))),
            What::Created | What::Progress | What::Canceled(_) => None,
        };
        let events = watch.messages.iter().filter_map(with_events).flatten().collect();
        let created = watch.messages.iter().find(|message| message.what == What::Created);
        let now = created.map_or(i64::MAX, |message| message.revision + 1);
        View { watch, log, floors, events, first: if watch.start > 0 { watch.start } else { now } }
    }

    fn name(&self) -> String {
        let Watch { client, began, keys, start, .. } = self.watch;
        format!(
            "the watch of client {client} on {} from revision {start}, begun at {began}",
            text::span(keys)
        )
    }

    fn wanted(&self, event: &Event) -> bool {
        let hidden = if event.delete { self.watch.no_delete } else { self.watch.no_put };
        !hidden && self.watch.keys.contains(&event.kv.key)
    }

    /// What it must be sent of the revisions from `first` on.
    fn due(&self, from: i64) -> impl Iterator<Item = &'a Event> {
        let skip = usize::try_from(from - 2).unwrap_or(0).min(self.log.changes().len());
        let all = self.log.changes()[skip..].iter().flat_map(|change| &change.events);
        all.filter(|event| self.wanted(event))
    }

    fn due_at(&self, revision: i64) -> usize {
        let events = self.log.at(revision).map_or(&[] as &[Event], |change| &change.events);
        events.iter().filter(|event| self.wanted(event)).count()
    }

    /// Where the log has this event: its revision and its place there.
    fn place(&self, event: &Event) -> Option<(usize, &'a Event)> {
        let change = self.log.at(event.kv.modified)?;
        change.events.iter().enumerate().find(|(_, logged)| logged.kv.key == event.kv.key)
    }
}

fn filter(view: &View<'_>) -> Option<String> {
    let other = view.events.iter().find(|(_, event)| !view.wanted(event))?;
    Some(format!("nobody asked for {}", text::event(other.1)))
}

fn ordered(view: &View<'_>) -> Option<String> {
    let place = |event: &Event| (event.kv.modified, view.place(event).map(|(place, _)| place));
    let back = view.events.windows(2).find(|pair| {
        let (before, after) = (place(pair[0].1), place(pair[1].1));
        after.0 < before.0 || (after.0 == before.0 && after.1.is_some() && after.1 < before.1)
    })?;
    Some(format!("{} came after {}", text::event(back[1].1), text::event(back[0].1)))
}

fn unique(view: &View<'_>) -> Option<String> {
    let mut seen = HashSet::new();
    let twice = view.events.iter().find(|(_, event)| !seen.insert((event.kv.modified, &event.kv.key)))?;
    Some(format!("{} came twice", text::event(twice.1)))
}

/// Messages that belong together are one: those with `more` and the next.
fn atomic(view: &View<'_>) -> Option<String> {
    let mut group_of: HashMap<i64, usize> = HashMap::new();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    let (mut group, mut open) = (0, false);
    for message in &view.watch.messages {
        let What::Events { events, more } = &message.what else {
            if open {
                return Some(format!("something came between the pieces of revision {}", message.revision));
            }
            continue;
        };
        if *more && !view.watch.fragment {
            return Some(format!(
                "a message at revision {} came in pieces that nobody asked for",
                message.revision
            ));
        }
        for event in events {
            let revision = event.kv.modified;
            *counts.entry(revision).or_default() += 1;
            if *group_of.entry(revision).or_insert(group) != group {
                return Some(format!(
                    "revision {revision} came in two messages; the second: {}",
                    text::events(events)
                ));
            }
        }
        open = *more;
        group += usize::from(!more);
    }
    // The last message may be a piece whose rest the connection took with it.
    let broken = |revision: &i64| open && group_of.get(revision) == Some(&group);
    let short = counts
        .iter()
        .filter(|(revision, count)| **count < view.due_at(**revision) && !broken(revision))
        .min()?;
    Some(format!("revision {} came with {} of {} events", short.0, short.1, view.due_at(*short.0)))
}

fn bookmarkable(view: &View<'_>) -> Option<String> {
    let mut next = view.due(view.first).peekable();
    let mut mark = i64::MIN;
    for message in &view.watch.messages {
        match &message.what {
            What::Events { events, .. } => {
                if let Some(old) = events.iter().find(|event| event.kv.modified <= mark) {
                    return Some(format!("{} came after the mark {mark}", text::event(old)));
                }
                for event in events {
                    next.next_if(|due| due.kv.key == event.kv.key && due.kv.modified == event.kv.modified);
                }
            }
            What::Progress => {
                mark = mark.max(message.revision);
                if let Some(due) = next.peek().filter(|due| due.kv.modified <= mark) {
                    return Some(format!("the mark {mark} came, but not before it {}", text::event(due)));
                }
            }
            What::Created | What::Canceled(_) => {}
        }
    }
    None
}

fn resumable(view: &View<'_>) -> Option<String> {
    let (_, first) = view.events.first()?;
    let due = view.due(view.first).next()?;
    let same = due.kv.key == first.kv.key && due.kv.modified == first.kv.modified;
    (!same).then(|| format!("it begins with {} instead of {}", text::event(first), text::event(due)))
}

fn content(view: &View<'_>) -> Option<String> {
    view.events.iter().find_map(|(_, event)| {
        let (_, logged) = view.place(event)?;
        let same = logged.kv == event.kv && logged.delete == event.delete;
        (!same).then(|| format!("{} was {}", text::event(event), text::event(logged)))
    })
}

fn reliable(view: &View<'_>) -> Option<String> {
    let mut due = view.due(view.first);
    for (_, event) in &view.events {
        match due.next() {
            Some(due) if due.kv.key == event.kv.key && due.kv.modified == event.kv.modified => {}
            Some(due) => return Some(format!("{} came instead of {}", text::event(event), text::event(due))),
            None => return Some(format!("{} came, which nobody wrote", text::event(event))),
        }
    }
    None
}

fn prev_kv(view: &View<'_>) -> Option<String> {
    view.events.iter().find_map(|(message, event)| {
        let (_, logged) = view.place(event)?;
        let compacted = view.floors.may(message.at) >= event.kv.modified;
        let right = match &event.prev {
            None => !view.watch.prev_kv || logged.prev.is_none() || compacted,
            Some(_) => view.watch.prev_kv && event.prev == logged.prev,
        };
        (!right).then(|| format!("{} should have been {}", text::event(event), text::event(logged)))
    })
}

fn start(view: &View<'_>) -> Option<String> {
    if let Some((_, early)) = view.events.iter().find(|(_, event)| event.kv.modified < view.first) {
        return Some(format!("{} came, which is before {}", text::event(early), view.first));
    }
    let early = |message: &&Message| message.what == What::Progress && message.revision < view.watch.start;
    let mark = view.watch.messages.iter().find(early)?;
    Some(format!("the mark {} came, which is before its start", mark.revision))
}

fn lifecycle(view: &View<'_>) -> Option<String> {
    let messages = &view.watch.messages;
    if messages.first()?.what != What::Created {
        return Some("something came before it was created".to_string());
    }
    if messages.iter().filter(|message| message.what == What::Created).count() > 1 {
        return Some("it was created twice".to_string());
    }
    let end = messages.iter().position(|message| matches!(message.what, What::Canceled(_)))?;
    (end + 1 < messages.len()).then(|| "something came after its end".to_string())
}

fn compacted(view: &View<'_>) -> Option<String> {
    let floor = view.floors.must(view.watch.began);
    let tells = |message: &&Message| matches!(message.what, What::Events { .. } | What::Progress);
    if view.watch.start > 0
        && view.watch.start < floor
        && view.watch.messages.iter().any(|message| tells(&message))
    {
        return Some(format!("it goes on as if {floor} had not been compacted"));
    }
    let mut reached = view.first - 1;
    for message in &view.watch.messages {
        match &message.what {
            What::Events { events, .. } => {
                reached = events.iter().map(|event| event.kv.modified).fold(reached, i64::max);
            }
            What::Progress => reached = reached.max(message.revision),
            What::Canceled(told) if *told != 0 => return canceled(view, *told, reached, message.at),
            What::Created | What::Canceled(_) => {}
        }
    }
    None
}

fn canceled(view: &View<'_>, told: i64, reached: i64, at: Time) -> Option<String> {
    if !view.floors.was(told, at) {
        return Some(format!("it ended as compacted at {told}, which nobody had compacted"));
    }
    // At `reached` + 1 it could have gone on.
    (told <= reached + 1).then(|| format!("it ended as compacted at {told}, but it had reached {reached}"))
}

fn header(view: &View<'_>) -> Option<String> {
    let mut highest = i64::MIN;
    for message in &view.watch.messages {
        let revision = message.revision;
        if revision == 0 && matches!(message.what, What::Canceled(1..)) {
            continue;
        }
        if revision < highest {
            return Some(format!("a header of revision {revision} came after one of {highest}"));
        }
        highest = revision;
        if let What::Events { events, .. } = &message.what
            && let Some(ahead) = events.iter().find(|event| event.kv.modified > revision)
        {
            return Some(format!("a header of revision {revision} came with {}", text::event(ahead)));
        }
        let began = view.log.at(revision).map_or(0, |change| change.began);
        if revision > view.log.last() || began > message.at {
            return Some(format!(
                "a header of revision {revision} came at {}, before there was one",
                message.at
            ));
        }
    }
    None
}
