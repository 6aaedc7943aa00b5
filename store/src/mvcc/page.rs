//! Reading a range in pages: what a stream of it is made of.
//!
//! A page is bounded twice, by keys and by bytes, so a reader that takes page after page needs no more
//! memory than one. It does not count what is behind it; that is asked once, with the last page.
//!
//! ```text
//!   live keys in key order ─ keys_max + 1 versions ─ records, until bytes_max is reached ─ page
//! ```
//! Records are fetched in lots of 1, 2, 4 … and 16. What a lot has beyond the bytes is dropped, so that a
//! page is one record too long at most, however large those are that follow small ones.
use bytes::Bytes;

use super::history::{Version, records};
use super::moment::Moment;
use crate::engine::Read;
use crate::error::{Fatal, ReadError};
use crate::types::{Detail, KeyRange, KeyValue};

/// Most records fetched together.
const TOGETHER_MAX: usize = 16;

/// A read of a part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Which keys, from the first one on that is not read yet.
    pub range: KeyRange,
    /// At this main revision, or at the current one if it is 0 or less.
    pub revision: i64,
    /// Without values unless it is `Full`.
    pub detail: Detail,
    /// Most records; at least one.
    pub keys_max: usize,
    /// Ends the page with the record that brings it to so many bytes.
    pub bytes_max: usize,
}

/// A part of a range, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub kvs: Vec<KeyValue>,
    /// There are live keys behind the last of them.
    pub more: bool,
    /// About what the records take on the wire.
    pub bytes: usize,
}

impl<R: Read> Moment<'_, R> {
    /// Reads a page.
    pub(crate) fn page(&self, request: &PageRequest) -> Result<Page, ReadError> {
        let main = self.read_at(request.revision)?;
        let keys_max = request.keys_max.max(1);
        let mut found: Vec<(Bytes, Version)> = Vec::new();
        let mut live = self.live_keys(&request.range, main)?;
        let mut page = Page::default();
        while let Some(next) = live.next()? {
            if found.len() == keys_max {
                page.more = true;
                break;
            }
            found.push(next);
        }
        drop(live);
        let (mut rest, mut together) = (&found[..], 1);
        while !rest.is_empty() && !page.is_full(request.bytes_max) {
            let (lot, behind) = rest.split_at(together.min(rest.len()));
            for kv in self.lot(lot, request.detail)? {
                match page.is_full(request.bytes_max) {
                    true => break,
                    false => page.push(kv),
                }
            }
            (rest, together) = (behind, (2 * together).min(TOGETHER_MAX));
        }
        page.more |= page.kvs.len() < found.len();
        Ok(page)
    }

    fn lot(&self, lot: &[(Bytes, Version)], detail: Detail) -> Result<Vec<KeyValue>, Fatal> {
        match detail {
            Detail::Full => records(self.rows, lot.iter().map(|(_, version)| version)),
            Detail::KeysOnly | Detail::CountOnly => {
                Ok(lot.iter().map(|(key, version)| version.without_value(key.clone())).collect())
            }
        }
    }
}

impl Page {
    fn is_full(&self, bytes_max: usize) -> bool {
        !self.kvs.is_empty() && self.bytes >= bytes_max
    }

    fn push(&mut self, kv: KeyValue) {
        self.bytes += kv_bytes(&kv);
        self.kvs.push(kv);
    }
}

/// About what a record takes on the wire.
fn kv_bytes(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + 24
}
