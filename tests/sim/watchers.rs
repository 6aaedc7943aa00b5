//! Watchers: each follows a range from some revision on, sometimes slowly, and goes on where it was when its
//! stream ends.
use std::time::Duration;

use bramble_server::node::client::{Caller, Client, WatchCreate, WatchResponse, WatchStream};
use bramble_store::disk::sim::Rng;
use bramble_store::types::KeyRange;
use bramble_tests::history::Watch;
use tokio::time::{sleep, timeout};

use crate::clients::{Desk, key};
use crate::told;

/// One watcher.
pub struct Watcher {
    desk: Desk,
    number: usize,
    rng: Rng,
    range: KeyRange,
    /// The first revision it has not been told of; 0 = it does not care yet.
    next: i64,
    /// Sometimes it takes a while to read.
    slow: bool,
    pace: Pace,
}

/// Where it is told from, as its answers show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// From the history, for the first time.
    Starting,
    /// As things happen.
    Synced,
    /// From the history again.
    Behind,
}

/// Why a watch is over.
enum End {
    Stream,
    Cancelled,
    Bored,
}

impl Watcher {
    pub fn new(desk: Desk, number: usize, seed: u64, slow: bool) -> Watcher {
        let mut rng = Rng::new(seed.wrapping_mul(37).wrapping_add(number as u64));
        let range = match number {
            0 => KeyRange::all(),
            1 => KeyRange::prefix("k0"),
            _ => KeyRange::single(key(&mut rng)),
        };
        Watcher { desk, number, rng, range, next: 0, slow, pace: Pace::Starting }
    }

    /// Goes on until the world closes its door for good.
    pub async fn live(mut self) {
        while !self.desk.door.closed() {
            sleep(Duration::from_millis(1 + self.rng.below(50))).await;
            let Some(client) = self.desk.door.client(&mut self.rng) else { continue };
            match self.follow(&client).await {
                End::Stream => self.desk.eye.hit("watcher resumed after its stream ended"),
                End::Cancelled => self.desk.eye.hit("watcher cancelled by compaction"),
                End::Bored => self.wander(),
            }
        }
    }

    /// Another range, from another revision.
    fn wander(&mut self) {
        let known = self.desk.recorder.history().known;
        if self.number > 0 {
            self.range = KeyRange::single(key(&mut self.rng));
            self.next = match self.rng.below(3) {
                0 => 0,
                1 => (known - self.rng.below(100) as i64).max(1),
                _ => known + 1,
            };
        }
    }

    async fn follow(&mut self, client: &Client) -> End {
        let Ok(mut stream) = client.watch(&Caller::default()).await else { return End::Stream };
        let create = WatchCreate {
            start_revision: self.next,
            progress_notify: self.rng.chance(50),
            prev_kv: self.rng.chance(50),
            ..WatchCreate::new(self.range.clone())
        };
        self.pace = Pace::Starting;
        let asked_at = self.desk.eye.revision();
        if self.next > 0 && self.next <= asked_at {
            self.desk.eye.hit("watcher began in the past");
        }
        let watch = Watch {
            client: self.number as u32,
            began: self.desk.eye.moment(),
            keys: told::span(&create.range),
            start: create.start_revision,
            no_put: create.no_put,
            no_delete: create.no_delete,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            messages: Vec::new(),
        };
        if stream.create(create).await.is_err() {
            return End::Stream;
        }
        let place = {
            let mut history = self.desk.recorder.history();
            history.watches.push(watch);
            history.watches.len() - 1
        };
        self.listen(&mut stream, place).await
    }

    async fn listen(&mut self, stream: &mut WatchStream, place: usize) -> End {
        let mut bored_after = 20 + self.rng.below(400);
        loop {
            if self.slow && !self.desk.door.calm() && self.rng.chance(8) {
                sleep(Duration::from_millis(5000 + self.rng.below(10_000))).await;
            }
            if self.rng.chance(10) && stream.progress().await.is_err() {
                return End::Stream;
            }
            let response = match timeout(Duration::from_millis(500), stream.next()).await {
                Ok(Some(Ok(response))) => response,
                Ok(_) => return End::Stream,
                Err(_) if self.desk.door.closed() => return End::Stream,
                Err(_) => continue,
            };
            if let Some(end) = self.take(response, place) {
                return end;
            }
            bored_after = bored_after.saturating_sub(1);
            if bored_after == 0 && self.number > 0 {
                return End::Bored;
            }
        }
    }

    fn take(&mut self, response: WatchResponse, place: usize) -> Option<End> {
        let end = self.told(response, place);
        self.desk.recorder.history().positions.insert(self.number, self.next);
        end
    }

    fn told(&mut self, response: WatchResponse, place: usize) -> Option<End> {
        let Desk { eye, recorder, .. } = &self.desk;
        let number = self.number;
        let (revision, events) = (response.header.revision, response.events.len());
        eye.note(format_args!("watcher {number} is told {events} events at {revision}"));
        let there = eye.revision();
        let newest = response.events.last().map_or(0, |event| event.kv.mod_revision).max(revision);
        if newest > there {
            eye.violated(format_args!("watcher {number} is told of {newest}, and there is {there}"));
        }
        let mut history = recorder.history();
        history.known = history.known.max(newest);
        let floor = history.floor;
        history.watches[place].messages.extend(told::messages(eye.moment(), &response));
        if response.created && !response.canceled {
            if self.next == 0 {
                self.next = revision + 1;
            }
            return None;
        }
        if response.canceled {
            let (at, next) = (response.compact_revision, self.next);
            drop(history);
            if at == 0 || at > floor || at < next {
                eye.violated(format_args!("watcher {number} at {next} was cancelled: {response:?}"));
            }
            self.next = at;
            return Some(End::Cancelled);
        }
        if response.events.is_empty() {
            eye.hit("progress mark");
            self.next = self.next.max(revision + 1);
        }
        if let Some(last) = response.events.last() {
            self.next = last.kv.mod_revision + 1;
            // Of the history is told with the newest revision, of what happens with its own.
            let history = response.events[0].kv.mod_revision < revision;
            self.pace = match (self.pace, history) {
                (Pace::Starting | Pace::Synced, false) => Pace::Synced,
                (Pace::Behind, false) => {
                    eye.hit("watcher caught up");
                    Pace::Synced
                }
                (Pace::Synced, true) => {
                    eye.hit("watcher fell behind");
                    Pace::Behind
                }
                (pace, true) => pace,
            };
        }
        None
    }
}
