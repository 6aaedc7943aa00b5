//! Contests for a name, which locks and elections are: everybody has a key under `name/`, the oldest wins.
//!
//! ```text
//!   name/694d…01   created at 5   has the lock          ◄─┐ waits until this key is deleted
//!   name/694d…07   created at 9   waits  ─────────────────┘ ◄─┐
//!   name/694d…04   created at 12  waits  ─────────────────────┘
//! ```
//! A key hangs on its holder's lease and is called by it, so one lease takes part once, and a holder
//! that dies gives its place up. Nothing else is kept: whoever asks on any member finds the same keys.
use bramble_store::types::{
    Compare, CompareResult, CompareTarget, DeleteRequest, Detail, EventKind, KeyRange, KeyValue, LeaseId, Op,
    RangeRequest, SortOrder, SortTarget, TxnReply, TxnRequest,
};
use bytes::Bytes;
use tokio::runtime::Handle;

use super::answers::{Answer, Caller, Consistency, WatchCreate};
use super::client::Client;
use super::error::{Error, NotNow};
use super::streams::WatchStream;

/// Seconds of the lease that is granted to who brings none. It is not kept alive.
const OWN_LEASE_S: i64 = 60;

/// Why a lock or an election has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContestError {
    /// A request that it is made of failed.
    #[error(transparent)]
    Request(#[from] Error),
    /// The lease ended while its holder waited for the lock.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// Nobody leads.
    #[error("election: no leader")]
    NoLeader,
    /// The leadership that is meant has ended.
    #[error("election: not leader")]
    NotLeader,
    /// The watch that waits for another's key was refused.
    #[error("lost watcher waiting for delete")]
    WatchLost,
}

/// A contest as one caller takes part in it.
pub(super) struct Contest<'a> {
    pub(super) client: &'a Client,
    pub(super) caller: &'a Caller,
    /// What the keys of all who take part begin with.
    keys: KeyRange,
}

impl<'a> Contest<'a> {
    pub(super) fn of(client: &'a Client, caller: &'a Caller, name: &Bytes) -> Contest<'a> {
        Contest { client, caller, keys: KeyRange::prefix([name, &b"/"[..]].concat()) }
    }

    /// The key of who takes part with a lease.
    pub(super) fn key(&self, lease: LeaseId) -> Bytes {
        let hex = match lease.0 {
            id @ 0.. => format!("{id:x}"),
            id => format!("-{:x}", id.unsigned_abs()),
        };
        [&self.keys.start, hex.as_bytes()].concat().into()
    }

    /// Asks for the oldest key of all.
    pub(super) fn oldest(&self) -> RangeRequest {
        by_age(self.keys.clone(), SortOrder::Ascend)
    }

    /// Waits until every key that is older than `created` is gone. Each waits for its neighbour alone, so
    /// that one who leaves wakes one.
    pub(super) async fn turn_of(&self, created: i64) -> Result<(), ContestError> {
        let mut before = by_age(self.keys.clone(), SortOrder::Descend);
        before.filter.max_create = created - 1;
        before.detail = Detail::KeysOnly;
        loop {
            let caller = self.caller.for_a_step();
            let found = self.client.range(&caller, before.clone(), Consistency::Linearizable).await?;
            drop(caller);
            match found.body.kvs.into_iter().next() {
                None => return Ok(()),
                Some(neighbour) => self.deleted(neighbour.key, found.header.revision).await?,
            }
        }
    }

    /// Waits until a key that was there at `revision` is deleted, or may have been.
    async fn deleted(&self, key: Bytes, revision: i64) -> Result<(), ContestError> {
        let mut stream = self.watch(KeyRange::single(key), revision + 1).await?;
        loop {
            let response = stream.next().await.ok_or(Error::from(NotNow::Stopped))??;
            if response.compact_revision > 0 {
                // Compaction came before the watch: look at the keys again.
                return Ok(());
            }
            if response.canceled {
                return Err(ContestError::WatchLost);
            }
            if response.events.iter().any(|event| event.kind == EventKind::Delete) {
                return Ok(());
            }
        }
    }

    /// A stream with one watch, which is counted as long as the stream lives.
    pub(super) async fn watch(&self, range: KeyRange, start_revision: i64) -> Result<WatchStream, Error> {
        let stream = self.client.watch(&self.caller.for_a_step()).await?;
        stream.create(WatchCreate { start_revision, ..WatchCreate::new(range) }).await?;
        Ok(stream)
    }

    /// All keys of it.
    pub(super) fn keys(&self) -> KeyRange {
        self.keys.clone()
    }
}

fn by_age(keys: KeyRange, order: SortOrder) -> RangeRequest {
    RangeRequest { limit: 1, order, target: SortTarget::Create, ..RangeRequest::new(keys) }
}

impl Client {
    /// The lease to take part with: the one that is brought, or one of 60 s.
    pub(super) async fn lease_or_own(&self, caller: &Caller, lease: LeaseId) -> Result<LeaseId, Error> {
        match lease {
            LeaseId::NONE => Ok(self.lease_grant(caller, LeaseId::NONE, OWN_LEASE_S).await?.body.id),
            brought => Ok(brought),
        }
    }

    /// Does `op` if the key was created at `created` (0: is not there); otherwise `failure`.
    pub(super) async fn if_created(
        &self,
        caller: &Caller,
        place: &Place,
        success: Vec<Op>,
        failure: Vec<Op>,
    ) -> Result<Answer<TxnReply>, Error> {
        let compare = Compare {
            range: KeyRange::single(place.key.clone()),
            target: CompareTarget::Create(place.created),
            result: CompareResult::Equal,
        };
        let txn = TxnRequest { compare: vec![compare], success, failure };
        self.txn(caller, txn, Consistency::Linearizable).await
    }

    /// Deletes the key of a place, unless it is another's by now.
    pub(super) async fn give_up(&self, caller: &Caller, place: &Place) -> Result<Answer<TxnReply>, Error> {
        let delete = DeleteRequest { range: KeyRange::single(place.key.clone()), prev_kv: false };
        self.if_created(caller, place, vec![Op::Delete(delete)], Vec::new()).await
    }
}

/// A key, and the revision that created it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) key: Bytes,
    pub(super) created: i64,
}

impl Place {
    /// Where a key is still to be created.
    pub(super) fn free(key: Bytes) -> Place {
        Place { key, created: 0 }
    }
}

/// The first record of an operation's answer, if the operation was a range.
pub(super) fn first_record(reply: &TxnReply, op: usize) -> Option<&KeyValue> {
    match reply.replies.get(op) {
        Some(bramble_store::types::OpReply::Range(range)) => range.kvs.first(),
        Some(_) | None => None,
    }
}

/// Gives a place up when it is dropped: its holder stopped waiting, or failed. So nobody queues behind a
/// client that has gone.
pub(super) struct Waiting {
    client: Client,
    caller: Caller,
    place: Option<Place>,
    runtime: Handle,
}

impl Waiting {
    pub(super) fn at(contest: &Contest<'_>, place: Place) -> Waiting {
        let (client, caller) = (contest.client.clone(), contest.caller.clone());
        Waiting { client, caller, place: Some(place), runtime: Handle::current() }
    }

    /// It was not in vain: the place stays.
    pub(super) fn over(mut self) {
        self.place = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let (client, caller) = (self.client.clone(), self.caller.clone());
        self.runtime.spawn(async move {
            if let Err(error) = client.give_up(&caller, &place).await {
                // Its lease will end it.
                tracing::debug!(%error, "the place of a client that has gone is not given up yet");
            }
        });
    }
}
