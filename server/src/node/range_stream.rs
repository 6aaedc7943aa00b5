//! A range as a stream of chunks, of one revision, with a bounded part of it in memory.
//!
//! ```text
//!   10 keys ─ 20 ─ 40 ─ … twice as many while a chunk stays under half of the largest request,
//!   half as many above twice of it … ─ the last chunk: header, count, whether there is more
//! ```
//! The revision is fixed when the stream is opened; each chunk is read from the newest view at that
//! revision. So a reader that stalls, or never begins, holds nothing back from compaction, and is told when
//! compaction passes it.
use std::sync::Arc;

use bramble_store::auth::Need;
use bramble_store::mvcc::{Page, PageRequest, check};
use bramble_store::store::Room;
use bramble_store::types::{Detail, KeyRange, KeyValue, RangeRequest};

use super::access::{Asker, Seen};
use super::answers::{Caller, Consistency, Header};
use super::budget::{Kind, Loan, Place};
use super::client::Client;
use super::core::View;
use super::error::{Error, Refusal};
use super::reads::{COPIES, Size};

/// Keys of the first chunk; etcd's number.
const FIRST_KEYS: usize = 10;

/// A part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeChunk {
    /// The next records, in key order.
    pub kvs: Vec<KeyValue>,
    /// What only the last chunk says.
    pub end: Option<RangeEndOfStream>,
}

/// What the last chunk says of the whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeEndOfStream {
    /// With the revision that was current when the stream began.
    pub header: Header,
    /// Whether the limit cut the range.
    pub more: bool,
    /// Live keys of the whole range.
    pub count: i64,
}

/// The chunks of a range.
pub struct RangeStream {
    client: Client,
    /// Where the memory of the chunk in hand is counted.
    place: Arc<Place>,
    /// What the last chunk took, until the next one is asked for: then the reader has it.
    taken: Option<Loan>,
    caller: Caller,
    /// Who was found to have the right; a stream does not outlive a change of it.
    asker: Asker,
    /// What is not read yet; `None` after the last chunk or an error.
    rest: Option<KeyRange>,
    detail: Detail,
    read_at: i64,
    /// The revision that was current when the stream began.
    current: i64,
    chunk_keys: usize,
    /// The size that chunks come near to.
    chunk_bytes: usize,
    /// Records that may still be sent.
    left: u64,
    sent: i64,
}

impl Client {
    /// Reads a range in chunks, in key order.
    ///
    /// # Errors
    /// `Invalid::EmptyKey`, `Invalid::SortedPages`, `Invalid::FilteredPages`; [`super::error::NotNow`].
    pub async fn range_stream(
        &self,
        caller: &Caller,
        request: RangeRequest,
        consistency: Consistency,
    ) -> Result<RangeStream, Error> {
        check::paged(&request)?;
        let place = self.core.place(caller, Kind::OtherStreams)?;
        let needs = || vec![Need::Read(request.range.clone())];
        let seen = self.fresh(caller, consistency, needs).await?;
        Ok(RangeStream::new(self.clone(), caller.clone(), place, request, seen))
    }
}

impl RangeStream {
    fn new(
        client: Client,
        caller: Caller,
        place: Arc<Place>,
        request: RangeRequest,
        seen: Seen,
    ) -> RangeStream {
        let Seen { view, asker } = seen;
        let (current, chunk_bytes) = (view.revision(), client.core.config.request_bytes_max);
        RangeStream {
            client,
            place,
            taken: None,
            caller,
            asker,
            rest: Some(request.range),
            detail: request.detail,
            read_at: if request.revision <= 0 { current } else { request.revision },
            current,
            chunk_keys: FIRST_KEYS,
            chunk_bytes,
            left: if request.limit <= 0 { u64::MAX } else { request.limit.unsigned_abs() },
            sent: 0,
        }
    }

    /// The next chunk; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// `Refusal::Compacted` and `AuthRevisionOld`, also in the middle; `Refusal::Future`; [`super::error::NotNow`].
    pub async fn next(&mut self) -> Option<Result<RangeChunk, Error>> {
        let rest = self.rest.take()?;
        Some(self.read(rest).await)
    }

    async fn read(&mut self, rest: KeyRange) -> Result<RangeChunk, Error> {
        self.client.core.still(&self.caller, &self.asker)?;
        if self.read_at > self.current {
            return Err(Refusal::Future { wanted: self.read_at, current: self.current }.into());
        }
        match self.detail {
            Detail::CountOnly => {
                let count = self.count(self.client.core.view()?, rest).await?;
                Ok(self.last(Vec::new(), false, count))
            }
            Detail::Full | Detail::KeysOnly => self.chunk(rest).await,
        }
    }

    async fn chunk(&mut self, rest: KeyRange) -> Result<RangeChunk, Error> {
        let keys_max = self.chunk_keys.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let request = PageRequest {
            range: rest.clone(),
            revision: self.read_at,
            detail: self.detail,
            keys_max,
            bytes_max: 2 * self.chunk_bytes,
        };
        self.taken = None;
        // A page may be one record longer.
        let mut taken = self.place.borrow_answer(COPIES * (request.bytes_max + self.chunk_bytes)).await;
        // Not before: what it sees stays on the disk, and the wait for room has no end.
        let view = self.client.core.view()?;
        let metrics = self.client.core.metrics.clone();
        let read = move |view: View| {
            let page = metrics.reads.range(|| view.page(&request))?;
            Ok((view, page))
        };
        let (view, page) = self.client.aside(view, read).await?;
        self.client.core.metrics.reads.ops.range();
        let Page { kvs, more, bytes } = page;
        taken.shrink(COPIES * bytes);
        self.taken = Some(taken);
        self.sent += kvs.len() as i64;
        self.left -= kvs.len() as u64;
        let behind = match kvs.last() {
            Some(last) if more => rest.rest_behind(&last.key),
            Some(_) | None => return Ok(self.last(kvs, false, self.sent)),
        };
        if self.left == 0 {
            let count = self.sent + self.count(view, behind).await?;
            return Ok(self.last(kvs, true, count));
        }
        self.rest = Some(behind);
        self.chunk_keys = next_keys(self.chunk_keys, bytes, self.chunk_bytes);
        Ok(RangeChunk { kvs, end: None })
    }

    async fn count(&self, view: View, range: KeyRange) -> Result<i64, Error> {
        let request =
            RangeRequest { revision: self.read_at, detail: Detail::CountOnly, ..RangeRequest::new(range) };
        let read = move |view: &View, room: Room<'_>| view.range_within(&request, room);
        Ok(self.client.core.read(&self.place, view, Size::Large, read).await?.count)
    }

    fn last(&self, kvs: Vec<KeyValue>, more: bool, count: i64) -> RangeChunk {
        let header = self.client.core.header(self.current);
        RangeChunk { kvs, end: Some(RangeEndOfStream { header, more, count }) }
    }
}

/// Keys of the chunk after one of `keys` keys that took `bytes`. Only far from the size aimed at does
/// the number change, so that it does not swing.
fn next_keys(keys: usize, bytes: usize, aim_bytes: usize) -> usize {
    match bytes {
        _ if bytes < aim_bytes / 2 => keys.saturating_mul(2),
        _ if bytes > aim_bytes.saturating_mul(2) => (keys / 2).max(1),
        _ => keys,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_and_shrink_towards_the_size_aimed_at() {
        assert_eq!(next_keys(10, 499, 1000), 20);
        assert_eq!(next_keys(10, 500, 1000), 10);
        assert_eq!(next_keys(10, 2000, 1000), 10);
        assert_eq!(next_keys(10, 2001, 1000), 5);
        assert_eq!(next_keys(1, usize::MAX, 1000), 1);
    }
}
