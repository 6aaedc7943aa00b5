//! The log against a model, on a disk that loses power: random operations, random cuts, and after each
//! cut the question whether everything acknowledged is there and nothing else.
//!
//! The model is the list of entries, vote, committed and purged position as they are in memory, and after
//! each operation one snapshot of it. What a cut may leave is one of the snapshots since the last
//! flush that returned (records are one stream, so a cut leaves a prefix of them), nothing older.
use std::path::Path;
use std::sync::Arc;

use bramble_store::command::{Entry, Payload};
use bramble_store::disk::partition::{Claimed, Contents, Label, Owner, Partition};
use bramble_store::disk::sim::{Rng, SimDisk};
use bramble_store::disk::{Disk, Open};
use bramble_store::error::Fatal;
use bramble_store::log::{Log, LogOptions, Recovered, Vote};
use bramble_store::types::LogId;

mod faults;
mod model;
mod rot;

pub use model::{Reached, State};

/// The log's directory on the simulated disk.
pub const DIR: &str = "/log";

/// What a checker found wrong.
pub type Wrong = String;

/// One run: a disk, a log on it, a model beside it.
pub struct Run {
    pub disk: SimDisk,
    pub options: LogOptions,
    pub reached: Reached,
    rng: Rng,
    log: Option<Log>,
    state: State,
    /// What may be found after a cut: the state of the last flush, and every one since.
    allowed: Vec<State>,
    durable: Option<LogId>,
    requested: Option<LogId>,
    term: u64,
    ever_opened: bool,
    /// Whether a call may still fail on a powered disk.
    pub faulty: bool,
    /// The log lies on a partition: [`PARTITION`].
    on_partition: bool,
}

/// A file that is taken for a partition.
pub const PARTITION: &str = "/partition";
/// What is on it at most; segments take one or two units.
const UNIT_BYTES: u32 = 64 << 10;
const PARTITION_BYTES: usize = 96 * UNIT_BYTES as usize;
const LABEL: Label =
    Label { id: 1, owner: Owner { cluster: 2, member: 3, instance: 4 }, unit_bytes: UNIT_BYTES };

pub fn small(rng: &mut Rng) -> LogOptions {
    let frame_align = [4096, 4096, 8192][rng.below(3) as usize];
    let segments_of = [8, 12, 16][rng.below(3) as usize];
    LogOptions {
        frame_align,
        segment_bytes: u64::from(frame_align) * segments_of,
        ring_segments: 2 + rng.below(3) as u32,
        first_fill_bytes: 4096 * (1 + rng.below(8)),
        frame_bytes_max: [3000, 9000, 1 << 20][rng.below(3) as usize],
        keep_free_bytes: 0,
        recent_bytes: [0, 2000, 1 << 20][rng.below(3) as usize],
    }
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let options = small(&mut rng);
        Run {
            disk: SimDisk::new(rng.number()),
            options,
            reached: Reached::default(),
            rng,
            log: None,
            state: State::default(),
            allowed: vec![State::default()],
            durable: None,
            requested: None,
            term: 1,
            ever_opened: false,
            faulty: false,
            on_partition: false,
        }
    }

    /// A run whose log lies on a partition.
    pub fn on_partition(seed: u64) -> Self {
        let run = Run::new(seed);
        let path = Path::new(PARTITION);
        run.disk.open(path, Open::CreateNew).expect("it is new");
        run.disk.sync_dir(Path::new("/")).expect("the power is on");
        run.disk.set_contents(path, &vec![0; PARTITION_BYTES]).expect("it is there");
        Run { on_partition: true, ..run }
    }

    fn open_log(&self) -> Result<(Log, Recovered), Wrong> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let opened = match self.on_partition {
            true => {
                let partition = self.mount(&*disk).map_err(|error| format!("the partition: {error}"))?;
                Log::open(Arc::new(partition), Path::new(PARTITION), self.options.clone())
            }
            false => Log::open(disk, Path::new(DIR), self.options.clone()),
        };
        opened.map_err(|fatal| fatal.to_string())
    }

    fn mount(&self, disk: &dyn Disk) -> std::io::Result<Partition> {
        let claimed = Claimed::open(disk, Path::new(PARTITION))?;
        match claimed.contents()? {
            Contents::Blank if !self.ever_opened => {
                let partition = claimed.format(LABEL)?;
                self.litter()?;
                Ok(partition)
            }
            Contents::Log { label } if label == LABEL => claimed.mount(),
            other => Err(std::io::Error::other(format!("it holds {other:?}"))),
        }
    }

    /// Bytes of an earlier life, wherever files will lie: nothing but what is written makes them zero.
    fn litter(&self) -> std::io::Result<()> {
        let mut bytes = self.disk.contents(Path::new(PARTITION))?;
        bytes[UNIT_BYTES as usize..].fill(0xa5);
        self.disk.set_contents(Path::new(PARTITION), &bytes)
    }

    /// Opens the log and compares; a planned cut may stop it, then the power comes back and it tries again.
    pub fn open(&mut self) -> Result<(), Wrong> {
        loop {
            if self.rng.chance(30) {
                self.disk.cut_at_call(Some(self.disk.calls() + 1 + self.rng.below(8)));
            }
            match self.open_log() {
                Ok((log, recovered)) => {
                    self.disk.cut_at_call(None);
                    self.ever_opened = true;
                    return self.compare(log, recovered);
                }
                Err(_) if !self.disk.powered() => {
                    if self.ever_opened {
                        self.reached.cut_in_open += 1;
                    } else {
                        self.reached.cut_in_first_start += 1;
                    }
                    self.power_on();
                }
                Err(_) if self.faulty => {
                    self.reached.faults += 1;
                    self.faulty = false;
                    self.disk.cut();
                }
                Err(why) => return Err(format!("the log does not open after a cut: {why}")),
            }
        }
    }

    /// After a planned cut: the power comes back, or it was only the process that ended.
    fn power_on(&mut self) {
        if self.rng.chance(20) {
            self.reached.kills += 1;
            return self.disk.kill();
        }
        self.reached.reopens += 1;
        self.disk.power_on();
    }

    fn compare(&mut self, log: Log, recovered: Recovered) -> Result<(), Wrong> {
        self.reached.torn += recovered.torn_frames;
        let found = read_all(&log, &recovered)?;
        self.reached.compared += found.entries.len() as u64;
        let Some(state) = self.allowed.iter().rev().find_map(|state| self.explains(state, &found)) else {
            let oldest = &self.allowed[0];
            return Err(format!(
                "found {:?}, last {:?}, but flushed was {:?}, last {:?}, and {} states since",
                recovered,
                found.last(),
                (oldest.vote, oldest.purged, oldest.committed),
                oldest.last(),
                self.allowed.len() - 1
            ));
        };
        self.state = State { committed: found.committed, ..state };
        // Found is promised: the caller builds on it.
        self.allowed = vec![self.state.clone()];
        self.requested = None;
        self.term = self.term.max(self.state.last().map_or(1, |id| id.term));
        let usage = log.usage();
        self.reached.wraps = self.reached.wraps.max(u64::from((usage.epoch - 1) / usage.segments));
        self.log = Some(log);
        self.catch_up_with_engine()
            .map_err(|fatal| format!("restarting the log where the engine is: {fatal}"))
    }

    /// Whether `found` is `state`. A purge may be there before records that were made earlier: a rotation says
    /// it first, because it may need the segment that the purge frees.
    fn explains(&self, state: &State, found: &State) -> Option<State> {
        let mut state = state.clone();
        let early = found.purged.filter(|id| state.entries.iter().any(|e| e.id == *id));
        if let Some(id) = early.filter(|id| self.allowed.iter().any(|later| later.purged == Some(*id))) {
            state.purge(id);
        }
        let same = (&state.entries, state.vote, state.purged) == (&found.entries, found.vote, found.purged);
        (same && state.committed_in_log() == found.committed).then_some(state)
    }

    /// As a node does after a start: an engine that is ahead restarts the log.
    fn catch_up_with_engine(&mut self) -> Result<(), Fatal> {
        let Some(durable) = self.durable else { return Ok(()) };
        self.log().note_durable(durable);
        if self.state.last() < Some(durable) {
            self.log().reset_to(durable)?;
            self.state.entries.clear();
            self.state.purge(durable);
            self.reached.engine_ahead += 1;
            self.changed();
        }
        Ok(())
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a run holds an open log between operations")
    }

    /// One random operation, or a cut. An error from a powered disk is wrong.
    pub fn step(&mut self) -> Result<(), Wrong> {
        if self.rng.chance(12) {
            self.disk.cut_at_call(Some(self.disk.calls() + 1 + self.rng.below(12)));
        }
        let before = self.disk.calls();
        let done = match self.rng.below(100) {
            0..35 => self.append(),
            35..62 => self.flush(),
            62..68 => self.fill(),
            68..73 => self.truncate(),
            73..79 => self.vote(),
            79..84 => self.commit(),
            84..90 => self.purge(),
            90..93 => self.seal(),
            93..94 => self.reset(),
            94..97 => self.read_some()?,
            _ => return self.cut(),
        };
        match done {
            Ok(()) => Ok(()),
            Err(_) if !self.disk.powered() => self.after_cut(),
            Err(_) if self.faulty => self.after_fault(),
            Err(fatal) => Err(format!("call {before}.. failed on an honest disk: {fatal}")),
        }
    }

    /// Adds the model's state to what a cut may leave.
    fn changed(&mut self) {
        self.allowed.push(self.state.clone());
    }

    fn append(&mut self) -> Result<(), Fatal> {
        if self.rng.chance(10) {
            self.term += 1;
        }
        let (largest, next) = (self.log().entry_bytes_max(), self.state.next());
        let mut entries = Vec::new();
        for index in next..next + 1 + self.rng.below(6) {
            let length = match self.rng.below(20) {
                0 => self.rng.below(largest + 1),
                1..5 => self.rng.below(6000),
                _ => self.rng.below(200),
            };
            let fill = self.rng.number() as u8;
            let bytes = vec![fill; length as usize].into();
            let payload = match self.rng.below(10) {
                0 => Payload::Blank,
                1 => Payload::Membership(bytes),
                _ => Payload::Command(bytes),
            };
            entries.push(Entry { id: LogId { term: self.term, index }, payload });
        }
        self.log().append(&entries)?;
        for entry in entries {
            self.state.entries.push(entry);
            self.changed();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        let (before, frames) = (self.log().usage().segments, self.disk.counts().writes);
        let flushed = self.log().flush()?;
        self.reached.rotations += u64::from(flushed.rotations);
        self.reached.grown += u64::from(self.log().usage().segments > before && flushed.rotations > 0);
        self.reached.split += u64::from(self.disk.counts().writes > frames + 1);
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        self.allowed = vec![self.state.clone()];
    }

    fn fill(&mut self) -> Result<(), Fatal> {
        let step = 4096 * (1 + self.rng.below(8));
        match self.log().fill_ahead(step) {
            Ok(_) => Ok(()),
            Err(fatal) => {
                self.reached.cut_in_fill += u64::from(!self.disk.powered());
                Err(fatal)
            }
        }
    }

    fn truncate(&mut self) -> Result<(), Fatal> {
        // What was committed is never truncated, and the engine has nothing else.
        let floor = [self.durable, self.state.committed].into_iter().flatten().map(|id| id.index + 1).max();
        let free = self.state.entries.iter().filter(|e| e.id.index >= floor.unwrap_or(0)).count();
        let cut = self.rng.below(free as u64 + 1).min(self.rng.below(8)) as usize;
        let kept = self.state.entries.len() - cut;
        let last_kept = match kept.checked_sub(1) {
            Some(at) => Some(self.state.entries[at].id),
            None => self.state.purged,
        };
        self.log().truncate_after(last_kept)?;
        self.state.entries.truncate(kept);
        self.reached.truncations += u64::from(cut > 0);
        self.term += u64::from(cut > 0);
        self.changed();
        Ok(())
    }

    fn vote(&mut self) -> Result<(), Fatal> {
        let vote = Vote { term: self.term, node: self.rng.below(9), committed: self.rng.chance(50) };
        self.log().save_vote(vote);
        self.state.vote = Some(vote);
        self.changed();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fatal> {
        let known = &self.state.entries;
        if let Some(entry) = known.get(self.rng.below(known.len() as u64) as usize) {
            let id = entry.id;
            if self.state.committed.is_none_or(|committed| committed.index < id.index) {
                self.log().save_committed(id);
                self.state.committed = Some(id);
                self.changed();
            }
        }
        Ok(())
    }

    /// Moves the engine forward, asks for a purge, or both; the model purges up to the lesser.
    fn purge(&mut self) -> Result<(), Fatal> {
        let (first, last) = (self.state.purged.map_or(0, |id| id.index + 1), self.state.next());
        let pick = |rng: &mut Rng, entries: &[Entry]| {
            let index = first + rng.below(last - first);
            entries.iter().find(|e| e.id.index == index && rng.chance(70)).map(|e| e.id)
        };
        if let Some(id) = pick(&mut self.rng, &self.state.entries) {
            self.engine_at(id);
            self.log().note_durable(id);
            self.model_purge();
        }
        if let Some(id) = pick(&mut self.rng, &self.state.entries) {
            if self.requested.is_none_or(|requested| requested.index < id.index) {
                self.requested = Some(id);
            }
            self.log().purge(id);
            self.model_purge();
        }
        Ok(())
    }

    fn engine_at(&mut self, id: LogId) {
        if self.durable.is_none_or(|durable| durable.index < id.index) {
            self.durable = Some(id);
        }
    }

    fn model_purge(&mut self) {
        let (Some(requested), Some(durable)) = (self.requested, self.durable) else { return };
        let id = if requested.index <= durable.index { requested } else { durable };
        if self.state.purged.is_none_or(|purged| purged.index < id.index) {
            self.state.purge(id);
            self.reached.purges += 1;
            self.changed();
        }
    }

    fn seal(&mut self) -> Result<(), Fatal> {
        self.log().seal()?;
        self.reached.seals += 1;
        self.settle();
        Ok(())
    }

    /// The engine was replaced by a later state: the log goes on there.
    fn reset(&mut self) -> Result<(), Fatal> {
        let id = LogId { term: self.term, index: self.state.next() + self.rng.below(20) };
        self.log().note_durable(id);
        self.engine_at(id);
        self.model_purge();
        if self.state.purged.is_some_and(|purged| purged.index > id.index) {
            return Ok(());
        }
        self.log().reset_to(id)?;
        self.state.entries.clear();
        self.state.purge(id);
        self.reached.resets += 1;
        self.changed();
        Ok(())
    }

    fn read_some(&mut self) -> Result<Result<(), Fatal>, Wrong> {
        let next = self.state.next();
        let from = self.rng.below(next + 1);
        let to = from + self.rng.below(next + 3 - from);
        let bytes_max = self.rng.below(20_000);
        let found = match self.log().read(from..to, bytes_max) {
            Ok(found) => found,
            Err(fatal) => return Ok(Err(fatal)),
        };
        let first = self.state.purged.map_or(0, |id| id.index + 1);
        let skip = from.max(first) - first;
        let there = (from.max(first)..to.min(next)).count();
        let expected = self.state.entries.iter().skip(skip as usize).take(found.len());
        if found.len() > there || (found.is_empty() && there > 0) || !found.iter().eq(expected) {
            let ids: Vec<LogId> = found.iter().map(|e| e.id).collect();
            return Err(format!("read {from}..{to} gave {ids:?} of {there} after {:?}", self.state.purged));
        }
        for entry in &found {
            if self.log().term_of(entry.id.index) != Some(entry.id.term) {
                return Err(format!("the term of {:?} is wrong", entry.id));
            }
        }
        self.reached.compared += found.len() as u64;
        Ok(Ok(()))
    }

    /// A cut between two operations.
    fn cut(&mut self) -> Result<(), Wrong> {
        self.reached.reopens += 1;
        self.disk.cut();
        self.log = None;
        self.open()
    }

    fn after_cut(&mut self) -> Result<(), Wrong> {
        self.refuses_everything()?;
        self.power_on();
        self.open()
    }
}

/// Everything a fresh log says.
pub fn read_all(log: &Log, recovered: &Recovered) -> Result<State, Wrong> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = recovered.purged.map_or(0, |id| id.index + 1);
    while recovered.last.is_some_and(|last| next <= last.index) {
        let more = log.read(next..u64::MAX, 10_000).map_err(|fatal| format!("reading back: {fatal}"))?;
        if more.is_empty() {
            return Err(format!("entry {next} of {:?} is not there", recovered.last));
        }
        next += more.len() as u64;
        entries.extend(more);
    }
    let (vote, committed, purged) = (recovered.vote, recovered.committed, recovered.purged);
    Ok(State { entries, vote, committed, purged })
}
