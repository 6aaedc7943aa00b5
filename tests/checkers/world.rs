//! A small world that makes good histories: one store, clients that overlap, answers that get lost, calls that take
//! place long after their client gave up, leases that end by the clock, compactions, and watches that break and resume.
//!
//! It is the model of the harness with a clock and chance around it, and keeps every promise that the checkers check.
use std::collections::BTreeMap;

use bramble_tests::chance::Chance;
use bramble_tests::history::model::State;
use bramble_tests::history::{
    Answer, Body, Call, Event, History, NEVER, Op, Outcome, Range, Refusal, Request, Span, Time, Txn,
};
use bytes::Bytes;

use crate::watcher::Watcher;

/// Ticks in a second.
pub const SECOND: Time = 400;
/// The most that a lease lives beyond its time.
pub const LATE: Time = SECOND;
/// How long the clock takes to notice.
const NOTICE: Time = SECOND / 2;
/// Revisions that reads of the past go back.
const PAST_MAX: i64 = 40;

/// How a history is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls in it.
    pub calls: usize,
    /// Clients that make them.
    pub clients: usize,
    /// Of a thousand calls, how many get lost before and after they take place, each.
    pub lost_per_mille: usize,
}

/// A client's open call.
#[derive(Clone, Debug)]
struct Open {
    call: usize,
    outcome: Option<Outcome>,
}

pub struct World {
    pub chance: Chance,
    pub now: Time,
    pub history: History,
    pub state: State,
    /// What each revision changed; the first is 2.
    pub log: Vec<Vec<Event>>,
    pub floor: i64,
    plan: Plan,
    open: Vec<Option<Open>>,
    /// Calls that nobody waits for and that may yet take place.
    limbo: Vec<usize>,
    /// By lease: seconds granted, and when they are over.
    leases: BTreeMap<i64, (i64, Time)>,
    lease_last: i64,
    value_last: u64,
    watchers: Vec<Watcher>,
}

/// A good history.
pub fn history(seed: u64, plan: Plan) -> History {
    let mut world = World {
        chance: Chance::from_seed(seed),
        now: 1,
        history: History { second: SECOND, ..History::default() },
        state: State::default(),
        log: Vec::new(),
        floor: 0,
        plan,
        open: vec![None; plan.clients],
        limbo: Vec::new(),
        leases: BTreeMap::new(),
        lease_last: 0,
        value_last: 0,
        watchers: Vec::new(),
    };
    world.run();
    world.history
}

impl World {
    pub fn revision(&self) -> i64 {
        self.log.len() as i64 + 1
    }

    fn run(&mut self) {
        for index in 0..5 {
            let watcher = Watcher::open(self, index);
            self.watchers.push(watcher);
        }
        while self.history.calls.len() < self.plan.calls {
            self.now += 1 + self.chance.roll() % 20;
            self.expire();
            match self.chance.below(20) {
                0 if !self.limbo.is_empty() => {
                    let call = self.chance.below(self.limbo.len());
                    let call = self.limbo.swap_remove(call);
                    self.apply(call);
                }
                1..=3 => self.watch(),
                _ => self.client(),
            }
        }
        self.finish();
    }

    /// All that is open ends, one reads everything, and the watches are sent the rest.
    fn finish(&mut self) {
        for client in 0..self.plan.clients {
            while self.open[client].is_some() {
                self.now += 1;
                self.step(client);
            }
        }
        self.now += 1;
        let range = Range { keys: Span::all(), revision: 0, limit: 0, serializable: false };
        self.begin(0, Request::Op(Op::Range(range)));
        let call = self.history.calls.len() - 1;
        let outcome = self.apply(call);
        self.now += 1;
        self.history.calls[call].outcome = outcome;
        self.history.calls[call].ended = self.now;
        let mut watchers = std::mem::take(&mut self.watchers);
        for watcher in &mut watchers {
            self.now += 1;
            watcher.finish(self);
        }
    }

    fn watch(&mut self) {
        let mut watchers = std::mem::take(&mut self.watchers);
        let behind = self.revision() - watchers[0].next > PAST_MAX;
        let index = if behind { 0 } else { self.chance.below(watchers.len()) };
        watchers[index].step(self);
        self.watchers = watchers;
    }

    fn client(&mut self) {
        let client = self.chance.below(self.plan.clients);
        if self.open[client].is_some() {
            return self.step(client);
        }
        let request = self.request();
        self.begin(client, request);
        self.open[client] = Some(Open { call: self.history.calls.len() - 1, outcome: None });
    }

    fn begin(&mut self, client: usize, request: Request) {
        let call =
            Call { client: client as u32, began: self.now, ended: NEVER, request, outcome: Outcome::Unknown };
        self.history.calls.push(call);
    }

    /// A call takes place, is answered, or gets lost.
    fn step(&mut self, client: usize) {
        let Some(mut open) = self.open[client].take() else { return };
        let lost = self.chance.below(1000) < self.plan.lost_per_mille;
        let call = open.call;
        match open.outcome.take() {
            Some(_) if lost => {}
            Some(outcome) => {
                self.history.calls[call].ended = self.now;
                self.history.calls[call].outcome = outcome;
            }
            None if lost => self.limbo.push(call),
            None if self.chance.percent(1) => {
                self.history.calls[call].ended = self.now;
                self.history.calls[call].outcome = Outcome::Refused(Refusal::NotNow);
            }
            None => {
                let outcome = Some(self.apply(call));
                self.open[client] = Some(Open { call, outcome });
            }
        }
    }

    fn expire(&mut self) {
        let over = |due: Time| self.now > due;
        let due: Vec<(i64, Time)> =
            self.leases.iter().filter(|(_, lease)| over(lease.1)).map(|(id, lease)| (*id, lease.1)).collect();
        for (lease, due) in due {
            if self.now > due + NOTICE || self.chance.percent(5) {
                self.end(lease);
            }
        }
    }

    fn end(&mut self, lease: i64) {
        self.leases.remove(&lease);
        let events = self.state.end_lease(lease, self.revision() + 1);
        self.commit(events);
    }

    fn commit(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.log.push(events);
        }
    }

    /// The call takes place now.
    fn apply(&mut self, call: usize) -> Outcome {
        let request = self.history.calls[call].request.clone();
        let body = match &request {
            Request::Op(Op::Range(range)) => return self.read(range),
            Request::Op(_) | Request::Txn(_) => match self.write(&request) {
                Some(body) => body,
                None => return Outcome::Refused(Refusal::LeaseNotFound),
            },
            Request::Compact(revision) if *revision > self.revision() => {
                return Outcome::Refused(Refusal::Future);
            }
            Request::Compact(revision) if *revision <= self.floor => {
                return Outcome::Refused(Refusal::Compacted);
            }
            Request::Compact(revision) => {
                self.floor = *revision;
                Body::Done
            }
            Request::Grant { lease, ttl_s } => {
                self.leases.insert(*lease, (*ttl_s, self.now + *ttl_s as Time * SECOND));
                Body::Granted(*ttl_s)
            }
            Request::KeepAlive(lease) => match self.leases.get_mut(lease) {
                Some((ttl_s, due)) => {
                    *due = self.now + *ttl_s as Time * SECOND;
                    Body::KeptAlive(*ttl_s)
                }
                None => Body::KeptAlive(0),
            },
            Request::Revoke(lease) if !self.leases.contains_key(lease) => {
                return Outcome::Refused(Refusal::LeaseNotFound);
            }
            Request::Revoke(lease) => {
                self.end(*lease);
                Body::Done
            }
        };
        Outcome::Answered(Answer { revision: self.revision(), body })
    }

    fn write(&mut self, request: &Request) -> Option<Body> {
        let ops = match request {
            Request::Txn(Txn { compares, success, failure }) => {
                if self.state.holds(compares) {
                    success.as_slice()
                } else {
                    failure.as_slice()
                }
            }
            Request::Op(op) => std::slice::from_ref(op),
            _ => &[],
        };
        let there = |op: &Op| match op {
            Op::Put(put) => put.lease == 0 || self.leases.contains_key(&put.lease),
            Op::Range(_) | Op::Delete { .. } => true,
        };
        if !ops.iter().all(there) {
            return None;
        }
        let ran = self.state.run(request, self.revision() + 1);
        self.commit(ran.events);
        match request {
            Request::Txn(_) => Some(Body::Txn { succeeded: ran.succeeded, answers: ran.answers }),
            _ => ran.answers.into_iter().next().map(Body::Op),
        }
    }

    fn read(&mut self, range: &Range) -> Outcome {
        let current = self.revision();
        let oldest = self.floor.max(1);
        let (of, header) = match range.revision {
            0 if range.serializable => {
                let behind = (current - self.chance.between(0, 3)).max(oldest);
                (behind, behind)
            }
            0 => (current, current),
            asked if asked > current => return Outcome::Refused(Refusal::Future),
            asked if asked < oldest => return Outcome::Refused(Refusal::Compacted),
            asked => (asked, current),
        };
        let answer = if of == current { self.state.range(range) } else { self.as_of(of).range(range) };
        Outcome::Answered(Answer { revision: header, body: Body::Op(answer) })
    }

    fn as_of(&self, revision: i64) -> State {
        let mut state = self.state.clone();
        for events in self.log[(revision - 1) as usize..].iter().rev() {
            state.undo(events);
        }
        state
    }

    pub fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{}", self.chance.below(10)))
    }

    pub fn span(&mut self) -> Span {
        let (from, to) = (self.key(), self.key());
        match self.chance.below(4) {
            0 => Span::all(),
            1 => Span::From(from),
            _ => Span::Between(from.clone().min(to.clone()), from.max(to)),
        }
    }

    /// A value that nobody else writes.
    pub fn value(&mut self) -> Bytes {
        self.value_last += 1;
        Bytes::from(format!("v{}", self.value_last))
    }

    /// A new id, or one that was there not long ago.
    pub fn lease(&mut self, new: bool) -> i64 {
        self.lease_last += i64::from(new);
        if new { self.lease_last } else { (self.lease_last - self.chance.between(0, 3)).max(1) }
    }

    /// A revision to read at or compact, which the watch of all keys has been sent.
    pub fn past(&mut self) -> i64 {
        let reached = self.watchers.first().map_or(1, |watcher| watcher.next - 1);
        self.chance.between((reached - PAST_MAX).max(1), reached.max(1))
    }
}
