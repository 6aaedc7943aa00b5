//! The five kinds of error, by who is wrong. The two that depend on one node's situation
//! (`NotNow`, `Unknown`) belong to the server; the three that follow from requests and bytes are here.
use std::path::PathBuf;

/// The request is wrong in itself; said before anything is proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A key is empty.
    #[error("key is not provided")]
    EmptyKey,
    /// A value was given together with `ignore_value`.
    #[error("value is provided")]
    ValueProvided,
    /// A lease was given together with `ignore_lease`.
    #[error("lease is provided")]
    LeaseProvided,
    /// An operation of a transaction has nothing set.
    #[error("operation is not set")]
    EmptyOp,
    /// More compares or operations than allowed (nested ones share the budget of their parent).
    #[error("too many operations in txn request: {count} of at most {max}")]
    TooManyOps {
        /** How many. */
        count: usize,
        /** The bound. */
        max: usize,
    },
    /// Transactions nested deeper than allowed.
    #[error("txn nested too deeply: at most {max} levels")]
    TooDeep {
        /** The bound. */
        max: usize,
    },
    /// One key is written twice, or put and deleted, where etcd refuses it.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("invalid sort option")]
    SortOption,
    /// A range that is read in pages comes in key order and no other.
    #[error("pages of a range have no custom sort order")]
    SortedPages,
    /// A range that is read in pages has no filter.
    #[error("pages of a range have no revision filter")]
    FilteredPages,
    /// A time to live above 9,000,000,000 s.
    #[error("too large lease TTL: {ttl_s} s")]
    TtlTooLarge {
        /** Asked for. */
        ttl_s: i64,
    },
    /// A password is longer than what bcrypt looks at.
    #[error("password length exceeds 72 bytes")]
    PasswordTooLong,
    /// A downgrade to something that is no version.
    #[error("wrong downgrade target version format")]
    DowngradeFormat,
    /// A downgrade to a version that is not the one below.
    #[error("invalid downgrade target version")]
    DowngradeTarget,
}

/// Every replica refuses alike; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The revision asked for is below the compaction floor.
    #[error("revision {wanted} has been compacted: the floor is {compacted}")]
    Compacted {
        /** Asked for. */
        wanted: i64,
        /** The floor. */
        compacted: i64,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {wanted} is a future revision: current is {current}")]
    Future {
        /** Asked for. */
        wanted: i64,
        /** The newest. */
        current: i64,
    },
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// A leader-made command of an older term than the newest one applied: it was overtaken.
    #[error("made by an earlier leader")]
    Overtaken,
    /// Auth cannot be enabled without a user `root`.
    #[error("root user does not exist")]
    RootUserNotFound,
    /// Auth cannot be enabled before user `root` has role `root`.
    #[error("root user does not have root role")]
    RootRoleNotGranted,
    /// The user name is taken.
    #[error("user name already exists")]
    UserExists,
    /// A user without a name; also: auth is on and nobody asks.
    #[error("user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("user name not found")]
    UserNotFound,
    /// The role name is taken.
    #[error("role name already exists")]
    RoleExists,
    /// A role without a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// No such role.
    #[error("role name not found")]
    RoleNotFound,
    /// No such user, or not this password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A password was given for a user that has none.
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// A grant without a permission.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have exactly this permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Nobody can authenticate while auth is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// It would lock out `root`, or the range of a permission is none.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// Users or roles have changed since the request was checked.
    #[error("revision of auth store is old")]
    AuthRevisionOld,
    /// Some member's NOSPACE alarm is raised: nothing that takes space.
    #[error("database space exceeded")]
    NoSpace,
    /// Some member's CORRUPT alarm is raised: no changes to keys and leases.
    #[error("corrupt cluster")]
    Corrupt,
    /// A downgrade is under way.
    #[error("cluster has a downgrade job in progress")]
    DowngradeInProgress,
    /// No downgrade is under way.
    #[error("no inflight downgrade job")]
    NoDowngrade,
}

/// This node's disk or bytes are wrong. The node ends; nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A disk call failed.
    #[error("{call} on {path}: {source}")]
    Io {
        /** Which call. */
        call: &'static str,
        /** On which file. */
        path: PathBuf,
        /** What the system said. */
        source: std::io::Error,
    },
    /// Bytes that were written whole are no longer what was written.
    #[error("{path} is damaged at {offset}..{end}: {what}")]
    Damaged {
        /** Which file. */
        path: PathBuf,
        /** First byte of the damaged range. */
        offset: u64,
        /** End of the damaged range. */
        end: u64,
        /** What is wrong with it. */
        what: String,
    },
    /// A file of the engine is missing, or its bytes are no longer what was written.
    #[error("the engine is damaged: {0}")]
    EngineDamaged(String),
    /// The engine failed.
    #[error("engine: {0}")]
    Engine(String),
    /// A command or record of a kind or format this version does not know.
    #[error("{what}: unknown to this version; start a newer bramble on this data")]
    Unknown {
        /** What it is. */
        what: String,
    },
    /// State that no sequence of applied entries can have made.
    #[error("inconsistent state: {0}")]
    Inconsistent(String),
}

impl Fatal {
    /// Whether files are no longer what was written, so that only a repair or a backup helps.
    pub fn is_damage(&self) -> bool {
        match self {
            Fatal::Damaged { .. } | Fatal::EngineDamaged(_) | Fatal::Inconsistent(_) => true,
            Fatal::Io { .. } | Fatal::Engine(_) | Fatal::Unknown { .. } => false,
        }
    }
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Every replica with this state says no alike.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node cannot read its own state.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}
