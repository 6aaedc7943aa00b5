//! openraft's state machine: hands committed entries to the apply thread in groups and waits for one
//! signal per group. Its snapshot is metadata only: the last entry that the engine has flushed, and
//! the membership as of it. That lets openraft free the log; images come from elsewhere.
use std::io;
use std::sync::Arc;

use bramble_store::command::Entry;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use super::applied::AppliedState;
use super::tail::entry_bytes;
use super::types::{self, RaftLogId, RaftMembership, Types};

/// Entries in one group.
const GROUP_ENTRIES_MAX: usize = 1024;
/// Bytes in one group; one entry may exceed it alone.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Committed entries, in order, for the apply thread.
pub struct Group {
    /// The entries; never empty.
    pub entries: Vec<Entry>,
    /// Told when they are applied and published. Dropped: applying failed.
    pub done: oneshot::Sender<()>,
}

/// Takes a group to the apply thread without waiting; false when that thread has ended. One group is
/// under way at most, so whatever queue is behind it holds one group at most.
pub type Inbox = Box<dyn Fn(Group) -> bool + Send + Sync>;

pub(super) struct Machine {
    applied: Arc<AppliedState>,
    apply: Inbox,
}

impl Machine {
    pub(super) fn new(applied: Arc<AppliedState>, apply: Inbox) -> Machine {
        Machine { applied, apply }
    }

    async fn hand_over(&self, group: Gathering) -> io::Result<()> {
        let Some(last) = group.entries.last().map(|entry| entry.id) else { return Ok(()) };
        let (done, applied) = oneshot::channel();
        let ended = || io::Error::other("the apply thread has ended");
        if !(self.apply)(Group { entries: group.entries, done }) {
            return Err(ended());
        }
        applied.await.map_err(|_| ended())?;
        self.applied.note_applied(last, group.memberships);
        for responder in group.responders {
            responder.send(());
        }
        Ok(())
    }
}

#[derive(Default)]
struct Gathering {
    entries: Vec<Entry>,
    bytes: usize,
    memberships: Vec<RaftMembership>,
    responders: Vec<openraft::storage::ApplyResponder<Types>>,
}

impl Gathering {
    fn push(&mut self, (entry, responder): EntryResponder<Types>) {
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.memberships.push(RaftMembership::new(Some(entry.log_id), membership.clone()));
        }
        let entry = types::entry(entry);
        self.bytes += entry_bytes(&entry);
        self.entries.push(entry);
        self.responders.extend(responder);
    }

    fn full(&self) -> bool {
        self.entries.len() >= GROUP_ENTRIES_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftMembership), io::Error> {
        let (applied, membership) = self.applied.applied();
        Ok((applied.map(types::raft_log_id), membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut group = Gathering::default();
        while let Some(item) = entries.next().await {
            group.push(item?);
            if group.full() {
                self.hand_over(std::mem::take(&mut group)).await?;
            }
        }
        self.hand_over(group).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        (force || self.applied.durable().is_some()).then(|| Builder(self.applied.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.applied.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, _: ()) -> Result<(), io::Error> {
        Err(io::Error::other(format!("images from a leader are not served by this version ({meta})")))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, ()>>, io::Error> {
        Ok(self.applied.snapshot().map(snapshot))
    }
}

fn snapshot((last, last_membership): (bramble_store::types::LogId, RaftMembership)) -> SnapshotOf<Types, ()> {
    let meta = SnapshotMeta { last_log_id: Some(types::raft_log_id(last)), last_membership };
    Snapshot { meta, snapshot: () }
}

/// Reports what the last engine flush made durable. The background thread flushes before it asks.
pub(super) struct Builder(Arc<AppliedState>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, ()>, io::Error> {
        match self.0.snapshot() {
            Some(durable) => Ok(snapshot(durable)),
            None => Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: () }),
        }
    }
}
