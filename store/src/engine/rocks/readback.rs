//! Reading back from the device what RocksDB has made durable.
//!
//! Rows that are asked for come from the cache when they can, so a read proves nothing about the file. Here
//! a second handle without a cache reads a checkpoint, second names of the same tables: RocksDB's own
//! compactions cannot take a file away meanwhile. Where the file system can, it reads around the page cache.
use std::fs;
use std::path::{Path, PathBuf};

use rocksdb::ReadOptions;
use rocksdb::checkpoint::Checkpoint;

use super::{Family, Rocks, fatal, handle};
use crate::engine::Readback;
use crate::error::Fatal;

/// Read from the device in one go.
const READ_AHEAD_BYTES: usize = 256 << 10;

/// The tables as they were at one moment, and how far they are read.
pub(super) struct Tables {
    checkpoint: Rocks,
    /// Where the checkpoint is; the engine's own directory, which errors are to name.
    names: Names,
    at: Option<(Family, Vec<u8>)>,
}

/// The checkpoint's directory, removed when it is dropped.
struct Names {
    checkpoint: PathBuf,
    engine: PathBuf,
}

impl Drop for Names {
    fn drop(&mut self) {
        // What stays is removed at the next start, or before the next one is made.
        let _ = fs::remove_dir_all(&self.checkpoint);
    }
}

impl Names {
    /// An error with the path that a person knows.
    fn own(&self, fatal: Fatal) -> Fatal {
        let (there, here) = (self.checkpoint.to_string_lossy(), self.engine.to_string_lossy());
        match fatal {
            Fatal::EngineDamaged(text) => Fatal::EngineDamaged(text.replace(&*there, &here)),
            Fatal::Engine(text) => Fatal::Engine(text.replace(&*there, &here)),
            other => other,
        }
    }
}

impl Tables {
    /// Names the tables of `rocks` once more, beside its directory.
    ///
    /// # Errors
    /// `Fatal`: nothing is known about the tables then; it may be that there is no room for names.
    pub(super) fn of(rocks: &Rocks) -> Result<Tables, Fatal> {
        let engine = rocks.db.path().to_owned();
        let names = Names { checkpoint: beside(&engine), engine };
        clear(&names.engine)?;
        let maker = Checkpoint::new(&rocks.db).map_err(fatal)?;
        // Nothing is flushed for it: what is in memory only is not on the device.
        maker.create_checkpoint_with_log_size(&names.checkpoint, u64::MAX).map_err(fatal)?;
        let checkpoint = open(&names.checkpoint).map_err(|fatal| names.own(fatal))?;
        Ok(Tables { checkpoint, names, at: Some((Family::Rev, Vec::new())) })
    }
}

fn beside(engine: &Path) -> PathBuf {
    engine.with_extension("scrub")
}

/// Removes what a process left that was killed while it read back: it keeps space from being given back.
///
/// # Errors
/// `Fatal::Io`.
pub(super) fn clear(engine: &Path) -> Result<(), Fatal> {
    let checkpoint = beside(engine);
    for path in [checkpoint.with_extension("scrub.tmp"), checkpoint] {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|source| Fatal::Io { call: "remove", path, source })?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Rocks, Fatal> {
    // Some file systems have no direct reads.
    Rocks::open_for_reading(path, true, 0).or_else(|_| Rocks::open_for_reading(path, false, 0))
}

impl Readback for Tables {
    fn step(&mut self, bytes_max: usize) -> Result<Option<usize>, Fatal> {
        let Some((family, from)) = self.at.take() else { return Ok(None) };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD_BYTES);
        let db = &self.checkpoint.db;
        let mut rows = db.raw_iterator_cf_opt(handle(db, family), options);
        rows.seek(&from);
        let mut bytes = 0;
        while let Some((key, value)) = rows.item().filter(|_| bytes < bytes_max) {
            bytes += key.len() + value.len();
            self.at = Some((family, [key, &[0]].concat()));
            rows.next();
        }
        rows.status().map_err(|error| self.names.own(fatal(error)))?;
        if !rows.valid() {
            self.at = match family {
                Family::Rev => Some((Family::Idx, Vec::new())),
                Family::Idx => None,
            };
        }
        Ok(Some(bytes))
    }
}
