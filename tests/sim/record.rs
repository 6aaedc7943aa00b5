//! What clients did and were told, in the order in which they began: the history that is checked at the end.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bramble_server::node::client::Consistency;
use bramble_server::node::error::Error;
use bramble_store::types::{
    DeleteReply, DeleteRequest, LeaseId, PutReply, PutRequest, RangeReply, RangeRequest, TxnReply, TxnRequest,
};
use bramble_tests::history::{NEVER, Time, Watch};

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
    /// Seconds given.
    Granted(i64),
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
    /// Who asked.
    pub client: u32,
    pub op: Op,
    pub began: Time,
    pub outcome: Outcome,
    /// [`NEVER`] for an open one: it may be done later.
    pub ended: Time,
}

/// The whole history.
#[derive(Default)]
pub struct History {
    pub calls: Vec<Call>,
    /// Each watcher's, until its stream ended or it was cancelled.
    pub watches: Vec<Watch>,
    /// The newest revision that anybody was told of.
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
    pub fn begin(&self, client: usize, op: Op, began: Time) -> usize {
        let mut history = self.history();
        if let Op::Compact { revision, .. } = op {
            history.floor = history.floor.max(revision);
        }
        history.calls.push(Call { client: client as u32, op, began, outcome: Outcome::Open, ended: NEVER });
        history.calls.len() - 1
    }

    /// It ended.
    pub fn end(&self, call: usize, outcome: Outcome, ended: Time) {
        let mut history = self.history();
        if let Outcome::Answered(_, revision) = outcome {
            history.known = history.known.max(revision);
        }
        if !matches!(outcome, Outcome::Open) {
            history.calls[call].ended = ended;
        }
        history.calls[call].outcome = outcome;
    }
}
