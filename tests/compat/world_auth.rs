//! What the generator knows about users and roles: again enough to aim, never what to expect.
use std::collections::{BTreeMap, BTreeSet};

use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::call::Identity;
use crate::words::Request;

/// The user without whom nothing can be enabled, and the role of that name.
pub const ROOT: &str = "root";
/// Users that come and go.
pub const USERS: &[&str] = &["u1", "u2", "u3", "u4", "ü 5"];
/// Roles that come and go.
pub const ROLES: &[&str] = &["r1", "r2", "r3", "r4", "r5"];
/// A bcrypt hash, and what it is of: a change of password may bring its own.
pub const HASHED: (&str, &str) =
    ("JDJhJDA0JEpVSnpOUGsybFBQcE43a09Vd0FvL3VrUThYaGlSN1F6bXIwcVZMMFhJalFkcGFrdjVTaVdh", "hashed before");

/// A token that was given.
#[derive(Debug)]
pub struct Token {
    /// To whom.
    pub user: String,
    /// Whether nothing has happened that takes it away.
    pub living: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct AuthWorld {
    pub enabled: bool,
    /// Users and their passwords, if they have one.
    pub users: BTreeMap<String, Option<String>>,
    pub roles: BTreeSet<String>,
    /// (user, role)
    pub granted: BTreeSet<(String, String)>,
    /// (role, key, range_end)
    pub permitted: BTreeSet<(String, Bytes, Bytes)>,
    /// In the order they were given.
    pub tokens: Vec<Token>,
}

impl AuthWorld {
    /// Follows what the oracle has done.
    pub fn learn(&mut self, request: &Request) {
        match request {
            Request::AuthEnable(_) => self.enabled = true,
            Request::AuthDisable(_) => {
                self.enabled = false;
                self.tokens.iter_mut().for_each(|token| token.living = false);
            }
            Request::Authenticate(it) => self.tokens.push(Token { user: it.name.clone(), living: true }),
            Request::UserAdd(it) => {
                let bare = it.options.as_ref().is_some_and(|options| options.no_password);
                self.users.insert(it.name.clone(), (!bare).then(|| it.password.clone()));
            }
            Request::UserChangePassword(it) => {
                let brought = it.password.is_empty() && it.hashed_password == HASHED.0;
                let password = if brought { HASHED.1.to_string() } else { it.password.clone() };
                if let Some(known) = self.users.get_mut(&it.name) {
                    *known = known.as_ref().map(|_| password);
                }
                self.drop_tokens(&it.name);
            }
            _ => self.learn_grants(request),
        }
    }

    fn learn_grants(&mut self, request: &Request) {
        match request {
            Request::UserDelete(it) => {
                self.users.remove(&it.name);
                self.granted.retain(|(user, _)| *user != it.name);
                self.drop_tokens(&it.name);
            }
            Request::UserGrantRole(it) => drop(self.granted.insert((it.user.clone(), it.role.clone()))),
            Request::UserRevokeRole(it) => drop(self.granted.remove(&(it.name.clone(), it.role.clone()))),
            Request::RoleAdd(it) => drop(self.roles.insert(it.name.clone())),
            Request::RoleDelete(it) => {
                self.roles.remove(&it.role);
                self.granted.retain(|(_, role)| *role != it.role);
                self.permitted.retain(|(role, _, _)| *role != it.role);
            }
            Request::RoleGrantPermission(it) => {
                let perm = it.perm.clone().unwrap_or_default();
                self.permitted.insert((it.name.clone(), perm.key, perm.range_end));
            }
            Request::RoleRevokePermission(it) => {
                self.permitted.remove(&(it.role.clone(), it.key.clone(), it.range_end.clone()));
            }
            _ => {}
        }
    }

    fn drop_tokens(&mut self, user: &str) {
        self.tokens.iter_mut().filter(|token| token.user == user).for_each(|token| token.living = false);
    }

    /// A living token of the first user that satisfies this.
    pub fn living(&self, chance: &mut Chance, of: impl Fn(&str) -> bool) -> Option<Identity> {
        let fits = |token: &Token| token.living && of(&token.user);
        let all: Vec<usize> = (0..self.tokens.len()).filter(|index| fits(&self.tokens[*index])).collect();
        if all.is_empty() { None } else { Some(Identity::Token(*chance.pick(&all))) }
    }

    /// A token that was taken away.
    pub fn dropped(&self, chance: &mut Chance) -> Option<Identity> {
        let all: Vec<usize> = (0..self.tokens.len()).filter(|index| !self.tokens[*index].living).collect();
        if all.is_empty() { None } else { Some(Identity::Token(*chance.pick(&all))) }
    }

    /// Whether this user may do everything.
    pub fn is_root(&self, user: &str) -> bool {
        self.granted.contains(&(user.to_string(), ROOT.to_string()))
    }

    /// The class of an identity, for the grid.
    pub fn class(&self, identity: &Identity) -> &'static str {
        match identity {
            Identity::Nobody => "nobody",
            Identity::Garbage(_) => "garbage",
            Identity::Token(index) if !self.tokens[*index].living => "a dropped token",
            Identity::Token(index) if self.is_root(&self.tokens[*index].user) => "root",
            Identity::Token(_) => "a user",
        }
    }
}
