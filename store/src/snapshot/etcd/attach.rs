//! The keys that hang on leases: a key's newest version says on which.
use bytes::Bytes;

use super::ImportError;
use crate::codec::rows::{decode_newest, key_of_newest, lease_key_row, lease_row, table};
use crate::engine::bulk::Bulk;
use crate::engine::{Cursor, Engine, Family, Read};
use crate::error::Fatal;
use crate::types::LeaseId;

/// Hangs all live keys on their leases. How many keys are live.
pub(super) fn attach<E: Engine>(out: &mut Bulk<'_, E>) -> Result<u64, ImportError> {
    let view = out.engine.view();
    let mut cursor = view.cursor(Family::Idx);
    cursor.seek(&[table::KEYS])?;
    let mut live = 0;
    while let Some((row, value)) = cursor.row() {
        let Some(key) = key_of_newest(row) else { break };
        let unreadable = || Fatal::Inconsistent(format!("version row {row:02x?} cannot be read"));
        let lease = decode_newest(value).ok_or_else(unreadable)?.1.lease;
        live += 1;
        // A key whose lease is not there stays until somebody deletes it.
        if lease != LeaseId::NONE && view.get(Family::Idx, &lease_row(lease))?.is_some() {
            out.put(Family::Idx, lease_key_row(lease, key), Bytes::new())?;
        }
        cursor.next()?;
    }
    out.write()?;
    Ok(live)
}
