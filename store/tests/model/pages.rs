//! Pages of a range are together the range, whatever is written and erased between two of them.
use bramble_store::command::Action;
use bramble_store::engine::mem::Mem;
use bramble_store::mvcc::PageRequest;
use bramble_store::store::{self, Reader, Writer};
use bramble_store::types::*;
use bytes::Bytes;

use super::random::Random;
use super::{entry, for_seeds, plain};

struct World {
    random: Random,
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    index: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let (writer, reader) = store::open(Mem::new()).expect("opens");
        World { random: Random::new(seed), writer, reader, index: 0 }
    }

    fn apply(&mut self, action: Action) {
        let applied = self.writer.apply(&[entry(self.index, action)]).expect("applies");
        assert!(applied.answers[0].outcome.is_ok(), "{applied:?}");
        self.index += 1;
    }

    fn key(&mut self) -> Bytes {
        format!("k{:03}", self.random.below(120)).into()
    }

    fn write(&mut self) {
        let range = KeyRange::single(self.key());
        if self.random.one_in(4) {
            return self.apply(Action::Delete(DeleteRequest { range, prev_kv: false }));
        }
        let value = Bytes::from(vec![b'v'; self.random.below(300) as usize]);
        self.apply(Action::Put(PutRequest { key: range.start, value, ..PutRequest::default() }));
    }

    /// All pages of a range at one revision, with writes in between.
    fn pages(&mut self, range: &RangeRequest) -> Vec<KeyValue> {
        let mut request = PageRequest {
            range: range.range.clone(),
            revision: range.revision,
            detail: range.detail,
            keys_max: 1,
            bytes_max: 0,
        };
        let mut read = Vec::new();
        loop {
            request.keys_max = 1 + self.random.below(40) as usize;
            request.bytes_max = self.random.below(4000) as usize;
            let page = plain(self.reader.view().page(&request)).expect("not compacted");
            assert!(page.kvs.len() <= request.keys_max);
            let values: Vec<_> = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).collect();
            let to_the_last: usize = values[..values.len().saturating_sub(1)].iter().sum();
            assert!(to_the_last <= request.bytes_max, "{to_the_last} of {}", request.bytes_max);
            assert!(page.bytes >= values.iter().sum());
            let last = page.kvs.last().map(|kv| kv.key.clone());
            read.extend(page.kvs);
            match last {
                Some(last) if page.more => request.range = request.range.rest_behind(&last),
                Some(_) | None => return read,
            }
            self.write();
        }
    }
}

#[test]
fn pages_are_together_the_range() {
    for_seeds(200, |seed| {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.write();
        }
        for _ in 0..5 {
            let now = world.reader.view().revision();
            let (start, end) = (world.key(), world.key());
            let range = match world.random.below(3) {
                0 => KeyRange::all(),
                1 => KeyRange::single(start),
                _ => KeyRange { start, end: RangeEnd::Before(end) },
            };
            let detail = world.random.pick(&[Detail::Full, Detail::KeysOnly]);
            let revision = now - world.random.below(50) as i64;
            let range = RangeRequest { revision, detail, ..RangeRequest::new(range) };
            let whole = plain(world.reader.view().range(&range)).expect("reads").kvs;
            assert_eq!(world.pages(&range), whole, "{range:?}");
        }
    });
}

#[test]
fn a_page_below_the_floor_or_of_the_future_is_refused() {
    let mut world = World::new(1);
    for _ in 0..20 {
        world.write();
    }
    let now = world.reader.view().revision();
    world.apply(Action::Compact { revision: now });
    let at = |revision| PageRequest {
        range: KeyRange::all(),
        revision,
        detail: Detail::Full,
        keys_max: 5,
        bytes_max: 1000,
    };
    let view = world.reader.view();
    let (before, after) = (now - 1, now + 1);
    let compacted = bramble_store::error::Refusal::Compacted { wanted: before, compacted: now };
    assert_eq!(plain(view.page(&at(before))), Err(compacted));
    let future = bramble_store::error::Refusal::Future { wanted: after, current: now };
    assert_eq!(plain(view.page(&at(after))), Err(future));
    assert_eq!(plain(view.page(&at(now))).expect("reads").kvs.len(), 5);
}
