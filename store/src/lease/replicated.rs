//! The part of leases that all replicas agree on: which exist, and which keys hang on them.
//!
//! Invariant: a key's row here names the lease that the key's newest version names; `state` keeps
//! both in one batch.
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::codec::rows::{lease_key_row, lease_row, table};
use crate::codec::{decode_lease, encode_lease};
use crate::engine::staged::Staged;
use crate::engine::{Cursor, Family, Read};
use crate::error::Fatal;
use crate::types::{Lease, LeaseId};

pub(crate) fn find<R: Read>(rows: &R, id: LeaseId) -> Result<Option<Lease>, Fatal> {
    rows.get(Family::Idx, &lease_row(id))?.map(|bytes| read_lease(&bytes)).transpose()
}

/// All leases: those with ids from 0 up, then negative ones, each ascending.
pub(crate) fn all<R: Read>(rows: &R) -> Result<Vec<Lease>, Fatal> {
    let mut leases = Vec::new();
    let _ = each::<_, Fatal>(rows, |lease| {
        leases.push(lease);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(leases)
}

/// Calls `each` with all leases, in the order of `all`, until it breaks.
pub(crate) fn each<R: Read, E: From<Fatal>>(
    rows: &R,
    mut each: impl FnMut(Lease) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    each_row(rows, &[table::LEASES], |_, lease| each(read_lease(lease)?))
}

/// The keys on a lease, ascending.
pub(crate) fn keys<R: Read>(rows: &R, id: LeaseId) -> Result<Vec<Bytes>, Fatal> {
    let mut keys = Vec::new();
    let _ = each_key::<_, Fatal>(rows, id, |key| {
        keys.push(Bytes::copy_from_slice(key));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// Calls `each` with the keys on a lease, ascending, until it breaks.
pub(crate) fn each_key<R: Read, E: From<Fatal>>(
    rows: &R,
    id: LeaseId,
    mut each: impl FnMut(&[u8]) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    each_row(rows, &lease_key_row(id, b""), |key, _| each(key))
}

pub(crate) fn grant<V: Read>(rows: &mut Staged<V>, lease: &Lease) {
    rows.put(Family::Idx, lease_row(lease.id), encode_lease(lease));
}

/// Ends a lease. Its keys are detached one by one, as they are deleted.
pub(crate) fn remove<V: Read>(rows: &mut Staged<V>, id: LeaseId) {
    rows.delete(Family::Idx, lease_row(id));
}

/// Takes a key off `from` and hangs it on `to`; `LeaseId::NONE` is no lease.
pub(crate) fn move_key<V: Read>(rows: &mut Staged<V>, key: &[u8], from: LeaseId, to: LeaseId) {
    if from != LeaseId::NONE {
        rows.delete(Family::Idx, lease_key_row(from, key));
    }
    if to != LeaseId::NONE {
        rows.put(Family::Idx, lease_key_row(to, key), Bytes::new());
    }
}

fn read_lease(bytes: &[u8]) -> Result<Lease, Fatal> {
    decode_lease(bytes).ok_or_else(|| Fatal::Inconsistent("a lease cannot be read".into()))
}

/// Calls `each` with every row that begins with `prefix`, until it breaks: the rest of its name, and its
/// value.
fn each_row<R: Read, E: From<Fatal>>(
    rows: &R,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    let mut cursor = rows.cursor(Family::Idx);
    cursor.seek(prefix)?;
    while let Some((row, value)) = cursor.row() {
        let Some(rest) = row.strip_prefix(prefix) else {
            break;
        };
        if each(rest, value)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        cursor.next()?;
    }
    Ok(ControlFlow::Continue(()))
}
