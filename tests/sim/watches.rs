//! What watchers were told against the truth: in order, once, whole per revision, without gaps, with what was
//! there before; and a mark means that everything up to it was told.
use std::collections::BTreeMap;

use bramble_store::types::{EventKind, KeyValue};
use bytes::Bytes;

use crate::record::{History, Watched};
use crate::truth::Truth;

/// The versions of each key, oldest first; `None` = deleted.
type Versions = BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>;

/// Checks every watcher; how many events they were told.
pub fn check(history: &History, truth: &Truth) -> Result<usize, String> {
    let mut versions = Versions::new();
    for (main, moment) in &truth.moments {
        for change in &moment.changes {
            let kv = (!change.tombstone).then(|| change.kv.clone());
            versions.entry(change.kv.key.clone()).or_default().push((*main, kv));
        }
    }
    for watched in &history.watches {
        one(watched, truth, &versions).map_err(|what| format!("{what}; watcher {:?}", watched.create))?;
    }
    Ok(history.watches.iter().map(|watched| watched.events.len()).sum())
}

fn one(watched: &Watched, truth: &Truth, versions: &Versions) -> Result<(), String> {
    let range = &watched.create.range;
    let due = truth.moments.range(watched.from..);
    let changes = due.flat_map(|(main, moment)| moment.changes.iter().map(move |change| (*main, change)));
    let mut due = changes.filter(|(_, change)| range.contains(&change.kv.key)).peekable();
    let mut marks = watched.marks.iter().peekable();
    for told in 0..=watched.events.len() {
        while let Some((revision, _)) = marks.next_if(|(_, before)| *before == told) {
            if due.peek().is_some_and(|(main, _)| main <= revision) {
                return Err(format!("a mark at {revision} came before {:?}", due.peek()));
            }
        }
        let Some(event) = watched.events.get(told) else { break };
        let Some((main, change)) = due.next() else {
            return Err(format!("{event:?} never happened"));
        };
        let kind = if change.tombstone { EventKind::Delete } else { EventKind::Put };
        if (event.kind, &event.kv) != (kind, &change.kv) {
            return Err(format!("told {event:?} instead of {change:?} at {main}"));
        }
        before(watched, versions, main, event)?;
    }
    let last = watched.events.last().map(|event| event.kv.mod_revision);
    match due.peek() {
        Some((main, change)) if Some(*main) == last => Err(format!("{change:?} of {main} was left out")),
        _ => Ok(()),
    }
}

/// The record before the change, as far as it was asked for.
fn before(
    watched: &Watched,
    versions: &Versions,
    main: i64,
    event: &bramble_store::types::Event,
) -> Result<(), String> {
    if !watched.create.prev_kv {
        return Ok(());
    }
    let older = versions.get(&event.kv.key).into_iter().flatten().rev().find(|(at, _)| *at < main);
    let right = older.and_then(|(_, kv)| kv.as_ref());
    let told = event.prev_kv.as_ref();
    match told == right || (told.is_none() && watched.floor >= main) {
        true => Ok(()),
        false => Err(format!("{event:?} came after {right:?}")),
    }
}
