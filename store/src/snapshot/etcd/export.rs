//! A state as etcd's snapshot, in steps, from a view that is pinned.
//!
//! The beginning of the file says where it ends, so the state is gone through twice: the first time only to
//! measure. Nothing of it is kept between the two but what stands in [`Layout`], so memory is that of one
//! step, whatever the state.
//!
//! ```text
//!   measure, measure, …   then   metas │ pages │ pages │ … │ SHA-256
//! ```
//! Each step goes on at the row where the last one ended: nobody has to be waited for inside of one.
use sha2::{Digest, Sha256};

use super::{
    ALARM, AUTH, AUTH_ENABLED, AUTH_REVISION, CLUSTER, CONSISTENT_INDEX, FINISHED_COMPACTION, KEY, LEASE,
    MEMBERS, MEMBERS_REMOVED, META, ROLES, SCHEDULED_COMPACTION, TERM, USERS, trailer::TRAILER_BYTES,
};
use crate::codec::peek_key_value;
use crate::codec::rows::{etcd_name, parse_rev_row, table};
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::mvcc;
use crate::snapshot::bbolt::{BboltError, Layout, Writer};
use crate::store::ReadView;
use crate::types::Revision;

/// Pages that one step makes, about.
const STEP_BYTES: usize = 256 << 10;
/// Rows that one step looks at: some are left out.
const STEP_ROWS: usize = 4_096;
/// etcd's own log begins here; whoever restores the file sets both anew.
const LOG_BEGINS: u64 = 1;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The state cannot be read.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// etcd's file cannot hold it.
    #[error("etcd's file cannot hold this state: {0}")]
    Unfit(#[from] BboltError),
}

/// What a step did.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It measured.
    Measured,
    /// The next bytes.
    Bytes(Vec<u8>),
    /// Nothing: all bytes were given.
    End,
}

/// See the module. Steps are independent of each other's threads.
#[derive(Debug)]
pub struct Export<V> {
    view: ReadView<V>,
    phase: Phase,
    /// What the whole file takes, once that is known.
    bytes: Option<u64>,
    hash: Sha256,
}

#[derive(Debug)]
enum Phase {
    Measure(Pass),
    Metas(Layout),
    Pages(Pass, Layout),
    Trailer,
    End,
}

/// Once through the state.
#[derive(Debug, Default)]
struct Pass {
    writer: Writer,
    /// Which bucket, of [`BUCKETS`].
    bucket: usize,
    /// The row of the bucket's table to go on at; empty: the first one.
    from: Vec<u8>,
}

/// Where the keys of a bucket come from.
#[derive(Clone, Copy, Debug)]
enum Contents {
    Nothing,
    Auth,
    Meta,
    /// A table whose rows are the keys, behind the table's byte.
    Table(u8),
    History,
}

/// By name, as a file has them.
const BUCKETS: [(&str, Contents); 10] = [
    (ALARM, Contents::Nothing),
    (AUTH, Contents::Auth),
    (ROLES, Contents::Table(table::ROLES)),
    (USERS, Contents::Table(table::USERS)),
    (CLUSTER, Contents::Nothing),
    (KEY, Contents::History),
    (LEASE, Contents::Table(table::LEASES)),
    (MEMBERS, Contents::Nothing),
    (MEMBERS_REMOVED, Contents::Nothing),
    (META, Contents::Meta),
];

impl<V: Read> Export<V> {
    /// Of this view.
    pub fn of(view: ReadView<V>) -> Export<V> {
        Export { view, phase: Phase::Measure(Pass::default()), bytes: None, hash: Sha256::new() }
    }

    /// The length of the whole file; `None` while it is measured.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// The newest revision in it.
    pub fn revision(&self) -> i64 {
        self.view.revision()
    }

    /// Goes on. A step takes some milliseconds.
    ///
    /// # Errors
    /// [`ExportError`]: of no more use then.
    pub fn step(&mut self) -> Result<Step, ExportError> {
        let (step, next) = match std::mem::replace(&mut self.phase, Phase::End) {
            Phase::Measure(mut pass) => match pass.step(&self.view)? {
                true => {
                    pass.writer.take();
                    (Step::Measured, Phase::Measure(pass))
                }
                false => {
                    let (_, layout) = pass.writer.finish();
                    self.bytes = Some(layout.bytes() + TRAILER_BYTES as u64);
                    (Step::Measured, Phase::Metas(layout))
                }
            },
            Phase::Metas(layout) => (Step::Bytes(layout.metas()), Phase::Pages(Pass::default(), layout)),
            Phase::Pages(mut pass, measured) => match pass.step(&self.view)? {
                true => (Step::Bytes(pass.writer.take()), Phase::Pages(pass, measured)),
                false => {
                    let (bytes, layout) = pass.writer.finish();
                    assert_eq!(layout, measured, "a pinned view has changed");
                    (Step::Bytes(bytes), Phase::Trailer)
                }
            },
            Phase::Trailer => {
                let hash = std::mem::take(&mut self.hash).finalize();
                return Ok(Step::Bytes(hash.to_vec()));
            }
            Phase::End => (Step::End, Phase::End),
        };
        if let Step::Bytes(bytes) = &step {
            self.hash.update(bytes);
        }
        self.phase = next;
        Ok(step)
    }
}

impl Pass {
    /// Writes until there is enough for one step; whether anything is left.
    fn step<V: Read>(&mut self, view: &ReadView<V>) -> Result<bool, ExportError> {
        let mut rows_left = STEP_ROWS;
        while let Some((name, contents)) = BUCKETS.get(self.bucket) {
            let ended = match contents {
                Contents::Nothing => true,
                Contents::Auth => self.auth(view)?,
                Contents::Meta => self.meta(view)?,
                Contents::Table(table) => self.table(view, *table, &mut rows_left)?,
                Contents::History => self.history(view, &mut rows_left)?,
            };
            if !ended {
                return Ok(true);
            }
            self.writer.end_bucket(name);
            self.bucket += 1;
            self.from.clear();
        }
        Ok(false)
    }

    fn auth<V: Read>(&mut self, view: &ReadView<V>) -> Result<bool, ExportError> {
        let auth = view.auth();
        self.writer.put(AUTH_ENABLED, &[u8::from(auth.enabled)])?;
        self.writer.put(AUTH_REVISION, &auth.revision.to_be_bytes())?;
        Ok(true)
    }

    fn meta<V: Read>(&mut self, view: &ReadView<V>) -> Result<bool, ExportError> {
        let floor =
            (view.compacted() >= 0).then(|| etcd_name(Revision { main: view.compacted(), sub: 0 }, false));
        let begins = LOG_BEGINS.to_be_bytes();
        self.writer.put(CONSISTENT_INDEX, &begins)?;
        // Some versions of etcd look at the one, some at the other.
        for name in [FINISHED_COMPACTION, SCHEDULED_COMPACTION] {
            if let Some(floor) = &floor {
                self.writer.put(name, floor)?;
            }
        }
        self.writer.put(TERM, &begins)?;
        Ok(true)
    }

    fn table<V: Read>(
        &mut self,
        view: &ReadView<V>,
        table: u8,
        left: &mut usize,
    ) -> Result<bool, ExportError> {
        let mut cursor = view.rows().cursor(Family::Idx);
        if self.from.is_empty() {
            self.from.push(table);
        }
        cursor.seek(&self.from)?;
        while let Some((row, value)) = cursor.row().filter(|(row, _)| row.first() == Some(&table)) {
            if self.is_enough(left) {
                self.from = row.to_vec();
                return Ok(false);
            }
            self.writer.put(&row[1..], value)?;
            cursor.next()?;
        }
        Ok(true)
    }

    /// All that erasing to the floor leaves, however far that has come: the file of a state is always the same.
    fn history<V: Read>(&mut self, view: &ReadView<V>, left: &mut usize) -> Result<bool, ExportError> {
        let (rows, floor, scrubbed) = (view.rows(), view.compacted(), view.is_scrubbed());
        let mut cursor = rows.cursor(Family::Rev);
        cursor.seek(&self.from)?;
        while let Some((row, record)) = cursor.row() {
            if self.is_enough(left) {
                self.from = row.to_vec();
                return Ok(false);
            }
            let unreadable = || Fatal::Inconsistent(format!("history row {row:02x?} cannot be read"));
            let (at, tombstone) = parse_rev_row(row).ok_or_else(unreadable)?;
            let (key, _) = peek_key_value(record).ok_or_else(unreadable)?;
            if scrubbed || mvcc::outlives(rows, key, at, floor)? {
                self.writer.put(&etcd_name(at, tombstone), record)?;
            }
            cursor.next()?;
        }
        Ok(true)
    }

    fn is_enough(&self, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        *left == 0 || self.writer.ready_bytes() >= STEP_BYTES
    }
}
