//! What clients asked and what they were told: the history of a run, and the checkers that judge it.
//!
//! A history is plain data, so a test of real processes and a simulated world can both write one. Times are
//! opaque: nanoseconds or ticks of one clock that never goes back, with [`History::second`] of them in a second.
//! A call is open from `began` to `ended`; one whose outcome is [`Outcome::Unknown`] may take place at any time
//! after `began`, or never, whatever its client does next.
//!
//! ```text
//! calls, watches ─→ replay  (C1)  every revision in turn; linear; gives the log that the others compare with
//!                ─→ search  (C2)  any order that explains the answers; gives a second opinion
//!          log   ─→ watch         nine guarantees of each watch, and four of ours
//!          log   ─→ lease         not before its time, not much after it, all keys at once
//! ```
//!
//! The store is taken to be empty at revision 1 when the history begins. What nobody answered for is read off the
//! watches that see everything (the witness), so a history with unknown outcomes or ends of leases needs
//! one of them, from its beginning to its end.
pub mod lease;
mod matching;
pub mod model;
mod order;
pub mod replay;
pub mod search;
mod search_core;
pub mod search_key;
mod text;
pub mod watch;
pub mod wire;
mod witness;
mod words;

pub use words::*;

/// A moment, in a unit of the history's choice.
pub type Time = u64;

/// When a call ended that never did.
pub const NEVER: Time = Time::MAX;

/// Everything that was seen of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How much time a second is.
    pub second: Time,
    /// In any order.
    pub calls: Vec<Call>,
    /// Each stretch of a watch between its creation and its end; one that was resumed is two.
    pub watches: Vec<Watch>,
    /// When leases may have been given their whole time again: members began to lead.
    pub led: Vec<Time>,
}

/// Which guarantee does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// Replay: every revision has exactly one cause.
    Revisions,
    /// Replay: every answer is what the state gives.
    Answers,
    /// Replay: what ended before another began comes before it.
    RealTime,
    /// Replay: reads below a compaction are refused, and no others.
    Compaction,
    /// Search: there is an order that explains all answers.
    Linearizable,
    /// Search: an order was found, or none exists, within the bound.
    Decided,
    /// Watch: only what was asked for.
    Filter,
    /// Watch: by revision, and as the change was made.
    Ordered,
    /// Watch: no event twice.
    Unique,
    /// Watch: a revision's events come together.
    Atomic,
    /// Watch: after a mark nothing at or below it, and before it all of that.
    Bookmarkable,
    /// Watch: from any revision that is there.
    Resumable,
    /// Watch: value, version, creation, lease as written.
    Content,
    /// Watch: nothing left out, nothing made up.
    Reliable,
    /// Watch: what was there before, always.
    PrevKv,
    /// Watch: nothing before the start.
    Start,
    /// Watch: created once and first; nothing after the end.
    Lifecycle,
    /// Watch: what is compacted is told so, and nothing else is.
    CompactedWatch,
    /// Watch: headers never go back, nor ahead of what happened.
    Header,
    /// Lease: not ended before its time.
    Early,
    /// Lease: ended within the bound after its time.
    Late,
    /// Lease: all its keys in one revision.
    AllKeys,
    /// Lease: renewed only while it is there.
    Renewed,
    /// Lease: keys hang on it only while it is there.
    Attached,
    /// Lease: what was granted is what is told.
    Ttl,
}

/// A guarantee that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// What was found, what should have been, and what happened around it.
    pub text: String,
}

impl Violation {
    fn new(property: Property, text: impl Into<String>) -> Violation {
        Violation { property, text: text.into() }
    }
}

/// What all checkers say of a history. Watches and leases are compared with the replayed log, so they are not judged
/// when that is broken.
pub fn check(history: &History, bounds: lease::Bounds) -> Vec<Violation> {
    let (log, mut violations) = replay::check(history);
    violations.extend(search::check(history));
    if violations.is_empty() {
        violations.extend(watch::check(history, &log));
        violations.extend(lease::check(history, &log, bounds));
    }
    violations
}
