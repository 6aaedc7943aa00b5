//! Facts about the whole state, each in a row of its own: how far it is applied, its revision, its
//! compaction floor. Rows that changed are written with the group of entries that changed them.
//!
//! ```text
//!   m applied   term, index          m floor   main revision (no row: never compacted)
//!   m revision  main revision        m scrub   target, next main, next sub
//!   m format    1                    m fences  main revision they are true at
//!   m auth      on (1), revision     m downgrade  target version (no row: none is under way)
//! ```
//! All numbers are 8 bytes, big-endian. Which alarms are raised is among the facts, too: every write asks.
use crate::alarm::Alarms;
use crate::auth::AuthStatus;
use crate::codec::rows::meta_row;
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::members::{self, Membership};
use crate::mvcc::Progress;
use crate::types::{LogId, Revision};

/// The format of the rows in both families.
const FORMAT: i64 = 2;

const APPLIED: &str = "applied";
const AUTH: &str = "auth";
const DOWNGRADE: &str = "downgrade";
const FENCES: &str = "fences";
const FLOOR: &str = "floor";
const FORMAT_ROW: &str = "format";
const REVISION: &str = "revision";
const SCRUB: &str = "scrub";

/// What is true of the state as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) applied: Option<LogId>,
    /// The newest main revision.
    pub(crate) revision: i64,
    /// -1 = never compacted.
    pub(crate) floor: i64,
    pub(crate) scrub: Progress,
    pub(crate) membership: Option<Membership>,
    pub(crate) auth: AuthStatus,
    /// Those that are raised. Their rows are staged as they change.
    pub(crate) alarms: Alarms,
    /// The version that the cluster is going down to.
    pub(crate) downgrade: Option<String>,
}

impl Facts {
    /// Those of a state that nothing was applied to.
    fn empty() -> Facts {
        Facts {
            applied: None,
            revision: 1,
            floor: -1,
            scrub: Progress::NONE,
            membership: None,
            auth: AuthStatus::NEW,
            alarms: Alarms::default(),
            downgrade: None,
        }
    }

    /// Reads them. `None`: there is no state at all.
    ///
    /// # Errors
    /// `Fatal::Unknown` for a format of a newer version; `Fatal::Inconsistent`.
    pub(crate) fn load<R: Read>(rows: &R) -> Result<Option<Self>, Fatal> {
        match read::<1, R>(rows, FORMAT_ROW)? {
            Some([FORMAT]) => {}
            Some([format]) => return Err(Fatal::Unknown { what: format!("state format {format}") }),
            None if is_empty(rows)? => return Ok(None),
            None => return Err(Fatal::Inconsistent("rows without a format".into())),
        }
        let mut facts = Facts {
            membership: members::load(rows)?,
            alarms: Alarms::load(rows)?,
            downgrade: downgrade(rows)?,
            ..Facts::empty()
        };
        facts.applied = applied(rows)?;
        if let Some([revision]) = read(rows, REVISION)? {
            facts.revision = revision;
        }
        if let Some([floor]) = read(rows, FLOOR)? {
            facts.floor = floor;
        }
        if let Some([target, main, sub]) = read(rows, SCRUB)? {
            facts.scrub = Progress { target, next: Revision { main, sub } };
        }
        if let Some([enabled, revision]) = read(rows, AUTH)? {
            facts.auth = AuthStatus { enabled: enabled != 0, revision: revision as u64 };
        }
        Ok(Some(facts))
    }

    /// Those of an empty state, and the row that says what format it has from now on.
    pub(crate) fn begin<V: Read>(rows: &mut Staged<V>) -> Self {
        write(rows, FORMAT_ROW, [FORMAT]);
        Facts::empty()
    }

    /// Stages the rows that differ from what they were `before`.
    pub(crate) fn stage<V: Read>(&self, rows: &mut Staged<V>, before: &Facts) {
        let Facts { applied, revision, floor, scrub, membership, auth, alarms: _, downgrade } = self;
        if let Some(applied) = applied.filter(|_| *applied != before.applied) {
            write(rows, APPLIED, [applied.term as i64, applied.index as i64]);
        }
        if *revision != before.revision {
            write(rows, REVISION, [*revision]);
        }
        if *floor != before.floor {
            write(rows, FLOOR, [*floor]);
        }
        if *scrub != before.scrub {
            write(rows, SCRUB, [scrub.target, scrub.next.main, scrub.next.sub]);
        }
        if let Some(membership) = membership.as_ref().filter(|_| *membership != before.membership) {
            members::stage(rows, membership);
        }
        if *auth != before.auth {
            write(rows, AUTH, [i64::from(auth.enabled), auth.revision as i64]);
        }
        if *downgrade != before.downgrade {
            match downgrade {
                Some(target) => rows.put(Family::Idx, meta_row(DOWNGRADE), target.clone()),
                None => rows.delete(Family::Idx, meta_row(DOWNGRADE)),
            }
        }
    }
}

/// The last entry that `rows` hold.
pub(crate) fn applied<R: Read>(rows: &R) -> Result<Option<LogId>, Fatal> {
    let read = read(rows, APPLIED)?;
    Ok(read.map(|[term, index]| LogId { term: term as u64, index: index as u64 }))
}

/// Whether a row of `idx` is a fact about this replica alone: another one with the same state may have
/// another.
pub(crate) fn is_local(row: &[u8]) -> bool {
    [APPLIED, FENCES, SCRUB].iter().any(|name| row == meta_row(name))
}

/// The revision that the fences on disk are true at.
pub(crate) fn fences_at<R: Read>(rows: &R) -> Result<Option<i64>, Fatal> {
    Ok(read(rows, FENCES)?.map(|[revision]| revision))
}

pub(crate) fn stage_fences_at<V: Read>(rows: &mut Staged<V>, revision: i64) {
    write(rows, FENCES, [revision]);
}

fn downgrade<R: Read>(rows: &R) -> Result<Option<String>, Fatal> {
    let target = rows.get(Family::Idx, &meta_row(DOWNGRADE))?;
    let target = target.map(|target| String::from_utf8(target.into())).transpose();
    target.map_err(|_| Fatal::Inconsistent("the target of a downgrade cannot be read".into()))
}

fn is_empty<R: Read>(rows: &R) -> Result<bool, Fatal> {
    for family in [Family::Rev, Family::Idx] {
        let mut cursor = rows.cursor(family);
        cursor.seek(&[])?;
        if cursor.row().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read<const N: usize, R: Read>(rows: &R, name: &str) -> Result<Option<[i64; N]>, Fatal> {
    let Some(bytes) = rows.get(Family::Idx, &meta_row(name))? else {
        return Ok(None);
    };
    let (numbers, rest) = bytes.as_chunks::<8>();
    match <[[u8; 8]; N]>::try_from(numbers) {
        Ok(numbers) if rest.is_empty() => Ok(Some(numbers.map(i64::from_be_bytes))),
        Ok(_) | Err(_) => Err(Fatal::Inconsistent(format!("the row of {name} cannot be read"))),
    }
}

fn write<const N: usize, V: Read>(rows: &mut Staged<V>, name: &str, numbers: [i64; N]) {
    rows.put(Family::Idx, meta_row(name), numbers.map(i64::to_be_bytes).concat());
}
