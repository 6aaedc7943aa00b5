//! `bramblectl import`: etcd's snapshot into a data directory of its own.
use std::path::{Path, PathBuf};

use bramble_store::snapshot::etcd::{DirectoryError, Given, ImportOptions, Imported, import_file};
use bramble_store::types::AlarmKind;
use serde_json::{Value, json};

/// How much higher revisions go on unless it is said otherwise: far more than a cluster writes between its
/// last snapshot and its end.
pub const RAISE: i64 = 1_000_000_000;

/// What was imported, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    data_dir: PathBuf,
    imported: Imported,
}

/// Imports `file` into `data_dir`, which is missing or empty; revisions go on `raise` higher (0: they and the
/// history are kept).
///
/// # Errors
/// [`DirectoryError`] says what to do.
pub fn run(file: &Path, data_dir: &Path, raise: i64, skip_hash_check: bool) -> Result<Told, DirectoryError> {
    let options = ImportOptions { given: Given { raise }, skip_hash_check };
    let imported = import_file(file, data_dir, options)?;
    Ok(Told { data_dir: data_dir.to_owned(), imported })
}

impl Told {
    /// For people; ends with what to do next.
    pub fn text(&self) -> String {
        let Imported { keys, versions, leases, users, roles, file_revision, revision, .. } = &self.imported;
        let dir = self.data_dir.display();
        let mut lines = vec![
            format!("{dir}: imported"),
            format!("  {keys} keys in {versions} versions, {leases} leases, {users} users, {roles} roles"),
            match revision == file_revision {
                true => format!("  revision {revision}, history kept"),
                false => format!(
                    "  revision {file_revision}; the store goes on at {revision}, and is compacted there"
                ),
            },
        ];
        if self.imported.auth_enabled {
            lines.push("  auth is on: users and passwords are those of the file".into());
        }
        lines.extend(self.left_out().map(|what| format!("  left out: {what}")));
        lines.push(format!("Start the server: bramble --data-dir {dir}"));
        lines.join("\n") + "\n"
    }

    fn left_out(&self) -> impl Iterator<Item = String> {
        let left = &self.imported.left_out;
        let members = (left.members > 0).then(|| format!("{} members of the old cluster", left.members));
        let version = left.cluster_version.as_ref().map(|version| format!("its version, {version}"));
        let alarms =
            left.alarms.iter().map(|(member, kind)| format!("alarm {} of member {member:x}", name(*kind)));
        let buckets =
            left.buckets.iter().map(|name| format!("bucket {name:?}, which this version does not know"));
        members.into_iter().chain(version).chain(alarms).chain(buckets)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Imported { file_revision, revision, compacted, keys, versions, leases, users, roles, .. } =
            self.imported;
        let left = &self.imported.left_out;
        let alarm = |(member, kind): &(u64, AlarmKind)| json!({ "member": format!("{member:x}"), "alarm": name(*kind) });
        json!({
            "data_dir": self.data_dir,
            "file_revision": file_revision,
            "revision": revision,
            "compacted": compacted,
            "keys": keys,
            "versions": versions,
            "leases": leases,
            "users": users,
            "roles": roles,
            "auth_enabled": self.imported.auth_enabled,
            "left_out": {
                "alarms": left.alarms.iter().map(alarm).collect::<Vec<_>>(),
                "members": left.members,
                "cluster_version": left.cluster_version,
                "buckets": left.buckets,
            },
        })
    }
}

fn name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}
