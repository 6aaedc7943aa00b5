//! Callers waiting for the answers to their proposals, by the proposal's counter.
//!
//! The apply thread answers with what the entry did; Raft answers with a set-back. The first wins,
//! and a caller that stops waiting takes its place with it. Bounded by the proposals under way.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bramble_store::store::Outcome;
use tokio::sync::oneshot;

use crate::raft::Setback;

/// How a proposal ended.
#[derive(Debug)]
pub(super) enum Settled {
    /// Applied, with this outcome.
    Applied(Outcome),
    /// Not applied here as far as Raft knows.
    SetBack(Setback),
}

const SHARDS: usize = 16;

type Shard = HashMap<u64, oneshot::Sender<Settled>>;

#[derive(Default)]
pub(super) struct Waiters {
    shards: [Mutex<Shard>; SHARDS],
}

/// A place in the list; gives it up when dropped.
pub(super) struct Waiting {
    waiters: Arc<Waiters>,
    counter: u64,
    settled: oneshot::Receiver<Settled>,
}

impl Waiters {
    fn shard(&self, counter: u64) -> MutexGuard<'_, Shard> {
        self.shards[counter as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for `counter`; a place it had before is given up.
    pub(super) fn wait_for(self: &Arc<Self>, counter: u64) -> Waiting {
        let (sender, settled) = oneshot::channel();
        self.shard(counter).insert(counter, sender);
        Waiting { waiters: self.clone(), counter, settled }
    }

    /// Tells whoever waits for `counter`, if anyone still does.
    pub(super) fn settle(&self, counter: u64, settled: Settled) {
        let waiting = self.shard(counter).remove(&counter);
        if let Some(waiting) = waiting {
            let _ = waiting.send(settled);
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Nobody will be answered any more.
    pub(super) fn abandon(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

impl Waiting {
    /// How it ended; `None` when nobody will be answered any more.
    pub(super) async fn settled(&mut self) -> Option<Settled> {
        (&mut self.settled).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.shard(self.counter).remove(&self.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_store::store::Reply;

    #[tokio::test]
    async fn the_first_word_wins_and_the_rest_is_ignored() {
        let waiters = Arc::new(Waiters::default());
        let mut waiting = waiters.wait_for(7);
        waiters.settle(8, Settled::SetBack(Setback::Lost));
        waiters.settle(7, Settled::Applied(Ok(Reply::None)));
        waiters.settle(7, Settled::SetBack(Setback::Lost));
        assert!(matches!(waiting.settled().await, Some(Settled::Applied(Ok(Reply::None)))));
    }

    #[tokio::test]
    async fn who_leaves_takes_its_place_along() {
        let waiters = Arc::new(Waiters::default());
        drop(waiters.wait_for(7));
        assert!(waiters.shards.iter().all(|shard| shard.lock().expect("no panics").is_empty()));
        let mut waiting = waiters.wait_for(9);
        waiters.abandon();
        assert!(waiting.settled().await.is_none());
    }
}
