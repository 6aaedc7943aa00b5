//! Who is here: connections counted by address, and each one's share of the member's budget.
//!
//! A connection that has not said anything yet is a guest at the door, of whom there may be few: when
//! another one comes, whoever has been silent longest is shown out. A client speaks at once, so only those
//! who never meant to are met, and they keep nobody out. Every connection is a visit, of which there may be
//! as many as the budget says, half of them from one address. What is too many is closed at once: a client
//! that gets an error can go elsewhere, one that waits in the system's queue cannot.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;

use crate::node::budget::{Budget, Kind, Share};

/// Connections that have not said anything yet, in all.
const SILENT_MAX: usize = 512;
/// The same from one address: above what an API server opens at once.
const SILENT_PER_ADDRESS_MAX: usize = 256;

/// The connections of some listeners.
pub(super) struct Hall {
    budget: Arc<Budget>,
    present: Mutex<Presence>,
}

/// `None` is the unix sockets, which all have one address.
type Address = Option<IpAddr>;

#[derive(Default)]
struct Presence {
    by_address: HashMap<Address, Present>,
    /// Connections that have come so far.
    count: u64,
}

/// Connections from one address.
#[derive(Default)]
struct Present {
    all: usize,
    /// Those that are silent, in the order they came.
    silent: BTreeMap<u64, CancellationToken>,
}

/// A connection's place in the count.
pub(super) struct Visit {
    hall: Arc<Hall>,
    address: Address,
    share: Arc<Share>,
}

/// What goes with a connection that leaves HTTP behind: it is still a visit, and ends with the house.
pub(super) struct Stay {
    visit: Visit,
    stop: CancellationToken,
    _awaited: TaskTrackerToken,
}

impl Stay {
    /// A visit that `stop` ends and that is waited for then.
    pub(super) fn new(visit: Visit, stop: CancellationToken, awaited: TaskTrackerToken) -> Stay {
        Stay { visit, stop, _awaited: awaited }
    }

    /// The connection's share of the budget.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.visit.share
    }

    /// Cancelled when the server stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

/// A silent connection's place in the count; dropped when it speaks or goes.
pub(super) struct Guest {
    hall: Arc<Hall>,
    address: Address,
    number: u64,
    shown_out: CancellationToken,
}

impl Hall {
    pub(super) fn new(budget: Arc<Budget>) -> Arc<Hall> {
        Arc::new(Hall { budget, present: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Presence> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, or `None` when there are too many: it is closed at once.
    pub(super) fn enter(self: &Arc<Hall>, address: Address) -> Option<(Visit, Guest)> {
        let mut present = self.lock();
        let own = present.by_address.get(&address).map_or(0, |own| own.all);
        if address.is_some() && own >= self.budget.limit(Kind::Connections).one {
            debug!(own, "too many connections; closing one");
            self.budget.count_refusal(Kind::Connections);
            return None;
        }
        let share = self.budget.connection()?;
        if present.make_room(address) {
            self.budget.count_refusal(Kind::Connections);
        }
        present.count += 1;
        let (number, shown_out) = (present.count, CancellationToken::new());
        let own = present.by_address.entry(address).or_default();
        own.all += 1;
        own.silent.insert(number, shown_out.clone());
        drop(present);
        let guest = Guest { hall: self.clone(), address, number, shown_out };
        Some((Visit { hall: self.clone(), address, share }, guest))
    }

    fn leave(&self, address: Address, what: impl FnOnce(&mut Present)) {
        let mut present = self.lock();
        if let Some(own) = present.by_address.get_mut(&address) {
            what(own);
            if own.all == 0 && own.silent.is_empty() {
                present.by_address.remove(&address);
            }
        }
    }
}

impl Presence {
    /// Shows out the one that has been silent longest, when another one from this address were too many:
    /// of those from there, or of the address with most of them. Whether one had to go.
    fn make_room(&mut self, address: Address) -> bool {
        let silent: usize = self.by_address.values().map(|present| present.silent.len()).sum();
        let own = self.by_address.get(&address).map_or(0, |own| own.silent.len());
        let from = match () {
            () if own >= SILENT_PER_ADDRESS_MAX => self.by_address.get_mut(&address),
            () if silent >= SILENT_MAX => self.by_address.values_mut().max_by_key(|other| other.silent.len()),
            () => None,
        };
        let longest = from.and_then(|from| from.silent.pop_first());
        if let Some((_, shown_out)) = &longest {
            debug!(silent, own, "too many connections that say nothing; closing one");
            shown_out.cancel();
        }
        longest.is_some()
    }
}

impl Visit {
    /// The connection's share of the budget.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }
}

impl Guest {
    /// Cancelled when the connection has to go before it has said anything.
    pub(super) fn shown_out(&self) -> CancellationToken {
        self.shown_out.clone()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.hall.leave(self.address, |own| own.all -= 1);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.hall.leave(self.address, |own| drop(own.silent.remove(&self.number)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Profile;
    use crate::node::memory::Memory;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn few_may_be_silent_and_who_has_been_so_longest_goes() {
        let budget = Budget::new(Memory::of(Profile::Default).clients);
        let hall = Hall::new(budget.clone());
        let enter = |from: u8, count: usize| {
            (0..count).map(|_| hall.enter(address(from)).expect("a newcomer is let in")).collect::<Vec<_>>()
        };
        let gone = |guests: &[(Visit, Guest)]| {
            guests.iter().map(|(_, guest)| guest.shown_out.is_cancelled()).collect::<Vec<_>>()
        };
        let first = enter(1, SILENT_PER_ADDRESS_MAX + 2);
        let gone_first = gone(&first);
        assert!(gone_first[..2].iter().all(|gone| *gone) && !gone_first[2..].contains(&true));
        let second = enter(2, SILENT_MAX - SILENT_PER_ADDRESS_MAX - 1);
        assert!(
            !gone(&second).contains(&true) && !gone(&first)[2..].contains(&true),
            "there is room for all"
        );
        let third = enter(3, 2);
        assert_eq!(gone(&first)[..5], [true, true, true, false, false], "of those who are most");
        assert_eq!(gone(&third), [false, false]);
        assert_eq!(budget.usage(Kind::Connections).refused, 3);
        // Who has spoken is not shown out any more.
        let (spoke, silent): (Vec<_>, Vec<_>) = first.into_iter().partition(|(_, guest)| guest.number == 4);
        let spoke = spoke.into_iter().map(|(visit, guest)| (visit, guest.shown_out())).next();
        let (_visit, shown_out) = spoke.expect("it was there");
        let more = enter(1, 2 * SILENT_MAX);
        assert!(!shown_out.is_cancelled());
        drop((_visit, silent, second, third, more));
        assert!(hall.lock().by_address.is_empty(), "nothing is left of them");
    }

    #[test]
    fn half_of_the_connections_may_come_from_one_address() {
        let budget = Budget::new(Memory::of(Profile::Pi).clients);
        let hall = Hall::new(budget.clone());
        let most = budget.limit(Kind::Connections);
        let enter = |address| hall.enter(address).map(|(visit, _)| visit);
        let visits: Vec<_> = (0..most.all).filter_map(|_| enter(address(1))).collect();
        assert_eq!(visits.len(), most.one);
        let more: Vec<_> = (0..most.all).filter_map(|_| enter(None)).collect();
        assert_eq!(visits.len() + more.len(), most.all);
        assert_eq!(budget.usage(Kind::Connections).used, most.all);
        drop((visits, more));
        assert_eq!(budget.usage(Kind::Connections).used, 0);
        assert!(hall.lock().by_address.is_empty());
    }
}
