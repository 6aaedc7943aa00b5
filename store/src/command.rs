//! Every change that replicas agree on, as one type. Its bytes are in `codec`.
//!
//! A command carries what was decided before it was proposed (ids, times to live, who asks), so
//! that applying it is a pure function of the state and the command.
use bytes::Bytes;

use crate::types::{DeleteRequest, LeaseId, PutRequest, TxnRequest};

/// Names one proposal of one member, so that its answer finds the waiting caller. Never used to
/// refuse a repeated request: a client that retries asks for a second write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The member that proposed it.
    pub member: u64,
    /// Counts its proposals since it started.
    pub counter: u64,
}

/// Who asks, checked again when applied: permissions may have changed in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// User name; empty = nobody (auth is off, or the server itself).
    pub user: String,
    /// The auth revision the permissions were checked at.
    pub auth_revision: u64,
}

/// A replicated command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Finds the waiter on the member that proposed it.
    pub request: RequestId,
    /// Who asks.
    pub origin: Origin,
    /// Lowest state version that understands it; a replica below it stops instead of guessing.
    pub required_version: u32,
    /// Leader-made commands (expiry, checkpoint) carry their leader's term; an older one is overtaken.
    pub fence_term: Option<u64>,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write one key.
    Put(PutRequest),
    /// Delete a range.
    Delete(DeleteRequest),
    /// A guarded list of operations.
    Txn(TxnRequest),
    /// Raise the compaction floor; the erasing happens later, in steps, on each replica.
    Compact {
        /// The new floor.
        revision: i64,
    },
    /// Make a lease. Id and time to live are already chosen and within range.
    LeaseGrant {
        /// Its id, not 0.
        id: LeaseId,
        /// Seconds, 1 to 9,000,000,000.
        ttl_s: i64,
    },
    /// End a lease and delete its keys in one revision.
    LeaseRevoke {
        /// Its id.
        id: LeaseId,
    },
}

/// What an entry of the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Blank,
    /// A command, encoded.
    Command(Bytes),
    /// A membership, encoded by the server; the store keeps it beside the applied id.
    Membership(Bytes),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub id: crate::types::LogId,
    /// What it holds.
    pub payload: Payload,
}
