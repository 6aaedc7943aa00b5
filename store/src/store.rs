//! The state machine over an engine: one [`Writer`] applies entries, many [`Reader`]s look at what is
//! published. A view is published after its rows are in the engine, so a reader never sees half a group.
//!
//! ```text
//!   entries ─► Writer ─► one batch ─► engine ─► publish ─► Reader ─► ReadView, ReadView, …
//!                                        ▲
//!                             Flusher ───┘ on another thread
//! ```
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

pub use crate::auth::AuthEffect;
use crate::auth::access::Compiled;
use crate::command::{Entry, RequestId};
use crate::engine::staged::Staged;
use crate::engine::{Engine, EngineSize, EngineWork, Part, Read, Readback};
use crate::error::{Fatal, Refusal};
use crate::facts::{self, Facts};
pub use crate::mvcc::Room;
use crate::mvcc::fences::Fences;
use crate::mvcc::{self, Allowance};
use crate::state::State;
use crate::types::{AlarmKind, DeleteReply, Lease, LeaseId, LogId, PutReply, TxnReply};
pub use crate::types::{ChangedKey, Changes};
use crate::view::Published;
pub use crate::view::ReadView;

/// What applying one group of entries did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One per entry, in order.
    pub answers: Vec<AppliedEntry>,
    /// One per main revision that was made, in order.
    pub changes: Vec<Changes>,
    /// Leases that came and went, in order.
    pub leases: Vec<LeaseEffect>,
    /// Tokens that came and went, in order.
    pub auth: Vec<AuthEffect>,
    /// The last membership of the group.
    pub membership: Option<(LogId, Bytes)>,
}

/// The answer to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEntry {
    /// Which entry.
    pub id: LogId,
    /// Who waits for it; none for blank and membership entries.
    pub request: Option<RequestId>,
    /// [`Action::op`](crate::command::Action::op); none for blank and membership entries.
    pub op: Option<&'static str>,
    /// The answer.
    pub outcome: Outcome,
}

/// Done, or refused by all replicas alike.
pub type Outcome = Result<Reply, Refusal>;

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say (blank and membership entries).
    None,
    /// To a put.
    Put(PutReply),
    /// To a delete.
    Delete(DeleteReply),
    /// To a transaction.
    Txn(TxnReply),
    /// To a compaction.
    Compacted {
        /// The current revision.
        revision: i64,
    },
    /// To a grant.
    LeaseGranted {
        /// The current revision.
        revision: i64,
        /// The lease.
        id: LeaseId,
        /// Granted time to live in seconds.
        ttl_s: i64,
    },
    /// Done, and the answer would have been larger than the writer keeps
    /// ([`Writer::keep_answers`]): it was left out.
    LeftOut {
        /// The current revision.
        revision: i64,
    },
    /// To a revoke.
    LeaseRevoked {
        /// The revision after its keys were deleted.
        revision: i64,
    },
    /// To a lease checkpoint.
    LeaseCheckpointed {
        /// The current revision.
        revision: i64,
    },
    /// To a change of users or roles.
    AuthChanged {
        /// The current revision.
        revision: i64,
    },
    /// To an authentication.
    Authenticated {
        /// The current revision.
        revision: i64,
        /// The token; empty when tokens are signed, not kept.
        token: String,
        /// The auth revision that a signed token names.
        auth_revision: u64,
    },
    /// To a change of alarms.
    Alarms {
        /// The current revision.
        revision: i64,
        /// The alarm that was raised or cleared; none if there was nothing to clear.
        alarms: Vec<(u64, AlarmKind)>,
    },
    /// To a change of a downgrade.
    Downgrade {
        /// The current revision.
        revision: i64,
    },
}

/// A lease came or went, or what is left of it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEffect {
    /// It was granted.
    Granted(Lease),
    /// It was revoked.
    Revoked(LeaseId),
    /// What is left of it was written down, or (0) forgotten.
    Checkpointed(Lease),
}

/// What a step of physical compaction found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scrub {
    /// Nothing to erase.
    Idle,
    /// One step done, there is more.
    More,
    /// Everything below the floor is erased.
    Done {
        /// The floor.
        revision: i64,
    },
}

/// Opens the state in `engine`, which may be empty.
///
/// # Errors
/// `Fatal` when the state is of a newer format or inconsistent, or cannot be read.
pub fn open<E: Engine>(engine: E) -> Result<(Writer<E>, Reader<E>), Fatal> {
    let facts = match Facts::load(&engine.view())? {
        Some(facts) => facts,
        None => {
            let mut rows = Staged::new(engine.view());
            let facts = Facts::begin(&mut rows);
            engine.write(rows.into_batch())?;
            facts
        }
    };
    let view = engine.view();
    let fences = Fences::load(&view, facts::fences_at(&view)?, &facts.scrub, facts.revision)?;
    let compiled = Compiled::default();
    let latest = view_of(view, &facts, &fences, &compiled);
    let published = Arc::new(RwLock::new(latest.clone()));
    let reader = Reader { published: Arc::clone(&published) };
    let engine = Arc::new(engine);
    let writer = Writer {
        engine,
        facts,
        fences,
        compiled,
        latest,
        published,
        erased: 0,
        answer_bytes_max: usize::MAX,
    };
    Ok((writer, reader))
}

fn view_of<V: Read>(rows: V, facts: &Facts, fences: &Fences, compiled: &Compiled) -> ReadView<V> {
    let (facts, fences, compiled) = (facts.clone(), fences.map().clone(), compiled.clone());
    ReadView::new(Published { rows, facts, fences, compiled })
}

/// Applies entries. There is one.
#[derive(Debug)]
pub struct Writer<E: Engine> {
    engine: Arc<E>,
    facts: Facts,
    fences: Fences,
    compiled: Compiled,
    /// What is published: everything in the engine but the newest fences.
    latest: ReadView<E::View>,
    published: Arc<RwLock<ReadView<E::View>>>,
    /// Versions erased since it was opened.
    erased: u64,
    answer_bytes_max: usize,
}

impl<E: Engine> Writer<E> {
    /// Bounds what the answers of one group of entries may take together, in bytes of memory; without
    /// it there is no bound. An answer beyond it is replaced by [`Reply::LeftOut`]; what the entry does
    /// to the state is the same, so replicas may differ in it.
    pub fn keep_answers(&mut self, bytes_max: usize) {
        self.answer_bytes_max = bytes_max;
    }

    /// The last entry applied; the next one must follow it.
    pub fn applied(&self) -> Option<LogId> {
        self.facts.applied
    }

    /// The newest main revision.
    #[cfg(feature = "rocks")]
    pub(crate) fn revision(&self) -> i64 {
        self.facts.revision
    }

    /// Goes on from `revision` and gives up all history before it: for a state that has lost some of what
    /// it had handed out.
    ///
    /// # Errors
    /// `Fatal`.
    #[cfg(feature = "rocks")]
    pub(crate) fn leap(&mut self, revision: i64) -> Result<(), Fatal> {
        assert!(revision > self.facts.revision, "revisions never go back");
        let mut facts = self.facts.clone();
        (facts.revision, facts.floor) = (revision, revision);
        // The whole history is looked at: what replaced a version may be among what is lost.
        facts.scrub = mvcc::Progress { target: revision, ..mvcc::Progress::NONE };
        let mut rows = self.staged();
        facts.stage(&mut rows, &self.facts);
        self.write(rows, facts)
    }

    /// Gives an imported state, which has none, its first membership: as if the last entry had brought it.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn begin_membership(&mut self, membership: Bytes) -> Result<(), Fatal> {
        assert!(self.facts.membership.is_none(), "a membership is replaced by entries only");
        let applied = self.facts.applied.expect("an imported state says behind which entry it goes on");
        let facts = Facts { membership: Some((applied, membership)), ..self.facts.clone() };
        let mut rows = self.staged();
        facts.stage(&mut rows, &self.facts);
        self.write(rows, facts)
    }

    /// Applies a group of entries in one engine batch, and publishes the state after it.
    ///
    /// # Errors
    /// `Fatal`, also for an entry that does not follow the last one or that this version does not know:
    /// the writer is of no more use, the caller ends.
    pub fn apply(&mut self, entries: &[Entry]) -> Result<Applied, Fatal> {
        self.apply_each(entries, |_| {})
    }

    /// As [`Writer::apply`], and calls `each` after every entry, before the batch is written: so a caller
    /// that has a clock can tell what each entry took, and what the writing of the batch.
    ///
    /// # Errors
    /// As there.
    pub fn apply_each(
        &mut self,
        entries: &[Entry],
        mut each: impl FnMut(&AppliedEntry),
    ) -> Result<Applied, Fatal> {
        if entries.is_empty() {
            return Ok(Applied::default());
        }
        let mut state = State {
            rows: self.staged(),
            facts: self.facts.clone(),
            fences: &mut self.fences,
            compiled: &mut self.compiled,
            answers: Allowance::of(self.answer_bytes_max),
            done: Applied::default(),
        };
        for entry in entries {
            each(state.apply(entry)?);
        }
        let State { mut rows, facts, done, .. } = state;
        facts.stage(&mut rows, &self.facts);
        self.write(rows, facts)?;
        Ok(done)
    }

    /// One step of physical compaction over at most `rows_max` rows of history (at least one).
    ///
    /// # Errors
    /// `Fatal`.
    pub fn scrub(&mut self, rows_max: usize) -> Result<Scrub, Fatal> {
        if self.facts.scrub.is_done() {
            return Ok(Scrub::Idle);
        }
        let mut rows = self.staged();
        let mut facts = self.facts.clone();
        let erased = mvcc::scrub(&mut rows, &mut facts.scrub, rows_max.max(1))?;
        facts.stage(&mut rows, &self.facts);
        self.write(rows, facts)?;
        self.erased += erased;
        match self.facts.scrub.is_done() {
            true => Ok(Scrub::Done { revision: self.facts.scrub.target }),
            false => Ok(Scrub::More),
        }
    }

    /// Versions of keys that [`Writer::scrub`] has erased since the state was opened.
    pub fn erased(&self) -> u64 {
        self.erased
    }

    /// Writes what only has to be there after a flush, the fences. Call it right before one; without it
    /// opening takes longer, nothing else.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn prepare_flush(&mut self) -> Result<(), Fatal> {
        let mut rows = self.staged();
        if self.fences.stage(&mut rows, self.facts.revision) {
            facts::stage_fences_at(&mut rows, self.facts.revision);
            self.engine.write(rows.into_batch())?;
        }
        Ok(())
    }

    /// A handle that flushes from another thread.
    pub fn flusher(&self) -> Flusher<E> {
        Flusher { engine: Arc::clone(&self.engine) }
    }

    fn staged(&self) -> Staged<E::View> {
        Staged::new(self.latest.rows().clone())
    }

    /// Writes one batch and publishes the state after it.
    fn write(&mut self, rows: Staged<E::View>, facts: Facts) -> Result<(), Fatal> {
        self.engine.write(rows.into_batch())?;
        self.facts = facts;
        let view = self.engine.view();
        self.fences.rebalance(&view)?;
        self.latest = view_of(view, &self.facts, &self.fences, &self.compiled);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = self.latest.clone();
        Ok(())
    }
}

/// Makes the state durable; works beside the writer.
#[derive(Debug)]
pub struct Flusher<E: Engine> {
    engine: Arc<E>,
}

impl<E: Engine> Clone for Flusher<E> {
    fn clone(&self) -> Self {
        Flusher { engine: Arc::clone(&self.engine) }
    }
}

impl<E: Engine> Flusher<E> {
    /// Flushes, and returns the last entry that is durable for certain: the last one applied when it
    /// was called.
    ///
    /// # Errors
    /// `Fatal`: nothing may be taken for durable any more.
    pub fn flush(&self) -> Result<Option<LogId>, Fatal> {
        let applied = facts::applied(&self.engine.view())?;
        self.engine.flush()?;
        Ok(applied)
    }

    /// Sizes of the engine now.
    pub fn size(&self) -> EngineSize {
        self.engine.size()
    }

    /// What is to be defragmented, one by one; flush before.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn parts(&self) -> Result<Vec<Part>, Fatal> {
        self.engine.parts()
    }

    /// Gives back the space that erased rows take in a part; beside reads and writes. Flush after it
    /// to know that it went well.
    ///
    /// # Errors
    /// `Fatal`.
    pub fn defragment(&self, part: &Part) -> Result<(), Fatal> {
        self.engine.defragment(part)
    }

    /// Begins to read back from the device what is durable now.
    ///
    /// # Errors
    /// `Fatal`; it says nothing about the files.
    pub fn readback(&self) -> Result<Box<dyn Readback>, Fatal> {
        self.engine.readback()
    }

    /// Ends a `defragment` under way early, because the store is being closed. Flushes fail from now on.
    pub fn abandon(&self) {
        self.engine.abandon();
    }

    /// What the engine has had to do so far.
    pub fn work(&self) -> EngineWork {
        self.engine.work()
    }
}

/// Hands out views of what is published.
#[derive(Debug)]
pub struct Reader<E: Engine> {
    published: Arc<RwLock<ReadView<E::View>>>,
}

impl<E: Engine> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Reader { published: Arc::clone(&self.published) }
    }
}

impl<E: Engine> Reader<E> {
    /// The newest published state.
    pub fn view(&self) -> ReadView<E::View> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
