//! What clients did and were told, in the order in which they began: the history that is checked at the end.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bramble_server::node::client::{Consistency, WatchCreate};
use bramble_server::node::error::Error;
use bramble_store::types::{
    DeleteReply, DeleteRequest, Event, LeaseId, PutReply, PutRequest, RangeReply, RangeRequest, TxnReply,
    TxnRequest,
};

use crate::truth::Now;

/// What a client asked for.
#[derive(Clone, Debug)]
pub enum Op {
    Put(PutRequest),
    Delete(DeleteRequest),
    Txn(TxnRequest),
    Range(RangeRequest, Consistency),
    Compact { revision: i64, physical: bool },
    Grant { id: LeaseId, ttl_s: i64 },
    KeepAlive(LeaseId),
    Revoke(LeaseId),
    TimeToLive(LeaseId),
}

/// What it was told.
#[derive(Clone, Debug)]
pub enum Reply {
    Put(PutReply),
    Delete(DeleteReply),
    Txn(TxnReply),
    Range(RangeReply),
    Compacted,
    Granted,
    /// Seconds; 0 = there is no such lease.
    KeptAlive(i64),
    Revoked,
    /// Seconds; -1 = there is no such lease.
    Left(i64),
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// With an answer that had this revision in its header.
    Answered(Reply, i64),
    /// Nothing was done, for certain.
    Refused(Error),
    /// It may have been done, or may still be.
    Open,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    pub op: Op,
    pub begun: Now,
    /// The newest revision that anybody had been told when it began.
    pub known: i64,
    pub outcome: Outcome,
    pub ended: Now,
}

/// One watcher, until its stream ended or it was cancelled.
#[derive(Clone, Debug)]
pub struct Watched {
    pub create: WatchCreate,
    /// The first revision it had to tell; learned from its first answer when it began "now".
    pub from: i64,
    pub events: Vec<Event>,
    /// Progress marks: the revision, and how many events had come before.
    pub marks: Vec<(i64, usize)>,
    /// The floor when it was cancelled for that.
    pub cancelled_at: Option<i64>,
    /// The floor may have been as high as this when the last event came.
    pub floor: i64,
}

/// The whole history.
#[derive(Default)]
pub struct History {
    pub calls: Vec<Call>,
    pub watches: Vec<Watched>,
    pub known: i64,
    /// The highest compaction that anybody asked for.
    pub floor: i64,
    /// The first revision that each watcher has not been told of.
    pub positions: BTreeMap<usize, i64>,
}

/// Written by all clients.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().expect("one thread runs at a time")
    }

    /// A request begins; its number.
    pub fn begin(&self, op: Op, begun: Now) -> usize {
        let mut history = self.history();
        if let Op::Compact { revision, .. } = op {
            history.floor = history.floor.max(revision);
        }
        let known = history.known;
        history.calls.push(Call { op, begun, known, outcome: Outcome::Open, ended: begun });
        history.calls.len() - 1
    }

    /// It ended.
    pub fn end(&self, call: usize, outcome: Outcome, ended: Now) {
        let mut history = self.history();
        if let Outcome::Answered(_, revision) = outcome {
            history.known = history.known.max(revision);
        }
        history.calls[call].outcome = outcome;
        history.calls[call].ended = ended;
    }
}
