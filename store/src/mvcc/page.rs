//! Reading a range in pages: what a stream of it is made of.
//!
//! A page is bounded twice, by keys and by bytes, so a reader that takes page after page needs no more
//! memory than one. It does not count what is behind it; that is asked once, with the last page.
//!
//! ```text
//!   live keys in key order ─ keys_max + 1 versions ─ records, until bytes_max is reached ─ page
//! ```
use bytes::Bytes;

use super::history::{LiveKeys, Version, records};
use super::moment::Moment;
use crate::engine::Read;
use crate::error::ReadError;
use crate::types::{Detail, KeyRange, KeyValue};

/// Records fetched together; a page may exceed its bytes by one such batch.
const TOGETHER: usize = 16;

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
    /// Ends the page once it has so many bytes.
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
        let mut live = LiveKeys::of(self.rows, &request.range, main)?;
        let mut page = Page::default();
        while let Some(next) = live.next()? {
            if found.len() == keys_max {
                page.more = true;
                break;
            }
            found.push(next);
        }
        drop(live);
        let mut bytes = 0;
        for part in found.chunks(TOGETHER) {
            if bytes >= request.bytes_max && !page.kvs.is_empty() {
                page.more = true;
                break;
            }
            let kvs = match request.detail {
                Detail::Full => records(self.rows, part.iter().map(|(_, version)| version))?,
                Detail::KeysOnly | Detail::CountOnly => {
                    part.iter().map(|(key, version)| version.without_value(key.clone())).collect()
                }
            };
            bytes += kvs.iter().map(kv_bytes).sum::<usize>();
            page.kvs.extend(kvs);
        }
        page.bytes = bytes;
        Ok(page)
    }
}

/// About what a record takes on the wire.
fn kv_bytes(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + 24
}
