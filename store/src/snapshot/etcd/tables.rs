//! Buckets that are small: what they may hold.
use super::{
    AUTH, AUTH_ENABLED, AUTH_REVISION, FINISHED_COMPACTION, ImportError, LEASE, META, ROLES,
    SCHEDULED_COMPACTION, USERS,
};
use crate::auth::AuthStatus;
use crate::codec::rows::parse_etcd_name;
use crate::codec::{decode_lease, decode_role, decode_user};
use crate::types::{LeaseId, ROOT_ROLE, ROOT_USER, User};

/// The longest time to live that may be granted, in seconds.
const TTL_MAX_S: i64 = 9_000_000_000;

/// The row of `idx` with this name in a table.
pub(super) fn row(table: u8, name: &[u8]) -> Vec<u8> {
    [&[table][..], name].concat()
}

/// What `meta` says of the state.
#[derive(Debug)]
pub(super) struct Meta {
    /// -1: never compacted.
    pub(super) floor: i64,
}

impl Default for Meta {
    fn default() -> Self {
        Meta { floor: -1 }
    }
}

impl Meta {
    /// Of the two floors the higher one: etcd finishes what is scheduled when it starts.
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), ImportError> {
        if name != FINISHED_COMPACTION && name != SCHEDULED_COMPACTION {
            return Ok(());
        }
        match parse_etcd_name(value) {
            Some((at, false)) => self.floor = self.floor.max(at.main),
            _ => {
                let what = format!("{} is no revision", String::from_utf8_lossy(name));
                return Err(ImportError::content(META, what));
            }
        }
        Ok(())
    }
}

/// What `auth` says, and who could administer it.
#[derive(Debug, Default)]
pub(super) struct Auth {
    pub(super) enabled: bool,
    revision: u64,
    has_root: bool,
}

impl Auth {
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), ImportError> {
        if name == AUTH_ENABLED {
            self.enabled = match value {
                [0] => false,
                [1] => true,
                _ => return Err(ImportError::content(AUTH, "authEnabled is neither 0 nor 1")),
            };
        }
        if name == AUTH_REVISION {
            let revision = value.try_into().map(u64::from_be_bytes);
            self.revision = revision.map_err(|_| ImportError::content(AUTH, "authRevision is no number"))?;
        }
        Ok(())
    }

    pub(super) fn note_user(&mut self, user: &User) {
        self.has_root |= user.name == ROOT_USER && user.roles.iter().any(|role| role == ROOT_ROLE);
    }

    /// Nobody is locked out for ever.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        match self.enabled && !self.has_root {
            true => Err(ImportError::content(AUTH, "it is on, and no user root has the role root")),
            false => Ok(()),
        }
    }

    pub(super) fn status(&self) -> AuthStatus {
        AuthStatus { enabled: self.enabled, revision: self.revision.max(AuthStatus::NEW.revision) }
    }
}

/// A user, under its own name.
pub(super) fn user(name: &[u8], value: &[u8]) -> Result<User, ImportError> {
    let user = decode_user(value).filter(|user| user.name.as_bytes() == name);
    user.ok_or_else(|| unreadable(USERS, name))
}

/// A role, under its own name.
pub(super) fn role(name: &[u8], value: &[u8]) -> Result<(), ImportError> {
    let role = decode_role(value).filter(|role| role.name.as_bytes() == name);
    role.map(drop).ok_or_else(|| unreadable(ROLES, name))
}

/// A lease that could have been granted, under its own id.
pub(super) fn lease(name: &[u8], value: &[u8]) -> Result<(), ImportError> {
    let lease = decode_lease(value).filter(|lease| {
        let left = 0..=lease.ttl_s;
        name == lease.id.0.to_be_bytes()
            && lease.id != LeaseId::NONE
            && (1..=TTL_MAX_S).contains(&lease.ttl_s)
            && left.contains(&lease.remaining_s)
    });
    lease.map(drop).ok_or_else(|| unreadable(LEASE, name))
}

fn unreadable(bucket: &'static str, name: &[u8]) -> ImportError {
    ImportError::content(bucket, format!("{} cannot be read", name.escape_ascii()))
}
