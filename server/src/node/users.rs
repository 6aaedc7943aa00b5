//! The in-process client's calls about users and roles: etcd's Auth service.
use bramble_store::auth::{AuthStatus, Credentials, Need};
use bramble_store::command::{Action, AuthChange, Origin};
use bramble_store::error::{Invalid, Refusal};
use bramble_store::store::Reply;
use bramble_store::types::{KeyRange, Permission, PermissionKind, ROOT_ROLE, RangeEnd};
use bytes::Bytes;
use tokio::time::Instant;

use super::access::Seen;
use super::answers::{Answer, Caller};
use super::client::Client;
use super::error::{Error, NotNow, Unknown};
use crate::auth::passwords::NoHash;
use crate::auth::tokens::Tokens;

/// What a user will be known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPassword {
    /// A password, which is hashed here; at most 72 bytes.
    Plain(String),
    /// A bcrypt hash made elsewhere. Empty: no password is right.
    Hashed(Bytes),
    /// None: only a certificate makes it known.
    None,
}

impl Client {
    /// Turns auth on; on already is fine.
    ///
    /// # Errors
    /// `Refusal::RootUserNotFound`, `RootRoleNotGranted`; see [`Client::user_add`].
    pub async fn auth_enable(&self, caller: &Caller) -> Result<Answer<()>, Error> {
        self.change_auth(caller, AuthChange::Enable).await
    }

    /// Turns auth off, and ends all tokens.
    ///
    /// # Errors
    /// See [`Client::user_add`].
    pub async fn auth_disable(&self, caller: &Caller) -> Result<Answer<()>, Error> {
        self.change_auth(caller, AuthChange::Disable).await
    }

    /// Whether auth is on, and its revision.
    ///
    /// # Errors
    /// `Refusal::PermissionDenied` and its kin while auth is on; [`NotNow`].
    pub async fn auth_status(&self, caller: &Caller) -> Result<Answer<AuthStatus>, Error> {
        let seen = self.look(caller, Need::Root).await?;
        Ok(self.answer(seen.view.revision(), seen.view.auth()))
    }

    /// Checks a password and gives a token for it. Who calls is not looked at.
    ///
    /// etcd does not hide which users there are, by text (`NoPasswordUser`) and by time, and neither does
    /// this: a login that cannot succeed costs no bcrypt.
    ///
    /// # Errors
    /// `Refusal::AuthNotEnabled`, `AuthFailed`, `NoPasswordUser`; `NotNow::VerifyOnly`,
    /// `TooManyRequests`; [`Unknown`].
    pub async fn authenticate(
        &self,
        caller: &Caller,
        user: &str,
        password: &str,
    ) -> Result<Answer<String>, Error> {
        self.core.admit(caller)?;
        let deadline = self.core.deadline();
        self.core.barrier().await?;
        loop {
            let credentials =
                self.core.view()?.credentials(user).map_err(|error| self.core.read_error(error))?;
            let Credentials { password: hash, auth_revision } = credentials;
            let right = self.core.passwords.matches(password.to_owned(), hash.to_vec()).await;
            if !right.map_err(no_hash)? {
                return Err(Refusal::AuthFailed.into());
            }
            // Users or roles may have changed while the password was looked at; the entry says so.
            match self.assign(user, auth_revision).await {
                Err(Error::Refused(Refusal::AuthRevisionOld)) if Instant::now() < deadline => {}
                Err(Error::Refused(Refusal::AuthRevisionOld)) => return Err(Unknown::TimedOut.into()),
                done => return done,
            }
        }
    }

    /// Proposes a login whose password was right at `auth_revision`.
    async fn assign(&self, user: &str, auth_revision: u64) -> Result<Answer<String>, Error> {
        let token = self.core.tokens.begin(self.core.entropy.as_ref());
        let action = Action::Auth(AuthChange::Authenticate { user: user.to_owned(), token });
        let origin = Origin { user: String::new(), auth_revision };
        let (revision, token, auth_revision) = match self.core.propose_as(origin, action).await? {
            Reply::Authenticated { revision, token, auth_revision } => (revision, token, auth_revision),
            other => return Err(self.mismatch(&other)),
        };
        let token = match &*self.core.tokens {
            Tokens::Simple(_) => token,
            Tokens::Jwt(jwt) => jwt.sign(user, auth_revision).ok_or(NotNow::VerifyOnly)?,
            Tokens::None => return Err(Refusal::AuthFailed.into()),
        };
        Ok(self.answer(revision, token))
    }

    /// Adds a user without roles.
    ///
    /// # Errors
    /// `Invalid::PasswordTooLong`; `Refusal::UserEmpty`, `UserExists`; while auth is on
    /// `Refusal::PermissionDenied` and its kin; [`NotNow`]; [`Unknown`].
    pub async fn user_add(
        &self,
        caller: &Caller,
        name: &str,
        password: NewPassword,
    ) -> Result<Answer<()>, Error> {
        self.core.permitted(caller, &[Need::Root]).await?;
        let no_password = password == NewPassword::None;
        let (name, password) = (name.to_owned(), self.hashed(password).await?);
        self.change_auth(caller, AuthChange::UserAdd { name, password, no_password }).await
    }

    /// The roles of a user, ascending. A user may ask for its own.
    ///
    /// # Errors
    /// `Refusal::UserNotFound`; see [`Client::user_add`].
    pub async fn user_get(&self, caller: &Caller, name: &str) -> Result<Answer<Vec<String>>, Error> {
        let seen = self.look(caller, Need::RootOrUser(name.to_owned())).await?;
        let user = seen.view.user(name).map_err(|fatal| self.core.failed(&fatal))?;
        let user = user.ok_or(Refusal::UserNotFound)?;
        Ok(self.answer(seen.view.revision(), user.roles))
    }

    /// The names of all users, ascending.
    ///
    /// # Errors
    /// See [`Client::user_add`].
    pub async fn user_list(&self, caller: &Caller) -> Result<Answer<Vec<String>>, Error> {
        let seen = self.look(caller, Need::Root).await?;
        let users = seen.view.users().map_err(|fatal| self.core.failed(&fatal))?;
        Ok(self.answer(seen.view.revision(), users.into_iter().map(|user| user.name).collect()))
    }

    /// Deletes a user, and ends its tokens.
    ///
    /// # Errors
    /// `Refusal::UserNotFound`, `InvalidAuthManagement` (`root`, while auth is on); see [`Client::user_add`].
    pub async fn user_delete(&self, caller: &Caller, name: &str) -> Result<Answer<()>, Error> {
        self.change_auth(caller, AuthChange::UserDelete { name: name.to_owned() }).await
    }

    /// Changes a password, and ends the user's tokens. A user that has none keeps none.
    ///
    /// # Errors
    /// `Refusal::UserNotFound`; see [`Client::user_add`].
    pub async fn user_change_password(
        &self,
        caller: &Caller,
        name: &str,
        password: NewPassword,
    ) -> Result<Answer<()>, Error> {
        self.core.permitted(caller, &[Need::Root]).await?;
        let (name, password) = (name.to_owned(), self.hashed(password).await?);
        self.change_auth(caller, AuthChange::UserChangePassword { name, password }).await
    }

    /// Grants a role to a user; granting it again is fine.
    ///
    /// # Errors
    /// `Refusal::UserNotFound`, `RoleNotFound`; see [`Client::user_add`].
    pub async fn user_grant_role(
        &self,
        caller: &Caller,
        user: &str,
        role: &str,
    ) -> Result<Answer<()>, Error> {
        let (user, role) = (user.to_owned(), role.to_owned());
        self.change_auth(caller, AuthChange::UserGrantRole { user, role }).await
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// `Refusal::UserNotFound`, `RoleNotGranted`, `InvalidAuthManagement`; see [`Client::user_add`].
    pub async fn user_revoke_role(
        &self,
        caller: &Caller,
        user: &str,
        role: &str,
    ) -> Result<Answer<()>, Error> {
        let (user, role) = (user.to_owned(), role.to_owned());
        self.change_auth(caller, AuthChange::UserRevokeRole { user, role }).await
    }

    /// Adds a role that allows nothing.
    ///
    /// # Errors
    /// `Refusal::RoleEmpty`, `RoleExists`; see [`Client::user_add`].
    pub async fn role_add(&self, caller: &Caller, name: &str) -> Result<Answer<()>, Error> {
        self.change_auth(caller, AuthChange::RoleAdd { name: name.to_owned() }).await
    }

    /// What a role allows, ascending by first key. Who has the role may ask. Role `root` allows
    /// everything, whatever was granted to it.
    ///
    /// # Errors
    /// `Refusal::RoleNotFound`; see [`Client::user_add`].
    pub async fn role_get(&self, caller: &Caller, name: &str) -> Result<Answer<Vec<Permission>>, Error> {
        let seen = self.look(caller, Need::RootOrRole(name.to_owned())).await?;
        let role = seen.view.role(name).map_err(|fatal| self.core.failed(&fatal))?;
        let role = role.ok_or(Refusal::RoleNotFound)?;
        let permissions = match role.name == ROOT_ROLE {
            true => vec![Permission { kind: PermissionKind::ReadWrite, range: everything() }],
            false => role.permissions,
        };
        Ok(self.answer(seen.view.revision(), permissions))
    }

    /// The names of all roles, ascending.
    ///
    /// # Errors
    /// See [`Client::user_add`].
    pub async fn role_list(&self, caller: &Caller) -> Result<Answer<Vec<String>>, Error> {
        let seen = self.look(caller, Need::Root).await?;
        let roles = seen.view.roles().map_err(|fatal| self.core.failed(&fatal))?;
        Ok(self.answer(seen.view.revision(), roles.into_iter().map(|role| role.name).collect()))
    }

    /// Deletes a role, and takes it from all users.
    ///
    /// # Errors
    /// `Refusal::RoleNotFound`, `InvalidAuthManagement` (`root`, while auth is on); see [`Client::user_add`].
    pub async fn role_delete(&self, caller: &Caller, name: &str) -> Result<Answer<()>, Error> {
        self.change_auth(caller, AuthChange::RoleDelete { name: name.to_owned() }).await
    }

    /// Lets a role do something; a permission on the same range is replaced.
    ///
    /// # Errors
    /// `Refusal::PermissionNotGiven`, `RoleNotFound`, `InvalidAuthManagement` (the range is none); see
    /// [`Client::user_add`].
    pub async fn role_grant_permission(
        &self,
        caller: &Caller,
        role: &str,
        permission: Option<Permission>,
    ) -> Result<Answer<()>, Error> {
        let role = role.to_owned();
        self.change_auth(caller, AuthChange::RoleGrantPermission { role, permission }).await
    }

    /// Takes a permission from a role; the range is exactly the one that was granted.
    ///
    /// # Errors
    /// `Refusal::RoleNotFound`, `PermissionNotGranted`; see [`Client::user_add`].
    pub async fn role_revoke_permission(
        &self,
        caller: &Caller,
        role: &str,
        range: KeyRange,
    ) -> Result<Answer<()>, Error> {
        let role = role.to_owned();
        self.change_auth(caller, AuthChange::RoleRevokePermission { role, range }).await
    }

    async fn change_auth(&self, caller: &Caller, change: AuthChange) -> Result<Answer<()>, Error> {
        match self.core.propose(caller, Action::Auth(change)).await? {
            Reply::AuthChanged { revision } => Ok(self.answer(revision, ())),
            other => Err(self.mismatch(&other)),
        }
    }

    /// A state as new as every acknowledged change, for who may look at it.
    async fn look(&self, caller: &Caller, need: Need) -> Result<Seen, Error> {
        self.core.admit(caller)?;
        self.core.barrier().await?;
        self.core.permitted(caller, &[need]).await
    }

    async fn hashed(&self, password: NewPassword) -> Result<Bytes, Error> {
        match password {
            NewPassword::Plain(password) => {
                self.core.passwords.hash(password).await.map(Bytes::from).map_err(no_hash)
            }
            NewPassword::Hashed(hash) => Ok(hash),
            NewPassword::None => Ok(Bytes::new()),
        }
    }
}

fn no_hash(why: NoHash) -> Error {
    match why {
        NoHash::TooLong => Invalid::PasswordTooLong.into(),
        NoHash::TooMany => NotNow::TooManyRequests.into(),
    }
}

/// As etcd shows it: from the empty key on.
fn everything() -> KeyRange {
    KeyRange { start: Bytes::new(), end: RangeEnd::Open }
}
