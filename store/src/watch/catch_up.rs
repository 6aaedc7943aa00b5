//! Catching up those that are behind, from the history, in bounded steps.
//!
//! One step reads one window of history and publishes it to everyone who needs a part of it, as if it
//! were live: many watchers at similar positions cost one scan. The windows sweep through the history
//! like a lift: upwards from the lowest position to the hub's revision, then again from the lowest. A
//! watcher that joins below the lift waits for the next sweep, so newcomers cannot starve the others.
//!
//! ```text
//!   history   5   6   7   8   9  10  11  12  13        one step: window 6..=9
//!   watchers      A           B       C                A gets 6..=9, B gets 9, both then need 10; C is next
//! ```
use std::collections::BTreeMap;

use super::event::Events;
use super::groups::Groups;
use super::hub::{Hub, State};
use super::{History, WatcherId, What};
use crate::error::Fatal;
use crate::types::Changes;

impl Hub {
    /// One bounded step for the watchers that are behind. A step ends at the hub's own revision, however
    /// new the view is: what is newer will be published. A watcher that needs a revision below the view's
    /// floor is told so and ends; one that needs the floor itself is served.
    ///
    /// True: this view has more for them now. False is true only until the next change of the hub: a `take`
    /// that makes room lets watchers go on. [`Hub::wants_catch_up`] says so at any time.
    ///
    /// # Errors
    /// `Fatal` when the history cannot be read.
    pub fn catch_up<H: History>(&mut self, view: &H) -> Result<bool, Fatal> {
        self.end_compacted(view.floor());
        let newest = view.revision().min(self.revision);
        let Some(from) = self.next_stop(newest) else { return Ok(false) };
        let window = self.read(view, from, newest)?;
        // Nothing more in the history up to `newest`: then everything up to there is done.
        let through = window.last().map_or(newest, |whole| whole.main);

        let passengers = self.board(from, through);
        let last_boarded = passengers.last().map_or(through, |(next, _)| *next);
        let served_all = passengers.len() < self.options.step_watchers_max.max(1);
        self.sweep = if served_all { through + 1 } else { last_boarded };
        self.serve(view, &window, through, passengers)?;
        Ok(self.next_stop(newest).is_some())
    }

    /// Ends watchers that need what is no longer there.
    fn end_compacted(&mut self, floor: i64) {
        while let Some((_, id)) = self.behind.first().copied().filter(|(next, _)| *next < floor) {
            self.queue(id, 0, What::Compacted { floor });
            self.forget(id);
        }
    }

    /// The lowest position at or above the sweep that this view can serve, or the lowest of all.
    fn next_stop(&self, newest: i64) -> Option<i64> {
        let ahead = self.behind.range((self.sweep, WatcherId(0))..).next();
        let within = |found: &&(i64, WatcherId)| found.0 <= newest;
        ahead.filter(within).or_else(|| self.behind.first().filter(within)).map(|(next, _)| *next)
    }

    /// Whole main revisions from `from`, none above `newest`.
    fn read<H: History>(&self, view: &H, from: i64, newest: i64) -> Result<Vec<Changes>, Fatal> {
        let (rows, bytes) = (self.options.step_rows_max.max(1), self.options.step_bytes_max);
        let mut window = view.changes(from, rows, bytes)?;
        window.retain(|whole| whole.main <= newest);
        Ok(window)
    }

    /// Takes those that need something from `from..=through` out of `behind`, lowest first.
    fn board(&mut self, from: i64, through: i64) -> Vec<(i64, WatcherId)> {
        let needing = self.behind.range((from, WatcherId(0))..=(through, WatcherId(u64::MAX)));
        let boarding: Vec<_> = needing.take(self.options.step_watchers_max.max(1)).copied().collect();
        for passenger in &boarding {
            self.behind.remove(passenger);
        }
        boarding
    }

    fn serve<H: History>(
        &mut self,
        view: &H,
        window: &[Changes],
        through: i64,
        passengers: Vec<(i64, WatcherId)>,
    ) -> Result<(), Fatal> {
        let mut groups = Groups::default();
        for (_, id) in &passengers {
            groups.add(&self.watchers[id].needs, *id);
        }
        let mut events = Events::of(view, window);
        let mut no_room = BTreeMap::new();
        for (group, numbers) in events.hits(&groups) {
            for id in &groups.group(group).members {
                if let Some(unsent) = self.deliver(*id, &mut events, &numbers)? {
                    no_room.insert(*id, unsent);
                }
            }
        }
        for (_, id) in passengers {
            match no_room.get(&id) {
                Some(unsent) => self.await_room(id, *unsent),
                None if through < self.revision => self.await_history(id, through + 1),
                None => self.become_synced(id),
            }
        }
        Ok(())
    }

    /// Queues a watcher its part of the window, or as many whole revisions of it as there is room for; into
    /// an empty queue at least one. The first revision that found no room, if any.
    fn deliver<H: History>(
        &mut self,
        id: WatcherId,
        events: &mut Events<'_, H>,
        numbers: &[usize],
    ) -> Result<Option<i64>, Fatal> {
        let watcher = &self.watchers[&id];
        let State::Behind(needed) = watcher.state else { unreachable!("only those behind are caught up") };
        let (prev_kv, stream) = (watcher.needs.prev_kv, &self.streams[&watcher.stream]);
        let first = numbers.partition_point(|number| events.main(*number) < needed);
        let mut numbers = &numbers[first..];
        let mut unsent = None;
        while !numbers.is_empty() {
            let slice = events.slice(numbers, prev_kv)?;
            let (first, last) = (events.main(numbers[0]), events.main(numbers[numbers.len() - 1]));
            if stream.has_room_for(slice.bytes, &self.total, &self.options)
                || (first == last && stream.queue().is_empty())
            {
                self.queue(id, self.revision, What::Events(slice.events));
                break;
            }
            // Half as far, to the beginning of a revision: at worst nothing is sent.
            let middle = events.main(numbers[numbers.len() / 2]);
            let cut = if stream.queue().is_empty() { middle.max(first + 1) } else { middle };
            numbers = &numbers[..numbers.partition_point(|number| events.main(*number) < cut)];
            unsent = Some(cut);
        }
        Ok(unsent)
    }
}
