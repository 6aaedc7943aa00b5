//! Sees every step of the world: hashes it, keeps the truth, and checks after each what must hold always.
//! What does not hold ends the process, with the trace's last lines.
use std::collections::VecDeque;
use std::fmt::{Arguments, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bramble_store::disk::sim::Rng;
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Engine, Family, Read};
use bramble_tests::history::{NEVER, Time};
use tokio::time::Instant;

use crate::chance;
use crate::reach::Reach;
use crate::truth::Truth;

/// Lines of the trace that a failure shows.
const SHOWN: usize = 60;
/// Virtual time after which a world that is not done hangs.
const WORLD_MAX: Duration = Duration::from_secs(600);

/// The observer of one world.
pub struct Eye {
    begun: Instant,
    seed: u64,
    /// Every line of the trace is printed.
    loud: bool,
    seen: Mutex<Seen>,
}

struct Seen {
    hash: DefaultHasher,
    line: String,
    last: VecDeque<String>,
    steps: u64,
    rng: Rng,
    preempt_percent: u64,
    reach: Reach,
    truth: Truth,
    /// The engine of the member that runs.
    life: Option<Mem>,
    /// When each life began and ended, and when it began to serve.
    lives: Vec<(Time, Time)>,
    led: Vec<Time>,
    /// When the volume had too little room, to when it had some again.
    short: Vec<(Time, Time)>,
    /// Somebody was refused for that, and nothing was written since.
    refused: bool,
    /// The last moment that was asked for.
    tick: Time,
    /// Thousandths of a second that members' clocks make of a second.
    clock_rate: u32,
    /// The newest row that says what is applied.
    applied: Option<bytes::Bytes>,
}

impl Eye {
    pub fn new(seed: u64, loud: bool) -> Arc<Eye> {
        let seen = Seen {
            hash: DefaultHasher::new(),
            line: String::new(),
            last: VecDeque::new(),
            steps: 0,
            rng: Rng::new(seed ^ 0xe4e),
            preempt_percent: 0,
            reach: Reach::default(),
            truth: Truth::default(),
            life: None,
            lives: Vec::new(),
            led: Vec::new(),
            short: Vec::new(),
            refused: false,
            tick: 0,
            clock_rate: 1000,
            applied: None,
        };
        Arc::new(Eye { begun: Instant::now(), seed, loud, seen: Mutex::new(seen) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("one thread runs at a time")
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// This moment, later than any that was asked for before, in nanoseconds of the members' clocks.
    pub fn moment(&self) -> Time {
        self.seen().moment(self.now())
    }

    /// From here on members' clocks make so many thousandths of a second of one.
    pub fn set_clock_rate(&self, rate: u32) {
        self.seen().clock_rate = rate;
    }

    /// One line of the trace.
    pub fn note(&self, what: Arguments<'_>) {
        let now = self.now();
        if now > WORLD_MAX {
            self.violated(format_args!("the world hangs: it is {now:?} old"));
        }
        self.seen().note(now, what, self.loud);
    }

    /// It happened, and is to be counted.
    pub fn hit(&self, what: &'static str) {
        self.seen().reach.hit(what);
    }

    /// From here on a thread is kept from its turn so often.
    pub fn set_preempt_percent(&self, percent: u64) {
        self.seen().preempt_percent = percent;
    }

    /// How long a thread that is due is kept waiting, if it is.
    pub fn preempts(&self) -> Option<Duration> {
        let mut seen = self.seen();
        let percent = seen.preempt_percent;
        if !seen.rng.chance(percent) {
            return None;
        }
        seen.reach.hit("thread preempted");
        Some(Duration::from_millis(1 + seen.rng.below(20)))
    }

    /// A thread has its turn.
    pub fn begins(&self, thread: &'static str, woken: bool) {
        self.note(format_args!("{thread} turns, {}", if woken { "woken" } else { "by time" }));
    }

    /// It gave its turn back: what must hold always is looked at.
    pub fn turned(&self, thread: &'static str) {
        let now = self.now();
        let mut seen = self.seen();
        seen.steps += 1;
        if let Err(what) = seen.look(now, self.loud) {
            drop(seen);
            self.violated(format_args!("after a turn of {thread}: {what}"));
        }
    }

    /// A member lives on this engine.
    pub fn lives(&self, engine: Mem) {
        let now = self.now();
        let mut seen = self.seen();
        seen.applied = None;
        seen.life = Some(engine);
        let began = seen.moment(now);
        seen.lives.push((began, began));
    }

    /// It does no more.
    pub fn died(&self) {
        self.turned("the end");
        let now = self.now();
        let mut seen = self.seen();
        let ended = seen.moment(now);
        if let Some(life) = seen.lives.last_mut() {
            life.1 = ended;
        }
        seen.life = None;
    }

    /// When each life began to serve; when each began and ended.
    pub fn all_lives(&self) -> (Vec<Time>, Vec<(Time, Time)>) {
        let seen = self.seen();
        (seen.led.clone(), seen.lives.clone())
    }

    /// The member's volume has room from here on, or too little.
    pub fn room(&self, enough: bool) {
        let now = self.now();
        let mut seen = self.seen();
        let at = seen.moment(now);
        match seen.short.last_mut().filter(|(_, ended)| *ended == NEVER) {
            Some(short) if enough => short.1 = at,
            None if !enough => seen.short.push((at, NEVER)),
            _ => {}
        }
    }

    /// When there was too little room, and when there was some again.
    pub fn all_shortages(&self) -> Vec<(Time, Time)> {
        self.seen().short.clone()
    }

    /// Whether there is too little room.
    pub fn is_short(&self) -> bool {
        self.seen().short.last().is_some_and(|(_, ended)| *ended == NEVER)
    }

    /// A write was refused for want of room, or was not.
    pub fn writes(&self, refused: bool) {
        let mut seen = self.seen();
        let before = std::mem::replace(&mut seen.refused, refused);
        match (before, refused) {
            (_, true) => seen.reach.hit("write refused for want of room"),
            (true, false) => seen.reach.hit("writes came back"),
            (false, false) => {}
        }
    }

    /// A restart is done: nothing of the truth may be missing above `floor`.
    pub fn compare(&self, floor: i64) {
        self.turned("the start");
        let now = self.now();
        let compared = {
            let mut seen = self.seen();
            let served = seen.moment(now);
            seen.led.push(served);
            seen.life.as_ref().map_or(Ok(()), |engine| seen.truth.compare(&engine.view(), floor))
        };
        if let Err(what) = compared {
            self.violated(format_args!("after a restart: {what}"));
        }
    }

    /// The newest revision that was ever seen.
    pub fn revision(&self) -> i64 {
        self.turned("a client");
        self.seen().truth.revision()
    }

    /// Something that must hold does not: says so and ends the process.
    pub fn violated(&self, what: Arguments<'_>) -> ! {
        let last = self.seen.try_lock().map(|seen| Vec::from(seen.last.clone()).join("\n"));
        println!("{}\nseed {}: VIOLATED at {:?}: {what}", last.unwrap_or_default(), self.seed, self.now());
        std::process::exit(1);
    }

    /// Looks at the whole truth.
    pub fn with_truth<T>(&self, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.seen().truth)
    }

    /// Says for the process that started this one what came of the world.
    pub fn report(&self) {
        let seen = self.seen();
        print!("{}", seen.reach.lines());
        println!(
            "world {} hash {:016x} steps {} lives {} revisions {} virtual_ms {} drawn {}",
            self.seed,
            seen.hash.finish(),
            seen.steps,
            seen.lives.len(),
            seen.truth.revision(),
            self.now().as_millis(),
            chance::drawn() - self.seed,
        );
    }
}

impl Seen {
    fn moment(&mut self, now: Duration) -> Time {
        let clock = now * self.clock_rate / 1000;
        self.tick = (self.tick + 1).max(clock.as_nanos() as Time);
        self.tick
    }

    fn note(&mut self, now: Duration, what: Arguments<'_>, loud: bool) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:>10.3} {what} {}", now.as_secs_f64() * 1000.0, chance::drawn());
        self.hash.write(self.line.as_bytes());
        if loud {
            println!("{}", self.line);
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(self.line.clone());
    }

    fn look(&mut self, now: Duration, loud: bool) -> Result<(), String> {
        let when = self.moment(now);
        let Some(engine) = &self.life else { return Ok(()) };
        let view = engine.view();
        let applied = view.get(Family::Idx, b"mapplied").map_err(|fatal| fatal.to_string())?;
        let new = self.truth.look(&view, when)?;
        if applied != self.applied {
            self.note(now, format_args!("applied {:?}, {}", applied, self.truth.revision()), loud);
            self.applied = applied;
        } else if new > 0 {
            return Err(format!("{new} revisions came without an entry"));
        }
        Ok(())
    }
}
