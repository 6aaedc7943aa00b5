//! etcd's messages about users, roles and alarms, coded by hand as `record` does.
//!
//! ```text
//!   User         1 name       2 password  3 role, repeated       4 options { 1 no_password }
//!   Role         1 name       2 permission, repeated { 1 kind (0 read, 1 write, 2 both)  2 key  3 range_end }
//!   AlarmMember  1 member id  2 alarm (1 NOSPACE, 2 CORRUPT)
//! ```
//! A user's options are always written, empty ones too: so does etcd since it has them.
use bytes::Bytes;

use super::record::{Value, field_bytes, field_message, field_number, for_fields};
use crate::types::{AlarmKind, KeyRange, Permission, PermissionKind, Role, User};

/// The bytes of a user.
pub fn encode_user(user: &User) -> Vec<u8> {
    let User { name, password, roles, no_password } = user;
    let mut out = Vec::with_capacity(96 + name.len());
    field_bytes(&mut out, 1, name.as_bytes());
    field_bytes(&mut out, 2, password);
    for role in roles {
        field_message(&mut out, 3, role.as_bytes());
    }
    let options: &[u8] = if *no_password { &[8, 1] } else { &[] };
    field_message(&mut out, 4, options);
    out
}

/// The user in `bytes`. `None`: it is no user.
pub fn decode_user(bytes: &[u8]) -> Option<User> {
    let mut user = User::default();
    let mut whole = true;
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(name)) => whole &= set_text(&mut user.name, name),
        (2, Value::Bytes(password)) => user.password = Bytes::copy_from_slice(password),
        (3, Value::Bytes(name)) => {
            let mut role = String::new();
            whole &= set_text(&mut role, name);
            user.roles.push(role);
        }
        (4, Value::Bytes(options)) => {
            let options = for_fields(options, |field, value| {
                if let (1, Value::Number(number)) = (field, value) {
                    user.no_password = number != 0;
                }
            });
            whole &= options.is_some();
        }
        _ => {}
    })?;
    whole.then_some(user)
}

/// The bytes of a role.
pub fn encode_role(role: &Role) -> Vec<u8> {
    let Role { name, permissions } = role;
    let mut out = Vec::with_capacity(16 + name.len() + 32 * permissions.len());
    field_bytes(&mut out, 1, name.as_bytes());
    for Permission { kind, range } in permissions {
        let mut permission = Vec::with_capacity(32);
        field_number(&mut permission, 1, number_of(*kind));
        let (key, range_end) = range.to_wire();
        field_bytes(&mut permission, 2, &key);
        field_bytes(&mut permission, 3, &range_end);
        field_message(&mut out, 2, &permission);
    }
    out
}

/// The role in `bytes`. `None`: it is no role.
pub fn decode_role(bytes: &[u8]) -> Option<Role> {
    let mut role = Role::default();
    let mut whole = true;
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(name)) => whole &= set_text(&mut role.name, name),
        (2, Value::Bytes(permission)) => match decode_permission(permission) {
            Some(permission) => role.permissions.push(permission),
            None => whole = false,
        },
        _ => {}
    })?;
    whole.then_some(role)
}

fn decode_permission(bytes: &[u8]) -> Option<Permission> {
    let (mut kind, mut key, mut range_end) = (0, Bytes::new(), Bytes::new());
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Number(number)) => kind = number,
        (2, Value::Bytes(bytes)) => key = Bytes::copy_from_slice(bytes),
        (3, Value::Bytes(bytes)) => range_end = Bytes::copy_from_slice(bytes),
        _ => {}
    })?;
    let kind = match kind {
        0 => PermissionKind::Read,
        1 => PermissionKind::Write,
        2 => PermissionKind::ReadWrite,
        _ => return None,
    };
    Some(Permission { kind, range: KeyRange::from_wire(key, range_end) })
}

fn number_of(kind: PermissionKind) -> i64 {
    match kind {
        PermissionKind::Read => 0,
        PermissionKind::Write => 1,
        PermissionKind::ReadWrite => 2,
    }
}

/// The bytes of an alarm.
pub fn encode_alarm(member: u64, kind: AlarmKind) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    field_number(&mut out, 1, member as i64);
    field_number(&mut out, 2, alarm_number(kind).into());
    out
}

/// The alarm in `bytes`. `None`: it is no alarm.
pub fn decode_alarm(bytes: &[u8]) -> Option<(u64, AlarmKind)> {
    let (mut member, mut alarm) = (0, 0);
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Number(number)) => member = number,
        (2, Value::Number(number)) => alarm = number,
        _ => {}
    })?;
    let kind = match alarm {
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return None,
    };
    Some((member, kind))
}

/// etcd's number of an alarm.
pub(crate) fn alarm_number(kind: AlarmKind) -> u8 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}

fn set_text(text: &mut String, bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(found) => {
            found.clone_into(text);
            true
        }
        Err(_) => false,
    }
}
