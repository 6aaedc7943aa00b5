//! The world's watches: sent in batches, in pieces, with marks; broken and resumed; overtaken by compactions.
use bramble_tests::history::{Event, Message, Span, Watch, What};

use crate::world::World;

/// A client that keeps watching. The first of them watches everything, and compactions wait for it.
pub struct Watcher {
    index: usize,
    /// Its present stretch, in the history.
    watch: usize,
    /// The revision to send next.
    pub next: i64,
}

impl Watcher {
    pub fn open(world: &mut World, index: usize) -> Watcher {
        let watch = Watch {
            client: 100 + index as u32,
            began: world.now,
            keys: if index == 0 { Span::all() } else { world.span() },
            start: i64::from(index == 0),
            no_put: index != 0 && world.chance.percent(10),
            no_delete: index != 0 && world.chance.percent(10),
            prev_kv: index == 0 || world.chance.percent(60),
            fragment: world.chance.percent(30),
            messages: Vec::new(),
        };
        let mut watcher = Watcher { index, watch: 0, next: 0 };
        watcher.create(world, watch);
        watcher
    }

    /// Begins a stretch.
    fn create(&mut self, world: &mut World, watch: Watch) {
        self.next = if watch.start > 0 { watch.start } else { world.revision() + 1 };
        self.watch = world.history.watches.len();
        world.history.watches.push(watch);
        self.say(world, What::Created);
    }

    fn say(&self, world: &mut World, what: What) {
        let revision = if matches!(what, What::Canceled(told) if told != 0) { 0 } else { world.revision() };
        world.now += 1;
        let message = Message { at: world.now, revision, what };
        world.history.watches[self.watch].messages.push(message);
    }

    /// Goes on in a new stretch from `start`.
    fn again(&mut self, world: &mut World, start: i64) {
        let mut watch = world.history.watches[self.watch].clone();
        watch.messages.clear();
        (watch.began, watch.start) = (world.now, start);
        world.now += 1;
        self.create(world, watch);
    }

    pub fn step(&mut self, world: &mut World) {
        if self.next < world.floor {
            self.say(world, What::Canceled(world.floor));
            return self.again(world, world.floor);
        }
        match world.chance.below(20) {
            0 => self.again(world, self.next),
            1 if self.index != 0 => {
                self.say(world, What::Canceled(0));
                let start = match world.chance.below(3) {
                    0 => 0,
                    1 => (world.revision() - world.chance.between(0, 60)).max(1),
                    _ => world.revision() + world.chance.between(1, 5),
                };
                self.again(world, start);
            }
            2..=4 => self.mark(world),
            _ => {
                let most = 1 + world.chance.below(10) as i64;
                self.send(world, most);
            }
        }
    }

    fn mark(&self, world: &mut World) {
        if self.next == world.revision() + 1 && world.history.watches[self.watch].start <= world.revision() {
            self.say(world, What::Progress);
        }
    }

    fn send(&mut self, world: &mut World, revisions: i64) {
        let end = (self.next + revisions).min(world.revision() + 1);
        let watch = &world.history.watches[self.watch];
        let wanted = |event: &&Event| {
            let hidden = if event.delete { watch.no_delete } else { watch.no_put };
            !hidden && watch.keys.contains(&event.kv.key)
        };
        let mut events = Vec::new();
        while self.next < end {
            let change = usize::try_from(self.next - 2).map_or(&[] as &[Event], |index| &world.log[index]);
            events.extend(change.iter().filter(wanted).cloned());
            self.next += 1;
        }
        let fragment = watch.fragment;
        for event in &mut events {
            // What was there before is only had above the floor.
            let had = watch.prev_kv && event.kv.modified > world.floor;
            event.prev = event.prev.take().filter(|_| had);
        }
        if events.is_empty() {
            return;
        }
        if fragment && world.chance.percent(50) {
            let rest = events.split_off(world.chance.below(events.len()));
            self.say(world, What::Events { events, more: true });
            events = rest;
        }
        self.say(world, What::Events { events, more: false });
    }

    pub fn finish(&mut self, world: &mut World) {
        while self.next <= world.revision() {
            if self.next < world.floor {
                self.say(world, What::Canceled(world.floor));
                self.again(world, world.floor);
            }
            self.send(world, 100);
        }
        self.mark(world);
    }
}
