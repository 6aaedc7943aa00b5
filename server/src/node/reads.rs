//! Reads whose answers take only the memory that there is.
//!
//! A read does not know how large its answer will be, so it takes room as it goes. When there is no
//! more it stops and gives everything back; then it waits in line until what it needed, and as much
//! again, is free, and begins anew. What its own connection has taken it waits for outside the line. Who
//! comes while others stand in line takes only what nobody can take from its connection, and stops soon:
//! reading what there is no room for would cost everybody time. An answer that is larger than a connection
//! may ever have is refused.
use std::cell::Cell;
use std::sync::{Arc, Weak};

use bramble_store::error::ReadError;
use bramble_store::store::{Reply, Room};
use bramble_store::types::{KeyValue, OpReply, RangeEnd, RangeRequest};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::budget::{Kind, Place};
use super::core::{Core, View};
use super::error::{Error, NotNow, Unknown};

/// An answer is there twice for a moment: as it was read, and encoded.
pub(super) const COPIES: usize = 2;
/// Records a range may ask for and still be read on the spot.
const SMALL_LIMIT: i64 = 16;
/// Room is taken in steps from here …
const STEP_BYTES_MIN: usize = 4 << 10;
/// … to here, by doubling.
const STEP_BYTES_MAX: usize = 1 << 20;

/// Where a read is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// On the spot.
    Small,
    /// Away from the async threads.
    Large,
}

impl Size {
    /// Small is what reads a bounded part of the store: one key; or a few in their order, now. Anything
    /// else may look at every key of the range, whatever its limit is, if only to count them.
    pub(super) fn of(request: &RangeRequest) -> Size {
        let few = (1..=SMALL_LIMIT).contains(&request.limit);
        let now = request.revision <= 0;
        match request.range.end == RangeEnd::Single || (few && now && request.ends_at_limit()) {
            true => Size::Small,
            false => Size::Large,
        }
    }
}

/// The room that one read has taken.
struct Tab {
    place: Arc<Place>,
    asked: Cell<usize>,
    granted: Cell<usize>,
    /// What it may take at most.
    most: usize,
    wanted: Wanted,
}

/// Whether a read is to go on: its caller waits, and the node does, too.
struct Wanted {
    caller: Weak<()>,
    end: CancellationToken,
}

impl Wanted {
    fn until(end: &CancellationToken, caller: &Arc<()>) -> Wanted {
        Wanted { caller: Arc::downgrade(caller), end: end.clone() }
    }

    fn yet(&self) -> bool {
        self.caller.strong_count() > 0 && !self.end.is_cancelled()
    }
}

impl Tab {
    fn more(&self, bytes: usize) -> bool {
        if bytes == 0 {
            return self.wanted.yet();
        }
        self.asked.set(self.asked.get() + bytes);
        let (needed, granted) = (self.asked.get() * COPIES, self.granted.get());
        if needed <= granted {
            return true;
        }
        if needed > self.most {
            return false;
        }
        let exactly = needed - granted;
        let step = exactly.max(granted.clamp(STEP_BYTES_MIN, STEP_BYTES_MAX));
        for step in [step, exactly] {
            if self.wanted.yet() && self.place.take(Kind::AnswerBytes, step) {
                self.granted.set(granted + step);
                return true;
            }
        }
        false
    }

    /// Keeps what the answer needs, or nothing when there is none.
    fn settle(&self, answered: bool) {
        let needed = if answered { self.asked.get() * COPIES } else { 0 };
        self.place.give(Kind::AnswerBytes, self.granted.get() - needed);
    }
}

/// Where a read is tried, what it may take at most, and how long it may wait for its desk.
#[derive(Clone, Copy, Debug)]
struct Try {
    size: Size,
    most: usize,
    deadline: Instant,
}

/// How an attempt ended: with an answer, or without room for the bytes asked for until then.
type Attempt<T> = Result<Result<T, usize>, ReadError>;

fn attempt<T>(
    tab: &Tab,
    view: &View,
    read: impl FnOnce(&View, Room<'_>) -> Result<Option<T>, ReadError>,
) -> Attempt<T> {
    let answer = read(view, &|bytes| tab.more(bytes));
    tab.settle(matches!(answer, Ok(Some(_))));
    Ok(answer?.ok_or(tab.asked.get()))
}

impl Core {
    /// Reads from `view`, or from a newer one if it had to wait for room.
    pub(super) async fn read<T, R>(
        &self,
        place: &Arc<Place>,
        view: View,
        size: Size,
        read: R,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        R: Fn(&View, Room<'_>) -> Result<Option<T>, ReadError> + Clone + Send + 'static,
    {
        let deadline = self.deadline();
        let most = if place.others_wait() { place.sure(Kind::AnswerBytes) } else { usize::MAX };
        let needed = match self.try_read(place, view, Try { size, most, deadline }, read.clone()).await? {
            Ok(answer) => return Ok(answer),
            Err(needed) => needed,
        };
        // Perhaps that is why it was ended.
        self.alive()?;
        let too_many = || {
            place.count_refusal(Kind::AnswerBytes);
            NotNow::TooManyRequests
        };
        let most = place.most(Kind::AnswerBytes);
        let (mut needed, mut turn) = (needed * COPIES, None);
        loop {
            if needed > most {
                place.count_refusal(Kind::AnswerBytes);
                return Err(NotNow::AnswerTooLarge { bytes: needed / COPIES, max: most / COPIES }.into());
            }
            let first = place.turn(turn.take(), needed.saturating_mul(2), deadline).await;
            turn = Some(first.ok_or_else(too_many)?);
            let again = Try { size: Size::Large, most: usize::MAX, deadline };
            match self.try_read(place, self.view()?, again, read.clone()).await? {
                Ok(answer) => return Ok(answer),
                Err(reached) => needed = needed.max(reached * COPIES),
            }
        }
    }

    async fn try_read<T, R>(
        &self,
        place: &Arc<Place>,
        view: View,
        Try { size, most, deadline }: Try,
        read: R,
    ) -> Result<Result<T, usize>, Error>
    where
        T: Send + 'static,
        R: Fn(&View, Room<'_>) -> Result<Option<T>, ReadError> + Send + 'static,
    {
        let caller = Arc::new(());
        let wanted = Wanted::until(&self.closed, &caller);
        let tab = Tab { place: place.clone(), asked: Cell::new(0), granted: Cell::new(0), most, wanted };
        let ended = match size {
            Size::Small => attempt(&tab, &view, read),
            Size::Large => self.aside(deadline, move || attempt(&tab, &view, read)).await?,
        };
        ended.map_err(|error| self.read_error(error))
    }

    /// Does a large read away from the async threads, as many at once as there are processors.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotNow> {
        let desk = timeout_at(deadline, self.desks.one()).await.map_err(|_| NotNow::TooManyRequests)??;
        match self.closed.is_cancelled() {
            true => Err(NotNow::Stopped),
            false => desk.work(work).await,
        }
    }

    /// Reads the whole history, or much of it, away from the async threads, one after the other: it may take
    /// minutes, and must not keep others waiting. `read` ends when it is told that there is no room.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        view: View,
        read: impl FnOnce(&View, Room<'_>) -> Result<Option<T>, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let desk = self.scans.one().await?;
        self.alive()?;
        let caller = Arc::new(());
        // It takes too long to be finished when the node stops.
        let wanted = Wanted::until(&self.stop, &caller);
        let read = desk.work(move || read(&view, &|_| wanted.yet())).await?;
        read.map_err(|error| self.read_error(error))?.ok_or(NotNow::Stopped.into())
    }

    /// Waits until nothing is read away from the async threads any more. The engine is let go: what is read
    /// ends soon, and nothing begins.
    pub(super) async fn reads_ended(&self) {
        self.scans.close().await;
        self.desks.close().await;
    }
}

/// Reads of the whole history at once.
pub(super) const SCANS: usize = 1;

/// Keeps the answer of a command, if there is room for what it found.
pub(super) fn keep(place: &Place, reply: Reply) -> Result<Reply, Error> {
    let bytes = match &reply {
        Reply::LeftOut { .. } => None,
        Reply::Put(put) => Some(put.prev_kv.as_ref().map_or(0, record_bytes)),
        Reply::Delete(delete) => Some(delete.prev_kvs.iter().map(record_bytes).sum()),
        Reply::Txn(txn) => Some(txn.replies.iter().map(op_bytes).sum()),
        // All others are small.
        _ => Some(0),
    };
    match bytes {
        Some(bytes) if place.take(Kind::AnswerBytes, bytes * COPIES) => Ok(reply),
        _ => {
            place.count_refusal(Kind::AnswerBytes);
            Err(Unknown::AnswerLeftOut.into())
        }
    }
}

fn op_bytes(reply: &OpReply) -> usize {
    match reply {
        OpReply::Range(range) => range.kvs.iter().map(record_bytes).sum(),
        OpReply::Put(put) => put.prev_kv.as_ref().map_or(0, record_bytes),
        OpReply::Delete(delete) => delete.prev_kvs.iter().map(record_bytes).sum(),
        OpReply::Txn(txn) => txn.replies.iter().map(op_bytes).sum(),
    }
}

fn record_bytes(kv: &KeyValue) -> usize {
    size_of::<KeyValue>() + kv.key.len() + kv.value.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bramble_store::types::{Detail, KeyRange, RevisionFilter, SortOrder, SortTarget};

    use super::*;
    use crate::config::Profile;
    use crate::node::budget::Budget;
    use crate::node::memory::Memory;

    fn all(limit: i64) -> RangeRequest {
        RangeRequest { limit, ..RangeRequest::new(KeyRange::all()) }
    }

    #[test]
    fn what_looks_at_a_few_keys_is_read_on_the_spot() {
        let one = RangeRequest::new(KeyRange::single("k"));
        let ascending = RangeRequest { order: SortOrder::Ascend, ..all(16) };
        // etcd's quirk: without an order, only what the limit left is sorted.
        let unordered = RangeRequest { target: SortTarget::Mod, ..all(16) };
        let keys = RangeRequest { detail: Detail::KeysOnly, ..all(1) };
        for request in [one.clone(), RangeRequest { revision: 7, ..one }, ascending, unordered, keys, all(1)]
        {
            assert_eq!(Size::of(&request), Size::Small, "{request:?}");
        }
    }

    #[test]
    fn what_may_look_at_all_keys_leaves_the_async_threads() {
        let first = |target| RangeRequest { order: SortOrder::Ascend, target, ..all(1) };
        let last = RangeRequest { order: SortOrder::Descend, ..all(1) };
        let filter = RevisionFilter { max_create: 7, ..RevisionFilter::default() };
        let count = RangeRequest { detail: Detail::CountOnly, ..all(0) };
        let (filtered, older) = (RangeRequest { filter, ..all(1) }, RangeRequest { revision: 7, ..all(1) });
        let oldest = [SortTarget::Create, SortTarget::Mod, SortTarget::Version, SortTarget::Value].map(first);
        for request in oldest.into_iter().chain([last, filtered, older, count, all(0), all(17)]) {
            assert_eq!(Size::of(&request), Size::Large, "{request:?}");
        }
    }

    #[tokio::test]
    async fn who_comes_while_others_wait_for_room_stops_soon() {
        let budget = Budget::new(Memory::of(Profile::Pi).clients);
        let place = budget.in_process().place(Kind::Requests).expect("a place");
        let caller = Arc::new(());
        let tab = |most| {
            let wanted = Wanted::until(&CancellationToken::new(), &caller);
            Tab { place: place.clone(), asked: Cell::new(0), granted: Cell::new(0), most, wanted }
        };
        let sure = place.sure(Kind::AnswerBytes);
        let deadline = Instant::now() + Duration::from_secs(20);
        let in_line = place.turn(None, 1, deadline).await;
        assert!(in_line.is_some() && !place.others_wait(), "there is room");
        drop(in_line);
        let most = place.most(Kind::AnswerBytes);
        assert!(place.take(Kind::AnswerBytes, most));
        let second = budget.connection().expect("a connection").place(Kind::Requests).expect("a place");
        let soon = Instant::now() + Duration::from_millis(20);
        {
            let mut waits = std::pin::pin!(second.turn(None, most, soon));
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut waits).await.is_err());
            assert!(place.others_wait(), "the first in the line finds none");
            assert!(waits.await.is_none(), "its time is over");
        }
        assert!(!place.others_wait(), "it has left the line");
        place.give(Kind::AnswerBytes, most);
        let late = tab(sure);
        assert!(late.more(sure / COPIES), "that much nobody can take from it");
        assert!(!late.more(1), "though there is room");
        late.settle(false);
        assert!(tab(usize::MAX).more(sure), "who stands in line takes what there is");
    }
}
