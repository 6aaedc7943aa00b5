//! The history: each record of the bucket `key` becomes a row of `rev` and a version row.
//!
//! Above the floor the versions of a key must follow each other: counts, deletes and the next put rely on that.
use bytes::Bytes;

use super::{ImportError, KEY};
use crate::codec::decode_key_value;
use crate::codec::rows::{VersionRow, parse_etcd_name, rev_row};
use crate::engine::bulk::Bulk;
use crate::engine::{Engine, Family};
use crate::types::{KeyValue, Revision};

/// Records so far.
#[derive(Debug)]
pub(super) struct Records {
    /// Up to here nothing need follow from what is before it.
    floor: i64,
    last: Option<Revision>,
    count: u64,
}

impl Records {
    /// Of a state whose floor is, or will be, `floor`.
    pub(super) fn above(floor: i64) -> Records {
        Records { floor, last: None, count: 0 }
    }

    /// The newest main revision; 0: there is none.
    pub(super) fn last(&self) -> i64 {
        self.last.map_or(0, |last| last.main)
    }

    /// How many are copied.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next one.
    pub(super) fn copy<E: Engine>(
        &mut self,
        name: &[u8],
        record: &[u8],
        out: &mut Bulk<'_, E>,
    ) -> Result<(), ImportError> {
        let wrong =
            |what: &str| ImportError::content(KEY, format!("revision {}: {what}", name.escape_ascii()));
        let (at, tombstone) = parse_etcd_name(name).ok_or_else(|| wrong("it is none"))?;
        if at.main < 1 || self.last.is_some_and(|last| at <= last) {
            return Err(wrong("it is there twice, or before the first one"));
        }
        self.last = Some(at);
        // A revision that only counts: `etcdutl snapshot restore --bump-revision` writes one.
        if record.is_empty() {
            return Ok(());
        }
        let record = Bytes::copy_from_slice(record);
        let kv = decode_key_value(&record).filter(|kv| !kv.key.is_empty());
        let kv = kv.ok_or_else(|| wrong("its record cannot be read"))?;
        let version = match tombstone {
            true => VersionRow::TOMBSTONE,
            false => version_of(&kv, at).ok_or_else(|| wrong("its record contradicts itself"))?,
        };
        let replaced = out.put_version(&kv.key, at, &version)?;
        if at.main > self.floor && !follows(&version, replaced, at) {
            let (key, Revision { main, sub }) = (kv.key.escape_ascii(), at);
            let what = format!("key {key}, revision {main}.{sub}: it cannot follow the version before it");
            return Err(ImportError::content(KEY, what));
        }
        out.put(Family::Rev, rev_row(at, tombstone), record)?;
        self.count += 1;
        Ok(())
    }
}

/// Whether a version can have replaced the live one before it.
fn follows(version: &VersionRow, replaced: Option<VersionRow>, at: Revision) -> bool {
    match (version.version, replaced) {
        (0, replaced) => replaced.is_some(),
        (number, None) => number == 1 && version.create == at.main,
        (number, Some(replaced)) => number == replaced.version + 1 && version.create == replaced.create,
    }
}

/// What a put made at this revision can have written.
fn version_of(kv: &KeyValue, at: Revision) -> Option<VersionRow> {
    let KeyValue { create_revision: create, mod_revision, version, lease, .. } = *kv;
    let numbers = 1..=at.main;
    let possible = mod_revision == at.main && numbers.contains(&create) && numbers.contains(&version);
    possible.then_some(VersionRow { create, version, lease })
}
