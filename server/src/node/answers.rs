//! The words of the in-process client: who asks, what is answered. One to one with etcd's messages,
//! in plain Rust.
use std::sync::Arc;

use bramble_store::types::{Event, KeyRange, LeaseId};
use bytes::Bytes;

use super::budget::Place;

/// Who answered, and when in history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The member that answered.
    pub member_id: u64,
    /// Main revision: of the write, or of the store when it was read.
    pub revision: i64,
    /// Raft term the member knows.
    pub raft_term: u64,
}

/// An answer with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// Who and when.
    pub header: Header,
    /// What.
    pub body: T,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// At least as new as every write acknowledged before the read began.
    #[default]
    Linearizable,
    /// What this member has; answered without a leader.
    Serializable,
}

/// What a caller says about itself and its patience; one per request, or per stream.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Who it is. Not looked at while auth is off.
    pub identity: Identity,
    /// The `hasleader` metadata: refuse at once when this member sees no leader.
    pub require_leader: bool,
    /// Where its memory is counted; `None` for callers in this process.
    pub place: Option<Arc<Place>>,
}

/// Who calls, as it can be known without looking anything up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nobody said.
    #[default]
    Nobody,
    /// This user, for certain: by its certificate, or because the program that embeds the member says so.
    User(String),
    /// Whoever this token was given to.
    Token(String),
    /// The member itself, which is not checked: its probes. Only this crate makes one.
    Member(Myself),
}

/// Proof that the member itself calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Myself(());

impl Caller {
    /// A user of this name.
    pub fn user(name: impl Into<String>) -> Caller {
        Caller { identity: Identity::User(name.into()), ..Caller::default() }
    }

    /// Whoever was given this token.
    pub fn token(token: impl Into<String>) -> Caller {
        Caller { identity: Identity::Token(token.into()), ..Caller::default() }
    }

    /// The same caller for one step of many: what is counted for the step is given back after it.
    pub(super) fn for_a_step(&self) -> Caller {
        Caller { place: self.place.as_ref().map(|place| place.part()), ..self.clone() }
    }

    /// The member itself.
    pub(crate) fn member() -> Caller {
        Caller { identity: Identity::Member(Myself(())), ..Caller::default() }
    }
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its id (chosen by the server when 0 was asked for).
    pub id: LeaseId,
    /// Effective time to live, seconds.
    pub ttl_s: i64,
}

/// What is left of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Seconds left, truncated; -1 when the lease is unknown.
    pub ttl_s: i64,
    /// Granted seconds; 0 when unknown.
    pub granted_ttl_s: i64,
    /// Attached keys, when asked for.
    pub keys: Vec<Bytes>,
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id; never 0.
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it has no vote.
    pub learner: bool,
}

/// A member's view of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The leader's member id, 0 = none known.
    pub leader: u64,
    /// Newest committed index.
    pub committed_index: u64,
    /// Newest applied index.
    pub applied_index: u64,
    /// Bytes on disk.
    pub db_bytes: u64,
    /// Of these, in use.
    pub db_in_use_bytes: u64,
    /// Effective quota; negative = none.
    pub quota_bytes: i64,
    /// Whether this member is a learner.
    pub learner: bool,
    /// The version that the cluster is going down to.
    pub downgrade: Option<String>,
    /// What is wrong, one line each.
    pub errors: Vec<String>,
}

/// Answer of HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C over the history as etcd lays it out.
    pub hash: u32,
    /// The compaction floor; -1 if never compacted.
    pub compact_revision: i64,
    /// The revision hashed.
    pub hash_revision: i64,
}

/// A new watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchCreate {
    /// Which keys; an empty start key means all from the first.
    pub range: KeyRange,
    /// First revision wanted; 0 = from now on; negative is refused as compacted.
    pub start_revision: i64,
    /// Send a progress mark when idle.
    pub progress_notify: bool,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// With the record before each change.
    pub prev_kv: bool,
    /// The id to use; 0 = the server chooses.
    pub watch_id: i64,
    /// Whether a large answer may be split.
    pub fragment: bool,
}

impl WatchCreate {
    /// Every change in `range` from now on, and nothing besides.
    pub fn new(range: KeyRange) -> WatchCreate {
        WatchCreate {
            range,
            start_revision: 0,
            progress_notify: false,
            no_put: false,
            no_delete: false,
            prev_kv: false,
            watch_id: 0,
            fragment: false,
        }
    }
}

/// What a watch stream says. Maps one to one on etcd's WatchResponse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchResponse {
    /// Header; `revision` is the event's for live events, the current one for history, 0 when cancelled by compaction.
    pub header: Header,
    /// The watcher; -1 for refusals and for progress of the whole stream.
    pub watch_id: i64,
    /// The watcher was made (or refused, when `canceled` too).
    pub created: bool,
    /// The watcher is gone.
    pub canceled: bool,
    /// The floor, when compaction was the reason; otherwise 0.
    pub compact_revision: i64,
    /// Why, when refused.
    pub cancel_reason: String,
    /// More pieces of this answer follow.
    pub fragment: bool,
    /// The events, in revision order.
    pub events: Vec<Event>,
}
