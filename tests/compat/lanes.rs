//! A run: rounds of sessions side by side, for one session mostly waits. Every session of a round is steered
//! by what all rounds before it have met, and by nothing of its neighbours, so that a seed repeats a run.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bramble_tests::chance::Chance;
use bramble_tests::process::Setup;
use bramble_tests::pulse::Pulse;

use crate::allow;
use crate::grid::Grid;
use crate::session::{Counts, Session};
use crate::side::Side;
use crate::watching::is_silence_of_etcd;
use crate::world::KINDS;

/// Sessions in one round: one of each kind.
const LANES: u64 = KINDS.len() as u64;
/// Steps in one session.
const SESSION_STEPS: usize = 600;
/// When the machine stands still for so long, either server may say that time is up: the session is done
/// again, so often in all; also when etcd has kept silent.
const STOOD_STILL: Duration = Duration::from_secs(1);
const TRIES: usize = 3;

/// See the module.
pub struct Run {
    setups: [Setup; 2],
    seed: u64,
    pub grid: Arc<Grid>,
    pub counts: Counts,
    pub sessions: u64,
    pub differences: Vec<String>,
}

impl Run {
    /// Nothing tried yet.
    pub fn new(setups: [Setup; 2], seed: u64) -> Run {
        Run {
            setups,
            seed,
            grid: Arc::default(),
            counts: Counts::default(),
            sessions: 0,
            differences: Vec::new(),
        }
    }

    /// One session of each kind, side by side.
    pub async fn round(&mut self) {
        let lanes: Vec<_> = (0..LANES)
            .map(|_| {
                let number = self.sessions;
                self.sessions += 1;
                tokio::spawn(one(self.setups.clone(), number, self.seed, self.grid.clone()))
            })
            .collect();
        for lane in lanes {
            let (grid, counts, difference) = lane.await.expect("a session does not panic");
            self.counts.add(&counts);
            self.grid = Arc::new(self.grid.and(&grid));
            self.differences.extend(difference);
        }
    }
}

async fn one(
    setups: [Setup; 2],
    number: u64,
    seed: u64,
    before: Arc<Grid>,
) -> (Grid, Counts, Option<String>) {
    let mut tried = 0;
    loop {
        tried += 1;
        let pulse = Pulse::begin();
        let (mut session, difference) = one_try(&setups, number, seed, before.clone()).await;
        if let Some(difference) = &difference {
            let circumstances = session.circumstances();
            let request = session.counts.requests;
            println!("DIFFERENCE in session {number}, request {request}: {difference}\n{circumstances}");
            let late = pulse.latest();
            println!("(the machine stood still for at most {late:?} meanwhile)");
            if (late >= STOOD_STILL || is_silence_of_etcd(difference)) && tried < TRIES {
                println!("session {number} is done again");
                continue;
            }
        }
        return (session.grid, session.counts, difference);
    }
}

async fn one_try(
    setups: &[Setup; 2],
    number: u64,
    seed: u64,
    before: Arc<Grid>,
) -> (Session, Option<String>) {
    let sides = Side::start_both(setups).await;
    let chance = Chance::from_seed(seed.wrapping_add(1_000_003 * number));
    let kind = KINDS[(number % LANES) as usize];
    let mut session = Session::new(sides, kind, chance, before);
    let difference = session.run(SESSION_STEPS).await.err();
    (session, difference)
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.grid)?;
        for (entry, met) in allow::known().zip(&self.counts.known) {
            writeln!(out, "allowed {met} times: {}: {}", entry.name, entry.reason)?;
        }
        writeln!(out, "allowed {} times: {}", self.counts.erased, allow::AT_THE_FLOOR)
    }
}
