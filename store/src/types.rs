//! The words of the store: keys, revisions, requests and answers, in plain Rust.
//!
//! These are etcd's meanings without etcd's messages. Wire limits and texts live in the server.
use bytes::Bytes;

mod auth;

pub use auth::{Permission, PermissionKind, ROOT_ROLE, ROOT_USER, Role, User};

/// Position of an entry in the replicated log. One leader per term, so (term, index) names one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Term of the leader that made the entry.
    pub term: u64,
    /// Position, from 0. The first entry of a log (the first membership) has index 0.
    pub index: u64,
}

/// A point in the history of keys: `main` counts writes, `sub` the changes inside one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// 1 in an empty store; the first write is 2.
    pub main: i64,
    /// 0, 1, 2… in execution order inside one main revision.
    pub sub: i64,
}

/// A lease's id. Any `i64`, negative ones too; 0 means "no lease".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// "No lease".
    pub const NONE: LeaseId = LeaseId(0);
}

/// One version of a key, with the five fields that clients see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, 1 byte or more.
    pub key: Bytes,
    /// Main revision of the put that created the key; 0 in a tombstone.
    pub create_revision: i64,
    /// Main revision of this change.
    pub mod_revision: i64,
    /// 1 for the put that created the key, then +1 per put; 0 in a tombstone.
    pub version: i64,
    /// The value; empty is legal.
    pub value: Bytes,
    /// The lease the key hangs on, or `LeaseId::NONE`.
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key got a value.
    Put,
    /// The key was deleted; `kv` holds only key and mod_revision.
    Delete,
}

/// One change of one key as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// The key after the change.
    pub kv: KeyValue,
    /// The key just before the change; only when asked for, and only while not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// One change of one key, as the history holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Its place inside the main revision: 0, 1, 2…
    pub sub: i64,
    /// Put or delete.
    pub kind: EventKind,
    /// The key after the change; of a delete only key and mod_revision.
    pub kv: KeyValue,
}

/// All changes of one main revision, in the order they were made. Never empty, never a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The main revision.
    pub main: i64,
    /// By ascending `sub`.
    pub changes: Vec<ChangedKey>,
}

/// A set of keys: one key, `[start, end)`, or all keys from `start`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Bytes,
    /// Where it ends.
    pub end: RangeEnd,
}

/// The end of a [`KeyRange`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RangeEnd {
    /// The range is the single key `start`.
    Single,
    /// Keys below this one, bytewise. At or below `start`: the range is empty.
    Before(Bytes),
    /// No end: all keys from `start`.
    Open,
}

impl KeyRange {
    /// etcd's convention: no `range_end` is one key, a single zero byte is "no end".
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        let end = match range_end.as_ref() {
            b"" => RangeEnd::Single,
            b"\0" => RangeEnd::Open,
            _ => RangeEnd::Before(range_end),
        };
        KeyRange { start: key, end }
    }

    /// Key and `range_end` as [`KeyRange::from_wire`] takes them.
    pub fn to_wire(&self) -> (Bytes, Bytes) {
        let end = match &self.end {
            RangeEnd::Single => Bytes::new(),
            RangeEnd::Before(end) => end.clone(),
            RangeEnd::Open => Bytes::from_static(b"\0"),
        };
        (self.start.clone(), end)
    }

    /// The range of one key.
    pub fn single(key: impl Into<Bytes>) -> Self {
        KeyRange { start: key.into(), end: RangeEnd::Single }
    }

    /// All keys.
    pub fn all() -> Self {
        KeyRange { start: Bytes::new(), end: RangeEnd::Open }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let mut end = start.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            None => KeyRange { start, end: RangeEnd::Open },
            Some(last) => {
                *last += 1;
                KeyRange { start, end: RangeEnd::Before(end.into()) }
            }
        }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Before(end) => self.start.as_ref() <= key && key < end.as_ref(),
            RangeEnd::Open => self.start.as_ref() <= key,
        }
    }

    /// What of the range is behind `key`, which is in it.
    pub fn rest_behind(&self, key: &[u8]) -> KeyRange {
        let (start, end) = match &self.end {
            RangeEnd::Single => (self.start.clone(), RangeEnd::Before(Bytes::new())),
            end => ([key, b"\0"].concat().into(), end.clone()),
        };
        KeyRange { start, end }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, RangeEnd::Before(end) if *end <= self.start)
    }
}

/// Order of a range answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Key order; with a target other than key the limited answer is sorted ascending (etcd's quirk).
    #[default]
    None,
    /// Ascending by the target.
    Ascend,
    /// Descending by the target.
    Descend,
}

/// What a range answer is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value, bytewise.
    Value,
}

/// How much of each record a range answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Whole records.
    #[default]
    Full,
    /// Everything but the value.
    KeysOnly,
    /// Only the count.
    CountOnly,
}

/// A read of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most so many records; 0 or less means all.
    pub limit: i64,
    /// Read at this main revision. Outside a transaction 0 or less means the current one; inside one
    /// only 0 does, and a negative revision is compared with the compaction floor as it stands (etcd's quirk).
    pub revision: i64,
    /// Order of the answer.
    pub order: SortOrder,
    /// What the order is about.
    pub target: SortTarget,
    /// What of each record.
    pub detail: Detail,
    /// Inclusive bounds on mod and create revision, 0 = off; applied after fetching, before the limit.
    pub filter: RevisionFilter,
}

impl RangeRequest {
    /// Everything in `range`, now.
    pub fn new(range: KeyRange) -> Self {
        RangeRequest {
            range,
            limit: 0,
            revision: 0,
            order: SortOrder::None,
            target: SortTarget::Key,
            detail: Detail::Full,
            filter: RevisionFilter::default(),
        }
    }
}

/// Inclusive bounds on revisions; 0 switches a bound off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionFilter {
    /// Lowest mod revision.
    pub min_mod: i64,
    /// Highest mod revision.
    pub max_mod: i64,
    /// Lowest create revision.
    pub min_create: i64,
    /// Highest create revision.
    pub max_create: i64,
}

/// A write of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key; not empty.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to hang the key on, or none (which takes it off the one it hangs on).
    pub lease: LeaseId,
    /// Answer with the record that was there before.
    pub prev_kv: bool,
    /// Keep the value that is there; the key must exist and `value` be empty.
    pub ignore_value: bool,
    /// Keep the lease that is there; the key must exist and `lease` be none.
    pub ignore_lease: bool,
}

/// A delete of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with the records that were there before.
    pub prev_kv: bool,
}

/// A guarded list of operations: all compares hold → `success`, otherwise → `failure`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest {
    /// All must hold; resolved against the state before the transaction, nested ones too.
    pub compare: Vec<Compare>,
    /// Operations when they hold.
    pub success: Vec<Op>,
    /// Operations when they do not.
    pub failure: Vec<Op>,
}

impl TxnRequest {
    /// Whether no branch, nested ones too, can write: such a transaction is a read and never proposed.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Put(_) | Op::Delete(_) => false,
            Op::Txn(txn) => txn.is_read_only(),
        })
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read.
    Range(RangeRequest),
    /// Write.
    Put(PutRequest),
    /// Delete.
    Delete(DeleteRequest),
    /// A transaction inside.
    Txn(TxnRequest),
}

/// How a compare relates the stored field to the given one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompareResult {
    /// Stored = given.
    #[default]
    Equal,
    /// Stored > given.
    Greater,
    /// Stored < given.
    Less,
    /// Stored ≠ given.
    NotEqual,
}

/// The field a compare looks at, with the value to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The create revision.
    Create(i64),
    /// The mod revision.
    Mod(i64),
    /// The value; false for a missing key whatever the result asked for.
    Value(Bytes),
    /// The lease.
    Lease(LeaseId),
}

/// One guard of a transaction. Over a range every existing key must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// Which field, and the given value.
    pub target: CompareTarget,
    /// The relation.
    pub result: CompareResult,
}

/// Answer of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// The store's main revision when it was read (inside a write transaction: old + 1 after a write).
    pub revision: i64,
    /// The records.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut something off.
    pub more: bool,
    /// Live keys in the range at the revision read, whatever limit and filters say.
    pub count: i64,
}

/// Answer of a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutReply {
    /// Main revision of the write.
    pub revision: i64,
    /// What was there before, when asked for and present.
    pub prev_kv: Option<KeyValue>,
}

/// Answer of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// Main revision of the write, or the current one when nothing was deleted.
    pub revision: i64,
    /// How many keys went.
    pub deleted: i64,
    /// What was there before, when asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// Answer of a transaction: one reply per operation of the branch taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// The store's main revision after it; 0 in a nested one, as in etcd.
    pub revision: i64,
    /// Whether the compares held.
    pub succeeded: bool,
    /// In the order of the operations.
    pub replies: Vec<OpReply>,
}

/// Answer of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// Of a range.
    Range(RangeReply),
    /// Of a put.
    Put(PutReply),
    /// Of a delete.
    Delete(DeleteReply),
    /// Of a nested transaction.
    Txn(TxnReply),
}

/// A lease as all replicas know it. Remaining time is the leader's own business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Granted time to live in seconds, 1 to 9,000,000,000.
    pub ttl_s: i64,
    /// Remaining seconds at the last checkpoint; 0 = no checkpoint was made.
    pub remaining_s: i64,
}

/// What is wrong with a member, known to all replicas. In etcd's order: NOSPACE is 1, CORRUPT 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// Its disk is full, or its quota used up.
    NoSpace,
    /// Its data is not what the other members have.
    Corrupt,
}
