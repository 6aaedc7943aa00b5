//! What the simulated disk remembers, and the gate in front of every call that changes it.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::{Fault, Rng, SECTOR, SimCounts};

pub(super) struct World {
    pub(super) rng: Rng,
    /// Files by number; a number is never used twice.
    pub(super) inodes: Vec<Inode>,
    /// Names as a running process sees them.
    pub(super) live: BTreeMap<PathBuf, Node>,
    /// Names as they are after a cut that keeps nothing.
    pub(super) durable: BTreeMap<PathBuf, Node>,
    /// Per directory, what no `sync_dir` has covered, oldest first.
    pub(super) unsynced_names: BTreeMap<PathBuf, Vec<NameChange>>,
    pub(super) locked: BTreeSet<PathBuf>,
    /// Handles of an earlier start are dead.
    pub(super) start: u64,
    pub(super) powered: bool,
    /// Orders unsynced operations across files.
    pub(super) order: u64,
    pub(super) calls: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) fail_at: Option<(u64, Fault)>,
    pub(super) fail_read_at: Option<u64>,
    pub(super) reads: u64,
    pub(super) lying: bool,
    pub(super) free_bytes: u64,
    pub(super) counts: SimCounts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(usize),
}

#[derive(Default)]
pub(super) struct Inode {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) unsynced: Vec<Write>,
}

impl Inode {
    pub(super) fn synced(bytes: Vec<u8>) -> Inode {
        Inode { live: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

pub(super) struct Write {
    pub(super) order: u64,
    pub(super) offset: usize,
    pub(super) data: Vec<u8>,
}

pub(super) struct NameChange {
    pub(super) order: u64,
    pub(super) kind: NameChangeKind,
}

pub(super) enum NameChangeKind {
    Add(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What the gate in front of every changing call says.
pub(super) enum Gate {
    Go,
    /// The power goes during this call: it may have happened, the caller only sees an error.
    Cut,
    /// A write takes two pieces.
    Short,
    /// A file cannot be opened.
    TooManyFiles,
}

pub(super) fn power_off() -> io::Error {
    io::Error::other("the power is off")
}

impl World {
    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        match self.live.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Dir) => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Stands in front of every call that changes something.
    pub(super) fn gate(&mut self, start: u64) -> io::Result<Gate> {
        if !self.powered || start != self.start {
            return Err(power_off());
        }
        self.calls += 1;
        self.order += 1;
        if self.cut_at == Some(self.calls) {
            self.cut_at = None;
            self.powered = false;
            return Ok(Gate::Cut);
        }
        match self.fail_at {
            Some((call, fault)) if call == self.calls => {
                self.fail_at = None;
                match fault {
                    // Made again by the seam.
                    Fault::Interrupted => Ok(Gate::Go),
                    Fault::Short => Ok(Gate::Short),
                    Fault::TooManyFiles => Ok(Gate::TooManyFiles),
                    Fault::Io | Fault::Full | Fault::ReadOnly => Err(fault.error()),
                }
            }
            _ => Ok(Gate::Go),
        }
    }

    pub(super) fn change_names(&mut self, start: u64, dir: PathBuf, kind: NameChangeKind) -> io::Result<()> {
        let gate = self.gate(start)?;
        if matches!((&gate, &kind), (Gate::TooManyFiles, NameChangeKind::Add(_, Node::File(_)))) {
            return Err(Fault::TooManyFiles.error());
        }
        self.counts.dir_changes += 1;
        apply_name_change(&mut self.live, &kind);
        self.unsynced_names.entry(dir).or_default().push(NameChange { order: self.order, kind });
        gate.answer()
    }

    pub(super) fn write(&mut self, start: u64, id: usize, offset: usize, data: &[u8]) -> io::Result<()> {
        let gate = self.gate(start)?;
        let growth = (offset + data.len()).saturating_sub(self.inodes[id].live.len()) as u64;
        if growth > self.free_bytes {
            return Err(Fault::Full.error());
        }
        if self.free_bytes != u64::MAX {
            self.free_bytes -= growth;
        }
        self.counts.writes += 1;
        self.counts.written_bytes += data.len() as u64;
        let order = self.order;
        let inode = &mut self.inodes[id];
        put(&mut inode.live, offset, data);
        let first = match gate {
            Gate::Short => data.len() / 2 / SECTOR * SECTOR,
            Gate::Go | Gate::Cut | Gate::TooManyFiles => data.len(),
        };
        let (first, rest) = data.split_at(first);
        inode.unsynced.push(Write { order, offset, data: first.to_vec() });
        if !rest.is_empty() {
            self.order += 1;
            let (order, offset) = (self.order, offset + first.len());
            self.inodes[id].unsynced.push(Write { order, offset, data: rest.to_vec() });
        }
        gate.answer()
    }

    pub(super) fn sync(&mut self, start: u64, id: usize) -> io::Result<()> {
        match self.gate(start) {
            Ok(Gate::Go | Gate::Short | Gate::TooManyFiles) => {}
            Ok(Gate::Cut) => return Err(power_off()),
            Err(e) => {
                // As Linux does: after a failed sync the pages count as clean and are never written. A
                // handle of a process that has ended syncs nothing.
                if self.powered && start == self.start {
                    self.inodes[id].unsynced.clear();
                }
                return Err(e);
            }
        }
        self.counts.syncs += 1;
        if self.lying {
            return Ok(());
        }
        let inode = &mut self.inodes[id];
        for write in std::mem::take(&mut inode.unsynced) {
            put(&mut inode.durable, write.offset, &write.data);
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, start: u64, dir: &Path) -> io::Result<()> {
        self.gate(start)?.answer()?;
        self.counts.dir_syncs += 1;
        if self.lying {
            return Ok(());
        }
        for change in self.unsynced_names.remove(dir).unwrap_or_default() {
            apply_name_change(&mut self.durable, &change.kind);
        }
        Ok(())
    }
}

impl Gate {
    pub(super) fn answer(self) -> io::Result<()> {
        match self {
            Gate::Go | Gate::Short | Gate::TooManyFiles => Ok(()),
            Gate::Cut => Err(power_off()),
        }
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

pub(super) fn apply_name_change(names: &mut BTreeMap<PathBuf, Node>, kind: &NameChangeKind) {
    match kind {
        NameChangeKind::Add(path, node) => {
            names.insert(path.clone(), *node);
        }
        NameChangeKind::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        NameChangeKind::Remove(path) => {
            names.remove(path);
        }
    }
}
