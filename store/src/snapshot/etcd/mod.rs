//! What etcd keeps in its database, out of a state ([`Export`]) and into one ([`import()`]).
//!
//! | bucket | key | value |
//! |---|---|---|
//! | `key` | main │ `_` │ sub │ `t` of a tombstone | the record; nothing: a revision that was only counted |
//! | `lease` | id (8) | Lease |
//! | `auth` | `authEnabled`, `authRevision` | 0 or 1; 8 bytes |
//! | `authUsers`, `authRoles` | name | User, Role |
//! | `meta` | `finishedCompactRev`, `scheduledCompactRev` | the floor, as a key of `key` |
//! | | `consistent_index`, `term` | 8 bytes: of etcd's own log |
//! | `alarm`, `cluster`, `members`, `members_removed` | | of one cluster: left out, both ways |
//!
//! Records, leases, users and roles are the same bytes in a state, so they are copied, and HashKV agrees. A
//! snapshot is the database and, behind it, its SHA-256 (32 bytes). The length of a database is a multiple of
//! 512, so one is told from the other by their lengths.
/// Into files, which need the durable engine.
#[cfg(feature = "rocks")]
mod directory;
mod export;
mod import;
mod records;
mod tables;
mod trailer;

#[cfg(feature = "rocks")]
pub use directory::{DirectoryError, ImportOptions, import_file};
pub use export::{Export, ExportError, Step};
pub use import::{Given, ImportError, Imported, LeftOut, import};
pub use trailer::{TrailerError, check_trailer, has_trailer};

const ALARM: &str = "alarm";
const AUTH: &str = "auth";
const ROLES: &str = "authRoles";
const USERS: &str = "authUsers";
const CLUSTER: &str = "cluster";
const KEY: &str = "key";
const LEASE: &str = "lease";
const MEMBERS: &str = "members";
const MEMBERS_REMOVED: &str = "members_removed";
const META: &str = "meta";

const AUTH_ENABLED: &[u8] = b"authEnabled";
const AUTH_REVISION: &[u8] = b"authRevision";
const CLUSTER_VERSION: &[u8] = b"clusterVersion";
const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
const TERM: &[u8] = b"term";
