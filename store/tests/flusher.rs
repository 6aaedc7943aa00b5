//! Flushing beside the writer: the log is purged up to what a flush says, so it may not say too much.
use std::fmt;
use std::sync::Mutex;

use bramble_store::command::{Entry, Payload};
use bramble_store::engine::mem::{Mem, MemView};
use bramble_store::engine::{Batch, Engine, EngineSize, EngineWork, Part, Readback};
use bramble_store::error::Fatal;
use bramble_store::store;
use bramble_store::types::LogId;

type Work = Box<dyn FnOnce() + Send>;

/// An engine whose flush returns a little late: something else is done in between.
#[derive(Default)]
struct Late {
    mem: Mem,
    meanwhile: std::sync::Arc<Mutex<Option<Work>>>,
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mem.fmt(f)
    }
}

impl Engine for Late {
    type View = MemView;

    fn write(&self, batch: Batch) -> Result<(), Fatal> {
        self.mem.write(batch)
    }

    fn view(&self) -> MemView {
        self.mem.view()
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.mem.flush()?;
        let work = self.meanwhile.lock().expect("nobody panics").take();
        work.into_iter().for_each(|work| work());
        Ok(())
    }

    fn size(&self) -> EngineSize {
        self.mem.size()
    }

    fn work(&self) -> EngineWork {
        self.mem.work()
    }

    fn parts(&self) -> Result<Vec<Part>, Fatal> {
        self.mem.parts()
    }

    fn defragment(&self, part: &Part) -> Result<(), Fatal> {
        self.mem.defragment(part)
    }

    fn readback(&self) -> Result<Box<dyn Readback>, Fatal> {
        self.mem.readback()
    }

    fn abandon(&self) {}
}

#[test]
fn a_flush_says_no_more_than_it_made_durable() {
    let engine = Late::default();
    let (mem, meanwhile) = (engine.mem.clone(), engine.meanwhile.clone());
    let (mut writer, _) = store::open(engine).expect("opens");
    let flusher = writer.flusher();
    let entry = |index| Entry { id: LogId { term: 1, index }, payload: Payload::Blank };
    writer.apply(&[entry(0)]).expect("applies");
    let work: Work = Box::new(move || drop(writer.apply(&[entry(1)]).expect("applies")));
    *meanwhile.lock().expect("nobody panics") = Some(work);
    let said = flusher.flush().expect("flushes");
    let durable = store::open(mem.survivor()).expect("opens").0.applied();
    assert_eq!(durable, Some(LogId { term: 1, index: 0 }));
    assert_eq!(said, durable, "said to be durable, and what is");
}
