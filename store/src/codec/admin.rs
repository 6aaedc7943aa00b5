//! The bodies of commands about users, alarms, what is left of leases, and downgrades. A tag byte says
//! which change it is; its fields follow in the order below.
use super::command::{cut_key_range, cut_list, cut_text, put_key_range};
use super::varint::{Cut, put_bytes, put_i64, put_u64};
use crate::command::{AlarmChange, AuthChange, DowngradeChange};
use crate::types::{AlarmKind, LeaseId, Permission, PermissionKind};

mod auth {
    pub(super) const ENABLE: u8 = 1;
    pub(super) const DISABLE: u8 = 2;
    pub(super) const AUTHENTICATE: u8 = 3;
    pub(super) const USER_ADD: u8 = 4;
    pub(super) const USER_DELETE: u8 = 5;
    pub(super) const USER_CHANGE_PASSWORD: u8 = 6;
    pub(super) const USER_GRANT_ROLE: u8 = 7;
    pub(super) const USER_REVOKE_ROLE: u8 = 8;
    pub(super) const ROLE_ADD: u8 = 9;
    pub(super) const ROLE_DELETE: u8 = 10;
    pub(super) const ROLE_GRANT_PERMISSION: u8 = 11;
    pub(super) const ROLE_REVOKE_PERMISSION: u8 = 12;
}

const ACTIVATE: u8 = 1;
const DEACTIVATE: u8 = 2;
const OVER_QUOTA: u8 = 3;
const UNDER_QUOTA: u8 = 4;

const DOWNGRADE: u8 = 1;
const CANCEL: u8 = 2;

pub(super) fn put_auth(out: &mut Vec<u8>, change: &AuthChange) {
    match change {
        AuthChange::Enable => out.push(auth::ENABLE),
        AuthChange::Disable => out.push(auth::DISABLE),
        AuthChange::Authenticate { user, token } => put_tagged(out, auth::AUTHENTICATE, &[user, token]),
        AuthChange::UserAdd { name, password, no_password } => {
            put_tagged(out, auth::USER_ADD, &[name]);
            put_bytes(out, password);
            out.push(u8::from(*no_password));
        }
        AuthChange::UserDelete { name } => put_tagged(out, auth::USER_DELETE, &[name]),
        AuthChange::UserChangePassword { name, password } => {
            put_tagged(out, auth::USER_CHANGE_PASSWORD, &[name]);
            put_bytes(out, password);
        }
        AuthChange::UserGrantRole { user, role } => put_tagged(out, auth::USER_GRANT_ROLE, &[user, role]),
        AuthChange::UserRevokeRole { user, role } => put_tagged(out, auth::USER_REVOKE_ROLE, &[user, role]),
        AuthChange::RoleAdd { name } => put_tagged(out, auth::ROLE_ADD, &[name]),
        AuthChange::RoleDelete { name } => put_tagged(out, auth::ROLE_DELETE, &[name]),
        AuthChange::RoleGrantPermission { role, permission } => {
            put_tagged(out, auth::ROLE_GRANT_PERMISSION, &[role]);
            put_permission(out, permission.as_ref());
        }
        AuthChange::RoleRevokePermission { role, range } => {
            put_tagged(out, auth::ROLE_REVOKE_PERMISSION, &[role]);
            put_key_range(out, range);
        }
    }
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, texts: &[&str]) {
    out.push(tag);
    for text in texts {
        put_bytes(out, text.as_bytes());
    }
}

fn put_permission(out: &mut Vec<u8>, permission: Option<&Permission>) {
    let Some(Permission { kind, range }) = permission else {
        return out.push(0);
    };
    out.push(match kind {
        PermissionKind::Read => 1,
        PermissionKind::Write => 2,
        PermissionKind::ReadWrite => 3,
    });
    put_key_range(out, range);
}

pub(super) fn cut_auth(cut: &mut Cut) -> Option<AuthChange> {
    Some(match cut.byte()? {
        auth::ENABLE => AuthChange::Enable,
        auth::DISABLE => AuthChange::Disable,
        auth::AUTHENTICATE => AuthChange::Authenticate { user: cut_text(cut)?, token: cut_text(cut)? },
        auth::USER_ADD => AuthChange::UserAdd {
            name: cut_text(cut)?,
            password: cut.bytes()?,
            no_password: match cut.byte()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        },
        auth::USER_DELETE => AuthChange::UserDelete { name: cut_text(cut)? },
        auth::USER_CHANGE_PASSWORD => {
            AuthChange::UserChangePassword { name: cut_text(cut)?, password: cut.bytes()? }
        }
        auth::USER_GRANT_ROLE => AuthChange::UserGrantRole { user: cut_text(cut)?, role: cut_text(cut)? },
        auth::USER_REVOKE_ROLE => AuthChange::UserRevokeRole { user: cut_text(cut)?, role: cut_text(cut)? },
        auth::ROLE_ADD => AuthChange::RoleAdd { name: cut_text(cut)? },
        auth::ROLE_DELETE => AuthChange::RoleDelete { name: cut_text(cut)? },
        auth::ROLE_GRANT_PERMISSION => {
            AuthChange::RoleGrantPermission { role: cut_text(cut)?, permission: cut_permission(cut)? }
        }
        auth::ROLE_REVOKE_PERMISSION => {
            AuthChange::RoleRevokePermission { role: cut_text(cut)?, range: cut_key_range(cut)? }
        }
        _ => return None,
    })
}

fn cut_permission(cut: &mut Cut) -> Option<Option<Permission>> {
    let kind = match cut.byte()? {
        0 => return Some(None),
        1 => PermissionKind::Read,
        2 => PermissionKind::Write,
        3 => PermissionKind::ReadWrite,
        _ => return None,
    };
    Some(Some(Permission { kind, range: cut_key_range(cut)? }))
}

pub(super) fn put_alarm(out: &mut Vec<u8>, change: &AlarmChange) {
    let (tag, member, kind) = match change {
        AlarmChange::Activate { member, kind } => (ACTIVATE, member, Some(kind)),
        AlarmChange::Deactivate { member, kind } => (DEACTIVATE, member, Some(kind)),
        AlarmChange::OverQuota { member } => (OVER_QUOTA, member, None),
        AlarmChange::UnderQuota { member } => (UNDER_QUOTA, member, None),
    };
    out.push(tag);
    put_u64(out, *member);
    out.extend(kind.map(|kind| match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }));
}

pub(super) fn cut_alarm(cut: &mut Cut) -> Option<AlarmChange> {
    let tag = cut.byte()?;
    let member = cut.u64()?;
    match tag {
        ACTIVATE => Some(AlarmChange::Activate { member, kind: cut_kind(cut)? }),
        DEACTIVATE => Some(AlarmChange::Deactivate { member, kind: cut_kind(cut)? }),
        OVER_QUOTA => Some(AlarmChange::OverQuota { member }),
        UNDER_QUOTA => Some(AlarmChange::UnderQuota { member }),
        _ => None,
    }
}

fn cut_kind(cut: &mut Cut) -> Option<AlarmKind> {
    match cut.byte()? {
        1 => Some(AlarmKind::NoSpace),
        2 => Some(AlarmKind::Corrupt),
        _ => None,
    }
}

pub(super) fn put_checkpoint(out: &mut Vec<u8>, remaining: &[(LeaseId, i64)]) {
    put_u64(out, remaining.len() as u64);
    for (id, remaining_s) in remaining {
        put_i64(out, id.0);
        put_i64(out, *remaining_s);
    }
}

pub(super) fn cut_checkpoint(cut: &mut Cut) -> Option<Vec<(LeaseId, i64)>> {
    cut_list(cut, |cut| Some((LeaseId(cut.i64()?), cut.i64()?)))
}

pub(super) fn put_downgrade(out: &mut Vec<u8>, change: &DowngradeChange) {
    match change {
        DowngradeChange::Enable { target_version } => put_tagged(out, DOWNGRADE, &[target_version]),
        DowngradeChange::Cancel => out.push(CANCEL),
    }
}

pub(super) fn cut_downgrade(cut: &mut Cut) -> Option<DowngradeChange> {
    match cut.byte()? {
        DOWNGRADE => Some(DowngradeChange::Enable { target_version: cut_text(cut)? }),
        CANCEL => Some(DowngradeChange::Cancel),
        _ => None,
    }
}
