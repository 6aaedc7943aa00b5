//! Random changes of users, roles, alarms, checkpoints and downgrades, and who asks for them.
use bramble_store::command::{Action, AlarmChange, AuthChange, DowngradeChange, Origin};
use bramble_store::types::*;
use bytes::Bytes;

use crate::random::Random;
use crate::users::Office;

const USERS: [&str; 5] = ["root", "alice", "bob", "root2", ""];
const ROLES: [&str; 4] = ["root", "some", "more", ""];

impl Random {
    fn name(&mut self, from: &[&str]) -> String {
        // The empty one, the last, is rare.
        let end = if self.one_in(30) { from.len() } else { from.len() - 1 };
        from[self.below(end as u64) as usize].to_owned()
    }

    fn permission(&mut self) -> Permission {
        let kind = self.pick(&[PermissionKind::Read, PermissionKind::Write, PermissionKind::ReadWrite]);
        let range = if self.one_in(20) {
            KeyRange::from_wire(Bytes::new(), self.key())
        } else {
            self.range_of_keys()
        };
        Permission { kind, range }
    }

    fn auth_change(&mut self, office: &Office) -> AuthChange {
        let (user, role) = (self.name(&USERS), self.name(&ROLES));
        let password = Bytes::from(format!("hash{}", self.below(3)));
        match self.below(40) {
            // It stays on for a while, and off for a short one.
            0 if self.one_in(3) => AuthChange::Disable,
            1..=2 => AuthChange::Enable,
            3..=5 => AuthChange::Authenticate { user, token: self.pick(&["", "abc"]).to_owned() },
            6..=8 => AuthChange::UserAdd { name: user, password, no_password: self.one_in(3) },
            9 => AuthChange::UserDelete { name: user },
            10..=11 => AuthChange::UserChangePassword { name: user, password },
            12..=17 => AuthChange::UserGrantRole { user, role },
            18..=19 => AuthChange::UserRevokeRole { user, role },
            20..=21 => AuthChange::RoleAdd { name: role },
            22 => AuthChange::RoleDelete { name: role },
            23..=36 => {
                let permission = if self.one_in(40) { None } else { Some(self.permission()) };
                AuthChange::RoleGrantPermission { role, permission }
            }
            _ => {
                // Mostly one that is there.
                let there: Vec<_> = office
                    .roles
                    .iter()
                    .flat_map(|(name, has)| has.iter().map(move |has| (name, has)))
                    .collect();
                match there.is_empty() || self.one_in(5) {
                    true => AuthChange::RoleRevokePermission { role, range: self.range_of_keys() },
                    false => {
                        let (role, permission) = self.pick(&there);
                        AuthChange::RoleRevokePermission {
                            role: role.clone(),
                            range: permission.range.clone(),
                        }
                    }
                }
            }
        }
    }

    pub fn admin_action(&mut self, office: &Office) -> Action {
        let (member, kind) = (1 + self.below(2), self.pick(&[AlarmKind::NoSpace, AlarmKind::Corrupt]));
        match self.below(30) {
            0 => Action::Alarm(match self.below(4) {
                0 | 1 => AlarmChange::Activate { member, kind },
                2 => AlarmChange::OverQuota { member },
                _ => AlarmChange::UnderQuota { member },
            }),
            // Until all are cleared.
            1..=3 => match office.alarms.first().copied().filter(|_| !self.one_in(4)) {
                None => Action::Alarm(AlarmChange::Deactivate { member, kind }),
                Some((member, kind)) => Action::Alarm(AlarmChange::Deactivate { member, kind }),
            },
            4..=5 => Action::LeaseCheckpoint {
                remaining: (0..self.below(3))
                    .map(|_| (LeaseId(self.pick(&[1, 2, 3, -4])), self.below(9) as i64))
                    .collect(),
            },
            6 => Action::Downgrade(DowngradeChange::Enable { target_version: "3.5.0".to_owned() }),
            7 => Action::Downgrade(DowngradeChange::Cancel),
            _ => Action::Auth(self.auth_change(office)),
        }
    }

    /// Who asks: mostly somebody who was just checked, mostly root for what only root may.
    pub fn origin(&mut self, office: &Office, admin: bool) -> Origin {
        let now = office.revision();
        let root = admin && !self.one_in(5);
        let user = if root { "root".to_owned() } else { self.name(&USERS) };
        let auth_revision = match self.below(24) {
            0 => 0,
            1 => now.saturating_sub(1 + self.below(3)),
            2 => now + self.below(2),
            _ => now,
        };
        match self.one_in(12) {
            true => Origin::default(),
            false => Origin { user, auth_revision },
        }
    }

    /// What makes a store whose auth is on: root, and two users with some roles.
    pub fn setup(&mut self) -> Vec<AuthChange> {
        let text = str::to_owned;
        let mut changes = Vec::new();
        for name in ["root", "alice", "bob"] {
            changes.push(AuthChange::UserAdd {
                name: text(name),
                password: "hash".into(),
                no_password: false,
            });
        }
        changes.push(AuthChange::UserGrantRole { user: text("root"), role: text("root") });
        for name in ["some", "more"] {
            changes.push(AuthChange::RoleAdd { name: text(name) });
            for _ in 0..self.below(6) {
                let permission = Some(self.permission());
                changes.push(AuthChange::RoleGrantPermission { role: text(name), permission });
            }
            let user = self.pick(&["alice", "bob"]).to_owned();
            changes.push(AuthChange::UserGrantRole { user, role: text(name) });
        }
        changes.push(AuthChange::Enable);
        changes
    }
}
