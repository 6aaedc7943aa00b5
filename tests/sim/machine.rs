//! One machine: a disk, what the engine has made durable, and a member that lives on them now and then.
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_server::config::{Config, Profile};
use bramble_server::node::{Builder, Node, StartError};
use bramble_store::disk::sim::{Rng, SimDisk};
use bramble_store::engine::mem::Mem;
use bramble_store::error::Fatal;
use bramble_store::log::{Log, LogOptions};
use bramble_store::store;
use bramble_store::watch::HubOptions;
use tokio::runtime::Handle;

use crate::eye::Eye;
use crate::faults::KEPT_FREE_BYTES;
use crate::medium::{Medium, Pace};
use crate::seams::{SimCalendar, SimClock, SimEntropy};
use crate::threads::SimThreads;

const DATA: &str = "/data";

/// What survives of a member between two lives.
pub struct Machine {
    pub disk: SimDisk,
    pub engine: Mem,
    pub pace: Arc<Mutex<Pace>>,
    /// Thousandths of a second that its clock makes of a second.
    pub clock_rate: u32,
    pub rng: Rng,
    log: LogOptions,
    watch: Option<HubOptions>,
    eye: Arc<Eye>,
}

/// A member that runs.
pub struct Life {
    pub node: Node,
    pub medium: Medium,
}

/// How much was to be replayed, and what the log had come to.
pub struct Found {
    pub replayed: u64,
    pub torn: bool,
    pub epoch: u32,
    pub segments: u32,
    pub purged: bool,
}

impl Machine {
    pub fn new(seed: u64, eye: Arc<Eye>) -> Machine {
        let mut rng = Rng::new(seed ^ 0x3ac4);
        let log = LogOptions {
            segment_bytes: 32 << 10 << rng.below(2),
            ring_segments: 3 + rng.below(6) as u32,
            first_fill_bytes: 32 << 10,
            frame_bytes_max: 8 << 10 << rng.below(3),
            recent_bytes: 0,
            keep_free_bytes: KEPT_FREE_BYTES,
            ..LogOptions::default()
        };
        let watch = rng.chance(50).then(|| HubOptions {
            stream_bytes_max: 1 << (10 + rng.below(6)),
            stream_bytes_min: 1 << 10,
            step_rows_max: 1 + rng.below(8) as usize,
            ..HubOptions::default()
        });
        let pace = Pace { rng: Rng::new(seed ^ 0xd15c), sync_ms: 0, stall: None };
        let (disk, engine, pace) = (SimDisk::new(seed), Mem::new(), Arc::new(Mutex::new(pace)));
        Machine { disk, engine, pace, clock_rate: 1000, rng, log, watch, eye }
    }

    /// What is about to be opened, looked at on a copy.
    pub fn look(&self) -> Option<Found> {
        let survivor = self.disk.survivor();
        let applied = store::open(self.engine.survivor()).ok()?.0.applied();
        let (log, recovered) = open_log(survivor, &self.log).ok()?;
        let last = recovered.last.map_or(0, |last| last.index);
        let usage = log.usage();
        Some(Found {
            replayed: last.saturating_sub(applied.map_or(0, |applied| applied.index)),
            torn: recovered.torn_frames > 0,
            epoch: usage.epoch,
            segments: usage.segments,
            purged: recovered.purged.is_some(),
        })
    }

    /// Begins a life.
    pub async fn start(&mut self) -> Result<Life, StartError> {
        let clock = Arc::new(SimClock::new(&mut self.rng, self.clock_rate));
        self.eye.lives(self.engine.clone());
        let medium = Medium {
            sim: self.disk.clone(),
            engine: self.engine.clone(),
            survivor: Arc::default(),
            pace: self.pace.clone(),
            eye: self.eye.clone(),
        };
        let threads = SimThreads { handle: Handle::current(), eye: self.eye.clone() };
        let config = Config { profile: Profile::Pi, auto_compaction: None, ..Config::default() };
        let mut builder = Builder::default()
            .config(config)
            .data_dir(DATA)
            .in_process_only()
            .storage(Arc::new(medium.clone()), self.engine.clone())
            .log(self.log.clone())
            .clock(clock)
            .calendar(Arc::new(SimCalendar))
            .entropy(Arc::new(SimEntropy::new(self.rng.number())))
            .threads(Arc::new(threads));
        // A small history and short queues: watchers are often behind, and rarely for long.
        if let Some(options) = self.watch {
            builder = builder.watch(options);
        }
        let node = builder.build().await?;
        Ok(Life { node, medium })
    }

    /// From here on its volume has so many bytes left.
    pub fn room(&self, bytes: u64) {
        self.disk.set_free_bytes(bytes);
        self.eye.room(bytes >= KEPT_FREE_BYTES);
    }

    /// The sizes of its log.
    pub fn log_options(&self) -> LogOptions {
        self.log.clone()
    }

    /// Ends a life: by a power cut, or by the death of the process alone.
    pub async fn end(&mut self, life: Life, power: bool) {
        let survivor = life.medium.survivor.lock().expect("one thread runs at a time").take();
        let survivor = survivor.unwrap_or_else(|| self.engine.survivor());
        match (power, self.disk.powered()) {
            (true, true) => drop(self.disk.cut()),
            (true, false) => drop(self.disk.power_on()),
            (false, _) => self.disk.kill(),
        }
        life.node.shutdown().await;
        self.eye.died();
        self.engine = survivor;
    }

    /// Stops as a service does.
    pub async fn stop(&mut self, life: Life) {
        life.node.shutdown().await;
        self.eye.died();
        self.disk.kill();
        self.engine = self.engine.survivor();
    }
}

fn open_log(disk: SimDisk, options: &LogOptions) -> Result<(Log, bramble_store::log::Recovered), Fatal> {
    Log::open(Arc::new(disk), &Path::new(DATA).join("log"), options.clone())
}

/// The revision that a member would come back with if the power went now.
///
/// # Errors
/// What it would die of.
pub fn revision_after_a_cut(medium: &Medium, options: &LogOptions) -> Result<i64, Fatal> {
    let survivor = medium.survivor.lock().expect("one thread runs at a time").clone();
    let engine = survivor.unwrap_or_else(|| medium.engine.survivor());
    let (mut writer, reader) = store::open(engine)?;
    let (log, recovered) = open_log(medium.sim.survivor(), options)?;
    let mut next = writer.applied().map_or(0, |applied| applied.index + 1);
    let end = recovered.last.map_or(0, |last| last.index + 1);
    while next < end {
        let entries = log.read(next..end, 1 << 20)?;
        writer.apply(&entries)?;
        next += entries.len().max(1) as u64;
    }
    Ok(reader.view().revision())
}

/// How long a member may take to serve after it has started, in virtual time.
pub const READY: Duration = Duration::from_secs(30);
