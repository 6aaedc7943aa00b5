//! RocksDB's files as files: for a repair, which works on a second set of names and leaves the first alone.
//!
//! Tables are never changed once they are written, so a second name for one costs nothing; the small rest
//! is copied. What happens to the second set, RocksDB's own clearing up included, does not touch the first.
use std::fs;
use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB};

use super::{Cache, Family, IDX, REV, Rocks, database_options, family_options, fatal, manifest};
use crate::engine::Profile;
use crate::error::Fatal;

/// Gives the engine's files in `from` second names in the new directory `to`, durably.
///
/// # Errors
/// `Fatal::Io`.
pub fn stage(from: &Path, to: &Path) -> Result<(), Fatal> {
    fs::create_dir(to).map_err(io("create directory", to))?;
    for entry in fs::read_dir(from).map_err(io("list", from))? {
        let entry = entry.map_err(io("list", from))?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        // Its lock, and what it noted for people.
        if name == "LOCK" || name.starts_with("LOG") || old.is_dir() {
            continue;
        }
        if name.ends_with(".sst") && fs::hard_link(&old, &new).is_ok() {
            continue;
        }
        fs::copy(&old, &new).map_err(io("copy", &old))?;
        let copied = fs::File::open(&new).map_err(io("open", &new))?;
        copied.sync_all().map_err(io("sync", &new))?;
    }
    let dir = fs::File::open(to).map_err(io("open", to))?;
    dir.sync_all().map_err(io("sync", to))
}

/// Makes the list of tables anew from the tables themselves. For a staged set whose own list is damaged.
/// Returns the names of those that are left out: a table with a block that cannot be read is left out whole.
///
/// # Errors
/// `Fatal`.
pub fn rebuild_list(path: &Path) -> Result<Vec<String>, Fatal> {
    DB::repair(&database_options(Profile::Default, Profile::Default.memory(), None)?, path).map_err(fatal)?;
    let aside = path.join("lost");
    if !aside.try_exists().map_err(io("look for", &aside))? {
        return Ok(Vec::new());
    }
    let mut left_out = Vec::new();
    for entry in fs::read_dir(&aside).map_err(io("list", &aside))? {
        let name = entry.map_err(io("list", &aside))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sst") {
            left_out.push(name);
        }
    }
    left_out.sort();
    Ok(left_out)
}

/// A table of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its file name.
    pub name: String,
    /// Its first row.
    pub first: Vec<u8>,
    /// Its last row.
    pub last: Vec<u8>,
}

/// The tables of the history.
///
/// # Errors
/// `Fatal`.
pub fn history_tables(rocks: &Rocks) -> Result<Vec<Table>, Fatal> {
    let tables =
        rocks.db.live_files().map_err(fatal)?.into_iter().filter(|table| table.column_family_name == REV);
    let named = tables.filter_map(|table| {
        let name = table.name.trim_start_matches('/').to_owned();
        Some(Table { name, first: table.start_key?, last: table.end_key? })
    });
    Ok(named.collect())
}

impl Rocks {
    /// Opens the database for reading: nothing is compacted or removed.
    ///
    /// # Errors
    /// `Fatal::EngineDamaged` when a file is missing or damaged.
    pub fn open_read_only(path: &Path) -> Result<Rocks, Fatal> {
        Rocks::open_for_reading(path, false, Profile::Default.memory().block_cache_bytes)
    }

    /// As [`Rocks::open_read_only`], around the page cache or not, with so much memory for blocks.
    pub(super) fn open_for_reading(path: &Path, direct: bool, cache_bytes: usize) -> Result<Rocks, Fatal> {
        // Or it would be read for ever, or in part.
        manifest::check(path).map_err(|fatal| match fatal {
            damaged @ Fatal::Damaged { .. } => Fatal::EngineDamaged(damaged.to_string()),
            other => other,
        })?;
        let (profile, memory) = (Profile::Default, Profile::Default.memory());
        let cache = Cache::new_lru_cache(cache_bytes);
        let families = [
            ColumnFamilyDescriptor::new(REV, family_options(Family::Rev, memory, &cache)?),
            ColumnFamilyDescriptor::new(IDX, family_options(Family::Idx, memory, &cache)?),
        ];
        let mut options = database_options(profile, memory, None)?;
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        options.set_use_direct_reads(direct);
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false).map_err(fatal)?;
        Ok(Rocks { db: db.into(), options: options.into() })
    }
}

/// RocksDB makes a new database where it finds no CURRENT, and removes the tables of the old one.
///
/// # Errors
/// `Fatal::EngineDamaged` when there are tables that nothing lists.
pub(super) fn refuse_lost_list(path: &Path) -> Result<(), Fatal> {
    let current = path.join("CURRENT");
    if current.exists() || !path.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(io("list", path))? {
        let name = entry.map_err(io("list", path))?.file_name();
        if name.to_string_lossy().ends_with(".sst") {
            let text = format!("{} is missing, though there are tables", current.display());
            return Err(Fatal::EngineDamaged(text));
        }
    }
    Ok(())
}

fn io(call: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Fatal + use<> {
    let path = path.to_owned();
    move |source| Fatal::Io { call, path: path.clone(), source }
}
