//! A durable store in one process: writer, reader and log without Raft, network or threads.
//!
//! The same history, transactions, leases and watches as on the wire, by plain calls; see [`Embedded`].
//!
//! Invariants:
//! - a call that writes returns after its entry is in the log and the log is flushed, and after it is
//!   applied: what was answered survives any crash, and is seen by every later read;
//! - callers that write at the same time form a group: one of them flushes and applies for all;
//! - nothing happens between calls. Leases end, files are flushed and erased rows go only inside
//!   [`Embedded::maintain`], which the host calls now and then. (RocksDB has threads of its own.)
//!
//! Recovery is apply: what the engine had not flushed is applied again from the log.
mod commit;
mod maintain;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::command::Action;
use crate::data_dir::{DataDir, DataDirError, Ids};
use crate::disk::Disk;
use crate::engine::any::{AnyEngine, AnyView};
use crate::engine::{EngineSize, Profile};
use crate::error::{Fatal, Invalid, ReadError, Refusal};
use crate::log::{Log, LogOptions};
use crate::log_place::{LogPlace, PlaceError};
use crate::mvcc::check::{self, TxnLimits};
use crate::store::{Flusher, Reader, Reply};
use crate::types::*;
use crate::view::ReadView;

use commit::{Commits, Core};
pub use maintain::Maintained;
use maintain::Upkeep;
pub use watch::Watch;

/// Longest time to live of a lease, in seconds.
const TTL_MAX_S: i64 = 9_000_000_000;

/// How to open an [`Embedded`].
#[derive(Clone, Debug, Default)]
pub struct EmbeddedOptions {
    /// Memory and background work of the engine.
    pub profile: Profile,
    /// Sizes of the log. By default a ring of 64 MiB in frames of 4 KiB.
    pub log: LogOptions,
    /// Bounds on one transaction.
    pub txn: TxnLimits,
}

/// Why a call did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The data directory cannot be used; the text says what to do.
    #[error(transparent)]
    DataDir(Arc<DataDirError>),
    /// The log lies elsewhere; the text says what to do.
    #[error(transparent)]
    Place(Arc<PlaceError>),
    /// The data directory belongs to a server.
    #[error("{path} was made by a member of a cluster; embed the server to use it")]
    NotOurs {
        /** Which one. */
        path: PathBuf,
    },
    /// The request is wrong in itself; nothing was written.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request is larger than an entry of the log may be; nothing was written.
    #[error("request of {bytes} bytes is too large: at most {bytes_max}")]
    TooLarge {
        /** Its size. */
        bytes: u64,
        /** The bound. */
        bytes_max: u64,
    },
    /// The state does not allow it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk or the bytes on it are wrong. This and every later write fails; reads may still work.
    /// Whether a write that got this answer happened shows after the next open.
    #[error(transparent)]
    Fatal(Arc<Fatal>),
}

impl From<Fatal> for EmbeddedError {
    fn from(fatal: Fatal) -> Self {
        EmbeddedError::Fatal(Arc::new(fatal))
    }
}

impl From<ReadError> for EmbeddedError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => refusal.into(),
            ReadError::Fatal(fatal) => fatal.into(),
        }
    }
}

impl From<PlaceError> for EmbeddedError {
    fn from(error: PlaceError) -> Self {
        EmbeddedError::Place(Arc::new(error))
    }
}

impl From<DataDirError> for EmbeddedError {
    fn from(error: DataDirError) -> Self {
        EmbeddedError::DataDir(Arc::new(error))
    }
}

/// A durable key-value store in this process. A clone is another handle on the same store; the files
/// are closed when the last one is dropped.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    commits: Commits,
    /// Locked by who commits or maintains, for one bounded step at a time.
    core: Mutex<Core>,
    /// Locked by who maintains.
    upkeep: Mutex<Upkeep>,
    reader: Reader<AnyEngine>,
    flusher: Flusher<AnyEngine>,
    options: EmbeddedOptions,
    entry_bytes_max: u64,
    /// Last, so that the directory is unlocked after its files are closed.
    _dir: DataDir,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embedded(revision {})", self.revision())
    }
}

impl Embedded {
    /// Opens the store in the directory `path`, making it if it is missing or empty.
    ///
    /// ```
    /// use bramble_store::embedded::{Embedded, EmbeddedOptions};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("data");
    /// let store = Embedded::open(&path, EmbeddedOptions::default())?;
    /// let written = store.put("lamp/kitchen", "on")?;
    /// let found = store.get("lamp/kitchen")?.expect("just written");
    /// assert_eq!(found.mod_revision, written.revision);
    /// store.close()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `DataDir` when it is in use or of another format, `Fatal` when its files are damaged.
    #[cfg(feature = "rocks")]
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Embedded, EmbeddedError> {
        use crate::engine::rocks::{Rocks, RocksOptions};
        let disk = Arc::new(crate::disk::real::RealDisk);
        let profile = options.profile;
        Self::open_on(disk, path.as_ref(), options, |engine_path| {
            Rocks::open(engine_path, RocksOptions { profile, ..RocksOptions::default() }).map(AnyEngine::from)
        })
    }

    /// Opens the store with a disk and an engine of the caller's choice. `open_engine` gets the
    /// directory that is meant for the engine's files.
    ///
    /// # Errors
    /// As for [`Embedded::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: EmbeddedOptions,
        open_engine: impl FnOnce(&Path) -> Result<AnyEngine, Fatal>,
    ) -> Result<Embedded, EmbeddedError> {
        // No cluster and no member: never the ids of a server.
        let ids = Ids { cluster: 0, member: 0, instance: 0 };
        let dir = DataDir::open(Arc::clone(&disk), path, ids)?;
        if dir.ids() != ids {
            return Err(EmbeddedError::NotOurs { path: path.to_owned() });
        }
        let (mut writer, reader) = crate::store::open(open_engine(&dir.engine_path())?)?;
        let place = LogPlace::find(disk, &dir, None, options.log.clone())?;
        let (mut log, recovered) = Log::open(place.disk, &place.dir, place.options)?;
        recovered.fits(writer.applied())?;
        commit::recover(&mut writer, &mut log, &recovered)?;
        let shared = Shared {
            commits: Commits::default(),
            flusher: writer.flusher(),
            entry_bytes_max: log.entry_bytes_max(),
            core: Mutex::new(Core { log, writer }),
            upkeep: Mutex::new(Upkeep::default()),
            reader,
            options,
            _dir: dir,
        };
        Ok(Embedded { shared: Arc::new(shared) })
    }

    /// The newest main revision; 1 in an empty store.
    pub fn revision(&self) -> i64 {
        self.view().revision()
    }

    /// Everything written so far, pinned: reads of one view agree with each other, whatever is written
    /// meanwhile. Drop it soon, it keeps erased rows on the disk.
    pub fn view(&self) -> ReadView<AnyView> {
        self.shared.reader.view()
    }

    /// The record of one key.
    ///
    /// # Errors
    /// `Invalid` for an empty key; `Fatal`.
    pub fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>, EmbeddedError> {
        Ok(self.range(&RangeRequest::new(KeyRange::single(key)))?.kvs.pop())
    }

    /// Reads a range of keys.
    ///
    /// # Errors
    /// `Invalid`, `Refused` (compacted or future revision), `Fatal`.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, EmbeddedError> {
        let mut request = request.clone();
        request.range = from_first_key(request.range);
        check::range(&request)?;
        Ok(self.view().range(&request)?)
    }

    /// Writes one key.
    ///
    /// # Errors
    /// `Invalid` for an empty key, `TooLarge`, `Fatal`.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<PutReply, EmbeddedError> {
        self.put_with(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
    }

    /// Writes one key, with all options.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Refused` (unknown lease; no such key to keep something of), `Fatal`.
    pub fn put_with(&self, request: PutRequest) -> Result<PutReply, EmbeddedError> {
        check::put(&request)?;
        match self.shared.commit(Action::Put(request))? {
            Reply::Put(reply) => Ok(reply),
            other => Err(strange(other)),
        }
    }

    /// Deletes one key.
    ///
    /// # Errors
    /// `Invalid` for an empty key, `Fatal`.
    pub fn delete(&self, key: impl Into<Bytes>) -> Result<DeleteReply, EmbeddedError> {
        self.delete_with(DeleteRequest { range: KeyRange::single(key), prev_kv: false })
    }

    /// Deletes a range of keys, with all options.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Fatal`.
    pub fn delete_with(&self, mut request: DeleteRequest) -> Result<DeleteReply, EmbeddedError> {
        request.range = from_first_key(request.range);
        check::delete(&request)?;
        match self.shared.commit(Action::Delete(request))? {
            Reply::Delete(reply) => Ok(reply),
            other => Err(strange(other)),
        }
    }

    /// A guarded list of operations, all at one revision. One that cannot write is a read.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge`, `Refused`, `Fatal`; nothing of it was done then.
    pub fn txn(&self, request: TxnRequest) -> Result<TxnReply, EmbeddedError> {
        check::txn(&request, &self.shared.options.txn)?;
        if request.is_read_only() {
            return Ok(self.view().txn(&request)?);
        }
        match self.shared.commit(Action::Txn(request))? {
            Reply::Txn(reply) => Ok(reply),
            other => Err(strange(other)),
        }
    }

    /// Gives up the history below `revision`. The rows go later, in [`Embedded::maintain`].
    ///
    /// # Errors
    /// `Refused` (compacted already, or in the future), `Fatal`.
    pub fn compact(&self, revision: i64) -> Result<(), EmbeddedError> {
        match self.shared.commit(Action::Compact { revision })? {
            Reply::Compacted { .. } => Ok(()),
            other => Err(strange(other)),
        }
    }

    /// Makes a lease of `ttl_s` seconds, 1 to 9,000,000,000; below counts as 1. `LeaseId::NONE` lets the
    /// store choose the id. Its time starts with the next [`Embedded::maintain`]: it may end later than
    /// its TTL says, never sooner.
    ///
    /// # Errors
    /// `Invalid` (too long), `Refused` (the id is taken), `Fatal`.
    pub fn lease_grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseId, EmbeddedError> {
        if ttl_s > TTL_MAX_S {
            return Err(Invalid::TtlTooLarge { ttl_s }.into());
        }
        let ttl_s = ttl_s.max(1);
        if id != LeaseId::NONE {
            return self.grant(id, ttl_s);
        }
        loop {
            match self.grant(self.free_lease_id()?, ttl_s) {
                // Another caller chose the same one.
                Err(EmbeddedError::Refused(Refusal::LeaseExists)) => {}
                done => return done,
            }
        }
    }

    /// Ends a lease and deletes its keys at one revision.
    ///
    /// # Errors
    /// `Refused` (no such lease), `Fatal`.
    pub fn lease_revoke(&self, id: LeaseId) -> Result<(), EmbeddedError> {
        match self.shared.commit(Action::LeaseRevoke { id })? {
            Reply::LeaseRevoked { .. } => Ok(()),
            other => Err(strange(other)),
        }
    }

    /// Sizes of the engine now. The log's ring comes on top.
    pub fn size(&self) -> EngineSize {
        self.shared.flusher.size()
    }

    fn grant(&self, id: LeaseId, ttl_s: i64) -> Result<LeaseId, EmbeddedError> {
        match self.shared.commit(Action::LeaseGrant { id, ttl_s })? {
            Reply::LeaseGranted { id, .. } => Ok(id),
            other => Err(strange(other)),
        }
    }

    fn free_lease_id(&self) -> Result<LeaseId, EmbeddedError> {
        let leases = self.view().leases()?;
        let highest = leases.iter().map(|lease| lease.id.0).max().unwrap_or(0).max(0);
        let below =
            || (1..i64::MAX).find(|id| leases.iter().all(|lease| lease.id.0 != *id)).unwrap_or(i64::MAX);
        Ok(LeaseId(highest.checked_add(1).unwrap_or_else(below)))
    }
}

/// The state machine answered with another kind of reply than the command has.
fn strange(reply: Reply) -> EmbeddedError {
    Fatal::Inconsistent(format!("a command was answered by {reply:?}")).into()
}

/// "From the first key on" may be said with an empty start; the lowest key there can be is a zero byte.
fn from_first_key(range: KeyRange) -> KeyRange {
    match range {
        KeyRange { start, end } if start.is_empty() && end != RangeEnd::Single => {
            KeyRange { start: Bytes::from_static(&[0]), end }
        }
        other => other,
    }
}
