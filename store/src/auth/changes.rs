//! What each change of users and roles does, with etcd's order of checks. A refusal has changed nothing.
use super::{AuthEffect, AuthStatus, rows};
use crate::command::AuthChange;
use crate::engine::Read;
use crate::engine::staged::Staged;
use crate::error::{ReadError, Refusal};
use crate::types::{KeyRange, Permission, ROOT_ROLE, ROOT_USER, RangeEnd, Role, User};

/// Users and roles while an entry changes them.
#[derive(Debug)]
pub(crate) struct Users<'a, V: Read> {
    pub(crate) rows: &'a mut Staged<V>,
    pub(crate) status: &'a mut AuthStatus,
}

impl<V: Read> Users<'_, V> {
    /// Makes the change, and says whose tokens are void by it.
    pub(crate) fn change(&mut self, change: &AuthChange) -> Result<Option<AuthEffect>, ReadError> {
        match change {
            AuthChange::Enable => self.enable()?,
            AuthChange::Disable => return Ok(self.disable()),
            // Gives a token, changes nothing: `state` asks `authenticate`.
            AuthChange::Authenticate { .. } => {}
            AuthChange::UserAdd { name, password, no_password } => {
                let password = if *no_password { bytes::Bytes::new() } else { password.clone() };
                let (name, no_password) = (name.clone(), *no_password);
                self.user_add(User { name, password, no_password, roles: Vec::new() })?;
            }
            AuthChange::UserDelete { name } => return self.user_delete(name).map(Some),
            AuthChange::UserChangePassword { name, password } => {
                let mut user = self.user(name)?;
                if !user.no_password {
                    user.password = password.clone();
                }
                self.put_user(&user);
                return Ok(Some(AuthEffect::UserTokensDropped { user: name.clone() }));
            }
            AuthChange::UserGrantRole { user, role } => self.user_grant(user, role)?,
            AuthChange::UserRevokeRole { user, role } => self.user_revoke(user, role)?,
            AuthChange::RoleAdd { name } => self.role_add(name)?,
            AuthChange::RoleDelete { name } => self.role_delete(name)?,
            AuthChange::RoleGrantPermission { role, permission } => {
                self.role_grant(role, permission.as_ref())?;
            }
            AuthChange::RoleRevokePermission { role, range } => self.role_revoke(role, range)?,
        }
        Ok(None)
    }

    /// Whether the user can be given a token: its password was right at `checked_revision` (0: long ago
    /// enough to be sure).
    pub(crate) fn authenticate(&self, user: &str, checked_revision: u64) -> Result<(), ReadError> {
        if !self.status.enabled {
            return Err(Refusal::AuthNotEnabled.into());
        }
        if checked_revision != 0 && checked_revision < self.status.revision {
            return Err(Refusal::AuthRevisionOld.into());
        }
        match rows::user(self.rows, user)? {
            Some(user) if !user.no_password => Ok(()),
            Some(_) | None => Err(Refusal::AuthFailed.into()),
        }
    }

    /// Enabling is no change of users or roles: the revision stays.
    fn enable(&mut self) -> Result<(), ReadError> {
        if self.status.enabled {
            return Ok(());
        }
        let root = rows::user(self.rows, ROOT_USER)?.ok_or(Refusal::RootUserNotFound)?;
        if !root.roles.iter().any(|role| role == ROOT_ROLE) {
            return Err(Refusal::RootRoleNotGranted.into());
        }
        self.status.enabled = true;
        Ok(())
    }

    fn disable(&mut self) -> Option<AuthEffect> {
        if !self.status.enabled {
            return None;
        }
        self.status.enabled = false;
        self.status.revision += 1;
        Some(AuthEffect::AllTokensDropped)
    }

    fn user_add(&mut self, user: User) -> Result<(), ReadError> {
        if user.name.is_empty() {
            return Err(Refusal::UserEmpty.into());
        }
        if rows::user(self.rows, &user.name)?.is_some() {
            return Err(Refusal::UserExists.into());
        }
        self.put_user(&user);
        Ok(())
    }

    fn user_delete(&mut self, name: &str) -> Result<AuthEffect, ReadError> {
        if self.status.enabled && name == ROOT_USER {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        self.user(name)?;
        rows::delete_user(self.rows, name);
        self.status.revision += 1;
        Ok(AuthEffect::UserTokensDropped { user: name.to_owned() })
    }

    fn user_grant(&mut self, name: &str, role: &str) -> Result<(), ReadError> {
        let mut user = self.user(name)?;
        if role != ROOT_ROLE {
            self.role(role)?;
        }
        // Granting again is no change.
        if let Err(at) = user.roles.binary_search_by(|has| has.as_str().cmp(role)) {
            user.roles.insert(at, role.to_owned());
            self.put_user(&user);
        }
        Ok(())
    }

    fn user_revoke(&mut self, name: &str, role: &str) -> Result<(), ReadError> {
        if self.status.enabled && name == ROOT_USER && role == ROOT_ROLE {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        let mut user = self.user(name)?;
        if !take_role(&mut user, role) {
            return Err(Refusal::RoleNotGranted.into());
        }
        self.put_user(&user);
        Ok(())
    }

    fn role_add(&mut self, name: &str) -> Result<(), ReadError> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty.into());
        }
        if rows::role(self.rows, name)?.is_some() {
            return Err(Refusal::RoleExists.into());
        }
        self.put_role(&Role { name: name.to_owned(), permissions: Vec::new() });
        Ok(())
    }

    fn role_delete(&mut self, name: &str) -> Result<(), ReadError> {
        if self.status.enabled && name == ROOT_ROLE {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        self.role(name)?;
        rows::delete_role(self.rows, name);
        for mut user in rows::users(self.rows)? {
            if take_role(&mut user, name) {
                rows::put_user(self.rows, &user);
            }
        }
        self.status.revision += 1;
        Ok(())
    }

    /// etcd's way, which is seen by whoever lists the role: of the permissions that begin with the key, only
    /// the first is looked at for being the same range. Another one of that key is added beside it, even
    /// if it is there. Granting what is granted counts as a change.
    fn role_grant(&mut self, name: &str, permission: Option<&Permission>) -> Result<(), ReadError> {
        let permission = permission.ok_or(Refusal::PermissionNotGiven)?;
        if !is_grantable(&permission.range) {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        let mut role = self.role(name)?;
        let key = &permission.range.start;
        let at = role.permissions.partition_point(|has| has.range.start < *key);
        match role.permissions.get_mut(at) {
            Some(first) if first.range == permission.range => first.kind = permission.kind,
            Some(_) | None => {
                let behind = role.permissions.partition_point(|has| has.range.start <= *key);
                role.permissions.insert(behind, permission.clone());
            }
        }
        self.put_role(&role);
        Ok(())
    }

    fn role_revoke(&mut self, name: &str, range: &KeyRange) -> Result<(), ReadError> {
        let mut role = self.role(name)?;
        let before = role.permissions.len();
        role.permissions.retain(|has| has.range != *range);
        if role.permissions.len() == before {
            return Err(Refusal::PermissionNotGranted.into());
        }
        self.put_role(&role);
        Ok(())
    }

    fn user(&self, name: &str) -> Result<User, ReadError> {
        Ok(rows::user(self.rows, name)?.ok_or(Refusal::UserNotFound)?)
    }

    fn role(&self, name: &str) -> Result<Role, ReadError> {
        Ok(rows::role(self.rows, name)?.ok_or(Refusal::RoleNotFound)?)
    }

    fn put_user(&mut self, user: &User) {
        rows::put_user(self.rows, user);
        self.status.revision += 1;
    }

    fn put_role(&mut self, role: &Role) {
        rows::put_role(self.rows, role);
        self.status.revision += 1;
    }
}

fn take_role(user: &mut User, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|has| has != role);
    user.roles.len() != before
}

/// A key, a range that keys can be in, or a range without an end.
fn is_grantable(range: &KeyRange) -> bool {
    !range.start.is_empty()
        && match &range.end {
            RangeEnd::Single | RangeEnd::Open => true,
            RangeEnd::Before(end) => range.start < *end,
        }
}
