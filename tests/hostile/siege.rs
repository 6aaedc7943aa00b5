//! A server under attack, and the four questions.
//!
//! What "quiet" means is measured at the same time, at a twin: a second server with a quiet client of its own
//! that nobody attacks. And while the machine is busy with something else altogether, times say nothing of a
//! server, and are not judged.
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bramble_server::config::Profile;
use bramble_server::node::memory::resident_max;
use bramble_tests::process::{Server, Setup};
use tokio::runtime::Runtime;

use crate::quiet::{Quiet, Times};
use crate::vitals::{Budgets, MIB, budgets, busy_ticks, forget_peak, resident, ticks};

/// How much slower than on a quiet server the quiet client's answers may be.
const SLOWER_MAX: u32 = 5;
/// A quiet p99 below this counts as this: with two cores, which the attackers and the attacked keep busy,
/// waiting for one takes some milliseconds that no server can save.
const QUIET_P99_MIN: Duration = Duration::from_millis(10);
/// How long an attack lasts at least, so that the p99 is one of more than a thousand requests.
const ATTACK_FOR: Duration = Duration::from_millis(2500);
/// An attack may be tried so often before its p99 counts as too high: what slows all of them is the server.
const TRIES: usize = 3;
/// Percent of the processors that somebody else may take in a try whose p99 is judged.
const ELSEWHERE_MAX: u64 = 10;
/// How long after the attackers have gone everything must have been given back.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(15);

/// Sieges take place one after another: each has the machine for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// See the module.
pub struct Siege {
    server: Server,
    twin: Server,
    profile: Profile,
    attackers: Runtime,
    at_rest: Budgets,
    _alone: MutexGuard<'static, ()>,
}

/// What attackers need to know.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the server is.
    pub server: SocketAddr,
    /// How long to go on.
    pub until: Instant,
}

impl Target {
    /// Whether it is time to stop.
    pub fn over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// One try of an attack.
struct Met {
    times: Times,
    /// Of the twin's client.
    quiet: Times,
    before: u64,
    peak: u64,
    /// Percent of the processors that the server took, and that neither it nor the test did.
    own: u64,
    elsewhere: u64,
}

impl Siege {
    /// Starts a server with this profile, and its twin.
    pub fn lay(profile: Profile) -> Siege {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match profile {
            Profile::Default => "default",
            Profile::Pi => "pi",
        };
        let setup = Setup::bramble().in_memory().arg(format!("--profile={name}"));
        let (server, twin) = (setup.clone().start(), setup.start());
        // What attackers compute is their own affair: others and the server go first.
        let attackers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(|| {
                let _ = rustix::process::nice(10);
            })
            .build()
            .expect("a runtime");
        let at_rest = attackers.block_on(budgets(server.address()));
        Siege { server, twin, profile, attackers, at_rest, _alone: alone }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Does something that is no attack.
    pub fn meanwhile<T>(&self, work: impl Future<Output = T>) -> T {
        self.attackers.block_on(work)
    }

    /// Runs an attack, and asks the four questions. What the attack returns (connections) is held until
    /// the memory has been looked at. `grows_max` is how much memory it may take, in MiB.
    pub fn attack<T>(&mut self, name: &str, grows_max: u64, attack: impl AsyncFn(Target) -> T) {
        for tried in 1..=TRIES {
            let Met { times, quiet, before, peak, own, elsewhere } = self.one_try(&attack);
            let (p99, quiet_p99, grown) = (times.p99(), quiet.p99(), peak.saturating_sub(before));
            println!(
                "{name}: p99 {p99:.1?} of {}, quiet {quiet_p99:.1?} of {}; {} MiB and {} more at the peak, {own} % of the processors, {elsewhere} % busy with something else",
                times.count(),
                quiet.count(),
                before / MIB,
                grown / MIB
            );
            assert_eq!(
                [times.failed, quiet.failed].concat(),
                Vec::<String>::new(),
                "{name}: others are served"
            );
            assert!(self.server.alive(), "{name}: the process lives");
            let most = resident_max(self.profile) as u64;
            assert!(peak <= most, "{name}: {peak} bytes are resident, {most} are the budget");
            assert!(grown <= grows_max * MIB, "{name}: {grown} bytes more, {grows_max} MiB are allowed");
            self.all_given_back(name);
            if p99 <= quiet_p99.max(QUIET_P99_MIN) * SLOWER_MAX {
                return;
            }
            if elsewhere > ELSEWHERE_MAX {
                println!("{name}: the machine was busy, so this p99 says nothing of the server");
                return;
            }
            assert!(tried < TRIES, "{name}: a p99 of {p99:?}, of {quiet_p99:?} on a server left alone");
        }
    }

    fn one_try<T>(&mut self, attack: &impl AsyncFn(Target) -> T) -> Met {
        forget_peak(self.server.pid());
        let (before, _) = resident(self.server.pid());
        let [others, quiet] = [&self.server, &self.twin].map(|server| Quiet::begin(server.address()));
        let pids = [self.server.pid(), self.twin.pid(), std::process::id()];
        let (own, busy) = (pids.map(ticks), busy_ticks());
        let until = Instant::now() + ATTACK_FOR;
        let held = self.attackers.block_on(attack(Target { server: self.server.address(), until }));
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        let (times, quiet) = (others.end(), quiet.end());
        let (_, peak) = resident(self.server.pid());
        drop(held);

        let own: Vec<u64> = pids.map(ticks).iter().zip(own).map(|(now, then)| now - then).collect();
        let (busy, all) = (busy_ticks().0 - busy.0, busy_ticks().1 - busy.1);
        let percent = |ticks: u64| ticks * 100 / all.max(1);
        let elsewhere = percent(busy.saturating_sub(own.iter().sum()));
        Met { times, quiet, before, peak, own: percent(own[0]), elsewhere }
    }

    /// Waits until what clients have taken is what it was before.
    fn all_given_back(&self, name: &str) {
        let deadline = Instant::now() + GIVEN_BACK_WITHIN;
        loop {
            let now = self.attackers.block_on(budgets(self.server.address()));
            if now == self.at_rest {
                return;
            }
            let rest = &self.at_rest;
            assert!(Instant::now() < deadline, "{name}: at rest {rest:?} was taken, now {now:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
