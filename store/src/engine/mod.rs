//! Where state lives: two ordered families of bytes, written in atomic batches, read through pinned
//! views, made durable by an explicit flush.
//!
//! Invariants every engine keeps:
//! - a batch is visible whole or not at all, in views and after a crash;
//! - after a crash the engine holds a prefix of the batches, at least all of those that were
//!   written before the last `flush` that returned (never one family ahead of the other);
//! - a view never changes, whatever is written after it was taken.
//!
//! `mem` keeps everything in memory and models the flush; `rocks` is RocksDB with its own WAL off.
pub mod any;
pub(crate) mod bulk;
pub mod mem;
#[cfg(feature = "rocks")]
pub mod rocks;
pub mod staged;

use bytes::Bytes;

use crate::error::Fatal;

/// The two families. `Rev` is the history in revision order, `Idx` everything found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// (main, sub) → the record; append-only and monotone.
    Rev,
    /// Table byte ‖ name → small rows: key versions, leases, members, `meta`.
    Idx,
}

/// One row to write or to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which family.
    pub family: Family,
    /// Its key.
    pub key: Bytes,
    /// The new value, or `None` to erase the row.
    pub value: Option<Bytes>,
}

/// Rows that become visible together. Later changes of a key win over earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub changes: Vec<Change>,
}

/// Reading rows: a pinned view, or a view with writes staged on top of it.
pub trait Read {
    /// A cursor over one family.
    type Cursor<'a>: Cursor
    where
        Self: 'a;

    /// The value of one row.
    ///
    /// # Errors
    /// `Fatal` when the engine cannot read or the bytes fail their checksum.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fatal>;

    /// The values of many rows, in the order of the keys. What it saves over asking one by one is large
    /// on a durable engine.
    ///
    /// # Errors
    /// As for [`Read::get`].
    fn get_many<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Bytes>>, Fatal> {
        keys.iter().map(|key| self.get(family, key.as_ref())).collect()
    }

    /// A cursor, positioned nowhere; seek first.
    fn cursor(&self, family: Family) -> Self::Cursor<'_>;
}

/// A position in one family of a view.
pub trait Cursor {
    /// To the first row at or after `key`.
    ///
    /// # Errors
    /// As for [`Read::get`]; so for the others.
    fn seek(&mut self, key: &[u8]) -> Result<(), Fatal>;
    /// To the last row at or before `key`.
    fn seek_back(&mut self, key: &[u8]) -> Result<(), Fatal>;
    /// To the next row. A cursor at no row stays there.
    fn next(&mut self) -> Result<(), Fatal>;
    /// To the previous row. A cursor at no row stays there.
    fn prev(&mut self) -> Result<(), Fatal>;
    /// The row it stands at, or `None` past either end.
    fn row(&self) -> Option<(&[u8], &[u8])>;
}

/// How much memory an engine may take, and how hard it may work in the background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A board with 1 or 2 GB and an SD card: one background thread, 8 MiB/s.
    Pi,
    /// Anything larger.
    #[default]
    Default,
}

impl Profile {
    /// How much memory that is.
    pub fn memory(self) -> Memory {
        const MIB: usize = 1024 * 1024;
        let memtable_bytes = match self {
            Profile::Pi => 16 * MIB,
            Profile::Default => 24 * MIB,
        };
        Memory { memtable_bytes, block_cache_bytes: 16 * MIB }
    }
}

/// The memory of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Flush when [`EngineSize::unflushed_bytes`] reaches this.
    pub memtable_bytes: usize,
    /// Blocks of files kept in memory.
    pub block_cache_bytes: usize,
}

/// Sizes for people, quota and metrics; estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// Bytes on the device (files), or of memory for `mem`.
    pub total_bytes: u64,
    /// Of these, bytes that live rows take.
    pub in_use_bytes: u64,
    /// Bytes written since the last flush began (the memtables).
    pub unflushed_bytes: u64,
}

/// What an engine has had to do since it was opened, beyond what it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineWork {
    /// Bytes of files that flushes have written.
    pub flush_bytes: u64,
    /// Bytes of files that compaction has read.
    pub compaction_read_bytes: u64,
    /// Bytes of files that compaction has written.
    pub compaction_written_bytes: u64,
    /// Views that somebody holds now. 0 in `mem`, where a view costs nothing.
    pub pinned_views: u64,
}

/// An ordered store of two families. All methods take `&self`; one writer is the caller's discipline.
pub trait Engine: Send + Sync + 'static {
    /// A pinned view.
    type View: Read + Clone + Send + Sync + 'static;

    /// Applies a batch atomically; visible at once, durable after a later flush.
    ///
    /// # Errors
    /// `Fatal`: the batch may or may not have been applied, the caller ends.
    fn write(&self, batch: Batch) -> Result<(), Fatal>;

    /// Everything written so far, pinned.
    fn view(&self) -> Self::View;

    /// Makes everything written before the call durable, both families at one point. May run on
    /// another thread while batches are written.
    ///
    /// # Errors
    /// `Fatal`: nothing may be acknowledged as durable any more.
    fn flush(&self) -> Result<(), Fatal>;

    /// Sizes now.
    fn size(&self) -> EngineSize;

    /// What it has had to do so far.
    fn work(&self) -> EngineWork;

    /// The engine's files as parts, each small enough that other background work may wait for it.
    /// Defragmenting all of them gives back what erased rows take.
    ///
    /// # Errors
    /// `Fatal`.
    fn parts(&self) -> Result<Vec<Part>, Fatal>;

    /// Rewrites a part without what is erased and seen by no view, while rows are read and written.
    /// Flush before: what is in memory only is not looked at.
    ///
    /// # Errors
    /// `Fatal`.
    fn defragment(&self, part: &Part) -> Result<(), Fatal>;

    /// Begins to read back, around all caches where that is possible, what is durable now; beside reads and
    /// writes. One at a time.
    ///
    /// # Errors
    /// `Fatal`; it says nothing about the files.
    fn readback(&self) -> Result<Box<dyn Readback>, Fatal>;

    /// Ends a `defragment` under way in another thread early. Of no more use after it: nothing can be
    /// flushed any more. The files stay good.
    fn abandon(&self);
}

/// A reading of everything that an engine has made durable, to see whether it is whole.
pub trait Readback: Send {
    /// Reads on, about `bytes_max` bytes of rows, and says how many; `None`: everything is read.
    ///
    /// # Errors
    /// `Fatal::EngineDamaged` names the file; of no more use then.
    fn step(&mut self, bytes_max: usize) -> Result<Option<usize>, Fatal>;
}

/// Rows of one family, from the first one to the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which family.
    pub family: Family,
    /// The first row.
    pub first: Bytes,
    /// The last row.
    pub last: Bytes,
}
