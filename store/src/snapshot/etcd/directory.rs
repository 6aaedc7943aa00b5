//! etcd's snapshot into a data directory that nobody uses yet.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::import::BEGINS_BEHIND;
use super::{Given, ImportError, Imported, TrailerError, check_trailer, has_trailer, import};
use crate::data_dir::DataDirError;
use crate::data_dir::begun::Begun;
use crate::disk::real::RealDisk;
use crate::disk::{Disk, File, Open};
use crate::engine::rocks::{Rocks, RocksOptions};
use crate::error::Fatal;
use crate::log::{Log, LogOptions};
use crate::snapshot::bbolt::Bbolt;
use crate::store;

/// How a file is imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// What becomes of the revisions.
    pub given: Given,
    /// Neither asks for a SHA-256 behind the database nor compares the one that is there. A copy of etcd's own
    /// file has none.
    pub skip_hash_check: bool,
}

/// Why a file is not imported. The directory is as it was, or can be imported into again.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /** The file. */
        path: PathBuf,
        /** What the system said. */
        source: io::Error,
    },
    /// The file cannot be what was saved.
    #[error("{path} is damaged: {source}; take another backup")]
    Hash {
        /** The file. */
        path: PathBuf,
        /** What is wrong. */
        source: TrailerError,
    },
    /// There is nothing by which to know.
    #[error(
        "{path} has no SHA-256 behind it, as `etcdctl snapshot save` writes it: it was cut off, or it is a copy \
         of etcd's own file; import that with --skip-hash-check"
    )]
    NoHash {
        /** The file. */
        path: PathBuf,
    },
    /// The file is damaged, or holds what etcd does not write.
    #[error("{path}: {source}; nothing was imported")]
    Import {
        /** The file. */
        path: PathBuf,
        /** What is wrong. */
        source: ImportError,
    },
}

/// Makes a data directory of etcd's snapshot `file` in `dir`, which is missing or empty. The first server or
/// embedded store that opens it takes it over.
///
/// # Errors
/// [`DirectoryError`].
pub fn import_file(file: &Path, dir: &Path, options: ImportOptions) -> Result<Imported, DirectoryError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let source = open_checked(&*disk, file, options.skip_hash_check)?;
    let begun = Begun::begin(&*disk, dir)?;
    match fill(&disk, source, dir, options.given) {
        Ok(imported) => {
            begun.finish(&*disk)?;
            Ok(imported)
        }
        Err(source) => {
            begun.clear(&*disk)?;
            Err(DirectoryError::Import { path: file.to_owned(), source })
        }
    }
}

fn open_checked(disk: &dyn Disk, path: &Path, skip: bool) -> Result<Arc<dyn File>, DirectoryError> {
    let failed = |source| DirectoryError::Open { path: path.to_owned(), source };
    let file = disk.open(path, Open::Read).map_err(failed)?;
    let bytes = file.len().map_err(failed)?;
    if skip {
        return Ok(file);
    }
    if !has_trailer(bytes) {
        return Err(DirectoryError::NoHash { path: path.to_owned() });
    }
    match check_trailer(&file) {
        Ok(()) => Ok(file),
        Err(source) => Err(DirectoryError::Hash { path: path.to_owned(), source }),
    }
}

/// Makes engine and log, durably.
fn fill(
    disk: &Arc<dyn Disk>,
    file: Arc<dyn File>,
    dir: &Path,
    given: Given,
) -> Result<Imported, ImportError> {
    let file = Bbolt::open(file)?;
    let path = dir.join("engine");
    let engine = Rocks::open(&path, RocksOptions::default())?;
    let imported = import(file, &engine, given)?;
    let (mut writer, reader) = store::open(engine)?;
    writer.prepare_flush()?;
    writer.flusher().flush()?;
    drop((writer, reader));
    sync(&**disk, &path)?;
    let path = dir.join("log");
    let (mut log, _) = Log::open(disk.clone(), &path, LogOptions::default())?;
    log.note_durable(BEGINS_BEHIND);
    log.reset_to(BEGINS_BEHIND)?;
    log.seal()?;
    sync(&**disk, &path)?;
    Ok(imported)
}

fn sync(disk: &dyn Disk, dir: &Path) -> Result<(), Fatal> {
    disk.sync_dir(dir).map_err(|source| Fatal::Io { call: "sync", path: dir.to_owned(), source })
}
