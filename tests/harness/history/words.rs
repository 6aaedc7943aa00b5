//! The words of a history: requests, answers, keys, watches and their messages.
use std::ops::Bound;

use bytes::Bytes;

use super::Time;

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who asked. A client may have several calls open.
    pub client: u32,
    /// Before the request left.
    pub began: Time,
    /// After the answer came, or [`NEVER`](super::NEVER).
    pub ended: Time,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One operation by itself.
    Op(Op),
    /// Several of them, guarded.
    Txn(Txn),
    /// Erase what is older than this revision.
    Compact(i64),
    /// Grant a lease of this id for so many seconds.
    Grant {
        /// Its id, never 0: an answer that is lost must leave its name.
        lease: i64,
        /// Seconds asked for.
        ttl_s: i64,
    },
    /// End a lease and delete its keys.
    Revoke(i64),
    /// Give a lease its whole time again.
    KeepAlive(i64),
}

/// What can stand in a transaction, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read keys.
    Range(Range),
    /// Write one.
    Put(Put),
    /// Delete some; with `prev_kv` the answer holds what was there.
    Delete {
        /// Which.
        keys: Span,
        /// Whether the answer holds what was there.
        prev_kv: bool,
    },
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which keys.
    pub keys: Span,
    /// As of this revision; 0 = now.
    pub revision: i64,
    /// At most so many; 0 = all.
    pub limit: usize,
    /// Whatever the member has will do.
    pub serializable: bool,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Which key.
    pub key: Bytes,
    /// Its new value. Two writes of a history should not write the same.
    pub value: Bytes,
    /// The lease to hang it on, or 0.
    pub lease: i64,
    /// Whether the answer holds what was there.
    pub prev_kv: bool,
}

/// If all compares hold `success`, otherwise `failure`. Not nested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The guards.
    pub compares: Vec<Compare>,
    /// Runs when all hold.
    pub success: Vec<Op>,
    /// Runs when one does not.
    pub failure: Vec<Op>,
}

/// One guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Whose.
    pub key: Bytes,
    /// Which field, and with what.
    pub target: Target,
    /// How the stored one must relate to the given one.
    pub relation: Relation,
}

/// A field of a key; those of a missing one are 0, and its value compares with nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Revision of its creation.
    Create(i64),
    /// Revision of its last change.
    Mod(i64),
    /// Changes since its creation.
    Version(i64),
    /// Its lease.
    Lease(i64),
    /// Its value.
    Value(Bytes),
}

/// How two fields may relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// The stored one is greater.
    Greater,
    /// The stored one is less.
    Less,
    /// Not the same.
    NotEqual,
}

/// Keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// This one.
    Key(Bytes),
    /// From the first to before the second.
    Between(Bytes, Bytes),
    /// This one and all after it.
    From(Bytes),
}

/// A key and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// Its name.
    pub key: Bytes,
    /// What it holds.
    pub value: Bytes,
    /// Revision of its creation.
    pub create: i64,
    /// Revision of its last change.
    pub modified: i64,
    /// Changes since its creation.
    pub version: i64,
    /// Its lease, or 0.
    pub lease: i64,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took place.
    Answered(Answer),
    /// It certainly did not.
    Refused(Refusal),
    /// It may have taken place, or may yet.
    Unknown,
}

/// Why a call did not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The revision is compacted.
    Compacted,
    /// The revision is of the future.
    Future,
    /// No such lease.
    LeaseNotFound,
    /// There is such a lease already.
    LeaseExists,
    /// For reasons that say nothing about what is stored.
    NotNow,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The store's revision, after the call.
    pub revision: i64,
    /// The rest.
    pub body: Body,
}

/// An answer without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Of one operation.
    Op(OpAnswer),
    /// Of a transaction.
    Txn {
        /// Whether all compares held.
        succeeded: bool,
        /// One for each operation that ran.
        answers: Vec<OpAnswer>,
    },
    /// Of a compaction or a revoke.
    Done,
    /// Of a grant: seconds given.
    Granted(i64),
    /// Of a keep-alive: seconds given, 0 = no such lease.
    KeptAlive(i64),
}

/// The answer to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAnswer {
    /// To a read.
    Range {
        /// What was found, by key.
        kvs: Vec<KeyValue>,
        /// How many there are, whatever the limit.
        count: usize,
        /// Whether the limit cut something off.
        more: bool,
    },
    /// To a write: what was there, if asked.
    Put(Option<KeyValue>),
    /// To a delete.
    Delete {
        /// How many keys went.
        deleted: usize,
        /// What was there, if asked.
        prev: Vec<KeyValue>,
    },
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// After the change; a delete's has only key and mod revision.
    pub kv: KeyValue,
    /// Whether it is a delete.
    pub delete: bool,
    /// Before the change.
    pub prev: Option<KeyValue>,
}

/// A watch from its creation to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Who watches.
    pub client: u32,
    /// Before the request left.
    pub began: Time,
    /// Which keys.
    pub keys: Span,
    /// First revision wanted; 0 = from now on.
    pub start: i64,
    /// Leaves out puts.
    pub no_put: bool,
    /// Leaves out deletes.
    pub no_delete: bool,
    /// Whether events carry what was there before.
    pub prev_kv: bool,
    /// Whether one revision may come in several messages.
    pub fragment: bool,
    /// In the order in which they came; a mark of the whole stream stands here too.
    pub messages: Vec<Message>,
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it came.
    pub at: Time,
    /// Its header's revision.
    pub revision: i64,
    /// The rest.
    pub what: What,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The watch is there.
    Created,
    /// These changes took place; `more` of the same revision follow in the next message.
    Events {
        /// The changes.
        events: Vec<Event>,
        /// Whether the next message belongs to this one.
        more: bool,
    },
    /// Everything up to the header's revision has been sent.
    Progress,
    /// The watch is gone; the first revision that can still be had, if that is why, or 0.
    Canceled(i64),
}

/// What one response of a watch says; a creation that failed says two things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The watch is there.
    pub created: bool,
    /// The watch is gone, as in [`What::Canceled`].
    pub canceled: Option<i64>,
    /// The changes.
    pub events: Vec<Event>,
    /// Whether the next response belongs to this one.
    pub more: bool,
}

impl Response {
    /// The messages of a response that came at that time, with that revision in its header.
    pub fn messages(self, at: Time, revision: i64) -> Vec<Message> {
        let mut says = Vec::new();
        says.extend(self.created.then_some(What::Created));
        says.extend(self.canceled.map(What::Canceled));
        if !self.events.is_empty() {
            says.push(What::Events { events: self.events, more: self.more });
        }
        if says.is_empty() {
            says.push(What::Progress);
        }
        says.into_iter().map(|what| Message { at, revision, what }).collect()
    }
}

impl Call {
    /// The answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Refused(_) | Outcome::Unknown => None,
        }
    }

    /// Whether it may have taken place without anybody knowing.
    pub fn unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }
}

impl Span {
    /// All keys.
    pub fn all() -> Span {
        Span::From(Bytes::new())
    }

    /// Whether a key is among them.
    pub fn contains(&self, key: &Bytes) -> bool {
        match self {
            Span::Key(one) => one == key,
            Span::Between(from, to) => from <= key && key < to,
            Span::From(from) => from <= key,
        }
    }

    /// Whether no key is missing.
    pub fn is_all(&self) -> bool {
        matches!(self, Span::From(from) if from.is_empty())
    }

    pub(super) fn bounds(&self) -> (Bound<&Bytes>, Bound<&Bytes>) {
        match self {
            Span::Key(one) => (Bound::Included(one), Bound::Included(one)),
            // An ordered map panics on bounds that cross.
            Span::Between(from, to) => (Bound::Included(from), Bound::Excluded(to.max(from))),
            Span::From(from) => (Bound::Included(from), Bound::Unbounded),
        }
    }
}
