//! A disk whose writes take the time of a modelled card, on a clock that nothing else moves.
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bramble_bench::cardsim::cost::{Model, Preset};
use bramble_store::disk::sim::{Rng, SimDisk};
use bramble_store::disk::{AlignedSlice, Disk, File, LockError, LockGuard, Open};
use bramble_store::seams::Clock;

/// What the system takes for each call, beside the card.
const CALL: Duration = Duration::from_micros(60);
/// Small writes in an earlier life, at most: enough that stalls may come at any write.
const BEFORE_MAX: u64 = 2500;

struct State {
    model: Model,
    now: Duration,
    written_bytes: u64,
    /// Writes until all fail.
    left: Option<u64>,
}

/// One file after the other lies at `base` on the card.
#[derive(Clone)]
pub struct CardDisk {
    names: SimDisk,
    base: u64,
    state: Arc<Mutex<State>>,
}

impl CardDisk {
    pub fn new(preset: Preset, base: u64) -> CardDisk {
        let names = SimDisk::new(1);
        names.create_dir(Path::new("/data")).expect("a directory");
        let state = State { model: Model::new(preset), now: Duration::ZERO, written_bytes: 0, left: None };
        CardDisk { names, base, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some years of others' writes, small and large, all over the card.
    pub fn wear_in(&self, random: &mut Rng) {
        let mut state = self.state();
        for _ in 0..random.below(BEFORE_MAX) {
            let (offset, length) = (4096 * random.below(60_000), 4096 * (1 + random.below(32)));
            state.model.write(offset, length);
        }
    }

    /// All writes fail after so many.
    pub fn fail_after(&self, writes: u64) {
        self.state().left = Some(writes);
    }

    pub fn written_bytes(&self) -> u64 {
        self.state().written_bytes
    }
}

impl Clock for CardDisk {
    fn now(&self) -> Duration {
        self.state().now
    }
}

impl Disk for CardDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.names.open(path, how)?;
        Ok(Arc::new(CardFile { file, disk: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.names.create_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.names.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.names.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.names.unlink(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.names.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.names.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.names.lock(path)
    }
}

struct CardFile {
    file: Arc<dyn File>,
    disk: CardDisk,
}

impl File for CardFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buf)
    }

    /// As the real disk's: durable when it returns, with the flush that a card with a cache needs.
    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.left == Some(0) {
            return Err(io::Error::other("the card is gone"));
        }
        state.left = state.left.map(|left| left - 1);
        let seconds = state.model.write(self.disk.base + offset, data.len() as u64) + state.model.flush();
        state.now += CALL + Duration::from_secs_f64(seconds);
        state.written_bytes += data.len() as u64;
        drop(state);
        self.file.write_at(offset, data)
    }

    fn write_small(&self, data: &[u8]) -> io::Result<()> {
        self.file.write_small(data)
    }

    /// Nothing is left to be done.
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn settle(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let seconds = state.model.flush();
        state.now += CALL + Duration::from_secs_f64(seconds);
        drop(state);
        self.file.settle()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
