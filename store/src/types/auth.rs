//! Users, roles and what they may do, as all replicas know them.
use bytes::Bytes;

use super::KeyRange;

/// The user that is needed to turn auth on, and cannot be deleted while it is on.
pub const ROOT_USER: &str = "root";

/// The role that passes every check. It may be granted without having been added.
pub const ROOT_ROLE: &str = "root";

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Its name, not empty.
    pub name: String,
    /// The bcrypt hash as it was proposed; empty when `no_password`. The store never looks into it.
    pub password: Bytes,
    /// Names of its roles, ascending. A role may be granted and not exist: `root`, before it is added.
    pub roles: Vec<String>,
    /// It can only be known by its certificate.
    pub no_password: bool,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name, not empty.
    pub name: String,
    /// What it allows, ascending by first key.
    pub permissions: Vec<Permission>,
}

/// What a role allows on a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// To read, to write, or both.
    pub kind: PermissionKind,
    /// On which keys.
    pub range: KeyRange,
}

/// To read, to write, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// Read.
    Read,
    /// Write; does not include reading.
    Write,
    /// Both.
    ReadWrite,
}

impl PermissionKind {
    /// Whether it allows reading.
    pub fn reads(self) -> bool {
        matches!(self, PermissionKind::Read | PermissionKind::ReadWrite)
    }

    /// Whether it allows writing.
    pub fn writes(self) -> bool {
        matches!(self, PermissionKind::Write | PermissionKind::ReadWrite)
    }
}
