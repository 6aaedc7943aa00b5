//! A server on a card, and how the power goes.
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bramble_bench::cardsim::{CUTS, Card, CardOptions, Cut, FileSystem, Grain};
use bramble_tests::chance::Chance;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;

use crate::ledger::Findings;
use crate::load::Load;

/// How long a server may take until it serves; beyond that a start has failed.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a server that is told nothing may take to notice that its disk is gone.
pub const END_WITHIN: Duration = Duration::from_secs(20);

/// When the power goes, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It was killed before.
    Killed,
    /// It lives, sees errors, must not acknowledge anything more, and must end by itself.
    Alive,
    /// It is killed at the same instant.
    AtOnce,
    /// It was told to stop, and is stopping.
    Stopping,
    /// The file system is replaying its journal.
    Mounting,
    /// It is starting.
    Starting,
}

/// All moments.
const MOMENTS: [Moment; 6] =
    [Moment::Killed, Moment::Alive, Moment::AtOnce, Moment::Stopping, Moment::Mounting, Moment::Starting];

/// The moments under load.
const UNDER_LOAD: [Moment; 4] = [Moment::Killed, Moment::Alive, Moment::AtOnce, Moment::Stopping];

/// What the cuts of a run met.
#[derive(Debug, Default)]
pub struct Tally {
    pub cuts: u64,
    pub cards: u64,
    pub starts: u64,
    pub acknowledged: u64,
    pub slowest_start: Duration,
    /// How long a server lived without its disk, at most.
    pub slowest_end: Duration,
    /// Written to cards in all, and to the one with the most.
    written_bytes: u64,
    card_bytes_max: u64,
    kinds: BTreeMap<(Moment, Cut), u64>,
    mounts: BTreeMap<String, u64>,
    /// Cuts with something in the card's cache, and its sectors, and those of them that were kept.
    dirty: (u64, u64, u64),
}

impl Tally {
    /// Cuts that found something that was not flushed.
    pub fn dirty_cuts(&self) -> u64 {
        self.dirty.0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dirty, sectors, kept) = self.dirty;
        writeln!(
            f,
            "{} cuts on {} cards, {} starts, the slowest {:?}",
            self.cuts, self.cards, self.starts, self.slowest_start
        )?;
        writeln!(
            f,
            "{} acknowledged writes; a server without its disk lived {:?} at most",
            self.acknowledged, self.slowest_end
        )?;
        writeln!(f, "{dirty} cuts found unflushed data: {sectors} sectors, of which {kept} were kept")?;
        writeln!(
            f,
            "{} MiB were written, {} to one card",
            self.written_bytes >> 20,
            self.card_bytes_max >> 20
        )?;
        for (options, cards) in &self.mounts {
            writeln!(f, "mount options '{options}': {cards} cards")?;
        }
        write!(f, "{:>9}", "")?;
        for cut in CUTS {
            write!(f, "{:>8}", format!("{cut:?}"))?;
        }
        for moment in MOMENTS {
            write!(f, "\n{:>9}", format!("{moment:?}"))?;
            for cut in CUTS {
                write!(f, "{:>8}", self.kinds.get(&(moment, cut)).copied().unwrap_or(0))?;
            }
        }
        Ok(())
    }
}

/// The server under test: `BRAMBLE_BIN`, or with `BRAMBLE_POWERCUT_SERVER=etcd` the oracle, for comparison.
fn server_under_test() -> Setup {
    match std::env::var("BRAMBLE_POWERCUT_SERVER").as_deref() {
        Ok("etcd") => Setup::etcd().expect("the oracle was asked for"),
        _ => Setup::bramble(),
    }
}

/// Where images lie: in memory, where there is room, so that only the card decides what is durable when.
pub fn within() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let free = rustix::fs::statvfs(&memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    if free > 2 << 30 { memory } else { std::env::temp_dir() }
}

/// A card, or `None` where none can be made.
pub fn card(options: CardOptions) -> Option<Card> {
    if let Some(missing) = Card::missing(options.file_system) {
        let why = format!("a card with {} needs {missing}", options.file_system.name());
        // What the kernel lacks nobody can install, so it is no failure where everything is required.
        if missing.starts_with("/dev/") {
            println!("SKIPPED: {why}")
        } else {
            tools::skip(&why)
        }
        return None;
    }
    Some(Card::make(CardOptions { within: within(), ..options }).unwrap_or_else(|error| panic!("{error}")))
}

/// The smallest piece that a cut keeps or loses. xfs writes blocks in place whose checksum spans their sectors, and
/// has no second copy of them: with half of one its mount fails, whoever used it (1 of 200 cuts).
fn grain(card: &Card) -> Grain {
    match card.file_system() {
        FileSystem::Ext4 => Grain::Sector,
        FileSystem::Xfs => Grain::Page,
    }
}

/// See the module.
pub struct Lab {
    pub card: Card,
    pub load: Load,
    pub chance: Chance,
    pub tally: Tally,
    /// Writes and flushes that the last start took.
    start_calls: u64,
    /// What had been written when this card was fresh.
    card_began_bytes: u64,
}

impl Lab {
    pub fn new(card: Card, seed: u64) -> Lab {
        let mut chance = Chance::from_seed(seed);
        let load = Load::new(chance.roll());
        let tally = Tally { cards: 1, mounts: BTreeMap::from([(String::new(), 1)]), ..Tally::default() };
        card.set_grain(grain(&card));
        // A first start fills a part of the log.
        Lab { card, load, chance, tally, start_calls: 100, card_began_bytes: 0 }
    }

    /// The server's data directory.
    pub fn data(&self) -> PathBuf {
        self.card.files().join("data")
    }

    /// A fresh file system, and nothing that was promised.
    pub fn new_card(&mut self, mount_options: &str) {
        self.card.set_mount_options(mount_options);
        self.card.format().unwrap_or_else(|error| panic!("{error}"));
        self.load = Load::new(self.chance.roll());
        self.start_calls = 100;
        self.tally.cards += 1;
        self.card_began_bytes = self.card.counts().written_bytes;
        *self.tally.mounts.entry(mount_options.to_owned()).or_default() += 1;
    }

    fn calls(&self) -> u64 {
        let counts = self.card.counts();
        counts.writes + counts.flushes
    }

    /// The server, without waiting for it.
    pub fn spawn(&self) -> Server {
        server_under_test().data_dir(&self.data()).spawn()
    }

    /// Starts the server; no hands help it.
    ///
    /// # Errors
    /// Its log, when it does not come up.
    pub fn start(&mut self) -> Result<Server, String> {
        let before = self.calls();
        let mut server = self.spawn();
        let up = comes_up(&mut server, || true);
        self.tally.starts += 1;
        self.tally.slowest_start = self.tally.slowest_start.max(server.started.elapsed());
        self.start_calls = self.calls() - before;
        if up {
            return Ok(server);
        }
        let how = server.wait_exit(Duration::ZERO).map_or("it hangs".to_owned(), |status| status.to_string());
        Err(format!("a start has failed, {how}:\n{}", server.log()))
    }

    /// Starts the server, and holds what it has against what was promised.
    ///
    /// # Errors
    /// What is wrong with it, beside losses.
    pub async fn start_and_check(&mut self) -> Result<(Server, Findings), String> {
        let server = self.start()?;
        let findings = self.load.check(&server.url).await?;
        Ok((server, findings))
    }

    fn cut_kind(&mut self) -> (Cut, u64) {
        (*self.chance.pick(&CUTS), self.chance.roll())
    }

    /// Everybody writes for a moment; then the power goes, and comes back.
    pub async fn cut_under_load(&mut self, server: Server) {
        let tasks = self.load.begin(&server.url).await;
        tokio::time::sleep(Duration::from_millis(self.chance.between(10, 400) as u64)).await;
        let moment = *self.chance.pick(&UNDER_LOAD);
        let cut = self.cut_kind();
        if matches!(moment, Moment::Alive | Moment::AtOnce) {
            self.cut_at_a_call(cut).await;
        }
        self.strike(server, moment, cut);
        self.tally.acknowledged += self.load.end(tasks).await;
        self.count(moment, cut.0);
        self.power_on();
    }

    /// Waits for a write or a flush and lets the power go in its place: between the two, half of the time.
    async fn cut_at_a_call(&mut self, (cut, seed): (Cut, u64)) {
        self.card.cut_at(self.chance.below(40) as u64, cut, seed);
        let deadline = Instant::now() + END_WITHIN;
        while self.card.powered() {
            assert!(Instant::now() < deadline, "writers are at work, and the disk is not used");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    fn strike(&mut self, mut server: Server, moment: Moment, (cut, seed): (Cut, u64)) {
        let wait = Duration::from_millis(self.chance.between(0, 60) as u64);
        let cut = || self.card.cut(cut, seed).expect("the image can be written");
        match moment {
            Moment::Killed => {
                server.kill();
                std::thread::sleep(wait);
                cut();
            }
            Moment::Alive => {
                let begun = Instant::now();
                let ended = server.wait_exit(END_WITHIN);
                assert!(ended.is_some(), "a server without a disk lives on:\n{}", server.log());
                self.tally.slowest_end = self.tally.slowest_end.max(begun.elapsed());
            }
            Moment::AtOnce => server.kill(),
            Moment::Stopping => {
                server.terminate(wait);
                cut();
                server.kill();
            }
            Moment::Mounting | Moment::Starting => unreachable!("there is no load before a server serves"),
        }
    }

    /// The power goes while the file system is mounted and the server starts, and comes back.
    pub fn cut_while_starting(&mut self) {
        let (cut, seed) = self.cut_kind();
        let after = self.chance.below(self.start_calls as usize + 2) as u64;
        self.card.cut_at(after, cut, seed);
        let mut server = self.spawn();
        comes_up(&mut server, || self.card.powered());
        server.kill();
        if self.card.powered() {
            self.card.cut(cut, seed).expect("the image can be written");
        }
        self.count(Moment::Starting, cut);
        self.power_on();
    }

    fn count(&mut self, moment: Moment, cut: Cut) {
        self.tally.cuts += 1;
        *self.tally.kinds.entry((moment, cut)).or_default() += 1;
        let counts = self.card.counts();
        self.tally.dirty = (counts.dirty_cuts, counts.dirty_sectors, counts.kept_sectors);
        self.tally.written_bytes = counts.written_bytes;
        self.tally.card_bytes_max =
            self.tally.card_bytes_max.max(counts.written_bytes - self.card_began_bytes);
    }

    /// The power comes back, sometimes only to go again while the file system is mounted.
    fn power_on(&mut self) {
        // A replay writes what has checksums over several sectors in place: there a page is what is torn off.
        self.card.set_grain(Grain::Page);
        while self.chance.percent(10) {
            let (cut, seed) = self.cut_kind();
            self.card.cut_at(self.chance.below(24) as u64, cut, seed);
            let mounted = self.card.power_on();
            if self.card.powered() {
                mounted.unwrap_or_else(|error| panic!("after cut {}: {error}", self.tally.cuts));
                self.card.cut(cut, seed).expect("the image can be written");
            }
            self.count(Moment::Mounting, cut);
        }
        self.card.set_grain(grain(&self.card));
        self.card.power_on().unwrap_or_else(|error| panic!("after cut {}: {error}", self.tally.cuts));
    }
}

/// Whether the server serves; false once it has ended, or when `while_so` does not hold any more.
fn comes_up(server: &mut Server, while_so: impl Fn() -> bool) -> bool {
    let deadline = server.started + START_WITHIN;
    while Instant::now() < deadline && while_so() && server.alive() {
        if server.log().contains("ready to serve client requests") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}
