//! A data directory as a repair finds it: its small files may be damaged.
use std::path::Path;

use super::{
    DataDirError, FORMAT, FORMAT_WORDS, IMPORT, Ids, check_format, failed, identity_text, ids_of,
    read_identity, refuse_foreign, take_lock, write_whole,
};
use crate::disk::{Disk, LockGuard};

/// A directory that is looked at, locked, but neither made nor opened: for a repair.
pub(crate) struct Held {
    /// What FORMAT says, if it can be read.
    pub(crate) format: Result<(), DataDirError>,
    /// The ids in IDENTITY, if it can be read.
    pub(crate) ids: Result<Ids, DataDirError>,
    lock: Box<dyn LockGuard>,
}

impl Held {
    /// Locks the directory and reads its two small files.
    ///
    /// # Errors
    /// As [`super::DataDir::open`], except that damage is told apart for each file.
    pub(crate) fn take(disk: &dyn Disk, path: &Path) -> Result<Held, DataDirError> {
        let names = disk.list(path).map_err(failed("list", path))?;
        refuse_foreign(path, &names)?;
        if names.iter().any(|name| name == IMPORT) {
            return Err(DataDirError::Unimported { path: path.to_owned() });
        }
        let lock = take_lock(disk, path)?;
        Held::read(disk, path, lock)
    }

    /// The same, after something has changed there.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn again(self, disk: &dyn Disk, path: &Path) -> Result<Held, DataDirError> {
        Held::read(disk, path, self.lock)
    }

    fn read(disk: &dyn Disk, path: &Path, lock: Box<dyn LockGuard>) -> Result<Held, DataDirError> {
        let format = match check_format(disk, path) {
            Err(newer @ DataDirError::Newer { .. }) => return Err(newer),
            told => told,
        };
        Ok(Held { format, ids: read_identity(disk, &path.join("IDENTITY")), lock })
    }
}

/// The ids in an IDENTITY of which a single bit is wrong: the checksum tells which one.
pub(crate) fn ids_but_for_a_bit(text: &[u8]) -> Option<Ids> {
    let mut text = text.to_vec();
    (0..text.len() * 8).find_map(|bit| {
        text[bit / 8] ^= 1 << (bit % 8);
        let ids = std::str::from_utf8(&text).ok().and_then(ids_of);
        text[bit / 8] ^= 1 << (bit % 8);
        ids
    })
}

/// Writes FORMAT and IDENTITY into `dir`, durably.
///
/// # Errors
/// As [`super::DataDir::open`].
pub(crate) fn write_labels(disk: &dyn Disk, dir: &Path, ids: Ids) -> Result<(), DataDirError> {
    write_whole(disk, dir, "FORMAT", &format!("{FORMAT_WORDS}{FORMAT}\n"))?;
    write_whole(disk, dir, "IDENTITY", &identity_text(ids))
}
