//! A state to read from: rows with the facts that go with them. A published view has one, and so has
//! a write transaction between two of its operations.
use super::fences::FenceMap;
use super::history::{Version, live_version, newest_version};
use super::live_keys::LiveKeys;
use crate::engine::Read;
use crate::error::{Fatal, Refusal};
use crate::types::KeyRange;

/// Rows, and what is true of them.
#[derive(Debug)]
pub(crate) struct Moment<'a, R> {
    pub(crate) rows: &'a R,
    /// The newest main revision in `rows`.
    pub(crate) revision: i64,
    /// The compaction floor; -1 = never compacted.
    pub(crate) floor: i64,
    /// Live keys of `rows`, counted.
    pub(crate) fences: &'a FenceMap,
}

impl<R: Read> Moment<'_, R> {
    /// The main revision to read at when `wanted` is asked for; 0 or less is the newest.
    pub(crate) fn read_at(&self, wanted: i64) -> Result<i64, Refusal> {
        if wanted > self.revision {
            return Err(Refusal::Future { wanted, current: self.revision });
        }
        let main = if wanted <= 0 { self.revision } else { wanted };
        if main < self.floor {
            return Err(Refusal::Compacted { wanted, compacted: self.floor });
        }
        Ok(main)
    }

    /// The newest version of a key, if the key is there.
    pub(crate) fn live(&self, key: &[u8]) -> Result<Option<Version>, Fatal> {
        newest_version(self.rows, key)
    }

    /// The version of a key that was live at main revision `main`.
    pub(crate) fn live_at(&self, key: &[u8], main: i64) -> Result<Option<Version>, Fatal> {
        if main == self.revision { self.live(key) } else { live_version(self.rows, key, main) }
    }

    /// The keys of `range` that were live at main revision `main`.
    pub(crate) fn live_keys(&self, range: &KeyRange, main: i64) -> Result<LiveKeys<R::Cursor<'_>>, Fatal> {
        if main == self.revision {
            LiveKeys::now(self.rows, range)
        } else {
            LiveKeys::then(self.rows, range, main)
        }
    }
}
