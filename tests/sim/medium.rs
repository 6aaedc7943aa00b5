//! The disk as the member sees it: it takes virtual time, stalls, loses power, and every call is traced.
use std::fmt::Arguments;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bramble_store::disk::sim::{Rng, SimDisk};
use bramble_store::disk::{AlignedSlice, Disk, File, LockError, LockGuard, Open};
use bramble_store::engine::mem::Mem;

use crate::eye::Eye;
use crate::threads::pass;

/// How long calls take.
pub struct Pace {
    pub rng: Rng,
    /// A sync takes up to so many milliseconds; 0 = no time passes at all.
    pub sync_ms: u64,
    /// The next write or sync takes this long.
    pub stall: Option<Duration>,
}

/// A disk for one life of a member.
#[derive(Clone)]
pub struct Medium {
    pub sim: SimDisk,
    pub engine: Mem,
    /// What the engine had made durable when the power went.
    pub survivor: Arc<Mutex<Option<Mem>>>,
    pub pace: Arc<Mutex<Pace>>,
    pub eye: Arc<Eye>,
}

impl Medium {
    /// Time passes before a write or a sync, and the others go on.
    fn take_time(&self, sync: bool) {
        let mut pace = self.pace.lock().expect("one thread runs at a time");
        let most = if sync { pace.sync_ms } else { pace.sync_ms / 4 };
        // Mostly quick, sometimes not.
        let quick = pace.rng.below(most / 4 + 1);
        let time = if pace.rng.chance(5) { pace.rng.below(most + 1) } else { quick };
        let stall = pace.stall.take();
        drop(pace);
        if let Some(stall) = stall {
            self.eye.hit("disk stalled");
            pass(stall);
        } else if most > 0 {
            pass(Duration::from_millis(time));
        }
    }

    fn done<T>(&self, what: Arguments<'_>, result: io::Result<T>) -> io::Result<T> {
        self.eye.note(format_args!("disk: {what}{}", if result.is_ok() { "" } else { " failed" }));
        if !self.sim.powered() {
            // What the engine makes durable from here on, it does without power.
            let mut survivor = self.survivor.lock().expect("one thread runs at a time");
            survivor.get_or_insert_with(|| self.engine.survivor());
        }
        result
    }
}

impl Disk for Medium {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.done(format_args!("open {} {how:?}", path.display()), self.sim.open(path, how))?;
        Ok(Arc::new(MediumFile { file, medium: self.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.done(format_args!("create directory {}", path.display()), self.sim.create_dir(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.sim.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.sim.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.done(format_args!("rename {} {}", from.display(), to.display()), self.sim.rename(from, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.done(format_args!("unlink {}", path.display()), self.sim.unlink(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.take_time(true);
        self.done(format_args!("sync directory {}", dir.display()), self.sim.sync_dir(dir))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.sim.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.sim.lock(path)
    }
}

struct MediumFile {
    file: Arc<dyn File>,
    medium: Medium,
}

impl File for MediumFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = self.file.read_at(offset, buf);
        self.medium.done(format_args!("read {} at {offset}", buf.len()), read)
    }

    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        self.medium.take_time(false);
        let mut hash = DefaultHasher::new();
        hash.write(&data);
        let (length, hash) = (data.len(), hash.finish());
        let written = self.file.write_at(offset, data);
        self.medium.done(format_args!("write {length} at {offset}: {hash:x}"), written)
    }

    fn write_small(&self, data: &[u8]) -> io::Result<()> {
        self.medium.take_time(false);
        self.medium.done(format_args!("write {data:?}"), self.file.write_small(data))
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.take_time(true);
        self.medium.done(format_args!("sync"), self.file.sync())
    }

    fn settle(&self) -> io::Result<()> {
        self.medium.take_time(true);
        self.medium.done(format_args!("settle"), self.file.settle())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
