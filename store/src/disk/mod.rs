//! The disk as a seam: the few calls the log and the data directory need, so that the same code runs
//! on a real file system ([`real`]) and on one that loses power by seed ([`sim`]).
//!
//! What a caller may rely on:
//! - bytes are durable after a `sync` that came later than the write and returned `Ok`, not before;
//! - a name is durable after a `sync_dir` of its directory that came later, not before;
//! - a cut leaves every unsynced 512-byte sector old or new, in any mixture;
//! - a call that failed is never repeated: what it left behind is unknown.
use std::io;
use std::path::Path;
use std::sync::Arc;

pub mod aligned;
pub mod partition;
pub mod real;
pub mod sim;

pub use aligned::{ALIGN, AlignedBuf, AlignedSlice};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing in place.
    Write,
    /// A new file (mode 0600); an existing one is an error.
    CreateNew,
    /// As `Write`, also for a block device, and by nobody else as long as it is open: `ResourceBusy` when
    /// somebody has it so, or has it mounted.
    WriteAlone,
}

/// A file system, seen by one owner.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file. The log's files are written around the page cache where that is possible.
    ///
    /// # Errors
    /// What the system says: `NotFound`, `AlreadyExists`, `PermissionDenied`, …; so for all others.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Makes one directory (mode 0700); its parent must exist.
    ///
    /// # Errors
    /// As above; `AlreadyExists` when it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether the name exists.
    ///
    /// # Errors
    /// As above.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// As above.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory, replacing what had it.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// As above.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As above.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that may still be written in the file system that holds `dir`.
    ///
    /// # Errors
    /// As above.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes the lock file `path` for as long as the guard lives, and leaves the process id in it.
    ///
    /// # Errors
    /// [`LockError::Held`] when another owner has it.
    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Fills `buf` from `offset`; the bytes must be there.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end, else what the system says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes at an offset that is a multiple of [`ALIGN`], growing the file when needed.
    ///
    /// # Errors
    /// What the system says. What a failed write left behind is unknown.
    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()>;

    /// Writes what only makes room for what will be written later, zeros for the most part, as `write_at` does.
    /// A call of its own, so that who counts writes can tell them from the rest.
    ///
    /// # Errors
    /// As for `write_at`.
    fn fill_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        self.write_at(offset, data)
    }

    /// Writes a small file from its start, through the page cache.
    ///
    /// # Errors
    /// As for `write_at`.
    fn write_small(&self, data: &[u8]) -> io::Result<()>;

    /// Makes everything written through this handle durable, and the length that is needed to read it.
    ///
    /// # Errors
    /// What the system says; never to be repeated.
    fn sync(&self) -> io::Result<()>;

    /// Makes durable whatever is in the file, also what an earlier process wrote and never synced.
    /// Recovery calls it before it builds on what it has read.
    ///
    /// # Errors
    /// As for `sync`.
    fn settle(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no byte.
    ///
    /// # Errors
    /// As for `len`.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A held lock; dropping it lets go.
pub trait LockGuard: Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another owner has it; the text it left there (its process id).
    #[error("held by {holder}")]
    Held {
        /** What the lock file says, or empty. */
        holder: String,
    },
    /// The file could not be made or opened.
    #[error(transparent)]
    Io(#[from] io::Error),
}
