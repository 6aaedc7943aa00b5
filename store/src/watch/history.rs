//! What watching needs to know of the past.
use crate::engine::Read;
use crate::error::{Fatal, ReadError};
use crate::types::{Changes, KeyValue};
use crate::view::ReadView;

/// A pinned view of the history, as much as watching needs of it.
pub trait History {
    /// The newest main revision in the view.
    fn revision(&self) -> i64;

    /// The compaction floor; below 1 when nothing was compacted. Changes from the floor on are there.
    fn floor(&self) -> i64;

    /// The changes from main revision `from` (at or above the floor) on, in whole main revisions: at
    /// least one if there is any, otherwise until one of the bounds is reached or a little exceeded.
    ///
    /// # Errors
    /// `Fatal` when the history cannot be read.
    fn changes(&self, from: i64, rows_max: usize, bytes_max: usize) -> Result<Vec<Changes>, Fatal>;

    /// The record of `key` as it was at main revision `main - 1`; none if it was absent or is compacted.
    ///
    /// # Errors
    /// `Fatal` when the history cannot be read.
    fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal>;
}

/// Changes read from a view at once. A view counts rows and not bytes, so this is what bounds the memory
/// of a step when rows are large; seeking again every so many rows costs little beside reading them.
const ROWS_AT_ONCE: usize = 32;

impl<V: Read> History for ReadView<V> {
    fn revision(&self) -> i64 {
        ReadView::revision(self)
    }

    fn floor(&self) -> i64 {
        self.compacted()
    }

    fn changes(&self, from: i64, rows_max: usize, bytes_max: usize) -> Result<Vec<Changes>, Fatal> {
        let mut found = Vec::<Changes>::new();
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let next = found.last().map_or(from, |whole| whole.main + 1);
            let rows_now = ROWS_AT_ONCE.min(rows_max.saturating_sub(rows)).max(1);
            let more = ReadView::changes(self, next, rows_now).map_err(above_floor)?;
            let end = more.is_empty();
            for kv in more.iter().flat_map(|whole| &whole.changes).map(|change| &change.kv) {
                rows += 1;
                bytes += kv.key.len() + kv.value.len();
            }
            found.extend(more);
            if end || rows >= rows_max || bytes >= bytes_max {
                return Ok(found);
            }
        }
    }

    fn before(&self, key: &[u8], main: i64) -> Result<Option<KeyValue>, Fatal> {
        ReadView::before(self, key, main)
    }
}

fn above_floor(error: ReadError) -> Fatal {
    match error {
        ReadError::Fatal(fatal) => fatal,
        ReadError::Refused(refusal) => {
            Fatal::Inconsistent(format!("history at or above its floor: {refusal}"))
        }
    }
}
