//! The history against the promises, by the harness's checkers: every revision was made once, by a request or by
//! a lease that ended, every answer is the model's, no older than what was known before it was asked for, and
//! explained by some order even if revisions are not looked at; watches and leases keep theirs.
use bramble_server::node::error::{Error, Refusal};
use bramble_tests::history::lease::{self, Bounds};
use bramble_tests::history::replay::{self, Cause, Log};
use bramble_tests::history::{History, Op, Request, Time, search, watch};

use crate::leases::Leases;
use crate::record::{self, Call, Outcome};
use crate::told::{self, SECOND};
use crate::truth::Truth;

/// A lease is gone so long after its time, though the disk stalls, the machine pauses and the log is full.
const LATE: Bounds = Bounds { late: 30 * SECOND };

/// Writes are back so long after there is room, though the disk stalls.
const BACK_WITHIN: Time = 20 * SECOND;

/// What came to light besides.
pub struct Findings {
    /// Requests without an answer that were carried out, and puts that were not.
    pub open_done: usize,
    pub open_not_done: usize,
    pub expired_with_keys: usize,
    pub lived_through_restarts: usize,
}

/// Checks the whole history. Members began to lead at `led`, and lived then and then; there was too little room
/// in the times of `short`.
pub fn check(
    recorded: &record::History,
    truth: &Truth,
    led: Vec<Time>,
    lives: &[(Time, Time)],
    short: &[(Time, Time)],
) -> Result<Findings, String> {
    let history = told::history(recorded, truth, led.clone())?;
    let (log, mut violations) = replay::check(&history);
    violations.extend(search::check(&history));
    if violations.is_empty() {
        violations.extend(watch::check(&history, &log));
        violations.extend(lease::check(&history, &log, LATE));
    }
    if let Some(first) = violations.first() {
        return Err(format!("{:?}, one of {}: {}", first.property, violations.len(), first.text));
    }
    for call in &recorded.calls {
        for_want_of_room(call, short, &led)?;
    }
    let leases = Leases::new(&recorded.calls, lives);
    leases.check(&log)?;
    Ok(findings(&history, &log, &leases))
}

/// Who is refused for want of room wants some, and there was too little, then or shortly before.
fn for_want_of_room(call: &Call, short: &[(Time, Time)], led: &[Time]) -> Result<(), String> {
    let Outcome::Refused(Error::Refused(Refusal::NoSpace)) = call.outcome else { return Ok(()) };
    // Who begins to serve looks for room anew.
    let served = led.iter().copied().filter(|led| *led <= call.began).max().unwrap_or(0);
    let late = |ended: Time| ended.max(served).saturating_add(BACK_WITHIN);
    let rightly = short.iter().any(|(began, ended)| *began <= call.ended && call.began <= late(*ended));
    match rightly && matches!(call.op, record::Op::Put(_) | record::Op::Txn(_) | record::Op::Grant { .. }) {
        true => Ok(()),
        false => Err(format!("{call:?} was refused for want of room, which was short at {short:?}")),
    }
}

fn findings(history: &History, log: &Log, leases: &Leases<'_>) -> Findings {
    let causes = || log.changes().iter().map(|change| change.cause);
    let open_done = causes().filter(|cause| *cause == Cause::Unknown).count();
    let puts = history.calls.iter().filter(|call| matches!(call.request, Request::Op(Op::Put(_))));
    let ends = causes().filter(|cause| matches!(cause, Cause::LeaseEnd { asked: false, .. }));
    Findings {
        open_done,
        open_not_done: puts.filter(|call| call.unknown()).count().saturating_sub(open_done),
        expired_with_keys: ends.count(),
        lived_through_restarts: leases.lived_through_restarts(),
    }
}
