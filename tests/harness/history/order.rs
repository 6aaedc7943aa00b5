//! Real time and compactions: what ended before another call began comes before it.
use std::collections::BTreeMap;

use super::replay::changed;
use super::text::{self, VIOLATIONS_MAX};
use super::{History, NEVER, Op, Outcome, Property, Refusal, Request, Time, Violation, What};

/// The highest number known before a moment.
#[derive(Debug)]
pub struct Highest {
    steps: Vec<(Time, i64)>,
}

impl Highest {
    /// From numbers and when each became known.
    pub fn of(known: impl Iterator<Item = (Time, i64)>) -> Highest {
        let mut steps: Vec<(Time, i64)> = known.collect();
        steps.sort_unstable();
        let mut highest = i64::MIN;
        for step in &mut steps {
            highest = highest.max(step.1);
            step.1 = highest;
        }
        Highest { steps }
    }

    /// The highest that was known before `at`; `i64::MIN` when none was.
    pub fn before(&self, at: Time) -> i64 {
        let after = self.steps.partition_point(|step| step.0 < at);
        after.checked_sub(1).map_or(i64::MIN, |index| self.steps[index].1)
    }
}

/// Revisions and compactions against the clock.
pub fn check(history: &History) -> Vec<Violation> {
    let answers = history.calls.iter().filter_map(|call| Some((call.ended, call.answer()?.revision)));
    let messages = history.watches.iter().flat_map(|watch| &watch.messages);
    let messages = messages.filter(|message| !matches!(message.what, What::Canceled(_)));
    let known = Highest::of(answers.chain(messages.map(|message| (message.at, message.revision))));
    let floors = Floors::of(history);
    let mut violations = Vec::new();
    for (index, call) in history.calls.iter().enumerate() {
        let low = known.before(call.began);
        let (wrong, and) = match &call.outcome {
            Outcome::Answered(answer) => (
                real_time(&call.request, answer.revision, changed(answer), low),
                floors.answered(&call.request, call.began, answer.revision),
            ),
            Outcome::Refused(Refusal::Compacted) => (floors.refused(&call.request, call.ended), None),
            Outcome::Refused(Refusal::Future) => (no_future(&call.request, low), None),
            Outcome::Refused(_) | Outcome::Unknown => (None, None),
        };
        for (property, what) in wrong.into_iter().chain(and) {
            violations.push(text::violation(property, history, index, &what));
        }
        if violations.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    violations
}

type Wrong = Option<(Property, String)>;

fn real_time(request: &Request, revision: i64, changed: bool, low: i64) -> Wrong {
    let stale_allowed = match request {
        Request::Op(Op::Range(range)) => range.serializable,
        // Any member answers with the revision it has.
        Request::KeepAlive(_) => true,
        _ => false,
    };
    let late = if changed { revision <= low } else { revision < low };
    (late && !stale_allowed).then(|| {
        (Property::RealTime, format!("revision {revision}, but {low} was known before the call began"))
    })
}

fn no_future(request: &Request, low: i64) -> Wrong {
    let asked = asked(request).filter(|asked| *asked <= low)?;
    Some((Property::RealTime, format!("{asked} is not of the future: {low} was known before")))
}

/// The revision a request names.
fn asked(request: &Request) -> Option<i64> {
    match request {
        Request::Op(Op::Range(range)) => Some(range.revision).filter(|revision| *revision > 0),
        Request::Compact(revision) => Some(*revision),
        _ => None,
    }
}

/// Below which revisions history may be erased, and must be.
pub struct Floors {
    /// By revision: when it was first asked for.
    asked: BTreeMap<i64, Time>,
    /// Asked for: may be in force from then on.
    may: Highest,
    /// Answered: is in force from then on.
    must: Highest,
}

impl Floors {
    /// Of a history's compactions.
    pub fn of(history: &History) -> Floors {
        let compactions = || {
            history.calls.iter().filter_map(|call| match (&call.request, &call.outcome) {
                (Request::Compact(revision), Outcome::Answered(_)) => Some((call, *revision, call.ended)),
                (Request::Compact(revision), Outcome::Unknown) => Some((call, *revision, NEVER)),
                _ => None,
            })
        };
        let mut asked = BTreeMap::new();
        for (call, revision, _) in compactions() {
            let first = asked.entry(revision).or_insert(call.began);
            *first = call.began.min(*first);
        }
        Floors {
            asked,
            may: Highest::of(compactions().map(|(call, revision, _)| (call.began, revision))),
            must: Highest::of(compactions().map(|(_, revision, ended)| (ended, revision))),
        }
    }

    /// The highest that may have been in force at a moment.
    pub fn may(&self, at: Time) -> i64 {
        self.may.before(at)
    }

    /// Whether a compaction at just this revision may have been.
    pub fn was(&self, revision: i64, at: Time) -> bool {
        self.asked.get(&revision).is_some_and(|began| *began < at)
    }

    /// The highest that certainly was.
    pub fn must(&self, at: Time) -> i64 {
        self.must.before(at)
    }

    fn answered(&self, request: &Request, began: Time, revision: i64) -> Wrong {
        let asked = asked(request)?;
        let floor = self.must(began);
        let erased = match request {
            // A compaction at the floor is refused, a read there is not.
            Request::Compact(_) => asked <= floor,
            _ => asked < floor,
        };
        if erased {
            return Some((Property::Compaction, format!("{asked} was compacted: {floor} had been before")));
        }
        let future = format!("{asked} was of the future: the answer is of {revision}");
        (asked > revision).then_some((Property::Compaction, future))
    }

    fn refused(&self, request: &Request, ended: Time) -> Wrong {
        let asked = asked(request)?;
        let floor = self.may(ended);
        let kept = match request {
            Request::Compact(_) => asked > floor,
            _ => asked >= floor,
        };
        kept.then(|| (Property::Compaction, format!("{asked} was not compacted: nobody had asked for more")))
    }
}
