//! Who is here: connections counted by address, and each one's share of the member's budget.
//!
//! A connection that has not said anything yet is a guest at the door, of whom there may be few; every
//! connection is a visit, of which there may be as many as the budget says, half of them from one
//! address. What is too many is closed at once: a client that gets an error can go elsewhere, one that
//! waits in the system's queue cannot.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::debug;

use crate::node::budget::{Budget, Kind, Share};

/// Connections that have not said anything yet, in all.
const SILENT_MAX: usize = 512;
/// The same from one address: above what an API server opens at once.
const SILENT_PER_ADDRESS_MAX: usize = 256;

/// The connections of some listeners.
pub(super) struct Hall {
    budget: Arc<Budget>,
    /// `None` is the unix sockets, which all have one address.
    present: Mutex<HashMap<Option<IpAddr>, Present>>,
}

/// Connections from one address.
#[derive(Clone, Copy, Default)]
struct Present {
    all: usize,
    silent: usize,
}

/// A connection's place in the count.
pub(super) struct Visit {
    hall: Arc<Hall>,
    address: Option<IpAddr>,
    share: Arc<Share>,
}

/// A silent connection's place in the count; dropped when it speaks or goes.
pub(super) struct Guest {
    hall: Arc<Hall>,
    address: Option<IpAddr>,
}

impl Hall {
    pub(super) fn new(budget: Arc<Budget>) -> Arc<Hall> {
        Arc::new(Hall { budget, present: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, or `None` when there are too many: it is closed at once.
    pub(super) fn enter(self: &Arc<Hall>, address: Option<IpAddr>) -> Option<(Visit, Guest)> {
        let mut present = self.lock();
        let silent: usize = present.values().map(|present| present.silent).sum();
        let own = present.get(&address).copied().unwrap_or_default();
        let one_max = match address {
            Some(_) => self.budget.limit(Kind::Connections).one,
            None => usize::MAX,
        };
        if silent >= SILENT_MAX || own.silent >= SILENT_PER_ADDRESS_MAX || own.all >= one_max {
            debug!(silent, own.silent, own.all, "too many connections; closing one");
            self.budget.count_refusal(Kind::Connections);
            return None;
        }
        let share = self.budget.connection()?;
        let own = present.entry(address).or_default();
        own.all += 1;
        own.silent += 1;
        drop(present);
        Some((Visit { hall: self.clone(), address, share }, Guest { hall: self.clone(), address }))
    }

    fn leave(&self, address: Option<IpAddr>, what: impl FnOnce(&mut Present)) {
        let mut present = self.lock();
        if let Some(own) = present.get_mut(&address) {
            what(own);
            if own.all == 0 && own.silent == 0 {
                present.remove(&address);
            }
        }
    }
}

impl Visit {
    /// The connection's share of the budget.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.hall.leave(self.address, |own| own.all -= 1);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.hall.leave(self.address, |own| own.silent -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Profile;
    use crate::node::budget::limit;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn few_may_be_silent_and_not_all_from_one_address() {
        let hall = Hall::new(Budget::new(Profile::Default));
        let mut guests: Vec<_> = (0..SILENT_PER_ADDRESS_MAX).filter_map(|_| hall.enter(address(1))).collect();
        assert_eq!(guests.len(), SILENT_PER_ADDRESS_MAX);
        assert!(hall.enter(address(1)).is_none());
        guests.extend((0..SILENT_MAX).filter_map(|_| hall.enter(address(2))));
        assert_eq!(guests.len(), SILENT_MAX);
        assert!(hall.enter(address(3)).is_none());
        let (visit, guest) = guests.pop().expect("there are many");
        drop(guest);
        assert!(hall.enter(address(3)).is_some());
        drop((visit, guests));
        assert!(hall.lock().is_empty(), "nothing is left of them");
    }

    #[test]
    fn half_of_the_connections_may_come_from_one_address() {
        let budget = Budget::new(Profile::Pi);
        let hall = Hall::new(budget.clone());
        let most = limit(Profile::Pi, Kind::Connections);
        let enter = |address| hall.enter(address).map(|(visit, _)| visit);
        let visits: Vec<_> = (0..most.all).filter_map(|_| enter(address(1))).collect();
        assert_eq!(visits.len(), most.one);
        let more: Vec<_> = (0..most.all).filter_map(|_| enter(None)).collect();
        assert_eq!(visits.len() + more.len(), most.all);
        assert_eq!(budget.usage(Kind::Connections).used, most.all);
        drop((visits, more));
        assert_eq!(budget.usage(Kind::Connections).used, 0);
        assert!(hall.lock().is_empty());
    }
}
