//! A data directory that is filled from elsewhere.
//!
//! ```text
//!   IMPORT           from here on nobody opens it; whoever imports again begins anew
//!   FORMAT IDENTITY engine/ log/     made and synced
//!   IMPORT removed   done: it belongs to the first who opens it
//! ```
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::held::write_labels;
use super::{DataDirError, IMPORT, Ids, failed, make_directories, refuse_foreign, take_lock, write_whole};
use crate::disk::{Disk, LockGuard};

/// What an import makes, in the order in which it is taken away again.
const MADE: [&str; 7] = ["engine", "log", "IDENTITY", "IDENTITY.new", "FORMAT", "FORMAT.new", IMPORT];
/// What may be there before.
const NOTHING: [&str; 3] = ["LOCK", "lost+found", "IMPORT.new"];

/// A locked directory that is being filled.
pub(crate) struct Begun {
    path: PathBuf,
    _lock: Box<dyn LockGuard>,
}

impl Begun {
    /// Begins to fill a directory that is missing or empty, or into which an import was cut short.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed in a directory that holds anything.
    pub(crate) fn begin(disk: &dyn Disk, path: &Path) -> Result<Begun, DataDirError> {
        make_directories(disk, path)?;
        let names = || disk.list(path).map_err(failed("list", path));
        refuse_foreign(path, &names()?)?;
        refuse_data(path, &names()?)?;
        let lock = take_lock(disk, path)?;
        // Again: another process may have made something before it let go of the lock.
        let found = names()?;
        refuse_data(path, &found)?;
        let begun = Begun { path: path.to_owned(), _lock: lock };
        if found.iter().any(|name| name == IMPORT) {
            begun.clear(disk)?;
        }
        write_whole(disk, path, IMPORT, "")?;
        write_labels(disk, path, Ids::NOBODY)?;
        Ok(begun)
    }

    /// It is full, and synced below: it can be opened.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(crate) fn finish(self, disk: &dyn Disk) -> Result<(), DataDirError> {
        let path = &self.path;
        disk.sync_dir(path).map_err(failed("sync", path))?;
        let marker = path.join(IMPORT);
        disk.unlink(&marker).map_err(failed("remove", &marker))?;
        disk.sync_dir(path).map_err(failed("sync", path))
    }

    /// It is not to be filled after all: takes away what was made.
    ///
    /// # Errors
    /// [`DataDirError`]; the next import takes away the rest.
    pub(crate) fn clear(&self, disk: &dyn Disk) -> Result<(), DataDirError> {
        for name in MADE {
            let path = self.path.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("remove", &path))?,
            }
        }
        disk.sync_dir(&self.path).map_err(failed("sync", &self.path))
    }
}

/// Names that begin with a dot are someone's notes.
fn refuse_data(path: &Path, names: &[String]) -> Result<(), DataDirError> {
    if names.iter().any(|name| name == IMPORT) {
        return Ok(());
    }
    let holds = |name: &&String| !NOTHING.contains(&name.as_str()) && !name.starts_with('.');
    match names.iter().find(holds) {
        Some(name) => Err(DataDirError::NotEmpty { path: path.to_owned(), name: name.clone() }),
        None => Ok(()),
    }
}
