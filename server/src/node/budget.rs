//! What clients may take of a member's memory: in total, and for one connection.
//!
//! ```text
//!   Budget (the member) ─┬─ Share (a connection) ─┬─ Place (a request or a stream)
//!                        │                        └─ Place ─ its bytes, its watches
//!                        └─ Share …
//! ```
//!
//! Everything taken belongs to a place and is given back with it. Of most kinds a connection may
//! always have a little, so one that hogs the rest cannot shut a quiet one out; the bound in total is
//! therefore `all` plus `sure` for each connection, of which there is a bound, too.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout_at};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections of clients.
    Connections,
    /// Requests under way that are no streams, until their answer has left.
    Requests,
    /// Bytes of messages that have not been dealt with.
    RequestBytes,
    /// Bytes of answers being made or not yet taken by the client.
    AnswerBytes,
    /// Watch streams.
    WatchStreams,
    /// All other streams: keep-alives, observed elections, streamed ranges and backups.
    OtherStreams,
    /// Watchers; one with long keys counts for several, see [`watch_cost`].
    Watches,
}

/// All kinds, in the order of their numbers.
pub const KINDS: [Kind; 7] = [
    Kind::Connections,
    Kind::Requests,
    Kind::RequestBytes,
    Kind::AnswerBytes,
    Kind::WatchStreams,
    Kind::OtherStreams,
    Kind::Watches,
];

/// How much of one kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// For everybody.
    pub all: usize,
    /// For one connection (connections: from one address).
    pub one: usize,
    /// What a connection may have even when there is nothing left.
    pub sure: usize,
}

/// Bytes of a watcher's keys that count as one watcher.
const WATCH_KEY_BYTES: usize = 512;
/// How often who waits for room looks whether there is some.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How many watchers one with keys of so many bytes counts for.
pub fn watch_cost(key_bytes: usize) -> usize {
    1 + key_bytes / WATCH_KEY_BYTES
}

/// How one kind stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Taken now.
    pub used: usize,
    /// The most there is.
    pub max: usize,
    /// How often somebody was refused.
    pub refused: u64,
}

/// A member's budget.
#[derive(Debug)]
pub struct Budget {
    limits: [Limit; KINDS.len()],
    used: [AtomicUsize; KINDS.len()],
    refused: [AtomicU64; KINDS.len()],
    /// Those who need more room for an answer than there was, one at a time, in the order they came.
    line: Mutex<()>,
    /// Whether the first of them finds none.
    short: AtomicBool,
}

impl Budget {
    /// One with these limits, by the numbers of the kinds; [`super::memory`] makes them.
    pub fn new(limits: [Limit; KINDS.len()]) -> Arc<Budget> {
        let (line, short) = (Mutex::new(()), AtomicBool::new(false));
        Arc::new(Budget { limits, used: Default::default(), refused: Default::default(), line, short })
    }

    /// How a kind stands.
    pub fn usage(&self, kind: Kind) -> Usage {
        let n = kind as usize;
        Usage {
            used: self.used[n].load(Ordering::Relaxed),
            max: self.limits[n].all,
            refused: self.refused[n].load(Ordering::Relaxed),
        }
    }

    /// The limits of a kind.
    pub fn limit(&self, kind: Kind) -> Limit {
        self.limits[kind as usize]
    }

    /// The share of a new connection; `None` when there are too many.
    pub fn connection(self: &Arc<Budget>) -> Option<Arc<Share>> {
        let n = Kind::Connections as usize;
        if self.used[n].fetch_add(1, Ordering::Relaxed) >= self.limits[n].all {
            self.used[n].fetch_sub(1, Ordering::Relaxed);
            self.count_refusal(Kind::Connections);
            return None;
        }
        Some(Arc::new(Share { budget: self.clone(), used: Default::default(), connection: true }))
    }

    /// Somebody was refused.
    pub fn count_refusal(&self, kind: Kind) {
        self.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The share of callers in this process: bounded in total only.
    pub fn in_process(self: &Arc<Budget>) -> Arc<Share> {
        Arc::new(Share { budget: self.clone(), used: Default::default(), connection: false })
    }
}

/// What one connection has taken.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    used: [AtomicUsize; KINDS.len()],
    connection: bool,
}

impl Share {
    /// A place for a request or a stream; `None` when there is none left.
    pub fn place(self: &Arc<Share>, kind: Kind) -> Option<Arc<Place>> {
        let place = Place { share: self.clone(), kind, taken: Default::default() };
        let placed = place.take(kind, 1);
        if !placed {
            place.count_refusal(kind);
        }
        placed.then(|| Arc::new(place))
    }

    /// Places that this connection has in all.
    pub fn places(&self) -> usize {
        let kinds = [Kind::Requests, Kind::WatchStreams, Kind::OtherStreams];
        kinds.into_iter().map(|kind| self.used[kind as usize].load(Ordering::Relaxed)).sum()
    }

    fn most(&self, kind: Kind) -> usize {
        let Limit { all, one, .. } = self.budget.limit(kind);
        if self.connection { one } else { all }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.connection {
            self.budget.used[Kind::Connections as usize].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What one request or stream has taken. Dropping it gives everything back.
#[derive(Debug)]
pub struct Place {
    share: Arc<Share>,
    kind: Kind,
    taken: [AtomicUsize; KINDS.len()],
}

impl Place {
    /// A part of it that gives back by itself, before it does: for what a long stream or request does
    /// again and again. It is no request or stream of its own and takes nothing yet.
    pub fn part(&self) -> Arc<Place> {
        Arc::new(Place { share: self.share.clone(), kind: self.kind, taken: Default::default() })
    }

    /// What it is a place of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Takes `amount` more; false when the connection or the member has no more of it.
    pub fn take(&self, kind: Kind, amount: usize) -> bool {
        let limit = self.share.budget.limit(kind);
        let (own, all) = self.add(kind, amount);
        let fits = amount == 0 || own <= limit.sure || (own <= self.share.most(kind) && all <= limit.all);
        if !fits {
            self.give(kind, amount);
        }
        fits
    }

    /// Waits until it has `amount` more answer bytes, or as many as a connection may have; for streams,
    /// which have no deadline.
    pub async fn borrow_answer(self: &Arc<Place>, amount: usize) -> Loan {
        let bytes = amount.min(self.most(Kind::AnswerBytes));
        while !self.take(Kind::AnswerBytes, bytes) {
            sleep(LOOK_EVERY).await;
        }
        Loan { place: self.clone(), bytes }
    }

    /// Has `bytes` more of answers though there may be no room: of what is there already.
    pub fn borrow_anyway(self: &Arc<Place>, bytes: usize) -> Loan {
        self.add(Kind::AnswerBytes, bytes);
        Loan { place: self.clone(), bytes }
    }

    /// This place was refused more of a kind.
    pub fn count_refusal(&self, kind: Kind) {
        self.share.budget.count_refusal(kind);
    }

    /// Counts `amount` more though there may be none, for as long as the place lasts.
    pub fn take_anyway(&self, kind: Kind, amount: usize) {
        self.add(kind, amount);
    }

    /// Counts `amount` more; what the connection and the member have then.
    fn add(&self, kind: Kind, amount: usize) -> (usize, usize) {
        let (n, budget) = (kind as usize, &self.share.budget);
        self.taken[n].fetch_add(amount, Ordering::Relaxed);
        let own = self.share.used[n].fetch_add(amount, Ordering::Relaxed) + amount;
        (own, budget.used[n].fetch_add(amount, Ordering::Relaxed) + amount)
    }

    /// Gives `amount` of what the caller took back. Others may have taken for the same place meanwhile,
    /// so who gives keeps count itself, best by a [`Loan`].
    pub fn give(&self, kind: Kind, amount: usize) {
        let (n, budget) = (kind as usize, &self.share.budget);
        self.taken[n].fetch_sub(amount, Ordering::Relaxed);
        self.share.used[n].fetch_sub(amount, Ordering::Relaxed);
        budget.used[n].fetch_sub(amount, Ordering::Relaxed);
    }

    /// What this place has of a kind.
    pub fn taken(&self, kind: Kind) -> usize {
        self.taken[kind as usize].load(Ordering::Relaxed)
    }

    /// The most that the connection may have of a kind.
    pub fn most(&self, kind: Kind) -> usize {
        self.share.most(kind)
    }

    /// What it may take of a kind in any case, if its connection has taken nothing.
    pub fn sure(&self, kind: Kind) -> usize {
        self.share.budget.limit(kind).sure
    }

    /// Whether somebody in the line for room for answers finds none.
    pub fn others_wait(&self) -> bool {
        self.share.budget.short.load(Ordering::Relaxed)
    }

    /// Waits until `amount` answer bytes could be taken, or as many as the connection may ever have, and
    /// it is this place's turn; `None` when that took until `deadline`. Who has its turn keeps it, unless
    /// its own connection has taken too much: for that, nobody else waits.
    pub async fn turn<'a>(
        &'a self,
        mut held: Option<Turn<'a>>,
        amount: usize,
        deadline: Instant,
    ) -> Option<Turn<'a>> {
        let (n, budget) = (Kind::AnswerBytes as usize, &self.share.budget);
        let most = self.most(Kind::AnswerBytes);
        let amount = amount.min(most);
        let fits = |used: &AtomicUsize, most| used.load(Ordering::Relaxed) + amount <= most;
        while Instant::now() < deadline {
            match held {
                _ if !fits(&self.share.used[n], most) => held = None,
                None => {
                    let place = timeout_at(deadline, budget.line.lock()).await.ok()?;
                    held = Some(Turn { short: &budget.short, _place: place });
                    continue;
                }
                Some(turn) if fits(&budget.used[n], budget.limits[n].all) => {
                    budget.short.store(false, Ordering::Relaxed);
                    return Some(turn);
                }
                Some(_) => budget.short.store(true, Ordering::Relaxed),
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for kind in KINDS {
            let taken = self.taken(kind);
            if taken > 0 {
                self.give(kind, taken);
            }
        }
    }
}

/// Answer bytes of a place, given back when it is dropped.
#[derive(Debug)]
pub struct Loan {
    place: Arc<Place>,
    bytes: usize,
}

impl Loan {
    /// So much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.place.give(Kind::AnswerBytes, spare);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.place.give(Kind::AnswerBytes, self.bytes);
    }
}

/// The first place in the line.
pub struct Turn<'a> {
    short: &'a AtomicBool,
    /// Given up after that.
    _place: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.short.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget with the same small limits for every kind.
    fn small() -> Arc<Budget> {
        Budget::new([Limit { all: 10, one: 6, sure: 2 }; KINDS.len()])
    }

    #[test]
    fn a_connection_has_its_bound_and_the_member_its_own() {
        let budget = small();
        let (hog, other, quiet) = (budget.connection(), budget.connection(), budget.connection());
        let shares = [hog, other, quiet].map(|share| share.expect("room for three"));
        let places = shares.each_ref().map(|share| share.place(Kind::Requests).expect("a place"));
        let [hog, other, quiet] = &places;
        assert!(hog.take(Kind::AnswerBytes, 6) && !hog.take(Kind::AnswerBytes, 1), "its own bound");
        assert!(other.take(Kind::AnswerBytes, 4) && !other.take(Kind::AnswerBytes, 1), "the one of all");
        assert!(quiet.take(Kind::AnswerBytes, 2) && !quiet.take(Kind::AnswerBytes, 1), "what is sure");
        assert!(quiet.take(Kind::AnswerBytes, 0), "nothing is always there");
        hog.give(Kind::AnswerBytes, 3);
        assert!(other.take(Kind::AnswerBytes, 1), "9 of 10 were left");
        assert_eq!(budget.usage(Kind::AnswerBytes).used, 10);
        drop((places, shares));
        for kind in KINDS {
            assert_eq!(budget.usage(kind), Usage { used: 0, max: 10, refused: 0 }, "{kind:?}");
        }
    }

    #[test]
    fn places_and_connections_are_counted_and_refused() {
        let budget = small();
        let share = budget.connection().expect("a share");
        let places: Vec<_> = (0..8).map(|_| share.place(Kind::WatchStreams)).collect();
        assert_eq!(places.iter().flatten().count(), 6);
        assert_eq!(share.places(), 6);
        assert_eq!(budget.usage(Kind::WatchStreams), Usage { used: 6, max: 10, refused: 2 });
        let more: Vec<_> = (0..12).map(|_| budget.connection()).collect();
        assert_eq!(more.iter().flatten().count(), 9);
        drop((places, more));
        assert_eq!(share.places(), 0);
        drop(share);
        assert_eq!(budget.usage(Kind::Connections), Usage { used: 0, max: 10, refused: 3 });
    }

    #[test]
    fn loans_of_one_place_are_given_back_one_by_one() {
        let budget = small();
        let place = budget.in_process().place(Kind::OtherStreams).expect("a place");
        let used = || budget.usage(Kind::AnswerBytes).used;
        let more_than_all = place.borrow_anyway(12);
        let mut chunk = place.borrow_anyway(8);
        chunk.shrink(3);
        chunk.shrink(5);
        assert_eq!(used(), 15);
        drop(more_than_all);
        assert_eq!(used(), 3);
        drop(chunk);
        assert_eq!(used(), 0);
    }

    #[test]
    fn a_part_of_a_place_gives_back_what_it_took() {
        let budget = small();
        let share = budget.connection().expect("a share");
        let place = share.place(Kind::OtherStreams).expect("a place");
        assert!(place.take(Kind::AnswerBytes, 1));
        let part = place.part();
        assert_eq!((part.kind(), share.places()), (Kind::OtherStreams, 1), "it is no other stream");
        assert!(part.take(Kind::AnswerBytes, 5) && !part.take(Kind::AnswerBytes, 1), "the same bound");
        drop(part);
        assert_eq!(budget.usage(Kind::AnswerBytes).used, 1);
        assert_eq!(budget.usage(Kind::OtherStreams).used, 1);
    }

    #[test]
    fn callers_in_this_process_are_bounded_in_total_only() {
        let budget = small();
        let place = budget.in_process().place(Kind::Requests).expect("a place");
        assert!(place.take(Kind::AnswerBytes, 10) && !place.take(Kind::AnswerBytes, 1));
        assert_eq!(budget.usage(Kind::Connections).used, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_room_gets_it_in_turn_or_leaves_in_time() {
        let budget = small();
        let share = budget.in_process();
        let place = |share: &Arc<Share>| share.place(Kind::Requests).expect("a place");
        let (big, first, second) = (place(&share), place(&share), place(&share));
        assert!(big.take(Kind::AnswerBytes, 9));
        let soon = || Instant::now() + Duration::from_secs(1);
        let turn = first.turn(None, 1, soon()).await.expect("there is room for 1");
        assert!(second.turn(None, 1, soon()).await.is_none(), "the first has not had its turn");
        let turn = first.turn(Some(turn), 1, soon()).await.expect("it keeps its turn");
        assert!(first.turn(Some(turn), 2, soon()).await.is_none(), "nobody gave anything back");
        let giving = async {
            sleep(Duration::from_millis(100)).await;
            drop(big);
        };
        let (turn, ()) = tokio::join!(first.turn(None, 1_000, soon()), giving);
        drop(turn.expect("as much as it may ever have"));
        assert!(second.turn(None, 1, soon()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_room_that_another_connection_has_used_up_for_itself() {
        let budget = small();
        let shares = [budget.connection(), budget.connection()].map(|share| share.expect("a share"));
        let [hog, waits] = [0, 0].map(|n: usize| shares[n].place(Kind::Requests).expect("a place"));
        let other = shares[1].place(Kind::Requests).expect("a place");
        assert!(hog.take(Kind::AnswerBytes, 6));
        let soon = || Instant::now() + Duration::from_secs(1);
        let (none, turn) = tokio::join!(waits.turn(None, 1, soon()), async {
            sleep(Duration::from_millis(100)).await;
            other.turn(None, 3, soon()).await
        });
        assert!(none.is_none(), "its connection has all that it may have");
        assert!(turn.is_some(), "there was room for others meanwhile");
        let (none, second) = tokio::join!(
            waits.turn(None, 1, soon()),
            other.turn(turn, 5, Instant::now() + Duration::from_millis(100))
        );
        assert!(none.is_none() && second.is_none(), "10 is the most that all may have");
    }
}
