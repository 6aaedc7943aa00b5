//! The watches of a session, and the episodes that are about them.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bytes::Bytes;

use crate::call::Asker;
use crate::generate;
use crate::grid::Grid;
use crate::options;
use crate::session::Session;
use crate::watching::{Act, Seen, Twin};
use crate::words::Request;

/// Streams open at one time.
const STREAMS_MAX: usize = 3;
/// Watchers on one stream.
const WATCHERS_MAX: usize = 6;

impl Session {
    /// Compares what all streams have seen.
    pub async fn compare_streams(&mut self) -> Result<(), String> {
        self.changes = 0;
        for index in 0..self.streams.len() {
            self.compare_stream(index).await?;
        }
        Ok(())
    }

    async fn compare_stream(&mut self, index: usize) -> Result<(), String> {
        let revision = self.world.revision;
        let twin = &mut self.streams[index];
        twin.barrier(revision).await.map_err(|what| format!("Watch progress\n  {what}"))?;
        let seen =
            twin.compare(&self.sides, &self.world).await.map_err(|what| format!("Watch events\n  {what}"))?;
        self.counts.erased += usize::from(seen.erased);
        note_events(&mut self.grid, &seen);
        Ok(())
    }

    /// Opens, closes or uses a stream.
    pub async fn watch_step(&mut self, thin: &[(String, String)]) -> Result<(), String> {
        if self.streams.is_empty() || (self.streams.len() < STREAMS_MAX && self.chance.percent(10)) {
            let asker = generate::watcher(&self.world, &mut self.chance);
            self.streams.push(Twin::open(&self.sides, asker));
        }
        let index = self.chance.below(self.streams.len());
        if self.chance.percent(4) || self.streams[index].watchers.len() >= WATCHERS_MAX {
            return self.close(index).await;
        }
        let act = self.choose_act(index, thin);
        self.watch_act(index, &act).await
    }

    async fn close(&mut self, index: usize) -> Result<(), String> {
        self.compare_stream(index).await?;
        self.streams.swap_remove(index);
        Ok(())
    }

    async fn watch_act(&mut self, index: usize, act: &Act) -> Result<(), String> {
        self.counts.requests += 1;
        let revision = self.world.revision;
        let told = |what: String| format!("Watch {act:?}\n  {what}\n  (revision {revision})");
        let before: Vec<i64> = self.streams[index].watchers.keys().copied().collect();
        // What others have caught up with is due before one ends, and before the stream can no longer be
        // asked whether all was sent.
        let ends = match act {
            Act::Cancel(_) => true,
            Act::Create(create) => {
                create.start_revision > revision || create.start_revision < self.world.floor
            }
            Act::Progress | Act::Nothing => false,
        };
        if ends {
            self.compare_stream(index).await?;
        }
        self.streams[index].act(act, revision).await.map_err(told)?;
        let twin = &mut self.streams[index];
        let new = twin.watchers.keys().copied().find(|id| !before.contains(id));
        let mut compacted = false;
        if let (Act::Create(create), Some(id)) = (act, new) {
            compacted = create.start_revision > 0 && create.start_revision < self.world.floor;
            if compacted {
                twin.await_compacted(id).await.map_err(told)?;
            }
        }
        self.note_act(index, act, new.is_some(), compacted, &before);
        if self.streams[index].spent {
            let closed = self.close(index).await;
            return closed.map_err(|what| format!("{what}\n  after {act:?} at revision {revision}"));
        }
        self.changes += 1;
        Ok(())
    }

    fn note_act(&mut self, index: usize, act: &Act, made: bool, compacted: bool, before: &[i64]) {
        match act {
            Act::Create(create) => {
                let outcome = if compacted {
                    "compacted"
                } else if made {
                    "created"
                } else {
                    "refused"
                };
                let options = options::of_watch(create, &self.streams[index], &self.world);
                self.grid.hit("Watch", &options, outcome);
            }
            Act::Cancel(id) => {
                let outcome = if before.contains(id) { "cancelled" } else { "silence" };
                self.grid.hit("Watch", &["cancel".to_string()], outcome);
            }
            Act::Progress => self.grid.hit("Watch", &["progress".to_string()], "as promised"),
            Act::Nothing => self.grid.hit("Watch", &["nothing set".to_string()], "silence"),
        }
    }

    /// A key that one transaction puts and deletes, compacted at that very revision, watched from there.
    pub async fn twice_at_the_floor(&mut self) -> Result<(), String> {
        let key = Bytes::from_static(b"twice");
        let put = pb::PutRequest { key: key.clone(), value: Bytes::from_static(b"v"), ..Default::default() };
        let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let inner =
            |op| pb::TxnRequest { success: vec![pb::RequestOp { request: Some(op) }], ..Default::default() };
        let both = [inner(Op::RequestPut(put)), inner(Op::RequestDeleteRange(delete))];
        let success = both.map(|txn| pb::RequestOp { request: Some(Op::RequestTxn(txn)) }).to_vec();
        self.call(Request::Txn(pb::TxnRequest { success, ..Default::default() })).await?;
        let revision = self.world.revision;
        self.call(Request::Compact(pb::CompactionRequest { revision, physical: true })).await?;
        self.streams.push(Twin::open(&self.sides, Asker::default()));
        let create =
            pb::WatchCreateRequest { key, start_revision: revision, prev_kv: true, ..Default::default() };
        self.watch_act(self.streams.len() - 1, &Act::Create(create)).await?;
        self.compare_streams().await
    }

    /// More than a message's worth of history, to a watcher that takes it in pieces and to one that does not.
    pub async fn fragments(&mut self) -> Result<(), String> {
        let from = self.world.revision + 1;
        for index in 0..8u8 {
            let key = Bytes::from(vec![b'B', index]);
            let put = pb::PutRequest { key, value: Bytes::from(vec![index; 300_000]), ..Default::default() };
            self.call(Request::Put(put)).await?;
            // Large events wait for nobody, or the sides put them together as they like.
            self.compare_streams().await?;
        }
        self.streams.push(Twin::open(&self.sides, Asker::default()));
        let index = self.streams.len() - 1;
        for fragment in [true, false] {
            let act = Act::Create(pb::WatchCreateRequest {
                key: Bytes::from_static(b"B"),
                range_end: Bytes::from_static(b"C"),
                start_revision: from,
                fragment,
                ..Default::default()
            });
            self.watch_act(index, &act).await?;
            self.compare_stream(index).await?;
        }
        self.close(index).await?;
        let clean = pb::DeleteRangeRequest {
            key: Bytes::from_static(b"B"),
            range_end: Bytes::from_static(b"C"),
            prev_kv: false,
        };
        self.call(Request::DeleteRange(clean)).await
    }
}

fn note_events(grid: &mut Grid, seen: &Seen) {
    if seen.fragmented {
        grid.hit("Watch", &["in pieces".to_string()], "delivered");
    }
    for response in &seen.responses {
        for event in &response.events {
            let kind = if event.r#type == 0 { "put" } else { "delete" };
            let before = if event.prev_kv.is_some() { "with what was before" } else { "alone" };
            grid.hit("Watch", &[format!("event {kind} {before}")], "delivered");
        }
        if response.created && response.canceled {
            let error = format!("error={}", response.cancel_reason);
            grid.hit("Watch", &[error], "refused");
        }
    }
}
