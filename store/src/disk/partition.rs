//! A disk on a bare partition: what the log asks of a file system, and nothing of what one adds.
//!
//! ```text
//!   unit 0: table · · · its copy · · ·  │ unit 1: 00000000.seg … │ unit 2: 00000000.seg … │ unit 3: …
//! ```
//! There is one directory, the partition itself, and a write to a file is a write to the device, of as many
//! bytes, with one flush: no journal, no time stamps. The table is written when a file is made, removed or
//! grows, so never again once the ring is there and filled.
//!
//! Invariants:
//! - the table is written twice, the copy when the first is synced: whatever a cut or a bad block does to one
//!   of them, the other is what was promised, or newer;
//! - a length is in the table only after the bytes are on the device; a unit is given away again only after a
//!   table without its file is;
//! - nothing is written to what is neither empty nor ours ([`Claimed::contents`]).
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ALIGN, AlignedBuf, AlignedSlice, Disk, File, LockError, LockGuard, Open};

mod foreign;
mod table;

pub use table::{Label, Owner};
use table::{Read, TABLE_BYTES, Table};

/// Allocation units of cards begin at multiples of this.
pub const UNIT_BYTES: u32 = 4 << 20;
/// The copy of the table must lie in the first unit.
const UNIT_BYTES_MIN: u32 = 64 << 10;
/// Where the copy of the table lies: not in the page of the first.
const COPY_AT: u64 = 32 << 10;
/// What must be zero for a partition to count as empty: whatever lies on one has its mark in here.
const HEAD_BYTES: u64 = 1 << 20;

/// A device that nobody else writes to, and of which nobody knows yet what it holds.
pub struct Claimed {
    path: PathBuf,
    file: Arc<dyn File>,
    bytes: u64,
}

/// What it holds.
#[derive(Debug)]
pub enum Contents {
    /// Nothing: zeros where everything has its mark.
    Blank,
    /// A log's files.
    Log {
        /** What it was made with. */
        label: Label,
    },
    /// A log's files, by a newer version.
    Newer {
        /** Its format. */
        format: u16,
    },
    /// A log's files, but neither copy of the table is whole, or the device is shorter than it was.
    Damaged {
        /** What is wrong. */
        what: String,
    },
    /// Something else.
    Foreign {
        /** What, as far as that can be told. */
        what: &'static str,
    },
}

impl Claimed {
    /// Opens a block device, or a plain file that is as long as it is meant to be.
    ///
    /// # Errors
    /// What the system says; `ResourceBusy` when it is mounted or in another's hands.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Claimed> {
        let file = disk.open(path, Open::WriteAlone)?;
        // An earlier process may have ended between its write and its sync: what is read must be durable.
        file.settle()?;
        let bytes = file.len()?;
        Ok(Claimed { path: path.to_owned(), file, bytes })
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says what it holds. Writes nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn contents(&self) -> io::Result<Contents> {
        let copies = self.copies()?;
        for copy in &copies {
            if let Read::Newer(format) = copy {
                return Ok(Contents::Newer { format: *format });
            }
        }
        let has_mark = copies.contains(&Read::Damaged);
        if !matches!(copies[0], Read::Table(_)) {
            // Also where the copy is still there: who made something else of the partition need not have hit it.
            if let Some(what) = foreign::named(&self.head()?) {
                return Ok(Contents::Foreign { what });
            }
        }
        if let Some(table) = newest(copies) {
            let label = table.label;
            if u64::from(table.highest_unit()) >= self.bytes / table.unit_bytes() {
                let what = format!("it is {} bytes long, and its files lie beyond that", self.bytes);
                return Ok(Contents::Damaged { what });
            }
            return Ok(Contents::Log { label });
        }
        if has_mark {
            return Ok(Contents::Damaged { what: "neither copy of its table is whole".to_owned() });
        }
        match self.head()?.iter().all(|byte| *byte == 0) {
            true => Ok(Contents::Blank),
            false => Ok(Contents::Foreign { what: "something that is not known here" }),
        }
    }

    /// The disk that it holds. Makes both copies of the table alike.
    ///
    /// # Errors
    /// What the system says; `InvalidData` for anything but [`Contents::Log`].
    pub fn mount(self) -> io::Result<Partition> {
        let [first, copy] = self.copies()?;
        let alike = first == copy;
        let table = newest([first, copy]).ok_or(io::ErrorKind::InvalidData)?;
        let partition = Partition::over(self, table);
        if !alike {
            partition.shared.save(&mut partition.shared.state())?;
        }
        Ok(partition)
    }

    /// Makes an empty disk of it, whatever it held: the caller has looked.
    ///
    /// # Errors
    /// What the system says.
    pub fn format(self, label: Label) -> io::Result<Partition> {
        // Above what may have been there: a cut between the copies must leave the newer one.
        let before = newest(self.copies()?).map_or(0, |table| table.sequence);
        let mut table = Table::new(label);
        table.sequence = before;
        let partition = Partition::over(self, table);
        partition.shared.save(&mut partition.shared.state())?;
        Ok(partition)
    }

    fn copies(&self) -> io::Result<[Read; 2]> {
        Ok([self.copy_at(0)?, self.copy_at(COPY_AT)?])
    }

    fn copy_at(&self, offset: u64) -> io::Result<Read> {
        if self.bytes < offset + TABLE_BYTES as u64 {
            return Ok(Read::Other);
        }
        let mut buf = AlignedBuf::zeroed(TABLE_BYTES);
        self.file.read_at(offset, &mut buf)?;
        Ok(Table::decode(&buf))
    }

    fn head(&self) -> io::Result<AlignedBuf> {
        let whole = self.bytes.min(HEAD_BYTES) / ALIGN as u64 * ALIGN as u64;
        let mut head = AlignedBuf::zeroed(whole as usize);
        self.file.read_at(0, &mut head)?;
        Ok(head)
    }
}

/// Of two copies the newer one that is whole.
fn newest(copies: [Read; 2]) -> Option<Table> {
    let tables = copies.into_iter().filter_map(|copy| match copy {
        Read::Table(table) => Some(table),
        Read::Newer(_) | Read::Damaged | Read::Other => None,
    });
    tables.max_by_key(|table| table.sequence)
}

/// The disk on a partition. Clones share it; the device is let go when the last clone and the last file are gone.
#[derive(Clone)]
pub struct Partition {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    device: Arc<dyn File>,
    /// How many units there are, the first among them.
    units: u16,
    state: Mutex<State>,
}

struct State {
    table: Table,
    /// The device's table says something else.
    unsaved: bool,
    /// Units of removed files that the device's table still gives to them.
    kept: Vec<u16>,
}

impl Partition {
    fn over(claimed: Claimed, table: Table) -> Partition {
        let units = u16::try_from(claimed.bytes / table.unit_bytes()).unwrap_or(u16::MAX);
        let state = Mutex::new(State { table, unsaved: false, kept: Vec::new() });
        Partition { shared: Arc::new(Shared { path: claimed.path, device: claimed.file, units, state }) }
    }

    /// What it was made with.
    pub fn label(&self) -> Label {
        self.shared.state().table.label
    }

    /// Bytes that files may take, those that they take included.
    pub fn capacity_bytes(&self) -> u64 {
        u64::from(self.shared.units.saturating_sub(1)) * u64::from(self.label().unit_bytes)
    }

    /// The path of the partition: its only directory.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn name<'a>(&self, path: &'a Path) -> io::Result<&'a str> {
        let inside = path.parent() == Some(&self.shared.path);
        let name = path.file_name().and_then(|name| name.to_str()).filter(|_| inside);
        name.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Shared {
    // A panic elsewhere leaves the table whole: every change of it is one call.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the table, twice.
    fn save(&self, state: &mut State) -> io::Result<()> {
        state.table.sequence += 1;
        let buf = state.table.encode();
        for offset in [0, COPY_AT] {
            self.device.fill_at(offset, buf.slice(0, buf.len()))?;
            self.device.sync()?;
        }
        state.unsaved = false;
        state.kept.clear();
        Ok(())
    }

    fn save_if_unsaved(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.unsaved { self.save(&mut state) } else { Ok(()) }
    }
}

impl Disk for Partition {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let name = self.name(path)?.to_owned();
        let mut state = self.shared.state();
        match how {
            Open::CreateNew => {
                state.table.add(&name)?;
                state.unsaved = true;
            }
            Open::Read | Open::Write | Open::WriteAlone if state.table.has(&name) => {}
            Open::Read | Open::Write | Open::WriteAlone => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(Arc::new(PartitionFile { shared: self.shared.clone(), name }))
    }

    /// There are no directories in it.
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(path == self.shared.path || self.name(path).is_ok_and(|name| self.shared.state().table.has(name)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if dir != self.shared.path {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.shared.state().table.names().map(str::to_owned).collect())
    }

    /// The log gives no file another name.
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let name = self.name(path)?;
        let mut state = self.shared.state();
        let units = state.table.remove(name)?;
        state.kept.extend(units);
        state.unsaved = true;
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.shared.save_if_unsaved()
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let state = self.shared.state();
        Ok(state.table.free(self.shared.units).len() as u64 * state.table.unit_bytes())
    }

    /// The whole device is taken already.
    fn lock(&self, _path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        Err(LockError::Io(io::ErrorKind::Unsupported.into()))
    }
}

struct PartitionFile {
    shared: Arc<Shared>,
    name: String,
}

impl PartitionFile {
    /// Does `write` for each piece of the device that the bytes go to.
    fn write_pieces(
        &self,
        offset: u64,
        data: AlignedSlice<'_>,
        write: impl Fn(u64, AlignedSlice<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset + data.len() as u64;
        let mut state = self.shared.state();
        if offset > state.table.length(&self.name)? {
            // What lies between is not zero, as it would be in a file.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let State { table, kept, .. } = &mut *state;
        table.make_room(&self.name, end, self.shared.units, kept)?;
        let pieces = table.locate(&self.name, offset, data.len())?;
        drop(state);
        let mut from = 0;
        for (lies_at, length) in pieces {
            write(lies_at, data.part(from, from + length))?;
            from += length;
        }
        let mut state = self.shared.state();
        state.unsaved |= state.table.lengthen(&self.name, end)?;
        Ok(())
    }
}

impl File for PartitionFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.shared.state();
        if offset + buf.len() as u64 > state.table.length(&self.name)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let pieces = state.table.locate(&self.name, offset, buf.len())?;
        drop(state);
        let mut rest = buf;
        for (lies_at, length) in pieces {
            let (piece, behind) = rest.split_at_mut(length);
            self.shared.device.read_at(lies_at, piece)?;
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        self.write_pieces(offset, data, |lies_at, piece| self.shared.device.write_at(lies_at, piece))
    }

    fn fill_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        self.write_pieces(offset, data, |lies_at, piece| self.shared.device.fill_at(lies_at, piece))
    }

    /// The log writes whole blocks and nothing else.
    fn write_small(&self, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.device.sync()?;
        self.shared.save_if_unsaved()
    }

    fn settle(&self) -> io::Result<()> {
        self.shared.device.settle()?;
        self.shared.save_if_unsaved()
    }

    fn len(&self) -> io::Result<u64> {
        self.shared.state().table.length(&self.name)
    }
}
