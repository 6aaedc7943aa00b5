//! openraft's type parameters, and the way between its words and the store's.
use std::fmt;
use std::io;

use bramble_store::command::{Entry, Payload};
use bramble_store::log::Vote;
use bramble_store::types::LogId;
use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::type_config::alias::{LogIdOf, StoredMembershipOf, VoteOf};
use openraft::{EntryPayload, Membership, OptionalSend, RaftTypeConfig, StoredMembership};
use openraft_rt_tokio::TokioRuntime;

use super::members::{self, Members, Peer};

/// A command's bytes, opaque to Raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque(pub Bytes);

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One leader per term, as in etcd, so that (term, index) names an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = Opaque;
    // Answers go from the apply thread to whoever waits, never through openraft.
    type R = ();
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Opaque, u64, Peer>;
    type Entry = openraft::Entry<openraft::vote::leader_id_std::CommittedLeaderId<u64>, Self::Payload>;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = Settle<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Calls back exactly once: with openraft's result, or with `None` when openraft drops it.
pub struct Settle<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Settle<T> {
    pub fn new(call: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Settle(Some(Box::new(call)))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Settle<T> {
    fn on_complete(mut self, result: T) {
        if let Some(call) = self.0.take() {
            call(Some(result));
        }
    }
}

impl<T> Drop for Settle<T> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call(None);
        }
    }
}

/// openraft's entry.
pub type RaftEntry = <Types as RaftTypeConfig>::Entry;
/// openraft's log id.
pub type RaftLogId = LogIdOf<Types>;
/// openraft's vote.
pub type RaftVote = VoteOf<Types>;
/// openraft's membership with the entry that made it.
pub type RaftMembership = StoredMembershipOf<Types>;

pub fn log_id(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, index: id.index }
}

pub fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId::new_term_index(id.term, id.index)
}

pub fn vote(vote: &RaftVote) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn raft_vote(vote: Vote) -> RaftVote {
    match vote.committed {
        true => RaftVote::new_committed(vote.term, vote.node),
        false => RaftVote::new(vote.term, vote.node),
    }
}

pub fn entry(entry: RaftEntry) -> Entry {
    let id = log_id(&entry.log_id);
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(Opaque(bytes)) => Payload::Command(bytes),
        EntryPayload::Membership(membership) => Payload::Membership(members::encode(&plain(&membership))),
    };
    Entry { id, payload }
}

/// # Errors
/// A membership that this version cannot read.
pub fn raft_entry(entry: Entry) -> io::Result<RaftEntry> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Command(bytes) => EntryPayload::Normal(Opaque(bytes)),
        Payload::Membership(bytes) => EntryPayload::Membership(raft_membership(&bytes)?),
    };
    Ok(RaftEntry { log_id: raft_log_id(entry.id), payload })
}

/// # Errors
/// A membership that this version cannot read.
pub fn stored_membership(row: Option<&(LogId, Bytes)>) -> io::Result<RaftMembership> {
    match row {
        None => Ok(StoredMembership::default()),
        Some((id, bytes)) => Ok(StoredMembership::new(Some(raft_log_id(*id)), raft_membership(bytes)?)),
    }
}

fn raft_membership(bytes: &[u8]) -> io::Result<Membership<u64, Peer>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Members { voters, peers } = members::decode(bytes).map_err(|what| invalid(what.into()))?;
    Membership::new(voters, peers).map_err(|error| invalid(error.to_string()))
}

pub fn plain(membership: &Membership<u64, Peer>) -> Members {
    Members {
        voters: membership.get_joint_config().clone(),
        peers: membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect(),
    }
}
