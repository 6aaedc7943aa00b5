//! The engine in memory: two persistent maps, so that a view costs two reference counts.
//!
//! It models what a durable engine does in a power cut: `durable` is what the last flush made safe,
//! and [`Mem::crash`] returns to it. A clone is another handle on the same engine, so whoever gave
//! it to a store can still flush behind the store's back (as an engine may) and pull its plug.
//!
//! Invariant: `durable` is always a state that `live` once was, whole batches only.
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use imbl::OrdMap;

use super::{Batch, Change, Cursor, Engine, EngineSize, EngineWork, Family, Part, Read, Readback};
use crate::error::Fatal;

type Rows = OrdMap<Bytes, Bytes>;

/// An engine that lives in memory.
#[derive(Clone, Debug, Default)]
pub struct Mem {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    live: MemView,
    durable: MemView,
    unflushed_bytes: u64,
    flushed_bytes: u64,
    /// Batches before the one behind which it flushes by itself.
    flush_behind: Option<u64>,
}

impl State {
    fn flush(&mut self) {
        self.durable = self.live.clone();
        self.flushed_bytes += std::mem::take(&mut self.unflushed_bytes);
    }

    fn count_batch(&mut self) {
        match self.flush_behind {
            None => {}
            Some(0) => {
                self.flush_behind = None;
                self.flush();
            }
            Some(more) => self.flush_behind = Some(more - 1),
        }
    }
}

/// A pinned view of a [`Mem`].
#[derive(Clone, Debug, Default)]
pub struct MemView {
    rev: Rows,
    idx: Rows,
    /// Keys and values of all rows.
    bytes: u64,
}

impl Mem {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power goes: everything since the last flush is lost. Views taken before stay readable.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.live = state.durable.clone();
        state.unflushed_bytes = 0;
    }

    /// What would be there if the power went now, as an engine of its own: whoever still uses this one
    /// cannot harm it.
    pub fn survivor(&self) -> Mem {
        let durable = self.lock().durable.clone();
        let state = State { live: durable.clone(), durable, ..State::default() };
        Mem { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets it flush by itself behind the batch that comes after so many others, as an engine may.
    pub fn flush_behind(&self, batches: u64) {
        self.lock().flush_behind = Some(batches);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave a batch half applied: `write` replaces `live` in one line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Mem {
    type View = MemView;

    fn write(&self, batch: Batch) -> Result<(), Fatal> {
        let mut state = self.lock();
        let mut next = state.live.clone();
        let mut written_bytes = 0;
        for change in batch.changes {
            written_bytes += row_bytes(&change.key, change.value.as_deref().unwrap_or_default());
            next.apply(change);
        }
        state.unflushed_bytes += written_bytes;
        state.live = next;
        state.count_batch();
        Ok(())
    }

    fn view(&self) -> MemView {
        self.lock().live.clone()
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.lock().flush();
        Ok(())
    }

    fn size(&self) -> EngineSize {
        let state = self.lock();
        EngineSize {
            total_bytes: state.live.bytes,
            in_use_bytes: state.live.bytes,
            unflushed_bytes: state.unflushed_bytes,
        }
    }

    fn work(&self) -> EngineWork {
        EngineWork { flush_bytes: self.lock().flushed_bytes, ..EngineWork::default() }
    }

    /// What is erased takes nothing here.
    fn parts(&self) -> Result<Vec<Part>, Fatal> {
        Ok(Vec::new())
    }

    fn defragment(&self, _: &Part) -> Result<(), Fatal> {
        Ok(())
    }

    /// There is no device.
    fn readback(&self) -> Result<Box<dyn Readback>, Fatal> {
        Ok(Box::new(Nowhere))
    }

    fn abandon(&self) {}
}

struct Nowhere;

impl Readback for Nowhere {
    fn step(&mut self, _: usize) -> Result<Option<usize>, Fatal> {
        Ok(None)
    }
}

impl MemView {
    fn rows(&self, family: Family) -> &Rows {
        match family {
            Family::Rev => &self.rev,
            Family::Idx => &self.idx,
        }
    }

    fn apply(&mut self, change: Change) {
        let rows = match change.family {
            Family::Rev => &mut self.rev,
            Family::Idx => &mut self.idx,
        };
        if let Some(old) = rows.get(change.key.as_ref()) {
            self.bytes -= row_bytes(&change.key, old);
        }
        match change.value {
            Some(value) => {
                self.bytes += row_bytes(&change.key, &value);
                rows.insert(change.key, value);
            }
            None => {
                rows.remove(change.key.as_ref());
            }
        }
    }
}

fn row_bytes(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl Read for MemView {
    type Cursor<'a> = MemCursor<'a>;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        Ok(self.rows(family).get(key).cloned())
    }

    fn cursor(&self, family: Family) -> MemCursor<'_> {
        MemCursor { rows: self.rows(family), at: None }
    }
}

/// A position in one family of a [`MemView`]. Each step is a lookup: the depth of the tree.
#[derive(Debug)]
pub struct MemCursor<'a> {
    rows: &'a Rows,
    at: Option<(&'a Bytes, &'a Bytes)>,
}

impl Cursor for MemCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.at = self.rows.get_next(key);
        Ok(())
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), Fatal> {
        self.at = self.rows.get_prev(key);
        Ok(())
    }

    fn next(&mut self) -> Result<(), Fatal> {
        if let Some((key, _)) = self.at {
            let after = (Bound::Excluded(key.as_ref()), Bound::Unbounded);
            self.at = self.rows.range::<_, [u8]>(after).next();
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<(), Fatal> {
        if let Some((key, _)) = self.at {
            let before = (Bound::Unbounded, Bound::Excluded(key.as_ref()));
            self.at = self.rows.range::<_, [u8]>(before).next_back();
        }
        Ok(())
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.at.map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(engine: &Mem, key: &'static str) {
        let change = Change { family: Family::Idx, key: key.into(), value: Some(Bytes::new()) };
        engine.write(Batch { changes: vec![change] }).expect("it is written");
    }

    fn has(engine: &Mem, key: &str) -> bool {
        engine.view().get(Family::Idx, key.as_bytes()).expect("it is read").is_some()
    }

    #[test]
    fn it_flushes_by_itself_once_and_where_it_is_told() {
        let engine = Mem::new();
        engine.flush_behind(1);
        ["a", "b", "c"].into_iter().for_each(|key| write(&engine, key));
        let survivor = engine.survivor();
        assert_eq!(["a", "b", "c"].map(|key| has(&survivor, key)), [true, true, false]);
        write(&survivor, "d");
        assert!(has(&engine, "c") && !has(&engine, "d"));
    }
}
