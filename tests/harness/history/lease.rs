//! How long leases live, by the clock of those who ask.
//!
//! A lease is there at least from the answer of its grant until its time to live has passed since the last grant or
//! keep-alive that was answered *began*; unless it is revoked. It is gone at the latest its time to live and
//! [`Bounds::late`] after the last of them *ended*, or after a member last began to lead, who gives all leases their
//! time again. When it ended is seen where its keys are deleted, and where a call is told that it is not there.
use std::collections::{BTreeMap, BTreeSet};

use super::order::Highest;
use super::replay::{Cause, Log, changed, ops};
use super::text::{self, VIOLATIONS_MAX};
use super::{Body, History, Op, Outcome, Property, Refusal, Request, Time, Violation};

/// What is promised beside the time to live.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A lease is gone so long after its time at the latest.
    pub late: Time,
}

/// What is known of one lease.
#[derive(Debug, Default)]
struct Life {
    granted_began: Option<Time>,
    granted_ended: Option<Time>,
    ttl: Time,
    ttl_s: i64,
    /// Answered grants and keep-alives: call, begin, end.
    refreshed: Vec<(usize, Time, Time)>,
    /// One of unknown outcome may have lengthened it.
    maybe_longer: bool,
    /// A revoke was asked for, first at.
    revoke_began: Option<Time>,
    /// A revoke was answered: its revision and end.
    revoked: Option<(i64, Time)>,
    /// Its keys went: the revision, when it was seen, and whether only the clock can have done it.
    ended: Option<(i64, Time, bool)>,
    /// Calls that were told that it is not there.
    missing: Vec<usize>,
    /// Calls that hung keys on it, with their revisions.
    attached: Vec<(usize, i64)>,
}

struct Lives<'a> {
    history: &'a History,
    log: &'a Log,
    lives: BTreeMap<i64, Life>,
    violations: Vec<Violation>,
}

/// Every lease of a history. Ids must not be used twice.
pub fn check(history: &History, log: &Log, bounds: Bounds) -> Vec<Violation> {
    let mut lives = Lives { history, log, lives: BTreeMap::new(), violations: Vec::new() };
    for index in 0..history.calls.len() {
        lives.take_call(index);
    }
    lives.take_log();
    let late = LateWitness::of(history, log);
    for (lease, life) in &lives.lives {
        lives.violations.extend(early(history, *lease, life));
        lives.violations.extend(after_end(history, *lease, life));
        lives.violations.extend(told(history, *lease, life));
        lives.violations.extend(late.check(history, *lease, life, bounds));
        if lives.violations.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    lives.violations
}

impl Lives<'_> {
    fn life(&mut self, lease: i64) -> &mut Life {
        self.lives.entry(lease).or_default()
    }

    fn take_call(&mut self, index: usize) {
        let call = &self.history.calls[index];
        let (began, ended, second) = (call.began, call.ended, self.history.second);
        match (&call.request, &call.outcome) {
            (Request::Grant { lease, .. }, Outcome::Answered(answer)) => {
                let Body::Granted(ttl_s) = answer.body else { return };
                let life = self.life(*lease);
                (life.granted_began, life.granted_ended) = (Some(began), Some(ended));
                (life.ttl_s, life.ttl) = (ttl_s, u64::try_from(ttl_s).unwrap_or(0) * second);
                life.refreshed.push((index, began, ended));
            }
            (Request::Grant { lease, .. }, Outcome::Unknown) => {
                let life = self.life(*lease);
                life.granted_began = Some(began);
                life.maybe_longer = true;
            }
            (Request::KeepAlive(lease), Outcome::Answered(answer)) => match answer.body {
                Body::KeptAlive(0) => self.life(*lease).missing.push(index),
                _ => self.life(*lease).refreshed.push((index, began, ended)),
            },
            (Request::KeepAlive(lease), Outcome::Unknown) => self.life(*lease).maybe_longer = true,
            (Request::Revoke(lease), Outcome::Refused(Refusal::LeaseNotFound)) => {
                self.life(*lease).missing.push(index)
            }
            (Request::Revoke(lease), Outcome::Answered(_) | Outcome::Unknown) => {
                let life = self.life(*lease);
                life.revoke_began = Some(life.revoke_began.map_or(began, |first| first.min(began)));
                if let Some(answer) = call.answer() {
                    life.revoked = Some((answer.revision, ended));
                }
            }
            (Request::Op(_) | Request::Txn(_), _) => self.take_puts(index),
            _ => {}
        }
    }

    fn take_puts(&mut self, index: usize) {
        let call = &self.history.calls[index];
        let on = |op: &Op| match op {
            Op::Put(put) if put.lease != 0 => Some(put.lease),
            _ => None,
        };
        let leases: BTreeSet<i64> = ops(&call.request).filter_map(on).collect();
        match &call.outcome {
            Outcome::Answered(answer) if changed(answer) => {
                let revision = answer.revision;
                for lease in leases {
                    if self.hung(revision, lease) {
                        self.life(lease).attached.push((index, revision));
                    }
                }
            }
            Outcome::Refused(Refusal::LeaseNotFound) if leases.len() == 1 => {
                leases.into_iter().for_each(|lease| self.life(lease).missing.push(index));
            }
            _ => {}
        }
    }

    /// Whether a revision hung a key on a lease: of a transaction only one branch ran.
    fn hung(&self, revision: i64, lease: i64) -> bool {
        self.log.at(revision).is_some_and(|change| change.events.iter().any(|event| event.kv.lease == lease))
    }

    fn take_log(&mut self) {
        for change in self.log.changes() {
            match change.cause {
                Cause::LeaseEnd { lease, asked } => {
                    self.life(lease).ended = Some((change.revision, change.seen, !asked));
                }
                Cause::LeasePart(lease) => {
                    self.life(lease).ended = Some((change.revision, change.seen, true));
                    let what = format!(
                        "lease {lease}: revision {} took only some of its keys: {}\n{}",
                        change.revision,
                        text::events(&change.events),
                        text::around(self.history, change.seen, None)
                    );
                    self.violations.push(Violation::new(Property::AllKeys, what));
                }
                Cause::Call(_) | Cause::Unknown => {}
            }
        }
    }
}

/// It ended by itself, or was not there, though its time had not passed.
fn early(history: &History, lease: i64, life: &Life) -> Option<Violation> {
    let refreshed = |gone: Time| {
        let before = life.refreshed.iter().filter(move |(_, began, _)| *began <= gone);
        before.max_by_key(|(_, began, _)| *began).filter(|(_, began, _)| began + life.ttl > gone)
    };
    if let Some((revision, seen, true)) = life.ended
        && life.ttl > 0
        && let Some((call, began, _)) = refreshed(seen)
    {
        let what = format!(
            "lease {lease} of {} s ended at revision {revision}, seen at {seen}, though this began at {began}",
            life.ttl_s
        );
        return Some(text::violation(Property::Early, history, *call, &what));
    }
    life.missing.iter().find_map(|missing| {
        let call = &history.calls[*missing];
        let revoked = life.revoke_began.is_some_and(|began| began <= call.ended);
        let granted = life.granted_ended.is_some_and(|granted| granted < call.began);
        // What was answered before this call began has to hold until it ended.
        let alive = life
            .refreshed
            .iter()
            .any(|(_, began, ended)| *ended < call.began && began + life.ttl > call.ended);
        (granted && alive && !revoked).then(|| {
            let what = format!("lease {lease} of {} s was said not to be there before its time", life.ttl_s);
            text::violation(Property::Early, history, *missing, &what)
        })
    })
}

/// It was renewed, or keys were hung on it, before it was granted or after it had ended.
fn after_end(history: &History, lease: i64, life: &Life) -> Vec<Violation> {
    let certain = life.ended.filter(|ended| ended.2);
    let gone_at =
        life.revoked.map(|(_, ended)| ended).into_iter().chain(certain.map(|(_, seen, _)| seen)).min();
    let mut violations = Vec::new();
    for (call, began, ended) in &life.refreshed {
        if gone_at.is_some_and(|gone| gone < *began) {
            let what = format!("lease {lease} was renewed after its end");
            violations.push(text::violation(Property::Renewed, history, *call, &what));
        } else if life.granted_began.is_none_or(|granted| granted > *ended) {
            let what = format!("lease {lease} was renewed before it was granted");
            violations.push(text::violation(Property::Renewed, history, *call, &what));
        }
    }
    // A revoke's own revision is the one at which its keys go, or the current one when there are none.
    let revisions =
        life.revoked.map(|(revision, _)| revision).into_iter().chain(certain.map(|(revision, ..)| revision));
    let gone_revision = revisions.min().unwrap_or(i64::MAX);
    for (call, revision) in &life.attached {
        let early = life.granted_began.is_none_or(|granted| granted > history.calls[*call].ended);
        if *revision > gone_revision || early {
            let when = if early { "before it was granted" } else { "after its end" };
            let what = format!("a key was hung on lease {lease} {when}");
            violations.push(text::violation(Property::Attached, history, *call, &what));
        }
    }
    violations
}

/// What is told of the time to live is what was granted, and that is no less than what was asked for.
fn told(history: &History, lease: i64, life: &Life) -> Option<Violation> {
    life.refreshed.iter().find_map(|(index, ..)| {
        let call = &history.calls[*index];
        let what = match (&call.request, call.answer().map(|answer| &answer.body)) {
            (Request::Grant { ttl_s, .. }, Some(Body::Granted(given))) if given < ttl_s => {
                format!("lease {lease} was granted for less than was asked for")
            }
            (Request::KeepAlive(_), Some(Body::KeptAlive(given)))
                if life.ttl_s != 0 && *given != life.ttl_s =>
            {
                format!("lease {lease} of {} s was renewed for {given} s", life.ttl_s)
            }
            _ => return None,
        };
        Some(text::violation(Property::Ttl, history, *index, &what))
    })
}

/// Shows that a revision was not there yet at a moment: a call that began then was answered with an older one.
struct LateWitness {
    /// By revision: the latest begin of a call that saw no newer one.
    latest: Highest,
    /// Leases that keys still hang on at the end.
    left: BTreeSet<i64>,
}

impl LateWitness {
    fn of(history: &History, log: &Log) -> LateWitness {
        let current = history.calls.iter().filter_map(|call| {
            let stale = match &call.request {
                Request::Op(Op::Range(range)) => range.serializable,
                Request::KeepAlive(_) => true,
                _ => false,
            };
            let answer = call.answer().filter(|_| !stale)?;
            Some((u64::try_from(answer.revision).ok()?, i64::try_from(call.began).ok()?))
        });
        let mut state = super::model::State::default();
        for event in log.changes().iter().flat_map(|change| &change.events) {
            state.follow(event);
        }
        LateWitness { latest: Highest::of(current), left: state.leases().collect() }
    }

    /// The last moment at which the lease was certainly still there.
    fn still_there(&self, lease: i64, life: &Life) -> Option<Time> {
        let before = match life.ended {
            Some((revision, ..)) => u64::try_from(revision).ok()?,
            None if self.left.contains(&lease) => u64::MAX,
            None => return None,
        };
        u64::try_from(self.latest.before(before)).ok()
    }

    fn check(&self, history: &History, lease: i64, life: &Life, bounds: Bounds) -> Option<Violation> {
        if life.maybe_longer || life.ttl == 0 {
            return None;
        }
        let due = |ended: Time| due(history, ended + life.ttl, life.ttl, bounds);
        // One that is still open may have renewed it up to that moment.
        let before = |seen: Time| {
            let begun = life.refreshed.iter().filter(move |(_, began, _)| *began < seen);
            begun.map(|(.., ended)| (*ended).min(seen)).max()
        };
        let renewed = life.refreshed.iter().map(|one| one.1);
        let seen = renewed.chain(self.still_there(lease, life));
        let late = seen
            .filter_map(|seen| Some((seen, due(before(seen)?))))
            .find(|(seen, due)| *seen > *due + bounds.late);
        late.map(|(seen, due)| {
            let what = format!(
                "lease {lease} of {} s should have ended at {due}, and at {} at the latest, but was there at {seen}\n{}",
                life.ttl_s,
                due + bounds.late,
                text::around(history, seen, None)
            );
            Violation::new(Property::Late, what)
        })
    }
}

/// When a lease is over that was to be over at `due`: whoever begins to lead before a lease was found to be over gives
/// it its time again.
fn due(history: &History, mut due: Time, ttl: Time, bounds: Bounds) -> Time {
    let mut led = history.led.clone();
    led.sort_unstable();
    for began in led {
        if began <= due + bounds.late {
            due = due.max(began + ttl);
        }
    }
    due
}
