//! A disk in memory that loses power, by seed.
//!
//! It keeps what is durable apart from what a running process sees, and between the two the ordered
//! operations that no sync has covered. A cut draws from those what survives: nothing, everything, an
//! ordered prefix whose last write is torn, a random set of sectors with holes, or a grown file full
//! of zeros. What was synced is never harmed; bit rot is asked for by name ([`SimDisk::flip_bit`]).
//!
//! Calls that change something are counted from 1, so that a sweep can cut or fail at each of them.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AlignedSlice, Disk, File, LockError, LockGuard, Open};

mod cut;
mod world;

pub use cut::Survivors;
use world::{Inode, NameChangeKind, Node, World, power_off};

/// The unit that a cut leaves old or new.
pub const SECTOR: usize = 512;

/// A small generator of repeatable numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.number() % bound }
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How often each kind of call was made since the disk was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounts {
    /// Writes.
    pub writes: u64,
    /// Bytes they wrote.
    pub written_bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
    /// Files made, renamed, removed and directories made.
    pub dir_changes: u64,
    /// Cuts.
    pub cuts: u64,
}

/// What a failing call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The medium failed.
    Io,
    /// No space left.
    Full,
    /// The file system has become read-only.
    ReadOnly,
    /// A signal came first. The seam makes the call again, so nobody hears of it.
    Interrupted,
    /// A write took only a part. The seam writes the rest, so nobody hears of it but a cut between the two.
    Short,
    /// The process has too many open files: a file cannot be opened. Other calls do not care.
    TooManyFiles,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Interrupted | Fault::Short => io::Error::from(rustix::io::Errno::INTR),
            Fault::TooManyFiles => io::Error::from(rustix::io::Errno::MFILE),
            Fault::Io => io::Error::from(rustix::io::Errno::IO),
            Fault::Full => io::Error::from(rustix::io::Errno::NOSPC),
            Fault::ReadOnly => io::Error::from(rustix::io::Errno::ROFS),
        }
    }
}

/// The simulated disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// An empty disk whose cuts follow `seed`. Its root directory exists.
    pub fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
        let world = World {
            rng: Rng::new(seed),
            inodes: Vec::new(),
            live: root.clone(),
            durable: root,
            unsynced_names: BTreeMap::new(),
            locked: BTreeSet::new(),
            start: 0,
            powered: true,
            order: 0,
            calls: 0,
            cut_at: None,
            fail_at: None,
            fail_read_at: None,
            reads: 0,
            lying: false,
            free_bytes: u64::MAX,
            counts: SimCounts::default(),
        };
        SimDisk { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches the power off and on again; says what survived.
    pub fn cut(&self) -> Survivors {
        let mut world = self.world();
        world.powered = false;
        world.power_on()
    }

    /// After a planned cut ([`SimDisk::cut_at_call`]): switches the power on again.
    pub fn power_on(&self) -> Survivors {
        self.world().power_on()
    }

    /// What would be there if the power went now and nothing unsynced survived, as a disk of its own.
    pub fn survivor(&self) -> SimDisk {
        let copy = SimDisk::new(0);
        let (world, mut copied) = (self.world(), copy.world());
        copied.live.clone_from(&world.durable);
        copied.durable.clone_from(&world.durable);
        let durable = |inode: &Inode| inode.durable.clone();
        copied.inodes = world.inodes.iter().map(durable).map(Inode::synced).collect();
        drop(copied);
        copy
    }

    /// The process ends without a power cut, or a planned cut turns out to be only that: nothing is lost,
    /// nothing becomes durable, no handle works any more.
    pub fn kill(&self) {
        let mut world = self.world();
        world.start += 1;
        world.powered = true;
        world.cut_at = None;
        world.locked.clear();
    }

    /// Whether the power is on.
    pub fn powered(&self) -> bool {
        self.world().powered
    }

    /// Cuts the power at the changing call number `call`, counted by [`SimDisk::calls`]; `None` = not planned.
    pub fn cut_at_call(&self, call: Option<u64>) {
        self.world().cut_at = call;
    }

    /// Lets the changing call number `call` fail once.
    pub fn fail_at_call(&self, call: u64, fault: Fault) {
        self.world().fail_at = Some((call, fault));
    }

    /// Lets the read number `read` ([`SimDisk::reads`]) fail once.
    pub fn fail_at_read(&self, read: u64) {
        self.world().fail_read_at = Some(read);
    }

    /// Changing calls made so far.
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// Reads made so far.
    pub fn reads(&self) -> u64 {
        self.world().reads
    }

    /// A disk that says "synced" and does nothing: for tests that must notice.
    pub fn set_lying(&self, lying: bool) {
        self.world().lying = lying;
    }

    /// How much space it pretends to have left; writes that grow a file beyond it fail.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.world().free_bytes = bytes;
    }

    /// What was called so far.
    pub fn counts(&self) -> SimCounts {
        self.world().counts
    }

    /// Every file that a running process sees, with its length.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let world = self.world();
        let files = world.live.iter().filter_map(|(path, node)| match node {
            Node::File(id) => Some((path.clone(), world.inodes[*id].live.len() as u64)),
            Node::Dir => None,
        });
        files.collect()
    }

    /// The bytes of one file as a running process sees them.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world();
        let id = world.file(path)?;
        Ok(world.inodes[id].live.clone())
    }

    /// Replaces the bytes of one file, durably: a test's own damage, or the undoing of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_contents(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        let id = world.file(path)?;
        world.inodes[id] = Inode::synced(bytes.to_vec());
        Ok(())
    }

    /// Rot: flips one bit of what is durable.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        self.damage(path, byte as usize..byte as usize + 1, |b| *b ^= 1 << (bit % 8))
    }

    /// Rot: zeroes the sector that holds `byte`.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn zero_sector(&self, path: &Path, byte: u64) -> io::Result<()> {
        let from = byte as usize / SECTOR * SECTOR;
        self.damage(path, from..from + SECTOR, |b| *b = 0)
    }

    fn damage(&self, path: &Path, range: std::ops::Range<usize>, change: impl Fn(&mut u8)) -> io::Result<()> {
        let mut world = self.world();
        let id = world.file(path)?;
        let inode = &mut world.inodes[id];
        for bytes in [&mut inode.live, &mut inode.durable] {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].iter_mut().for_each(&change);
        }
        Ok(())
    }

    fn parent(path: &Path) -> PathBuf {
        path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        let start = world.start;
        if how == Open::CreateNew {
            let dir = SimDisk::parent(path);
            if world.live.get(&dir) != Some(&Node::Dir) {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            if world.live.contains_key(path) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let id = world.inodes.len();
            world.inodes.push(Inode::default());
            world.change_names(start, dir, NameChangeKind::Add(path.to_owned(), Node::File(id)))?;
        } else if !world.powered {
            return Err(power_off());
        }
        let id = world.file(path)?;
        let alone = match how {
            Open::WriteAlone if !world.locked.insert(path.to_owned()) => {
                return Err(io::Error::from(io::ErrorKind::ResourceBusy));
            }
            Open::WriteAlone => Some(SimLock { disk: self.clone(), path: path.to_owned(), start }),
            Open::Read | Open::Write | Open::CreateNew => None,
        };
        Ok(Arc::new(SimFile { disk: self.clone(), id, start, _alone: alone }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let dir = SimDisk::parent(path);
        if world.live.get(&dir) != Some(&Node::Dir) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        if world.live.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let start = world.start;
        world.change_names(start, dir, NameChangeKind::Add(path.to_owned(), Node::Dir))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.world().live.contains_key(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        if world.live.get(dir) != Some(&Node::Dir) {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let inside = world.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.file(from)?;
        let (start, dir) = (world.start, SimDisk::parent(to));
        world.change_names(start, dir, NameChangeKind::Rename(from.to_owned(), to.to_owned()))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.file(path)?;
        let (start, dir) = (world.start, SimDisk::parent(path));
        world.change_names(start, dir, NameChangeKind::Remove(path.to_owned()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let start = world.start;
        world.sync_dir(start, dir)
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.world().free_bytes)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        let mut world = self.world();
        if !world.locked.insert(path.to_owned()) {
            return Err(LockError::Held { holder: "pid 1".to_owned() });
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), start: world.start }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    start: u64,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if world.start == self.start {
            world.locked.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    id: usize,
    start: u64,
    _alone: Option<SimLock>,
}

impl File for SimFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut world = self.disk.world();
        if !world.powered || world.start != self.start {
            return Err(power_off());
        }
        world.reads += 1;
        if world.fail_read_at == Some(world.reads) {
            world.fail_read_at = None;
            return Err(Fault::Io.error());
        }
        let (from, bytes) = (offset as usize, &world.inodes[self.id].live);
        let Some(found) = bytes.get(from..from + buf.len()) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        assert!(offset.is_multiple_of(super::ALIGN as u64), "write at {offset} is not aligned");
        self.disk.world().write(self.start, self.id, offset as usize, &data)
    }

    fn write_small(&self, data: &[u8]) -> io::Result<()> {
        self.disk.world().write(self.start, self.id, 0, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.world().sync(self.start, self.id)
    }

    fn settle(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.world().inodes[self.id].live.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "/file";

    fn create(disk: &SimDisk, data: &[u8]) -> Arc<dyn File> {
        let file = disk.open(Path::new(NAME), Open::CreateNew).expect("it is new");
        file.write_small(data).expect("it is written");
        disk.sync_dir(Path::new("/")).expect("its name is kept");
        file
    }

    #[test]
    fn a_sync_of_a_process_that_has_ended_loses_nothing() {
        let disk = SimDisk::new(1);
        let dead = create(&disk, b"in the page cache");
        disk.kill();
        assert!(dead.sync().is_err());
        let file = disk.open(Path::new(NAME), Open::Write).expect("it is there");
        file.settle().expect("it is synced");
        let survivor = disk.survivor();
        assert_eq!(survivor.contents(Path::new(NAME)).expect("it is there"), b"in the page cache");
    }

    #[test]
    fn a_survivor_has_what_was_synced_and_goes_its_own_way() {
        let disk = SimDisk::new(1);
        let file = create(&disk, b"old");
        file.sync().expect("it is synced");
        file.write_small(b"new").expect("it is written");
        let survivor = disk.survivor();
        assert_eq!(survivor.contents(Path::new(NAME)).expect("it is there"), b"old");
        survivor.unlink(Path::new(NAME)).expect("it is removed");
        assert_eq!(disk.contents(Path::new(NAME)).expect("it is there"), b"new");
    }
}
