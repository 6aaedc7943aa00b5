//! RocksDB as the engine. The only file that names it.
//!
//! Its own write-ahead log is off: the log of this crate is the only thing synced on the write path,
//! and RocksDB becomes durable later, in order. Two settings carry that, and without either one a
//! crash leaves the two families at different points:
//!
//! - every write is one `WriteBatch` over both families;
//! - `atomic_flush`: both families are flushed to one point, whoever asked for the flush. It is read
//!   back after opening from the options file RocksDB wrote, and opening is refused without it.
//!
//! RocksDB flushes by itself when the memtables are a third over their budget, and that is harmless
//! (the applied id is in the same batch as the data); the owner is expected to flush at the budget.
//! What was not flushed when the database is closed is lost on purpose: the log has it.
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBCompactionStyle,
    DBCompressionType, DBRawIterator, ErrorKind, FlushOptions, LiveFile, LogLevel, Options, ReadOptions,
    Snapshot, UniversalCompactOptions, WriteBatch, WriteOptions, properties,
};
use self_cell::self_cell;

use super::{Batch, Cursor, Engine, EngineSize, EngineWork, Family, Memory, Part, Profile, Read, Readback};
use crate::error::Fatal;

pub mod files;
mod manifest;
mod readback;

const REV: &str = "rev";
const IDX: &str = "idx";
const MIB: usize = 1024 * 1024;
/// Bytes of files that are defragmented in one go: twice that is written at most before a flush that is
/// due gets its turn, and about as much is free on the disk meanwhile.
const PART_BYTES: usize = 64 * MIB;
/// Rows read together; until they are copied their blocks cannot leave the cache.
const TOGETHER_MAX: usize = 128;

/// How to open a [`Rocks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RocksOptions {
    /// How much memory it may take, and how hard it may work in the background.
    pub profile: Profile,
    /// Other sizes of memory than the profile's.
    pub memory: Option<Memory>,
    /// Bytes a second that flushes and compactions may write together, where the device wants less than the
    /// profile allows; `None` = the profile's own rate.
    pub rate_bytes_max: Option<u64>,
}

/// The durable engine. A clone is another handle on the same database.
#[derive(Clone)]
pub struct Rocks {
    db: Arc<DB>,
    /// What it was opened with; the counters of flushes and compactions hang on it.
    options: Arc<Options>,
}

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rocks({})", self.db.path().display())
    }
}

impl Rocks {
    /// Opens the database in the directory `path`, making it if it is not there.
    ///
    /// The files are locked while it is open. RocksDB runs its background threads in a pool that
    /// all its databases in the process share.
    ///
    /// # Errors
    /// `Fatal`: the files cannot be opened, are damaged or locked, or flushes would not be atomic.
    pub fn open(path: &Path, options: RocksOptions) -> Result<Rocks, Fatal> {
        files::refuse_lost_list(path)?;
        manifest::check(path)?;
        readback::clear(path)?;
        let memory = options.memory.unwrap_or(options.profile.memory());
        let cache = Cache::new_lru_cache(memory.block_cache_bytes);
        let families = [
            ColumnFamilyDescriptor::new(REV, family_options(Family::Rev, memory, &cache)?),
            ColumnFamilyDescriptor::new(IDX, family_options(Family::Idx, memory, &cache)?),
        ];
        let options = database_options(options.profile, memory, options.rate_bytes_max)?;
        let db = DB::open_cf_descriptors(&options, path, families).map_err(fatal)?;
        refuse_unless_atomic(path)?;
        Ok(Rocks { db: Arc::new(db), options: Arc::new(options) })
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        handle(&self.db, family)
    }

    fn sum(&self, property: &properties::PropName) -> u64 {
        [Family::Rev, Family::Idx]
            .into_iter()
            .filter_map(|family| self.db.property_int_value_cf(self.family(family), property).ok().flatten())
            .sum()
    }
}

impl Engine for Rocks {
    type View = RocksView;

    fn write(&self, batch: Batch) -> Result<(), Fatal> {
        let (rev, idx) = (self.family(Family::Rev), self.family(Family::Idx));
        let mut rows = WriteBatch::default();
        for change in &batch.changes {
            let family = match change.family {
                Family::Rev => rev,
                Family::Idx => idx,
            };
            match &change.value {
                Some(value) => rows.put_cf(family, &change.key, value),
                None => rows.delete_cf(family, &change.key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(rows, &options).map_err(fatal)
    }

    fn view(&self) -> RocksView {
        RocksView { pinned: Arc::new(Pinned::new(Arc::clone(&self.db), |db| Moment::of(db))) }
    }

    fn flush(&self) -> Result<(), Fatal> {
        let both = [self.family(Family::Rev), self.family(Family::Idx)];
        self.db.flush_cfs_opt(&[&both[0], &both[1]], &FlushOptions::default()).map_err(fatal)
    }

    fn size(&self) -> EngineSize {
        EngineSize {
            total_bytes: self.sum(properties::TOTAL_SST_FILES_SIZE),
            in_use_bytes: self.sum(properties::ESTIMATE_LIVE_DATA_SIZE),
            unflushed_bytes: self.sum(properties::CUR_SIZE_ALL_MEM_TABLES),
        }
    }

    fn work(&self) -> EngineWork {
        EngineWork {
            flush_bytes: self.options.get_ticker_count(Ticker::FlushWriteBytes),
            compaction_read_bytes: self.options.get_ticker_count(Ticker::CompactReadBytes),
            compaction_written_bytes: self.options.get_ticker_count(Ticker::CompactWriteBytes),
            pinned_views: self.db.property_int_value(properties::NUM_SNAPSHOTS).ok().flatten().unwrap_or(0),
        }
    }

    fn parts(&self) -> Result<Vec<Part>, Fatal> {
        let files = self.db.live_files().map_err(fatal)?;
        Ok([Family::Rev, Family::Idx].into_iter().flat_map(|family| parts(family, &files)).collect())
    }

    fn defragment(&self, part: &Part) -> Result<(), Fatal> {
        let mut options = CompactOptions::default();
        // Compactions of RocksDB's own go on beside it.
        options.set_exclusive_manual_compaction(false);
        let (family, first, last) = (self.family(part.family), &part.first, &part.last);
        self.db.compact_range_cf_opt(family, Some(first), Some(last), &options);
        // RocksDB's interface in C keeps the outcome to itself; what broke shows in the next flush.
        Ok(())
    }

    fn readback(&self) -> Result<Box<dyn Readback>, Fatal> {
        Ok(Box::new(readback::Tables::of(self)?))
    }

    fn abandon(&self) {
        self.db.cancel_all_background_work(false);
    }
}

/// The files of a family as parts of about [`PART_BYTES`]. Universal compaction takes all files
/// whatever it is asked for, so there it is one.
fn parts(family: Family, files: &[LiveFile]) -> Vec<Part> {
    let bytes_max = match family {
        Family::Rev => PART_BYTES,
        Family::Idx => usize::MAX,
    };
    let mut ranges: Vec<_> = files
        .iter()
        .filter(|file| file.column_family_name == name(family))
        .filter_map(|file| Some((file.start_key.as_ref()?, file.end_key.as_ref()?, file.size)))
        .collect();
    ranges.sort_unstable();
    let (mut parts, mut bytes) = (Vec::<Part>::new(), 0);
    for (first, last, size) in ranges {
        let (first, last) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(last));
        match parts.last_mut().filter(|_| bytes < bytes_max) {
            Some(part) => {
                bytes += size;
                part.last = part.last.clone().max(last);
            }
            None => {
                bytes = size;
                parts.push(Part { family, first, last });
            }
        }
    }
    parts
}

self_cell!(
    struct Pinned {
        owner: Arc<DB>,
        #[covariant]
        dependent: Moment,
    }
);

/// A snapshot and what reading through it takes, made once.
struct Moment<'a> {
    db: &'a DB,
    rev: &'a ColumnFamily,
    idx: &'a ColumnFamily,
    snapshot: Snapshot<'a>,
    options: ReadOptions,
}

impl<'a> Moment<'a> {
    fn of(db: &'a DB) -> Self {
        let (snapshot, mut options) = (db.snapshot(), ReadOptions::default());
        options.set_snapshot(&snapshot);
        Moment { db, rev: handle(db, Family::Rev), idx: handle(db, Family::Idx), snapshot, options }
    }

    fn family(&self, family: Family) -> &'a ColumnFamily {
        match family {
            Family::Rev => self.rev,
            Family::Idx => self.idx,
        }
    }
}

/// A pinned view of a [`Rocks`]. While it lives, compaction keeps the rows it can see.
#[derive(Clone)]
pub struct RocksView {
    pinned: Arc<Pinned>,
}

impl std::fmt::Debug for RocksView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksView({})", self.pinned.borrow_dependent().snapshot.sequence_number())
    }
}

impl Read for RocksView {
    type Cursor<'a> = RocksCursor<'a>;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        let moment = self.pinned.borrow_dependent();
        let value =
            moment.db.get_pinned_cf_opt(moment.family(family), key, &moment.options).map_err(fatal)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn get_many<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Bytes>>, Fatal> {
        let moment = self.pinned.borrow_dependent();
        let family = moment.family(family);
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER_MAX) {
            for value in moment.db.batched_multi_get_cf_opt(family, keys, false, &moment.options) {
                values.push(value.map_err(fatal)?.map(|value| Bytes::copy_from_slice(&value)));
            }
        }
        Ok(values)
    }

    fn cursor(&self, family: Family) -> RocksCursor<'_> {
        let moment = self.pinned.borrow_dependent();
        let rows = moment.snapshot.raw_iterator_cf_opt(moment.family(family), ReadOptions::default());
        RocksCursor { rows }
    }
}

/// A position in one family of a [`RocksView`].
pub struct RocksCursor<'a> {
    rows: DBRawIterator<'a>,
}

impl RocksCursor<'_> {
    /// RocksDB ends a scan both at the last row and at an error.
    fn checked(&self) -> Result<(), Fatal> {
        match self.rows.valid() {
            true => Ok(()),
            false => self.rows.status().map_err(fatal),
        }
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.rows.seek(key);
        self.checked()
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.rows.seek_for_prev(key);
        self.checked()
    }

    fn next(&mut self) -> Result<(), Fatal> {
        // `next` of RocksDB must not be called at no row; so for `prev`.
        if self.rows.valid() {
            self.rows.next();
        }
        self.checked()
    }

    fn prev(&mut self) -> Result<(), Fatal> {
        if self.rows.valid() {
            self.rows.prev();
        }
        self.checked()
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.rows.item()
    }
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Rev => REV,
        Family::Idx => IDX,
    }
}

fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(name(family)).expect("both families are named when the database is opened")
}

/// What RocksDB says names the file, and for a block its offset and size.
fn fatal(error: rocksdb::Error) -> Fatal {
    let missing = |text: &str| text.contains("No such file or directory");
    match error.kind() {
        ErrorKind::Corruption => Fatal::EngineDamaged(error.into_string()),
        ErrorKind::IOError | ErrorKind::NotFound if missing(error.as_ref()) => {
            Fatal::EngineDamaged(error.into_string())
        }
        _ => Fatal::Engine(error.into_string()),
    }
}

/// Settings that the binding has no setter for.
fn options_from(text: &str) -> Result<Options, Fatal> {
    Options::default().get_options_from_string(text).map_err(fatal)
}

/// With the lower of the profile's and the caller's rate.
fn database_options(profile: Profile, memory: Memory, rate_bytes_max: Option<u64>) -> Result<Options, Fatal> {
    // Closing must not write: what is not flushed is in the log. Pending bytes are bounded even when
    // the device is slower than the writer, so that no sync of the log queues behind megabytes.
    let mut options = options_from("avoid_flush_during_shutdown=true;strict_bytes_per_sync=true")?;
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(hard_memtable_bytes(memory));
    options.set_max_subcompactions(1);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Counters only: the engine asks for no clock because of them.
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(MIB);
    options.set_keep_log_file_num(2);
    options.set_max_manifest_file_size(MIB);
    options.set_manifest_preallocation_size(64 * 1024);
    match profile {
        Profile::Pi => {
            // One compaction, and beside it at most one flush; the rate holds for both together and
            // lets the flush go first. (RocksDB runs them strictly in turn when its pool has no
            // threads for flushes, but that pool is the process's: taking the threads away while
            // another database has a flush queued leaves that flush waiting for ever.)
            options.set_max_background_jobs(1);
            options.set_max_open_files(128);
        }
        Profile::Default => {
            options.set_max_background_jobs(2);
            options.set_max_open_files(512);
        }
    }
    let of_profile = match profile {
        Profile::Pi => Some(8 * MIB as u64),
        Profile::Default => None,
    };
    match [of_profile, rate_bytes_max].into_iter().flatten().min() {
        Some(rate) => {
            options.set_bytes_per_sync(512 * 1024);
            options.set_ratelimiter(i64::try_from(rate).unwrap_or(i64::MAX), 100_000, 10);
        }
        None => options.set_bytes_per_sync(MIB as u64),
    }
    Ok(options)
}

/// RocksDB starts a flush of its own at 7/8 of its limit: a sixth above the owner's budget.
fn hard_memtable_bytes(memory: Memory) -> usize {
    memory.memtable_bytes / 3 * 4
}

fn family_options(family: Family, memory: Memory, cache: &Cache) -> Result<Options, Fatal> {
    // Every new file is read back whole before it is trusted.
    let mut options = options_from("paranoid_file_checks=true")?;
    // The limit over both families decides; one alone must not come first.
    options.set_write_buffer_size(hard_memtable_bytes(memory));
    options.set_arena_block_size(256 * 1024);
    // One memtable being flushed, one being written; a third waits. Bounds memory.
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options.set_target_file_size_base(32 * MIB as u64);
    options.set_level_zero_file_num_compaction_trigger(4);
    match family {
        // Keys only grow, so files do not overlap and compaction moves them without reading.
        Family::Rev => {
            options.set_compaction_style(DBCompactionStyle::Level);
            options.set_level_compaction_dynamic_level_bytes(true);
        }
        // Small rows in random order: fewest rewrites, for at most twice the space.
        Family::Idx => {
            let mut universal = UniversalCompactOptions::default();
            universal.set_size_ratio(10);
            options.set_compaction_style(DBCompactionStyle::Universal);
            options.set_universal_compaction_options(&universal);
        }
    }
    // What is asked for by its whole key is there: a filter of the last level would be read for nothing.
    options.set_optimize_filters_for_hits(true);
    options.set_block_based_table_factory(&table_options(family, cache));
    Ok(options)
}

fn table_options(family: Family, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    table.set_format_version(5);
    table.set_block_size(match family {
        // Larger blocks compress records better; index rows are read one by one.
        Family::Rev => 16 * 1024,
        Family::Idx => 8 * 1024,
    });
    if family == Family::Rev {
        // Records are large and their keys short: every one can be jumped to, none shares its prefix.
        table.set_block_restart_interval(1);
    }
    table
}

/// Reads `atomic_flush` back from the newest options file, which RocksDB writes at every open from
/// the options it runs with.
fn refuse_unless_atomic(path: &Path) -> Result<(), Fatal> {
    let io = |call, path: &Path, source| Fatal::Io { call, path: path.into(), source };
    let mut newest: Option<(u64, std::path::PathBuf)> = None;
    for file in std::fs::read_dir(path).map_err(|e| io("read_dir", path, e))? {
        let file = file.map_err(|e| io("read_dir", path, e))?;
        let name = file.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("OPTIONS-")).and_then(|n| n.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(other, _)| number > *other)
        {
            newest = Some((number, file.path()));
        }
    }
    let text = match &newest {
        Some((_, file)) => std::fs::read_to_string(file).map_err(|e| io("read", file, e))?,
        None => String::new(),
    };
    if text.lines().any(|line| line.trim() == "atomic_flush=true") {
        return Ok(());
    }
    Err(Fatal::Engine(format!("{}: flushes of both families would not be atomic", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_without_atomic_flush_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options =
            database_options(Profile::Default, Profile::Default.memory(), None).expect("options");
        options.set_atomic_flush(false);
        drop(DB::open(&options, dir.path()).expect("open"));
        let refused = refuse_unless_atomic(dir.path()).expect_err("it must be seen").to_string();
        assert!(refused.contains("atomic"), "{refused}");
        drop(
            Rocks::open(dir.path(), RocksOptions::default())
                .expect("the same files, opened as they should be"),
        );
        assert!(refuse_unless_atomic(dir.path()).is_ok());
    }

    #[test]
    fn both_profiles_open() {
        for profile in [Profile::Pi, Profile::Default] {
            let dir = tempfile::tempdir().expect("a directory");
            let engine =
                Rocks::open(dir.path(), RocksOptions { profile, ..RocksOptions::default() }).expect("open");
            engine.flush().expect("flush");
        }
    }
}
