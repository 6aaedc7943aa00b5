//! openraft's log storage over the log thread: orders go in, nothing here touches the disk.
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bramble_store::command::Entry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend};
use tokio::sync::oneshot;

use super::applied::AppliedState;
use super::log_thread::{Order, SharedLog};
use super::types::{self, RaftEntry, RaftLogId, RaftVote, Types};
use crate::threads::{Threads, away};

/// Bytes of entries in one message to a peer.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// openraft's way to the log; also its reader.
#[derive(Clone)]
pub(super) struct LogStore {
    log: Arc<SharedLog>,
    applied: Arc<AppliedState>,
    threads: Arc<dyn Threads>,
}

impl LogStore {
    pub(super) fn new(
        log: Arc<SharedLog>,
        applied: Arc<AppliedState>,
        threads: Arc<dyn Threads>,
    ) -> LogStore {
        LogStore { log, applied, threads }
    }

    /// Entries `start..end`, clipped to what is there; all of them, or about `bytes_max` bytes.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (from_log, entries) = self.log.seen(|seen| {
            let start = seen.purged.map_or(start, |purged| start.max(purged.index + 1));
            let end = seen.last.map_or(0, |last| end.min(last.index + 1));
            let tail = seen.tail.start().unwrap_or(end);
            let from_log = start..end.min(tail);
            let entries = if from_log.is_empty() && start < end {
                seen.tail.read(start..end, bytes_max)
            } else {
                Vec::new()
            };
            (from_log, entries)
        });
        if from_log.is_empty() {
            return Ok(entries);
        }
        let reader = self.log.reader();
        let read = away(&*self.threads, move || reader.read(from_log, bytes_max as u64)).await;
        let read = read.ok_or_else(|| io::Error::other("reading the log panicked"))?;
        read.map_err(|fatal| io::Error::other(fatal.to_string()))
    }

    /// All entries `start..end` that are there.
    async fn read_all(&self, mut start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        let mut all = Vec::new();
        while start < end {
            let some = self.read(start, end, usize::MAX).await?;
            let Some(last) = some.last() else { break };
            start = last.id.index + 1;
            for entry in some {
                all.push(types::raft_entry(entry)?);
            }
        }
        Ok(all)
    }
}

fn bounds(range: impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<RaftEntry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(range);
        self.read_all(start, end).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, io::Error> {
        let some = self.read(start, end, MESSAGE_BYTES_MAX).await?;
        some.into_iter().map(types::raft_entry).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.log.seen(|seen| seen.vote).map(types::raft_vote))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let (purged, last) = self.log.seen(|seen| (seen.purged, seen.last));
        Ok(LogState {
            last_purged_log_id: purged.map(types::raft_log_id),
            last_log_id: last.max(purged).map(types::raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        let vote = types::vote(vote);
        let (answer, answered) = oneshot::channel();
        self.log.give(Order::Vote(vote, answer), |seen| seen.vote = Some(vote));
        answered.await.map_err(|_| io::Error::other("the log thread has ended"))?
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.log.note_committed(types::log_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        // A committed id was written with or after its entry, but a torn tail may have taken the entry.
        let (committed, last) = self.log.seen(|seen| (seen.committed, seen.last));
        Ok(committed.filter(|committed| Some(*committed) <= last).map(types::raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().map(types::entry).collect();
        let (copy, last) = (entries.clone(), entries.last().map(|entry| entry.id));
        self.log.give(Order::Append(entries, done), |seen| {
            seen.tail.push(&copy);
            seen.last = last.or(seen.last);
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last_kept: Option<RaftLogId>) -> Result<(), io::Error> {
        let kept = last_kept.as_ref().map(types::log_id);
        self.log.give(Order::Truncate(kept), |seen| {
            seen.tail.truncate(last_kept.next_index());
            seen.last = kept;
        });
        Ok(())
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), io::Error> {
        let requested = types::log_id(&log_id);
        // With the engine's own log off, "applied" is not "durable": a purge beyond it would leave a
        // node that cannot start.
        let durable = self.applied.durable();
        if Some(requested) > durable {
            return Err(io::Error::other(format!("purge of {requested:?} beyond the durable {durable:?}")));
        }
        self.log.give(Order::Purge(requested), |seen| {
            seen.tail.purge(requested.index + 1);
            seen.purged = Some(requested);
            seen.last = seen.last.max(Some(requested));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::pin;
    use std::time::Duration;

    use bramble_store::disk::sim::SimDisk;
    use bramble_store::log::{Log, LogOptions, Vote};
    use bramble_store::seams::Clock;
    use futures_util::FutureExt;

    use super::super::log_thread;
    use super::super::tail::Tail;
    use super::super::types::RaftMembership;
    use super::*;
    use crate::failure::Failure;
    use crate::metrics::Metrics;
    use crate::threads::SystemThreads;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Who votes, forgets it in a power cut and votes again elects two leaders.
    #[tokio::test]
    async fn a_vote_is_answered_when_it_is_on_the_device() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/log"));
        let open = |disk: SimDisk| Log::open(Arc::new(disk), dir, LogOptions::default()).expect("it opens");
        let (log, recovered) = open(disk.clone());
        let meter = Metrics::new(Duration::from_secs(1)).0.log.clone();
        let (threads, failure) = (Arc::new(SystemThreads), Failure::new(dir));
        let shared = SharedLog::new(&log, &recovered, Tail::new(1 << 20), threads.bell(), failure, meter);
        let applied = Arc::new(AppliedState::new(None, RaftMembership::default()));
        let mut store = LogStore::new(shared.clone(), applied, threads);
        let vote = Vote { term: 3, node: 7, committed: false };
        let asked = types::raft_vote(vote);
        let mut saved = pin!(store.save_vote(&asked));
        assert!(saved.as_mut().now_or_never().is_none(), "answered before anybody has written it");
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || log_thread::run(log, &shared, &Still, &(Box::new(|_| None) as log_thread::Notes))
        });
        saved.await.expect("it is saved");
        assert_eq!(open(disk.survivor()).1.vote, Some(vote), "a power cut right after the answer");
        shared.close();
        thread.join().expect("the log's thread ends");
    }
}
