//! Many rows into an engine, in batches of bounded size: for a state that is made anew.
use bytes::Bytes;

use super::staged::Staged;
use super::{Engine, Family, Read};
use crate::codec::rows::{VersionRow, decode_newest, encode_newest, newest_row, older_row};
use crate::error::Fatal;
use crate::types::Revision;

const BATCH_BYTES: usize = 1 << 20;

/// Rows on their way into an engine. Nothing is there for certain before [`Bulk::write`].
pub(crate) struct Bulk<'a, E: Engine> {
    pub(crate) engine: &'a E,
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
        let replaced =
            match self.rows.get(Family::Idx, &newest)? {
                Some(value) => Some(decode_newest(&value).ok_or_else(|| {
                    Fatal::Inconsistent(format!("version row {newest:02x?} cannot be read"))
                })?),
                None => None,
            };
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
