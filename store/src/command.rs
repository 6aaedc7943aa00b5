//! Every change that replicas agree on, as one type. Its bytes are in `codec`.
//!
//! A command carries what was decided before it was proposed (ids, times to live, who asks), so
//! that applying it is a pure function of the state and the command.
use bytes::Bytes;

use crate::types::{AlarmKind, DeleteRequest, KeyRange, LeaseId, Permission, PutRequest, TxnRequest};

/// Names one proposal of one member, so that its answer finds the waiting caller. Never used to
/// refuse a repeated request: a client that retries asks for a second write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The member that proposed it.
    pub member: u64,
    /// Counts its proposals since it started.
    pub counter: u64,
}

/// Who asks, checked again when applied: permissions may have changed in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// User name; empty = nobody (auth is off, or the server itself).
    pub user: String,
    /// The auth revision the permissions were checked at.
    pub auth_revision: u64,
}

/// A replicated command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Finds the waiter on the member that proposed it.
    pub request: RequestId,
    /// Who asks.
    pub origin: Origin,
    /// Lowest state version that understands it; a replica below it stops instead of guessing.
    pub required_version: u32,
    /// Leader-made commands (expiry, checkpoint) carry their leader's term; an older one is overtaken.
    pub fence_term: Option<u64>,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write one key.
    Put(PutRequest),
    /// Delete a range.
    Delete(DeleteRequest),
    /// A guarded list of operations.
    Txn(TxnRequest),
    /// Raise the compaction floor; the erasing happens later, in steps, on each replica.
    Compact {
        /// The new floor.
        revision: i64,
    },
    /// Make a lease. Id and time to live are already chosen and within range.
    LeaseGrant {
        /// Its id, not 0.
        id: LeaseId,
        /// Seconds, 1 to 9,000,000,000.
        ttl_s: i64,
    },
    /// End a lease and delete its keys in one revision.
    LeaseRevoke {
        /// Its id.
        id: LeaseId,
    },
    /// Change users, roles, or whether they count.
    Auth(AuthChange),
    /// Raise or clear an alarm.
    Alarm(AlarmChange),
    /// What is left of leases, so that the next leader does not give them their full time again.
    LeaseCheckpoint {
        /// Seconds left of each; 0 forgets the last checkpoint. Leases that are gone are passed over.
        remaining: Vec<(LeaseId, i64)>,
    },
    /// Begin or end a downgrade of the cluster.
    Downgrade(DowngradeChange),
}

/// A change of users, roles, or whether they count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// Check permissions from now on.
    Enable,
    /// Check nothing from now on.
    Disable,
    /// Give a user a token. The password was checked at the origin's auth revision.
    Authenticate {
        /// Who.
        user: String,
        /// What the token begins with; the position of the entry is added. Empty: tokens are not kept
        /// in the members (they are signed), nothing is assigned.
        token: String,
    },
    /// Add a user.
    UserAdd {
        /// Its name.
        name: String,
        /// The bcrypt hash of its password; ignored when `no_password`.
        password: Bytes,
        /// It can only be known by its certificate.
        no_password: bool,
    },
    /// Delete a user.
    UserDelete {
        /// Its name.
        name: String,
    },
    /// Change a user's password.
    UserChangePassword {
        /// Its name.
        name: String,
        /// The bcrypt hash; ignored for a user without a password.
        password: Bytes,
    },
    /// Grant a role to a user.
    UserGrantRole {
        /// To whom.
        user: String,
        /// Which role.
        role: String,
    },
    /// Take a role from a user.
    UserRevokeRole {
        /// From whom.
        user: String,
        /// Which role.
        role: String,
    },
    /// Add a role.
    RoleAdd {
        /// Its name.
        name: String,
    },
    /// Delete a role, and take it from all users.
    RoleDelete {
        /// Its name.
        name: String,
    },
    /// Let a role do something.
    RoleGrantPermission {
        /// Which role.
        role: String,
        /// What; none is refused, where etcd refuses it.
        permission: Option<Permission>,
    },
    /// Take a permission from a role.
    RoleRevokePermission {
        /// Which role.
        role: String,
        /// Exactly the range that was granted.
        range: KeyRange,
    },
}

/// Raises or clears an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmChange {
    /// Raise it; nothing changes if it is raised.
    Activate {
        /// Whose.
        member: u64,
        /// Which.
        kind: AlarmKind,
    },
    /// Clear exactly this one.
    Deactivate {
        /// Whose.
        member: u64,
        /// Which.
        kind: AlarmKind,
    },
    /// A member's space is used up: raises its NOSPACE, unless it is raised already.
    OverQuota {
        /// Whose.
        member: u64,
    },
    /// There is space again: clears what `OverQuota` raised. An alarm that somebody asked for with
    /// `Activate`, before or since, stays.
    UnderQuota {
        /// Whose.
        member: u64,
    },
}

/// Begins or ends a downgrade of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DowngradeChange {
    /// Begin it.
    Enable {
        /// The version to go down to, as it will be told.
        target_version: String,
    },
    /// End it.
    Cancel,
}

impl Action {
    /// What it is called in logs and metrics: etcd's name of the request.
    pub fn op(&self) -> &'static str {
        match self {
            Action::Put(_) => "Put",
            Action::Delete(_) => "DeleteRange",
            Action::Txn(_) => "Txn",
            Action::Compact { .. } => "Compaction",
            Action::LeaseGrant { .. } => "LeaseGrant",
            Action::LeaseRevoke { .. } => "LeaseRevoke",
            Action::LeaseCheckpoint { .. } => "LeaseCheckpoint",
            Action::Auth(change) => change.op(),
            Action::Alarm(_) => "Alarm",
            Action::Downgrade(_) => "DowngradeInfoSet",
        }
    }
}

impl AuthChange {
    fn op(&self) -> &'static str {
        match self {
            AuthChange::Enable => "AuthEnable",
            AuthChange::Disable => "AuthDisable",
            AuthChange::Authenticate { .. } => "Authenticate",
            AuthChange::UserAdd { .. } => "AuthUserAdd",
            AuthChange::UserDelete { .. } => "AuthUserDelete",
            AuthChange::UserChangePassword { .. } => "AuthUserChangePassword",
            AuthChange::UserGrantRole { .. } => "AuthUserGrantRole",
            AuthChange::UserRevokeRole { .. } => "AuthUserRevokeRole",
            AuthChange::RoleAdd { .. } => "AuthRoleAdd",
            AuthChange::RoleDelete { .. } => "AuthRoleDelete",
            AuthChange::RoleGrantPermission { .. } => "AuthRoleGrantPermission",
            AuthChange::RoleRevokePermission { .. } => "AuthRoleRevokePermission",
        }
    }
}

/// What an entry of the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command, encoded.
    Command(Bytes),
    /// A membership, encoded by the server; the store keeps it beside the applied id.
    Membership(Bytes),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub id: crate::types::LogId,
    /// What it holds.
    pub payload: Payload,
}
