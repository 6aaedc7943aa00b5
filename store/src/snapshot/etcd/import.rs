//! etcd's database into an engine that holds nothing.
//!
//! ```text
//!   meta, auth, users, roles, leases ─► rows of idx
//!   key, in order of revisions       ─► rev, and version rows (k, o), which are checked
//!   live keys                        ─► the keys that hang on leases (a)
//!   facts                            ─► last: before them the state does not open
//! ```
//! It believes nothing: what no etcd can have written is refused, so that a state that opens keeps the
//! promises of one that was made here. What belongs to a cluster (members, alarms, versions) is left out, and
//! told. Leases have their whole time again, as after a change of leader.
use super::records::Records;
use super::tables::{Auth, Meta};
use super::{
    ALARM, AUTH, CLUSTER, CLUSTER_VERSION, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META, ROLES, USERS, tables,
};
use crate::codec::decode_alarm;
use crate::codec::rows::table;
use crate::engine::bulk::Bulk;
use crate::engine::staged::Staged;
use crate::engine::{Engine, Family};
use crate::error::Fatal;
use crate::facts::Facts;
use crate::mvcc::Progress;
use crate::snapshot::bbolt::{Bbolt, BboltError, Bucket, Source};
use crate::types::{AlarmKind, LogId};

/// Where the log of an imported state goes on: behind an entry that nobody has, as if that had brought
/// everything.
pub(crate) const BEGINS_BEHIND: LogId = LogId { term: 0, index: 0 };

/// Why a database is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is damaged, or no database.
    #[error(transparent)]
    Bbolt(#[from] BboltError),
    /// The file is a database that etcd cannot have written.
    #[error("{bucket}: {what}")]
    Content {
        /** In which bucket. */
        bucket: &'static str,
        /** What it is. */
        what: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl ImportError {
    pub(super) fn content(bucket: &'static str, what: impl Into<String>) -> ImportError {
        ImportError::Content { bucket, what: what.into() }
    }
}

/// How it is to be imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Go on so many revisions higher, and compact everything before: whoever watched the old cluster is told
    /// to begin anew, and no revision comes back with another meaning. 0 = revisions and history are kept.
    pub raise: i64,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The newest revision in the file.
    pub file_revision: i64,
    /// The newest revision now.
    pub revision: i64,
    /// The compaction floor now; -1: never compacted.
    pub compacted: i64,
    /// Keys that are there at the newest revision.
    pub keys: u64,
    /// Versions of keys, tombstones too.
    pub versions: u64,
    /// How many.
    pub leases: u64,
    /// How many.
    pub users: u64,
    /// How many.
    pub roles: u64,
    /// Whether permissions are checked.
    pub auth_enabled: bool,
    /// What is in the file and not in the state.
    pub left_out: LeftOut,
}

/// What belongs to the cluster that wrote the file, or is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Ids of members and what was raised on them.
    pub alarms: Vec<(u64, AlarmKind)>,
    /// Members, and those that were removed.
    pub members: u64,
    /// The version that its cluster was at.
    pub cluster_version: Option<String>,
    /// Buckets that this version does not know.
    pub buckets: Vec<String>,
}

/// Makes the state of `file` in `engine`, which holds nothing.
///
/// # Errors
/// [`ImportError`]; the engine is of no use then.
pub fn import<S: Source, E: Engine>(
    mut file: Bbolt<S>,
    engine: &E,
    given: Given,
) -> Result<Imported, ImportError> {
    let buckets = file.buckets()?;
    let bucket = |name: &str| buckets.iter().find(|bucket| bucket.name == name.as_bytes());
    let key = bucket(KEY).ok_or_else(|| ImportError::content(KEY, "there is no such bucket"))?;
    let mut done = Imported { left_out: left_out(&mut file, &buckets)?, ..Imported::default() };
    let (mut meta, mut auth) = (Meta::default(), Auth::default());
    each(&mut file, bucket(META), |name, value| meta.note(name, value))?;
    each(&mut file, bucket(AUTH), |name, value| auth.note(name, value))?;
    let mut out = Bulk::into(engine);
    each(&mut file, bucket(ROLES), |name, value| {
        done.roles += 1;
        tables::role(name, value)?;
        Ok(out.put(Family::Idx, tables::row(table::ROLES, name), value.to_vec())?)
    })?;
    each(&mut file, bucket(USERS), |name, value| {
        done.users += 1;
        auth.note_user(&tables::user(name, value)?);
        Ok(out.put(Family::Idx, tables::row(table::USERS, name), value.to_vec())?)
    })?;
    auth.check()?;
    each(&mut file, bucket(LEASE), |name, value| {
        done.leases += 1;
        tables::lease(name, value)?;
        Ok(out.put(Family::Idx, tables::row(table::LEASES, name), value.to_vec())?)
    })?;
    // With a raised revision all of the history is compacted.
    let mut records = Records::above(if given.raise > 0 { i64::MAX } else { meta.floor });
    each(&mut file, Some(key), |name, record| records.copy(name, record, &mut out))?;
    out.write()?;
    file.check_freelist()?;
    done.file_revision = meta.floor.max(records.last()).max(1);
    done.versions = records.count();
    done.auth_enabled = auth.enabled;
    (done.revision, done.compacted) = raised(done.file_revision, meta.floor, given.raise)?;
    done.keys = out.attach()?;
    write_facts(engine, &done, &auth)?;
    Ok(done)
}

/// Revision and floor to go on with.
fn raised(revision: i64, floor: i64, by: i64) -> Result<(i64, i64), ImportError> {
    if by <= 0 {
        return Ok((revision, floor));
    }
    match revision.checked_add(by) {
        Some(raised) => Ok((raised, raised)),
        None => Err(ImportError::content(KEY, format!("after revision {revision} there are no {by} others"))),
    }
}

fn each<S: Source>(
    file: &mut Bbolt<S>,
    bucket: Option<&Bucket>,
    each: impl FnMut(&[u8], &[u8]) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    bucket.map_or(Ok(()), |bucket| file.walk(bucket, each))
}

/// Reads what is not imported: all of the file is looked at.
fn left_out<S: Source>(file: &mut Bbolt<S>, buckets: &[Bucket]) -> Result<LeftOut, ImportError> {
    let mut left = LeftOut::default();
    for bucket in buckets {
        let name = String::from_utf8_lossy(&bucket.name);
        match &*name {
            META | AUTH | ROLES | USERS | LEASE | KEY => {}
            ALARM => each(file, Some(bucket), |alarm, _| {
                left.alarms.extend(decode_alarm(alarm));
                Ok(())
            })?,
            MEMBERS | MEMBERS_REMOVED => each(file, Some(bucket), |_, _| {
                left.members += 1;
                Ok(())
            })?,
            CLUSTER => each(file, Some(bucket), |name, value| {
                if name == CLUSTER_VERSION {
                    left.cluster_version = Some(String::from_utf8_lossy(value).into_owned());
                }
                Ok(())
            })?,
            _ => {
                each(file, Some(bucket), |_, _| Ok(()))?;
                left.buckets.push(name.into_owned());
            }
        }
    }
    Ok(left)
}

fn write_facts<E: Engine>(engine: &E, done: &Imported, auth: &Auth) -> Result<(), Fatal> {
    let mut rows = Staged::new(engine.view());
    let before = Facts::begin(&mut rows);
    let mut facts = Facts {
        applied: Some(BEGINS_BEHIND),
        revision: done.revision,
        floor: done.compacted,
        ..before.clone()
    };
    facts.auth = auth.status();
    if done.compacted >= 0 {
        // Nobody knows how far the erasing had come.
        facts.scrub = Progress { target: done.compacted, ..Progress::NONE };
    }
    facts.stage(&mut rows, &before);
    engine.write(rows.into_batch())
}
