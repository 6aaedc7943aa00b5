//! Many rows into an engine, in batches of bounded size: for a state that is made anew.
use bytes::Bytes;

use super::staged::Staged;
use super::{Cursor, Engine, Family, Read};
use crate::codec::rows::{
    VersionRow, decode_newest, encode_newest, key_of_newest, lease_key_row, lease_row, newest_row, older_row,
    table,
};
use crate::error::Fatal;
use crate::types::{LeaseId, Revision};

const BATCH_BYTES: usize = 1 << 20;

/// Rows on their way into an engine. Nothing is there for certain before [`Bulk::write`].
pub(crate) struct Bulk<'a, E: Engine> {
    engine: &'a E,
    rows: Staged<E::View>,
    bytes: usize,
}

impl<'a, E: Engine> Bulk<'a, E> {
    pub(crate) fn into(engine: &'a E) -> Self {
        Bulk { engine, rows: Staged::new(engine.view()), bytes: 0 }
    }

    /// Adds a row, and writes what has come together when that is enough.
    pub(crate) fn put(
        &mut self,
        family: Family,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), Fatal> {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.rows.put(family, key, value);
        if self.bytes >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    /// Adds the rows of the next version of a key. The live one that it replaces, which it gives, is an older
    /// one from now on.
    pub(crate) fn put_version(
        &mut self,
        key: &[u8],
        at: Revision,
        version: &VersionRow,
    ) -> Result<Option<VersionRow>, Fatal> {
        let newest = Bytes::from(newest_row(key));
        let found = self.rows.get(Family::Idx, &newest)?;
        let replaced =
            found.map(|value| decode_newest(&value).ok_or_else(|| unreadable(&newest))).transpose()?;
        if let Some((at, replaced)) = &replaced {
            self.put(Family::Idx, older_row(key, *at), replaced.encode())?;
        }
        if *version == VersionRow::TOMBSTONE {
            self.rows.delete(Family::Idx, newest);
            self.put(Family::Idx, older_row(key, at), version.encode())?;
        } else {
            self.put(Family::Idx, newest, encode_newest(at, version))?;
        }
        Ok(replaced.map(|(_, replaced)| replaced))
    }

    /// Writes what there is, and hangs all live keys on their leases: a key's newest version says on which. How
    /// many keys are live.
    pub(crate) fn attach(&mut self) -> Result<u64, Fatal> {
        self.write()?;
        let view = self.engine.view();
        let mut cursor = view.cursor(Family::Idx);
        cursor.seek(&[table::KEYS])?;
        let mut live = 0;
        while let Some((row, value)) = cursor.row() {
            let Some(key) = key_of_newest(row) else { break };
            let lease = decode_newest(value).ok_or_else(|| unreadable(row))?.1.lease;
            live += 1;
            // A key whose lease is not there stays until somebody deletes it.
            if lease != LeaseId::NONE && view.get(Family::Idx, &lease_row(lease))?.is_some() {
                self.put(Family::Idx, lease_key_row(lease, key), Bytes::new())?;
            }
            cursor.next()?;
        }
        self.write()?;
        Ok(live)
    }

    /// Writes the rest.
    pub(crate) fn write(&mut self) -> Result<(), Fatal> {
        self.bytes = 0;
        let rows = std::mem::replace(&mut self.rows, Staged::new(self.engine.view()));
        self.engine.write(rows.into_batch())?;
        // Of before the batch: what it wrote has to be seen.
        self.rows = Staged::new(self.engine.view());
        Ok(())
    }
}

fn unreadable(row: &[u8]) -> Fatal {
    Fatal::Inconsistent(format!("version row {row:02x?} cannot be read"))
}
