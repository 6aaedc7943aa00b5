//! C1, the replay: each revision in turn is given to the call that says it made it, and every answer is compared with
//! the state at its revision. Linear but for one sort, so a history may be as long as memory allows.
//!
//! Three kinds of revisions: a call was answered with it; a revoke was, and the lease had keys; or nobody was. What
//! happened at the last kind is taken from the [`Witness`] and must be what one call of unknown outcome would have
//! done there, each such call once, or the end of a lease.
use std::collections::HashMap;

use bytes::Bytes;

use super::matching::Matching;
use super::model::{Ran, State};
use super::text::{self, VIOLATIONS_MAX};
use super::witness::Witness;
use super::{Answer, Body, Event, History, NEVER, Op, OpAnswer, Property, Request, Time, Violation, What};

/// Every revision, what it changed, and who did it.
#[derive(Debug, Default)]
pub struct Log {
    changes: Vec<Change>,
}

/// One revision.
#[derive(Debug)]
pub struct Change {
    /// Its number.
    pub revision: i64,
    /// What changed, with what was there before.
    pub events: Vec<Event>,
    /// Who did it.
    pub cause: Cause,
    /// It did not happen before this.
    pub began: Time,
    /// It had happened by then, as somebody was told of it or of a later one.
    pub seen: Time,
}

/// Who made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This call; its answer says so.
    Call(usize),
    /// A call of unknown outcome.
    Unknown,
    /// This lease ended, with all its keys; or, if `asked`, a call of unknown outcome deleted them.
    LeaseEnd {
        /// Which.
        lease: i64,
        /// Whether a call may have done it.
        asked: bool,
    },
    /// Some but not all keys of this lease went, and nobody had asked.
    LeasePart(i64),
}

impl Log {
    /// The change of a revision.
    pub fn at(&self, revision: i64) -> Option<&Change> {
        usize::try_from(revision - 2).ok().and_then(|index| self.changes.get(index))
    }

    /// The newest revision.
    pub fn last(&self) -> i64 {
        self.changes.len() as i64 + 1
    }

    /// All of them.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// Whether two events are the same, whatever is told of what was there before.
pub fn same(left: &[Event], right: &[Event]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(l, r)| l.delete == r.delete && l.kv == r.kv)
}

/// Whether an answer says that it made its revision.
pub fn changed(answer: &Answer) -> bool {
    let one = |answer: &OpAnswer| match answer {
        OpAnswer::Put(_) => true,
        OpAnswer::Delete { deleted, .. } => *deleted > 0,
        OpAnswer::Range { .. } => false,
    };
    match &answer.body {
        Body::Op(answer) => one(answer),
        Body::Txn { answers, .. } => answers.iter().any(one),
        Body::Done | Body::Granted(_) | Body::KeptAlive(_) => false,
    }
}

/// The operations that may write: of both branches, for a transaction.
pub fn ops(request: &Request) -> impl Iterator<Item = &Op> {
    let (one, txn) = match request {
        Request::Op(op) => (Some(op), None),
        Request::Txn(txn) => (None, Some(txn)),
        _ => (None, None),
    };
    one.into_iter().chain(txn.into_iter().flat_map(|txn| txn.success.iter().chain(&txn.failure)))
}

/// The operations that an answered call ran.
pub fn ran<'a>(request: &'a Request, answer: &Answer) -> &'a [Op] {
    match (request, &answer.body) {
        (Request::Op(op), _) => std::slice::from_ref(op),
        (Request::Txn(txn), Body::Txn { succeeded: true, .. }) => &txn.success,
        (Request::Txn(txn), _) => &txn.failure,
        _ => &[],
    }
}

/// Replays a history. Without violations the log is what happened; with some it is a guess.
pub fn check(history: &History) -> (Log, Vec<Violation>) {
    let mut replay = Replay::new(history);
    replay.run();
    let Replay { log, mut violations, .. } = replay;
    violations.extend(super::order::check(history));
    (log, violations)
}

struct Replay<'a> {
    history: &'a History,
    witness: Witness,
    /// Answered calls by the revision at which they are compared, makers of it first.
    turns: Vec<(i64, bool, usize)>,
    /// By revision: when it was known to be there.
    seen: Vec<Time>,
    /// Calls of unknown outcome by what they would put, and those that would delete.
    puts: HashMap<(Bytes, Bytes), Vec<usize>>,
    deletes: Vec<usize>,
    /// By lease: the last revision at which a key was hung on it.
    attached_last: HashMap<i64, i64>,
    matching: Matching,
    state: State,
    log: Log,
    violations: Vec<Violation>,
}

impl<'a> Replay<'a> {
    fn new(history: &'a History) -> Replay<'a> {
        let mut replay = Replay {
            history,
            witness: Witness::of(history),
            turns: Vec::new(),
            seen: Vec::new(),
            puts: HashMap::new(),
            deletes: Vec::new(),
            attached_last: HashMap::new(),
            matching: Matching::default(),
            state: State::default(),
            log: Log::default(),
            violations: Vec::new(),
        };
        for index in 0..history.calls.len() {
            replay.index(index);
        }
        for (revision, events) in &replay.witness.seen {
            for event in events.iter().filter(|event| event.kv.lease != 0) {
                let last = replay.attached_last.entry(event.kv.lease).or_default();
                *last = (*last).max(*revision);
            }
        }
        replay.turns.sort_unstable_by_key(|(revision, makes, index)| (*revision, !makes, *index));
        replay.seen = when_seen(history, &replay.witness);
        replay
    }

    fn index(&mut self, index: usize) {
        let call = &self.history.calls[index];
        if let Some(answer) = call.answer() {
            let revision = match &call.request {
                Request::Op(Op::Range(range)) if range.revision > 0 => range.revision,
                _ => answer.revision,
            };
            self.turns.push((revision, changed(answer), index));
            for op in ran(&call.request, answer) {
                if let Op::Put(put) = op
                    && put.lease != 0
                {
                    let last = self.attached_last.entry(put.lease).or_default();
                    *last = (*last).max(revision);
                }
            }
        } else if call.unknown() {
            let mut deletes = matches!(call.request, Request::Revoke(_));
            for op in ops(&call.request) {
                match op {
                    Op::Put(put) => {
                        self.puts.entry((put.key.clone(), put.value.clone())).or_default().push(index);
                    }
                    Op::Delete { .. } => deletes = true,
                    Op::Range(_) => {}
                }
            }
            if deletes {
                self.deletes.push(index);
            }
        }
    }

    fn run(&mut self) {
        let turns = std::mem::take(&mut self.turns);
        let last = turns.last().map_or(1, |turn| turn.0).max(self.witness.last());
        let mut rest = turns.as_slice();
        for revision in 1..=last {
            let here = rest.partition_point(|turn| turn.0 <= revision);
            let (now, later) = rest.split_at(here);
            rest = later;
            if !self.turn(revision, now) || self.violations.len() >= VIOLATIONS_MAX {
                return;
            }
        }
    }

    fn turn(&mut self, revision: i64, now: &[(i64, bool, usize)]) -> bool {
        if revision == 1 {
            // The store is empty at 1, and there is nothing before.
            if let Some((at, _, call)) = now.iter().find(|(at, makes, _)| *makes || *at < 1) {
                self.wrong(
                    Property::Revisions,
                    *call,
                    &format!("there is no change and no state of revision {at}"),
                );
                return false;
            }
        }
        let (makers, readers) = now.split_at(now.partition_point(|turn| turn.1));
        if revision > 1 && !self.make(revision, makers, readers) {
            return false;
        }
        for (.., call) in readers {
            if self.maker(revision) != Some(*call) {
                self.read(*call);
            }
        }
        true
    }

    fn maker(&self, revision: i64) -> Option<usize> {
        self.log.at(revision).and_then(|change| match change.cause {
            Cause::Call(call) => Some(call),
            Cause::Unknown | Cause::LeaseEnd { .. } | Cause::LeasePart(_) => None,
        })
    }

    /// Makes the revision; false when nothing after it would make sense.
    fn make(&mut self, revision: i64, makers: &[(i64, bool, usize)], readers: &[(i64, bool, usize)]) -> bool {
        if let [(.., first), (.., second), ..] = makers {
            let other = text::call(&self.history.calls[*first]);
            self.wrong(Property::Revisions, *second, &format!("revision {revision} is also that of {other}"));
            return false;
        }
        let revoke = readers.iter().map(|turn| turn.2).find(|call| self.revokes(*call, revision));
        let (events, cause, began) = match makers.first().map(|turn| turn.2).or(revoke) {
            Some(call) => {
                let ran = self.state.run(&self.history.calls[call].request, revision);
                self.compare(call, &ran);
                // An unknown call may have taken the keys off before a revoke that was answered with this revision.
                let began = if makers.is_empty() { 0 } else { self.history.calls[call].began };
                (ran.events, Cause::Call(call), began)
            }
            None => match self.unclaimed(revision) {
                Some(unclaimed) => unclaimed,
                None => return false,
            },
        };
        let seen = usize::try_from(revision).ok().and_then(|index| self.seen.get(index)).copied();
        self.log.changes.push(Change { revision, events, cause, began, seen: seen.unwrap_or(NEVER) });
        true
    }

    /// Whether a revoke answered with this revision made it: its lease has keys here, and it was not somebody else who
    /// took them off it before.
    fn revokes(&mut self, call: usize, revision: i64) -> bool {
        let Request::Revoke(lease) = self.history.calls[call].request else { return false };
        let events = self.state.end_lease(lease, revision);
        self.state.undo(&events);
        !events.is_empty() && self.witness.at(revision).is_none_or(|seen| same(seen, &events))
    }

    /// A revision that nobody was answered with.
    fn unclaimed(&mut self, revision: i64) -> Option<(Vec<Event>, Cause, Time)> {
        let index = usize::try_from(revision).unwrap_or(usize::MAX);
        let known = self.seen.get(index).copied().unwrap_or(NEVER);
        let Some(events) = self.witness.at(revision).cloned() else {
            let what =
                format!("revision {revision}: no call was answered with it, and no watch of all keys saw it");
            self.wrong_at(Property::Revisions, known, &what);
            return None;
        };
        let candidates = self.candidates(revision, &events, known);
        let lease = self.lease_of(revision, &events);
        let whole = lease.filter(|lease| {
            let keys = self.state.attached(*lease);
            keys.is_some_and(|keys| keys.iter().eq(events.iter().map(|event| &event.kv.key)))
        });
        let first = candidates.iter().map(|call| self.history.calls[*call].began).min();
        let cause = match (whole, lease) {
            (Some(lease), _) => Cause::LeaseEnd { lease, asked: !candidates.is_empty() },
            (None, _) if self.matching.place(revision, candidates) => Cause::Unknown,
            (None, Some(lease)) => Cause::LeasePart(lease),
            (None, None) => {
                let seen = text::events(&events);
                let what =
                    format!("revision {revision}: no call can have done what a watch saw there: {seen}");
                self.wrong_at(Property::Revisions, known, &what);
                return None;
            }
        };
        let with_prev = |mut event: Event| {
            event.prev = self.state.get(&event.kv.key).cloned();
            self.state.follow(&event);
            event
        };
        // Which of several candidates it was, only they know; and the clock asks nobody.
        let began = first.filter(|_| cause == Cause::Unknown).unwrap_or(0);
        Some((events.into_iter().map(with_prev).collect(), cause, began))
    }

    /// The calls of unknown outcome that would have done just this here.
    fn candidates(&mut self, revision: i64, events: &[Event], known: Time) -> Vec<usize> {
        let put = events.iter().find(|event| !event.delete);
        let few = match put {
            Some(put) => self.puts.get(&(put.kv.key.clone(), put.kv.value.clone())),
            None => Some(&self.deletes),
        };
        let few = few.cloned().unwrap_or_default();
        let history = self.history;
        let fits = |call: &usize| {
            let call = &history.calls[*call];
            if call.began > known || (put.is_none() && !may_delete(&call.request, events)) {
                return false;
            }
            let ran = self.state.run(&call.request, revision);
            self.state.undo(&ran.events);
            same(&ran.events, events)
        };
        few.into_iter().filter(fits).collect()
    }

    /// The lease whose keys these are, if all are deletes, all hang on it, and none is hung on it later.
    fn lease_of(&self, revision: i64, events: &[Event]) -> Option<i64> {
        let lease = |event: &Event| self.state.get(&event.kv.key).map_or(0, |kv| kv.lease);
        let first = lease(events.first()?);
        let all = events.iter().all(|event| event.delete && lease(event) == first);
        let ended = self.attached_last.get(&first).is_none_or(|last| *last < revision);
        (all && first != 0 && ended).then_some(first)
    }

    fn read(&mut self, index: usize) {
        let history = self.history;
        let Some(answer) = history.calls[index].answer() else { return };
        let request = &history.calls[index].request;
        if let Request::Revoke(lease) = request
            && let Some(keys) = self.state.attached(*lease)
        {
            let what =
                format!("after revision {} keys still hang on the revoked lease: {keys:?}", answer.revision);
            self.wrong(Property::Answers, index, &what);
            return;
        }
        if !matches!(request, Request::Op(_) | Request::Txn(_)) {
            return;
        }
        let ran = self.state.run(request, answer.revision);
        self.state.undo(&ran.events);
        if !ran.events.is_empty() {
            let what = format!("it says that nothing changed, but this would: {}", text::events(&ran.events));
            self.wrong(Property::Answers, index, &what);
            return;
        }
        self.compare(index, &ran);
    }

    fn compare(&mut self, index: usize, ran: &Ran) {
        let history = self.history;
        let Some(answer) = history.calls[index].answer() else { return };
        if !agrees(&answer.body, ran) {
            let expected = match &answer.body {
                Body::Op(_) => ran.answers.first().cloned().map(Body::Op),
                _ => Some(Body::Txn { succeeded: ran.succeeded, answers: ran.answers.clone() }),
            };
            let expected = expected.as_ref().map_or_else(String::new, text::body);
            self.wrong(Property::Answers, index, &format!("the answer should have been {expected}"));
        } else if changed(answer) && ran.events.is_empty() {
            self.wrong(Property::Answers, index, "it says that something changed, but nothing did");
        }
    }

    fn wrong(&mut self, property: Property, call: usize, what: &str) {
        self.violations.push(text::violation(property, self.history, call, what));
    }

    fn wrong_at(&mut self, property: Property, at: Time, what: &str) {
        let around = text::around(self.history, at, None);
        self.violations.push(Violation::new(property, format!("{what}\n{around}")));
    }
}

/// Whether an answer is what running the request gave.
pub fn agrees(body: &Body, ran: &Ran) -> bool {
    match body {
        Body::Op(answer) => ran.answers.first() == Some(answer),
        Body::Txn { succeeded, answers } => *succeeded == ran.succeeded && *answers == ran.answers,
        Body::Done | Body::Granted(_) | Body::KeptAlive(_) => true,
    }
}

/// Whether a request could delete these keys at all; cheaper than trying.
pub fn may_delete(request: &Request, events: &[Event]) -> bool {
    let Some(first) = events.first() else { return false };
    let holds = |op: &Op| matches!(op, Op::Delete { keys, .. } if keys.contains(&first.kv.key));
    matches!(request, Request::Revoke(_)) || ops(request).any(holds)
}

/// By revision: the first moment at which somebody had been told of it or of a later one.
fn when_seen(history: &History, witness: &Witness) -> Vec<Time> {
    let answers = history.calls.iter().filter_map(|call| Some((call.answer()?.revision, call.ended)));
    let messages = history.watches.iter().flat_map(|watch| &watch.messages);
    let told: Vec<(i64, Time)> = answers.chain(messages.filter_map(told)).collect();
    // A history has no more revisions than calls and events; a wrong header may name any.
    let mut seen = vec![NEVER; history.calls.len() + witness.seen.len() + 2];
    for (revision, at) in told {
        if let Some(slot) = usize::try_from(revision).ok().and_then(|index| seen.get_mut(index)) {
            *slot = (*slot).min(at);
        }
    }
    for index in (1..seen.len()).rev() {
        seen[index - 1] = seen[index - 1].min(seen[index]);
    }
    seen
}

/// The newest revision that a message proves to be there.
fn told(message: &super::Message) -> Option<(i64, Time)> {
    let What::Events { events, .. } = &message.what else { return None };
    events.iter().map(|event| event.kv.modified).max().map(|revision| (revision, message.at))
}
