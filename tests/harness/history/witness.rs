//! The watches that see everything: what happened at revisions that no call was answered with.
use std::collections::BTreeMap;

use super::{Event, History, Watch, What};

/// The events of each revision, as the watches saw them that see everything.
#[derive(Debug, Default)]
pub struct Witness {
    pub(super) seen: BTreeMap<i64, Vec<Event>>,
    /// First and last revisions of each watch's stretch.
    stretches: Vec<(i64, i64)>,
}

impl Witness {
    /// Of the history's watches of all keys without filters.
    pub fn of(history: &History) -> Witness {
        let mut witness = Witness::default();
        let whole = |watch: &&Watch| watch.keys.is_all() && !watch.no_put && !watch.no_delete;
        for watch in history.watches.iter().filter(whole) {
            let mut own: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
            let mut first = watch.start;
            for message in &watch.messages {
                if message.what == What::Created && watch.start == 0 {
                    first = message.revision + 1;
                }
                let What::Events { events, .. } = &message.what else { continue };
                for event in events {
                    own.entry(event.kv.modified).or_default().push(event.clone());
                }
            }
            witness.stretches.extend(own.keys().next_back().map(|last| (first, *last)));
            for (revision, events) in own {
                witness.seen.entry(revision).or_insert(events);
            }
        }
        witness
    }

    /// What it saw at a revision.
    pub fn at(&self, revision: i64) -> Option<&Vec<Event>> {
        self.seen.get(&revision)
    }

    /// Whether a watch was there and saw nothing, so that nothing can have happened.
    pub fn denies(&self, revision: i64) -> bool {
        let within = |(first, last): &(i64, i64)| (*first..=*last).contains(&revision);
        !self.seen.contains_key(&revision) && self.stretches.iter().any(within)
    }

    /// All that it saw.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.seen.values().flatten()
    }

    /// The newest revision that it saw.
    pub fn last(&self) -> i64 {
        self.seen.keys().next_back().copied().unwrap_or(1)
    }
}
