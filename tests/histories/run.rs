//! A run: one server, its clients' clock, and the history they write.
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bramble_tests::chance::Chance;
use bramble_tests::history::wire::ask;
use bramble_tests::history::{Call, History, NEVER, Outcome, Request, Time, Watch};
use bramble_tests::wire::Wire;
use tokio::sync::watch;

use crate::asks::Asker;

/// Longer than a call takes on any machine while the server is up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What the clients of a run share.
pub struct Run {
    pub url: String,
    began: Instant,
    history: Mutex<History>,
    /// Whether the server is up.
    pub up: watch::Receiver<bool>,
    /// The clients are to end.
    pub ending: AtomicBool,
    /// Everything has happened: watches end when they have reached this revision.
    pub last: AtomicI64,
    /// The newest revision that anybody was told of.
    pub newest: AtomicI64,
    /// Up to here the watch of all keys has been sent everything.
    pub witnessed: AtomicI64,
    leases: AtomicI64,
}

impl Run {
    pub fn new(url: &str, up: watch::Receiver<bool>) -> Run {
        Run {
            url: url.to_string(),
            began: Instant::now(),
            history: Mutex::new(History { second: 1_000_000_000, ..History::default() }),
            up,
            ending: AtomicBool::new(false),
            last: AtomicI64::new(i64::MAX),
            newest: AtomicI64::new(1),
            witnessed: AtomicI64::new(1),
            leases: AtomicI64::new(0),
        }
    }

    /// Nanoseconds since it began, on a clock that never goes back.
    pub fn now(&self) -> Time {
        Time::try_from(self.began.elapsed().as_nanos()).unwrap_or(NEVER)
    }

    /// Adds to the history.
    pub fn write<T>(&self, what: impl FnOnce(&mut History) -> T) -> T {
        what(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn watched(&self, watch: Watch) {
        self.write(|history| history.watches.push(watch));
    }

    /// A lease that nobody had, or one of the last few.
    pub fn lease(&self, new: bool, chance: &mut Chance) -> i64 {
        match new {
            true => self.leases.fetch_add(1, Ordering::Relaxed) + 1,
            false => (self.leases.load(Ordering::Relaxed) - chance.between(0, 7)).max(1),
        }
    }

    pub fn leases(&self) -> i64 {
        self.leases.load(Ordering::Relaxed)
    }

    /// Waits until the server is up.
    pub async fn is_up(&self) {
        self.up.clone().wait_for(|up| *up).await.expect("the server's owner outlives its clients");
    }

    /// Asks, and writes down what came of it.
    pub async fn ask(&self, wire: &Wire, client: u32, request: Request) -> Outcome {
        let began = self.now();
        let answer = tokio::time::timeout(ANSWER_WITHIN, ask(wire, &request)).await;
        let outcome = answer.unwrap_or(Outcome::Unknown);
        let ended = if outcome == Outcome::Unknown { NEVER } else { self.now() };
        if let Outcome::Answered(answer) = &outcome {
            self.newest.fetch_max(answer.revision, Ordering::Relaxed);
        }
        let call = Call { client, began, ended, request, outcome: outcome.clone() };
        self.write(|history| history.calls.push(call));
        outcome
    }

    /// A client that asks at random until the run is ending.
    pub async fn client(&self, client: u32, seed: u64) {
        let mut asker = Asker::new(client, seed);
        let mut wire = Wire::connect_later(&self.url);
        while !self.ending.load(Ordering::Relaxed) {
            self.is_up().await;
            let request = asker.request(self);
            let outcome = self.ask(&wire, client, request).await;
            asker.learn(&outcome);
            if outcome == Outcome::Unknown {
                // Whoever lost an answer has to find out by himself; nothing is asked twice.
                tokio::time::sleep(Duration::from_millis(10)).await;
                wire = Wire::connect_later(&self.url);
            }
        }
    }
}
