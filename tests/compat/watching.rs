//! Watches in lock-step: the same stream on both sides, compared event by event.
//!
//! After every request that may cause events a *barrier* asks both sides for a manual progress mark.
//! Its answer promises that everything due was sent, so the two windows since the last barrier must
//! hold the same. Between barriers nothing is promised: a side that lags is waited for, a side that has
//! sent something else is a difference.
//!
//! A live event comes in a response of its own, with its revision in the header; that is compared
//! exactly. A watcher that starts in the past is caught up in batches whose size is each server's own
//! business; there the pieces are joined and of the header only the promise is checked.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;

use crate::allow;
use crate::call::Asker;
use crate::feed::Feed;
use crate::side::Side;
use crate::world::World;

/// How long a side may lag before its silence counts as a difference.
const LAG_MAX: Duration = Duration::from_secs(30);
/// How long to wait for a progress mark before asking again: some watcher was behind.
const ASK_AGAIN: Duration = Duration::from_millis(60);

/// Values in a window from which on a watcher may have fallen behind, bytes.
const LARGE_BYTES: usize = 64 << 10;

/// The id of answers that concern a whole stream, and of refusals.
pub const WHOLE_STREAM: i64 = -1;

/// What is done with a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Create(pb::WatchCreateRequest),
    Cancel(i64),
    Progress,
    /// A message with nothing set.
    Nothing,
}

/// One stream on both sides.
pub struct Twin {
    feeds: [Feed; 2],
    /// Who opened it.
    pub asker: Asker,
    /// Up to where the responses have been compared.
    compared: [usize; 2],
    /// Living watchers and the revision each starts at.
    pub watchers: BTreeMap<i64, i64>,
    /// Ids that were given once.
    pub retired: Vec<i64>,
    created: usize,
    /// A watcher on it was cancelled by compaction; etcd answers no progress request after that.
    pub spent: bool,
    /// Whether the windows may hold catch-up batches.
    catching_up: bool,
}

const OF_ETCD: &str = "etcd: ";
const NO_MARK: &str = "no progress mark";

/// Whether a difference is only that etcd has not answered: it drops a request for progress that comes while a
/// watcher of the stream is behind, and its silence says nothing of Bramble.
pub fn is_silence_of_etcd(difference: &str) -> bool {
    difference.contains(&format!("{OF_ETCD}{NO_MARK}"))
}

/// What a window held, for the grid.
#[derive(Debug, Default)]
pub struct Seen {
    /// The responses of the oracle, joined.
    pub responses: Vec<pb::WatchResponse>,
    /// Whether a response had come in pieces on the oracle's side.
    pub fragmented: bool,
    /// Whether the sides differed as [`allow::AT_THE_FLOOR`] says.
    pub erased: bool,
}

impl Twin {
    /// Opens the stream on both sides.
    pub fn open(sides: &[Side; 2], asker: Asker) -> Twin {
        Twin {
            feeds: [Feed::open(&sides[0], &asker), Feed::open(&sides[1], &asker)],
            asker,
            compared: [0, 0],
            watchers: BTreeMap::new(),
            retired: Vec::new(),
            created: 0,
            spent: false,
            catching_up: false,
        }
    }

    /// Whether a progress request will be answered at this revision.
    fn can_mark(&self, revision: i64) -> bool {
        !self.watchers.is_empty() && !self.spent && self.watchers.values().all(|start| *start <= revision)
    }

    /// Whether some watcher waits for a revision that has not happened.
    pub fn waits(&self, revision: i64) -> bool {
        self.watchers.values().any(|start| *start > revision)
    }

    /// Does it on both sides and waits for what must come back.
    pub async fn act(&mut self, act: &Act, revision: i64) -> Result<(), String> {
        let union = match act {
            Act::Create(create) => Some(RequestUnion::CreateRequest(create.clone())),
            Act::Cancel(id) => Some(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: *id })),
            Act::Progress => return self.silent_or_marked(revision).await,
            Act::Nothing => None,
        };
        for feed in &self.feeds {
            feed.send(union.clone()).await;
        }
        match act {
            Act::Create(create) => self.await_created(create).await,
            Act::Cancel(id) if self.watchers.contains_key(id) => self.await_canceled(*id).await,
            _ => Ok(()),
        }
    }

    async fn silent_or_marked(&mut self, revision: i64) -> Result<(), String> {
        if self.can_mark(revision) {
            return self.barrier(revision).await;
        }
        for feed in &self.feeds {
            feed.send(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))).await;
        }
        if self.spent {
            return Ok(());
        }
        for feed in &self.feeds {
            let from = feed.len();
            if feed.wait(from, Duration::from_millis(25), |new| new.iter().any(is_mark)).await {
                return Err(format!("a progress mark that nothing allows: {:?}", feed.since(from)));
            }
        }
        Ok(())
    }

    async fn await_created(&mut self, create: &pb::WatchCreateRequest) -> Result<(), String> {
        self.created += 1;
        self.catching_up |= create.start_revision > 0;
        let wanted = self.created;
        for (feed, who) in self.feeds.iter().zip(["etcd", "bramble"]) {
            if !feed.wait(0, LAG_MAX, |all| all.iter().filter(|one| one.created).count() >= wanted).await {
                return Err(format!("{who} does not answer the create: {:?}", feed.ended()));
            }
        }
        let answers = self.feeds[0].since(0);
        let answer = answers.iter().filter(|one| one.created).nth(wanted - 1).expect("it was waited for");
        if !answer.canceled {
            self.watchers.insert(answer.watch_id, create.start_revision);
        }
        Ok(())
    }

    async fn await_canceled(&mut self, id: i64) -> Result<(), String> {
        self.forget(id);
        for (index, who) in ["etcd", "bramble"].into_iter().enumerate() {
            let ours = |all: &[pb::WatchResponse]| all.iter().any(|one| one.canceled && one.watch_id == id);
            if !self.feeds[index].wait(self.compared[index], LAG_MAX, ours).await {
                return Err(format!("{who} does not confirm the cancel of {id}"));
            }
        }
        Ok(())
    }

    fn forget(&mut self, id: i64) {
        self.watchers.remove(&id);
        self.retired.push(id);
    }

    /// Waits until a watcher below the compaction floor has been told so, on both sides.
    pub async fn await_compacted(&mut self, id: i64) -> Result<(), String> {
        self.spent = true;
        self.await_canceled(id).await
    }

    /// Makes sure that both sides have sent everything up to `revision`, if they can be asked.
    pub async fn barrier(&mut self, revision: i64) -> Result<(), String> {
        if !self.can_mark(revision) {
            return Ok(());
        }
        let (first, second) =
            tokio::join!(marked(&self.feeds[0], revision), marked(&self.feeds[1], revision));
        first.map_err(|what| format!("{OF_ETCD}{what}"))?;
        second.map_err(|what| format!("bramble: {what}"))
    }

    /// Compares what came since the last time; the oracle's part is returned for the grid.
    pub async fn compare(&mut self, sides: &[Side; 2], world: &World) -> Result<Seen, String> {
        let revision = world.revision;
        let exact = !self.catching_up;
        let deadline = std::time::Instant::now() + LAG_MAX;
        loop {
            let lengths = [self.feeds[0].len(), self.feeds[1].len()];
            let windows = |exact| {
                let of = |n: usize| window(&self.feeds[n], self.compared[n], lengths[n], &sides[n], exact);
                (of(0), of(1))
            };
            let (mut theirs, mut ours) = windows(exact);
            // A watcher of large events falls behind when its client is slow to read them, and gets
            // them in batches: each side by its own clock.
            if exact && theirs.by_watcher != ours.by_watcher && theirs.event_bytes() >= LARGE_BYTES {
                (theirs, ours) = windows(false);
            }
            let erased = !exact && self.can_mark(revision) && erased_only(world.floor, &theirs, &ours);
            if theirs.by_watcher == ours.by_watcher || erased {
                self.compared = lengths;
                self.catching_up &= !self.can_mark(revision);
                ours.promise?;
                let responses = theirs.by_watcher.into_values().flatten().collect();
                return Ok(Seen { responses, fragmented: theirs.fragmented, erased });
            }
            if std::time::Instant::now() >= deadline || !shorter(&theirs, &ours) {
                return Err(first_difference(&theirs, &ours));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A window of responses in a form two healthy servers agree on.
struct Window {
    by_watcher: BTreeMap<i64, Vec<pb::WatchResponse>>,
    fragmented: bool,
    /// Whether the headers kept what they promise.
    promise: Result<(), String>,
}

impl Window {
    /// Bytes of the events, about.
    fn event_bytes(&self) -> usize {
        let events = self.by_watcher.values().flatten().flat_map(|response| &response.events);
        events.flat_map(|event| event.kv.iter().chain(&event.prev_kv)).map(|kv| kv.value.len()).sum()
    }
}

fn window(feed: &Feed, from: usize, to: usize, side: &Side, exact: bool) -> Window {
    let mut by_watcher: BTreeMap<i64, Vec<pb::WatchResponse>> = BTreeMap::new();
    let mut responses = feed.since(from);
    responses.truncate(to - from);
    let mut fragmented = false;
    let mut promise = Ok(());
    for mut response in responses {
        if is_mark(&response) {
            continue;
        }
        mask(&mut response, side);
        let newest =
            response.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        if newest > header {
            promise = Err(format!("events newer than the header: {newest} > {header}"));
        }
        let list = by_watcher.entry(response.watch_id).or_default();
        let joins = list.last().is_some_and(|last| last.fragment || (!exact && both_events(last, &response)));
        fragmented |= response.fragment;
        match list.last_mut() {
            Some(last) if joins => join(last, response),
            _ => list.push(response),
        }
    }
    if !exact {
        let with_events = by_watcher.values_mut().flatten().filter(|one| !one.events.is_empty());
        with_events.filter_map(|one| one.header.as_mut()).for_each(|header| header.revision = 0);
    }
    Window { by_watcher, fragmented, promise }
}

fn both_events(last: &pb::WatchResponse, next: &pb::WatchResponse) -> bool {
    !last.events.is_empty() && !next.events.is_empty()
}

fn join(last: &mut pb::WatchResponse, next: pb::WatchResponse) {
    last.header = next.header;
    last.fragment = next.fragment;
    last.events.extend(next.events);
}

/// Whether the sides differ only in changes that etcd erased at the floor.
fn erased_only(floor: i64, theirs: &Window, ours: &Window) -> bool {
    let ids: BTreeSet<&i64> = theirs.by_watcher.keys().chain(ours.by_watcher.keys()).collect();
    let (mut same, mut erased) = (true, false);
    for id in ids {
        let left = theirs.by_watcher.get(id).map_or(&[][..], Vec::as_slice);
        let right = ours.by_watcher.get(id).map_or(&[][..], Vec::as_slice);
        same &= left == right || allow::erased_at_the_floor(floor, left, right);
        erased |= left != right;
    }
    same && erased
}

/// Whether one side has merely sent less so far.
fn shorter(theirs: &Window, ours: &Window) -> bool {
    let ids = theirs.by_watcher.keys().chain(ours.by_watcher.keys());
    ids.into_iter().all(|id| {
        let empty = Vec::new();
        let left = theirs.by_watcher.get(id).unwrap_or(&empty);
        let right = ours.by_watcher.get(id).unwrap_or(&empty);
        left.iter()
            .zip(right)
            .all(|(a, b)| a == b || a.events.len() != b.events.len() || a.fragment || b.fragment)
    })
}

fn first_difference(theirs: &Window, ours: &Window) -> String {
    let ids = theirs.by_watcher.keys().chain(ours.by_watcher.keys());
    for id in ids {
        let left = theirs.by_watcher.get(id);
        let right = ours.by_watcher.get(id);
        if left != right {
            return format!("watcher {id}\n  etcd:    {left:?}\n  bramble: {right:?}");
        }
    }
    "no difference".to_string()
}

async fn marked(feed: &Feed, revision: i64) -> Result<(), String> {
    let from = feed.len();
    let deadline = std::time::Instant::now() + LAG_MAX;
    while std::time::Instant::now() < deadline {
        feed.send(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))).await;
        let enough =
            |new: &[pb::WatchResponse]| new.iter().any(|one| is_mark(one) && mark_of(one) >= revision);
        if feed.wait(from, ASK_AGAIN, enough).await {
            let marks = feed.since(from);
            let mark = marks.iter().rfind(|one| is_mark(one)).map_or(0, mark_of);
            return if mark == revision {
                Ok(())
            } else {
                Err(format!("progress mark {mark}, revision {revision}"))
            };
        }
    }
    Err(format!("{NO_MARK} {revision}; {:?} {:?}", feed.ended(), feed.since(from)))
}

fn mark_of(response: &pb::WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}

fn is_mark(response: &pb::WatchResponse) -> bool {
    response.watch_id == WHOLE_STREAM && !response.created && !response.canceled && response.events.is_empty()
}

fn mask(response: &mut pb::WatchResponse, side: &Side) {
    if let Some(header) = &mut response.header {
        side.names.mask_header(header);
    }
    for event in &mut response.events {
        event.kv.iter_mut().chain(&mut event.prev_kv).for_each(|kv| side.names.mask_kv(kv));
    }
}
