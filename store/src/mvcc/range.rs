//! Answering a range: etcd's limits, filters, sorts and their quirks.
//!
//! ```text
//!   live keys in key order ─ fetch (limit + 1 if nothing below reorders) ─ filter ─ sort ─ cut ─ values
//! ```
//!
//! What takes memory asks for [`Room`] as it grows: keys when they are found, records when they are read. So
//! does now and then what only counts.
use bytes::Bytes;

use super::history::{Version, record, records};
use super::moment::Moment;
use super::room::{Cut, Room, found_bytes, record_bytes};
use crate::engine::Read;
use crate::error::{Fatal, ReadError};
use crate::types::*;

/// A live key with its version, and its record if something needed the value already.
struct Found {
    key: Bytes,
    version: Version,
    record: Option<KeyValue>,
}

impl AsRef<[u8]> for Found {
    fn as_ref(&self) -> &[u8] {
        &self.key
    }
}

/// Records read at once; the room is asked after each lot.
const RECORDS_AT_ONCE: usize = 64;

impl<R: Read> Moment<'_, R> {
    /// Answers a range; `None` when there is no room for the answer.
    pub(crate) fn range(
        &self,
        request: &RangeRequest,
        room: Room<'_>,
    ) -> Result<Option<RangeReply>, ReadError> {
        let main = self.read_at(request.revision)?;
        let mut reply = RangeReply { revision: self.revision, ..RangeReply::default() };
        if request.detail == Detail::CountOnly {
            let count = Cut::answer(self.count(&request.range, main, room))?;
            return Ok(count.map(|count| RangeReply { count, ..reply }));
        }
        let Some((mut found, count)) = self.fetch(&request.range, main, fetch_max(request), room)? else {
            return Ok(None);
        };
        reply.count = count;
        found.retain(|found| request.filter.keeps(&found.version));
        if !self.sort(request, &mut found, room)? {
            return Ok(None);
        }
        let limit = limit_of(request);
        reply.more = found.len() > limit;
        found.truncate(limit);
        let Some(kvs) = self.materialise(found, request.detail, room)? else { return Ok(None) };
        Ok(Some(RangeReply { kvs, ..reply }))
    }

    /// Up to `keys_max` live keys, and how many there are in the whole range.
    fn fetch(
        &self,
        range: &KeyRange,
        main: i64,
        keys_max: usize,
        room: Room<'_>,
    ) -> Result<Option<(Vec<Found>, i64)>, Fatal> {
        if range.end == RangeEnd::Single {
            return self.fetch_one(&range.start, main, room);
        }
        let mut found = Vec::new();
        let mut live = self.live_keys(range, main)?;
        while let Some((key, version)) = live.next()? {
            if !room(found_bytes(&key)) {
                return Ok(None);
            }
            found.push(Found { key, version, record: None });
            if found.len() == keys_max {
                break;
            }
        }
        drop(live);
        let mut count = found.len() as i64;
        if found.len() == keys_max {
            match Cut::answer(self.count_behind(range, &found, main, room))? {
                Some(behind) => count += behind,
                None => return Ok(None),
            }
        }
        Ok(Some((found, count)))
    }

    /// The same of one key, which one seek finds.
    fn fetch_one(&self, key: &Bytes, main: i64, room: Room<'_>) -> Result<Option<(Vec<Found>, i64)>, Fatal> {
        let Some(version) = self.live_at(key, main)? else { return Ok(Some((Vec::new(), 0))) };
        let found = Found { key: key.clone(), version, record: None };
        Ok(room(found_bytes(key)).then(|| (vec![found], 1)))
    }

    /// Sorts as asked; false when there is no room for what that takes. No order with a target other than
    /// the key means ascending (etcd's quirk).
    fn sort(&self, request: &RangeRequest, found: &mut [Found], room: Room<'_>) -> Result<bool, Fatal> {
        let order = match (request.order, request.target) {
            (SortOrder::None, SortTarget::Key) => return Ok(true),
            (SortOrder::None, _) => SortOrder::Ascend,
            (order, _) => order,
        };
        if request.target == SortTarget::Value {
            for found in found.iter_mut() {
                let record = record(self.rows, &found.version)?;
                if !room(record_bytes(&record)) {
                    return Ok(false);
                }
                found.record = Some(record);
            }
        }
        found.sort_by(|a, b| {
            let ascending = match request.target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.row.version.cmp(&b.version.row.version),
                SortTarget::Create => a.version.row.create.cmp(&b.version.row.create),
                SortTarget::Mod => a.version.at.main.cmp(&b.version.at.main),
                SortTarget::Value => {
                    let value = |found: &Found| found.record.as_ref().map(|kv| kv.value.clone());
                    value(a).cmp(&value(b))
                }
            };
            if order == SortOrder::Descend { ascending.reverse() } else { ascending }
        });
        Ok(true)
    }

    fn materialise(
        &self,
        found: Vec<Found>,
        detail: Detail,
        room: Room<'_>,
    ) -> Result<Option<Vec<KeyValue>>, Fatal> {
        if detail != Detail::Full {
            let kvs = found.into_iter().map(|found| found.version.without_value(found.key));
            return Ok(Some(kvs.collect()));
        }
        // A sort by value has read them all, nothing else has read any.
        if found.iter().all(|found| found.record.is_some()) {
            return Ok(Some(found.into_iter().filter_map(|found| found.record).collect()));
        }
        let mut kvs = Vec::with_capacity(found.len());
        for lot in found.chunks(RECORDS_AT_ONCE) {
            let read = records(self.rows, lot.iter().map(|found| &found.version))?;
            if !room(read.iter().map(record_bytes).sum()) {
                return Ok(None);
            }
            kvs.extend(read);
        }
        Ok(Some(kvs))
    }
}

/// The limit, or no limit.
fn limit_of(request: &RangeRequest) -> usize {
    if request.limit <= 0 { usize::MAX } else { usize::try_from(request.limit).unwrap_or(usize::MAX) }
}

/// How many keys to fetch: one more than the limit, unless all of them have to be seen.
fn fetch_max(request: &RangeRequest) -> usize {
    if request.ends_at_limit() { limit_of(request).saturating_add(1) } else { usize::MAX }
}

impl RangeRequest {
    /// Whether reading may end when the limit is reached: no filter and no sort need to see all keys of
    /// the range. Ascending by key is the order they are read in.
    pub fn ends_at_limit(&self) -> bool {
        let in_key_order =
            matches!((self.order, self.target), (SortOrder::None, _) | (SortOrder::Ascend, SortTarget::Key));
        in_key_order && self.filter == RevisionFilter::default()
    }
}

impl RevisionFilter {
    fn keeps(&self, version: &Version) -> bool {
        let within = |low: i64, revision: i64, high: i64| {
            (low == 0 || low <= revision) && (high == 0 || revision <= high)
        };
        within(self.min_mod, version.at.main, self.max_mod)
            && within(self.min_create, version.row.create, self.max_create)
    }
}
