//! Watching: reading the history from a revision on, and waiting for more of it.
//!
//! Nothing is queued for a watch, so a slow one costs nothing and misses nothing, until a compaction
//! takes what it has not read yet: that it is told.
use std::time::Duration;

use super::{Embedded, EmbeddedError, from_first_key};
use crate::engine::any::AnyView;
use crate::types::{ChangedKey, Changes, Event, KeyRange};
use crate::view::ReadView;

/// Rows of history read at once.
const ROWS_MAX: usize = 256;

/// Follows the changes of some keys.
#[derive(Clone, Debug)]
pub struct Watch {
    store: Embedded,
    range: KeyRange,
    next: i64,
    prev_kv: bool,
}

impl Embedded {
    /// Follows the keys in `range` from main revision `from` on; 0 = from now on.
    ///
    /// ```no_run
    /// # use bramble_store::{embedded::{Embedded, EmbeddedError}, types::KeyRange};
    /// # fn example(store: Embedded) -> Result<(), EmbeddedError> {
    /// let mut watch = store.watch(KeyRange::prefix("lamp/"), 0);
    /// for event in watch.next(std::time::Duration::from_secs(10))? {
    ///     println!("{:?} {:?} at {}", event.kind, event.kv.key, event.kv.mod_revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, range: KeyRange, from: i64) -> Watch {
        let next = if from <= 0 { self.revision() + 1 } else { from };
        Watch { store: self.clone(), range: from_first_key(range), next, prev_kv: false }
    }
}

impl Watch {
    /// Also say what was there before each change, while it is not compacted.
    pub fn with_prev_kv(mut self) -> Watch {
        self.prev_kv = true;
        self
    }

    /// The main revision that is read next: everything before it has been handed out.
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The next events in order, whole revisions. When there is nothing to read yet it waits up to
    /// `timeout`, and then answers what there is. An empty answer is no end: call again.
    ///
    /// # Errors
    /// `Refused` (`Compacted`) when what comes next is gone: read the keys anew and watch from there.
    /// `Fatal`.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Event>, EmbeddedError> {
        let events = self.read_on()?;
        if !events.is_empty() || timeout.is_zero() {
            return Ok(events);
        }
        self.store.shared.commits.wait_until(timeout, || self.store.revision() >= self.next);
        let events = self.read_on()?;
        if events.is_empty() {
            self.store.shared.commits.check()?;
        }
        Ok(events)
    }

    /// Reads on until there are events or the history ends.
    fn read_on(&mut self) -> Result<Vec<Event>, EmbeddedError> {
        let view = self.store.view();
        while self.next <= view.revision() {
            let events = self.read(&view)?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    /// Reads one step of history; moves on past it.
    fn read(&mut self, view: &ReadView<AnyView>) -> Result<Vec<Event>, EmbeddedError> {
        let steps = view.changes(self.next, ROWS_MAX)?;
        let mut events = Vec::new();
        for Changes { main, changes } in &steps {
            for ChangedKey { kind, kv, .. } in changes.iter().filter(|c| self.range.contains(&c.kv.key)) {
                let prev_kv = if self.prev_kv { view.before(&kv.key, *main)? } else { None };
                events.push(Event { kind: *kind, kv: kv.clone(), prev_kv });
            }
        }
        self.next = steps.last().map_or(view.revision(), |step| step.main) + 1;
        Ok(events)
    }
}
