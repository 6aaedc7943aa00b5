//! What a user may read and write, compiled from its roles, and checks against it.
//!
//! Compiling reads the user's row and those of its roles. It is done when a user is first asked about and
//! kept for as long as the auth revision stands: one [`Compiled`] belongs to one auth revision, and
//! whoever makes the next revision makes a new one. So there is nothing to invalidate.
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{AuthStatus, Need, rows};
use crate::command::Origin;
use crate::engine::Read;
use crate::error::{Fatal, ReadError, Refusal};
use crate::intervals::Intervals;
use crate::types::{KeyRange, ROOT_ROLE, RangeEnd, User};

/// Users that are kept compiled. A cluster with more of them compiles some of them again.
const KEPT_MAX: usize = 4096;

/// What one user may do.
#[derive(Debug, Default)]
pub(crate) struct Access {
    root: bool,
    roles: Vec<String>,
    read: Intervals,
    write: Intervals,
}

/// The users asked about at one auth revision. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compiled {
    users: Arc<RwLock<HashMap<String, Arc<Access>>>>,
}

impl Compiled {
    /// What the user may do; `None`: there is no such user.
    fn access<R: Read>(&self, rows: &R, user: &str) -> Result<Option<Arc<Access>>, Fatal> {
        if let Some(access) = self.users.read().unwrap_or_else(PoisonError::into_inner).get(user) {
            return Ok(Some(Arc::clone(access)));
        }
        let Some(found) = rows::user(rows, user)? else {
            return Ok(None);
        };
        let access = Arc::new(Access::of(rows, found)?);
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= KEPT_MAX {
            users.clear();
        }
        users.insert(user.to_owned(), Arc::clone(&access));
        Ok(Some(access))
    }
}

impl Access {
    fn of<R: Read>(rows: &R, user: User) -> Result<Access, Fatal> {
        let root = user.roles.iter().any(|role| role == ROOT_ROLE);
        let mut access = Access { root, ..Access::default() };
        for name in &user.roles {
            // A role that was granted may be missing: `root` need not be added.
            for permission in rows::role(rows, name)?.map(|role| role.permissions).unwrap_or_default() {
                if permission.kind.reads() {
                    access.read.insert(&permission.range);
                }
                if permission.kind.writes() {
                    access.write.insert(&permission.range);
                }
            }
        }
        access.roles = user.roles;
        Ok(access)
    }
}

/// Everything a check looks at.
#[derive(Debug)]
pub(crate) struct Gate<'a, R> {
    pub(crate) rows: &'a R,
    pub(crate) status: AuthStatus,
    pub(crate) compiled: &'a Compiled,
}

/// A kind of access to keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Read,
    Write,
}

impl<R: Read> Gate<'_, R> {
    /// Whether the user of `origin` has what is needed, as far as it is not about the keys of a lease:
    /// those only `lease` knows.
    pub(crate) fn permit(&self, origin: &Origin, need: &Need) -> Result<(), ReadError> {
        if !self.status.enabled {
            return Ok(());
        }
        match need {
            Need::User if origin.user.is_empty() => Err(Refusal::UserEmpty.into()),
            Need::User | Need::ReadLease(_) | Need::WriteLease(_) => Ok(()),
            Need::Root => self.root(origin),
            Need::RootOrUser(user) if *user == origin.user && !user.is_empty() => Ok(()),
            Need::RootOrUser(_) => self.root(origin),
            Need::RootOrRole(role) => match self.compiled.access(self.rows, &origin.user)? {
                Some(access) if access.roles.contains(role) => Ok(()),
                Some(_) | None => self.root(origin),
            },
            Need::Read(range) => self.keys(origin, To::Read, range),
            Need::Write(range) => self.keys(origin, To::Write, range),
        }
    }

    /// Whether the user has role `root`, whatever has changed since it asked.
    pub(crate) fn root(&self, origin: &Origin) -> Result<(), ReadError> {
        if !self.status.enabled {
            return Ok(());
        }
        if origin.user.is_empty() {
            return Err(Refusal::UserEmpty.into());
        }
        match self.compiled.access(self.rows, &origin.user)? {
            None => Err(Refusal::UserNotFound.into()),
            Some(access) if access.root => Ok(()),
            Some(_) => Err(Refusal::PermissionDenied.into()),
        }
    }

    /// Whether the user may read or write all of `range`.
    pub(crate) fn keys(&self, origin: &Origin, to: To, range: &KeyRange) -> Result<(), ReadError> {
        if !self.status.enabled {
            return Ok(());
        }
        if origin.auth_revision == 0 {
            return Err(Refusal::UserEmpty.into());
        }
        if origin.auth_revision < self.status.revision {
            return Err(Refusal::AuthRevisionOld.into());
        }
        match self.compiled.access(self.rows, &origin.user)? {
            Some(access) if access.root || access.covers(to, range) => Ok(()),
            Some(_) | None => Err(Refusal::PermissionDenied.into()),
        }
    }
}

impl Access {
    fn covers(&self, to: To, range: &KeyRange) -> bool {
        let granted = match to {
            To::Read => &self.read,
            To::Write => &self.write,
        };
        // A range that no key can be in is asked for by its first key, as in etcd.
        match &range.end {
            RangeEnd::Single => granted.contains(&range.start),
            RangeEnd::Before(_) if range.is_empty() => granted.contains(&range.start),
            RangeEnd::Before(end) => granted.covers(&range.start, Some(end)),
            RangeEnd::Open => granted.covers(&range.start, None),
        }
    }
}
