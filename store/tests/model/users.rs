//! The naive model of users, roles, alarms and downgrades: lists, and permissions tried key by key.
//!
//! Whether a range is covered is found by trying every key of a small alphabet. That is enough: wherever a
//! range, or a permission, begins or ends in these tests, the first key behind that place is among them, so
//! a gap between permissions shows at its first key.
use std::collections::BTreeSet;

use bramble_store::command::{Action, AlarmChange, AuthChange, DowngradeChange, Origin};
use bramble_store::error::Refusal;
use bramble_store::store::AuthEffect;
use bramble_store::types::*;
use bytes::Bytes;

use crate::random::KEYS;

#[derive(Clone, Debug, Default)]
pub struct Person {
    pub name: String,
    pub password: Bytes,
    pub no_password: bool,
    pub roles: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Office {
    pub on: bool,
    /// Changes of users so far; the auth revision is one more.
    pub changes: u64,
    pub people: Vec<Person>,
    pub roles: Vec<(String, Vec<Permission>)>,
    pub alarms: BTreeSet<(u64, AlarmKind)>,
    /// Members whose quota raised their NOSPACE, and nobody asked for it since.
    pub by_quota: BTreeSet<u64>,
    pub downgrade: Option<String>,
    pub effects: Vec<AuthEffect>,
}

/// A range that is asked for, to be written or to be read.
struct Ask {
    write: bool,
    range: KeyRange,
}

impl Office {
    pub fn revision(&self) -> u64 {
        1 + self.changes
    }

    fn person(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.name == name)
    }

    fn is_root(&self, name: &str) -> bool {
        self.person(name).is_some_and(|person| person.roles.contains("root"))
    }

    /// Whether alarms and permissions let `action` pass. `on_lease` says which keys hang on a lease.
    pub fn admit(
        &self,
        origin: &Origin,
        fenced: bool,
        action: &Action,
        on_lease: &dyn Fn(LeaseId) -> Vec<Bytes>,
    ) -> Result<(), Refusal> {
        let raised = |kind| self.alarms.iter().any(|(_, raised)| *raised == kind);
        let admin = |action: &Action| {
            !matches!(
                action,
                Action::Put(_)
                    | Action::Delete(_)
                    | Action::Txn(_)
                    | Action::LeaseGrant { .. }
                    | Action::LeaseRevoke { .. }
            )
        };
        if raised(AlarmKind::Corrupt) && (!admin(action) || matches!(action, Action::Compact { .. })) {
            return Err(Refusal::Corrupt);
        }
        if raised(AlarmKind::NoSpace) && may_put(action) {
            return Err(Refusal::NoSpace);
        }
        let nobody = origin.user.is_empty() && origin.auth_revision == 0;
        let upkeep =
            matches!(action, Action::Compact { .. } | Action::Alarm(_) | Action::LeaseCheckpoint { .. });
        if !self.on || (nobody && (fenced || upkeep)) {
            return Ok(());
        }
        match action {
            Action::Auth(AuthChange::Authenticate { .. }) => Ok(()),
            Action::LeaseGrant { .. } if origin.user.is_empty() => Err(Refusal::UserEmpty),
            Action::LeaseGrant { .. } => Ok(()),
            action if admin(action) => self.admit_root(&origin.user),
            action => {
                let mut asks = Vec::new();
                let exempt = |id| id == LeaseId::NONE || self.is_root(&origin.user);
                let lease = |id| if exempt(id) { Vec::new() } else { on_lease(id) };
                asks_of(action, &lease, &mut asks);
                asks.iter().try_for_each(|ask| self.admit_keys(origin, ask.write, &ask.range))
            }
        }
    }

    pub fn admit_root(&self, user: &str) -> Result<(), Refusal> {
        match self.person(user) {
            _ if !self.on => Ok(()),
            _ if user.is_empty() => Err(Refusal::UserEmpty),
            None => Err(Refusal::UserNotFound),
            Some(_) if self.is_root(user) => Ok(()),
            Some(_) => Err(Refusal::PermissionDenied),
        }
    }

    pub fn admit_keys(&self, origin: &Origin, write: bool, range: &KeyRange) -> Result<(), Refusal> {
        match origin.auth_revision {
            _ if !self.on => Ok(()),
            0 => Err(Refusal::UserEmpty),
            checked if checked < self.revision() => Err(Refusal::AuthRevisionOld),
            _ if self.is_root(&origin.user) || self.allows(&origin.user, write, range) => Ok(()),
            _ => Err(Refusal::PermissionDenied),
        }
    }

    fn allows(&self, user: &str, write: bool, range: &KeyRange) -> bool {
        let Some(person) = self.person(user) else {
            return false;
        };
        let of_roles = self.roles.iter().filter(|(name, _)| person.roles.contains(name));
        let permissions: Vec<&Permission> = of_roles.flat_map(|(_, permissions)| permissions).collect();
        let allowed = |key: &[u8]| {
            permissions.iter().any(|permission| {
                let kind = match permission.kind {
                    PermissionKind::Read => !write,
                    PermissionKind::Write => write,
                    PermissionKind::ReadWrite => true,
                };
                kind && permission.range.contains(key)
            })
        };
        if range.is_empty() {
            return allowed(&range.start);
        }
        let keys = KEYS.iter().flat_map(|key| [key.to_vec(), [key, &b"\0"[..]].concat()]);
        keys.filter(|key| range.contains(key)).all(|key| allowed(&key))
    }

    /// Makes a change that was admitted.
    pub fn change(&mut self, change: &AuthChange, index: u64, origin: &Origin) -> Result<String, Refusal> {
        let drop_tokens = |name: &str| AuthEffect::UserTokensDropped { user: name.to_owned() };
        match change {
            AuthChange::Enable if self.on => return Ok(String::new()),
            AuthChange::Enable => {
                self.person("root").ok_or(Refusal::RootUserNotFound)?;
                self.on = self.is_root("root");
                return if self.on { Ok(String::new()) } else { Err(Refusal::RootRoleNotGranted) };
            }
            AuthChange::Disable if !self.on => return Ok(String::new()),
            AuthChange::Disable => {
                self.on = false;
                self.effects.push(AuthEffect::AllTokensDropped);
            }
            AuthChange::Authenticate { user, token } => {
                return self.authenticate(user, token, index, origin.auth_revision);
            }
            AuthChange::UserAdd { name, .. } if name.is_empty() => return Err(Refusal::UserEmpty),
            AuthChange::UserAdd { name, .. } if self.person(name).is_some() => {
                return Err(Refusal::UserExists);
            }
            AuthChange::UserAdd { name, password, no_password } => {
                let (name, no_password, roles) = (name.clone(), *no_password, BTreeSet::new());
                let password = if no_password { Bytes::new() } else { password.clone() };
                self.people.push(Person { name, password, no_password, roles });
            }
            AuthChange::UserDelete { name } if self.on && name == "root" => {
                return Err(Refusal::InvalidAuthManagement);
            }
            AuthChange::UserDelete { name } => {
                self.known(name)?;
                self.people.retain(|person| person.name != *name);
                self.effects.push(drop_tokens(name));
            }
            AuthChange::UserChangePassword { name, password } => {
                let person = self.known(name)?;
                if !person.no_password {
                    person.password = password.clone();
                }
                self.effects.push(drop_tokens(name));
            }
            AuthChange::UserGrantRole { user, role } => {
                self.known(user)?;
                if role != "root" {
                    self.role(role)?;
                }
                if !self.known(user)?.roles.insert(role.clone()) {
                    return Ok(String::new());
                }
            }
            AuthChange::UserRevokeRole { user, role } if self.on && user == "root" && role == "root" => {
                return Err(Refusal::InvalidAuthManagement);
            }
            AuthChange::UserRevokeRole { user, role } => {
                if !self.known(user)?.roles.remove(role) {
                    return Err(Refusal::RoleNotGranted);
                }
            }
            other => self.change_role(other)?,
        }
        self.changes += 1;
        Ok(String::new())
    }

    fn change_role(&mut self, change: &AuthChange) -> Result<(), Refusal> {
        match change {
            AuthChange::RoleAdd { name } if name.is_empty() => return Err(Refusal::RoleEmpty),
            AuthChange::RoleAdd { name } => {
                if self.role(name).is_ok() {
                    return Err(Refusal::RoleExists);
                }
                self.roles.push((name.clone(), Vec::new()));
            }
            AuthChange::RoleDelete { name } if self.on && name == "root" => {
                return Err(Refusal::InvalidAuthManagement);
            }
            AuthChange::RoleDelete { name } => {
                self.role(name)?;
                self.roles.retain(|(role, _)| role != name);
                for person in &mut self.people {
                    person.roles.remove(name);
                }
            }
            AuthChange::RoleGrantPermission { permission: None, .. } => {
                return Err(Refusal::PermissionNotGiven);
            }
            AuthChange::RoleGrantPermission { role, permission: Some(granted) } => {
                let possible = !granted.range.start.is_empty() && !granted.range.is_empty();
                let permissions = self.role(role);
                if !possible {
                    return Err(Refusal::InvalidAuthManagement);
                }
                let permissions = permissions?;
                let first = permissions.iter_mut().find(|has| has.range.start == granted.range.start);
                match first.filter(|first| first.range == granted.range) {
                    Some(first) => first.kind = granted.kind,
                    None => permissions.push(granted.clone()),
                }
                permissions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
            }
            AuthChange::RoleRevokePermission { role, range } => {
                let permissions = self.role(role)?;
                if !permissions.iter().any(|has| has.range == *range) {
                    return Err(Refusal::PermissionNotGranted);
                }
                permissions.retain(|has| has.range != *range);
            }
            other => unreachable!("{other:?} is not about roles"),
        }
        Ok(())
    }

    fn authenticate(&mut self, user: &str, token: &str, index: u64, checked: u64) -> Result<String, Refusal> {
        if !self.on {
            return Err(Refusal::AuthNotEnabled);
        }
        if checked != 0 && checked < self.revision() {
            return Err(Refusal::AuthRevisionOld);
        }
        if self.person(user).is_none_or(|person| person.no_password) {
            return Err(Refusal::AuthFailed);
        }
        if token.is_empty() {
            return Ok(String::new());
        }
        let (user, token) = (user.to_owned(), format!("{token}.{index}"));
        self.effects.push(AuthEffect::TokenAssigned { user, token: token.clone() });
        Ok(token)
    }

    pub fn change_alarm(&mut self, change: AlarmChange) -> Vec<(u64, AlarmKind)> {
        match change {
            AlarmChange::Activate { member, kind } => {
                if kind == AlarmKind::NoSpace {
                    self.by_quota.remove(&member);
                }
                self.alarms.insert((member, kind));
                vec![(member, kind)]
            }
            AlarmChange::Deactivate { member, kind } => {
                if kind == AlarmKind::NoSpace {
                    self.by_quota.remove(&member);
                }
                self.alarms.take(&(member, kind)).into_iter().collect()
            }
            AlarmChange::OverQuota { member } => {
                if self.alarms.insert((member, AlarmKind::NoSpace)) {
                    self.by_quota.insert(member);
                }
                vec![(member, AlarmKind::NoSpace)]
            }
            AlarmChange::UnderQuota { member } if self.by_quota.contains(&member) => {
                self.change_alarm(AlarmChange::Deactivate { member, kind: AlarmKind::NoSpace })
            }
            AlarmChange::UnderQuota { .. } => Vec::new(),
        }
    }

    pub fn change_downgrade(&mut self, change: &DowngradeChange) -> Result<(), Refusal> {
        self.downgrade = match (change, self.downgrade.is_some()) {
            (DowngradeChange::Enable { .. }, true) => return Err(Refusal::DowngradeInProgress),
            (DowngradeChange::Cancel, false) => return Err(Refusal::NoDowngrade),
            (DowngradeChange::Enable { target_version }, false) => Some(target_version.clone()),
            (DowngradeChange::Cancel, true) => None,
        };
        Ok(())
    }

    fn known(&mut self, name: &str) -> Result<&mut Person, Refusal> {
        self.people.iter_mut().find(|person| person.name == name).ok_or(Refusal::UserNotFound)
    }

    fn role(&mut self, name: &str) -> Result<&mut Vec<Permission>, Refusal> {
        let found = self.roles.iter_mut().find(|(role, _)| role == name);
        found.map(|(_, permissions)| permissions).ok_or(Refusal::RoleNotFound)
    }
}

/// Whether anything in it could put something, or it is a grant.
fn may_put(action: &Action) -> bool {
    fn puts(txn: &TxnRequest) -> bool {
        txn.success.iter().chain(&txn.failure).any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(txn) => puts(txn),
            Op::Range(_) | Op::Delete(_) => false,
        })
    }
    match action {
        Action::Put(_) | Action::LeaseGrant { .. } => true,
        Action::Txn(txn) => puts(txn),
        _ => false,
    }
}

fn asks_of(action: &Action, lease: &dyn Fn(LeaseId) -> Vec<Bytes>, asks: &mut Vec<Ask>) {
    match action {
        Action::Put(put) => asks_of_op(&Op::Put(put.clone()), lease, asks),
        Action::Delete(delete) => asks_of_op(&Op::Delete(delete.clone()), lease, asks),
        Action::Txn(txn) => asks_of_op(&Op::Txn(txn.clone()), lease, asks),
        Action::LeaseRevoke { id } => {
            asks.extend(lease(*id).into_iter().map(|key| Ask { write: true, range: KeyRange::single(key) }));
        }
        other => unreachable!("{other:?} is not about keys"),
    }
}

fn asks_of_op(op: &Op, lease: &dyn Fn(LeaseId) -> Vec<Bytes>, asks: &mut Vec<Ask>) {
    let ask = |write, range: &KeyRange| Ask { write, range: range.clone() };
    match op {
        Op::Range(read) => asks.push(ask(false, &read.range)),
        Op::Put(put) => {
            let key = KeyRange::single(put.key.clone());
            asks.push(ask(true, &key));
            if put.prev_kv {
                asks.push(ask(false, &key));
            }
            asks.extend(lease(put.lease).into_iter().map(|key| ask(true, &KeyRange::single(key))));
        }
        Op::Delete(delete) => {
            asks.push(ask(true, &delete.range));
            if delete.prev_kv {
                asks.push(ask(false, &delete.range));
            }
        }
        Op::Txn(txn) => {
            asks.extend(txn.compare.iter().map(|compare| ask(false, &compare.range)));
            txn.success.iter().chain(&txn.failure).for_each(|op| asks_of_op(op, lease, asks));
        }
    }
}
