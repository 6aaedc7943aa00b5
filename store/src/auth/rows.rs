//! Users and roles as rows, by name.
use crate::codec::rows::{role_row, table, user_row};
use crate::codec::{decode_role, decode_user, encode_role, encode_user};
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{Role, User};

pub(crate) fn user<R: Read>(rows: &R, name: &str) -> Result<Option<User>, Fatal> {
    rows.get(Family::Idx, &user_row(name))?.map(|bytes| read_user(&bytes)).transpose()
}

pub(crate) fn role<R: Read>(rows: &R, name: &str) -> Result<Option<Role>, Fatal> {
    rows.get(Family::Idx, &role_row(name))?.map(|bytes| read_role(&bytes)).transpose()
}

/// All users by name, bytewise.
pub(crate) fn users<R: Read>(rows: &R) -> Result<Vec<User>, Fatal> {
    table_of(rows, table::USERS, read_user)
}

/// All roles by name, bytewise.
pub(crate) fn roles<R: Read>(rows: &R) -> Result<Vec<Role>, Fatal> {
    table_of(rows, table::ROLES, read_role)
}

pub(crate) fn put_user<V: Read>(rows: &mut Staged<V>, user: &User) {
    rows.put(Family::Idx, user_row(&user.name), encode_user(user));
}

pub(crate) fn put_role<V: Read>(rows: &mut Staged<V>, role: &Role) {
    rows.put(Family::Idx, role_row(&role.name), encode_role(role));
}

pub(crate) fn delete_user<V: Read>(rows: &mut Staged<V>, name: &str) {
    rows.delete(Family::Idx, user_row(name));
}

pub(crate) fn delete_role<V: Read>(rows: &mut Staged<V>, name: &str) {
    rows.delete(Family::Idx, role_row(name));
}

fn read_user(bytes: &[u8]) -> Result<User, Fatal> {
    decode_user(bytes).ok_or_else(|| Fatal::Inconsistent("a user cannot be read".into()))
}

fn read_role(bytes: &[u8]) -> Result<Role, Fatal> {
    decode_role(bytes).ok_or_else(|| Fatal::Inconsistent("a role cannot be read".into()))
}

fn table_of<T, R: Read>(
    rows: &R,
    table: u8,
    read: impl Fn(&[u8]) -> Result<T, Fatal>,
) -> Result<Vec<T>, Fatal> {
    let mut found = Vec::new();
    let mut cursor = rows.cursor(Family::Idx);
    cursor.seek(&[table])?;
    while let Some((_, value)) = cursor.row().filter(|(row, _)| row.first() == Some(&table)) {
        found.push(read(value)?);
        cursor.next()?;
    }
    Ok(found)
}
