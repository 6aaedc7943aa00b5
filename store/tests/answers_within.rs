//! Answers take only the room they are lent, and what is done to the state never depends on that.
use std::cell::Cell;

use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::store::{self, AppliedEntry, Reader, Reply, Writer};
use bramble_store::types::*;

const VALUE_BYTES: usize = 1_000;

struct World {
    writer: Writer<Mem>,
    reader: Reader<Mem>,
    index: u64,
}

impl World {
    /// Twenty keys of about a kilobyte.
    fn new() -> World {
        let (writer, reader) = store::open(Mem::new()).expect("a new store opens");
        let mut world = World { writer, reader, index: 0 };
        for n in 0..20 {
            world.apply(vec![Action::Put(put(&format!("k{n:02}")))]);
        }
        world
    }

    /// Applies them as one group.
    fn apply(&mut self, actions: Vec<Action>) -> Vec<AppliedEntry> {
        let mut entries = Vec::new();
        for action in actions {
            let request = RequestId { member: 1, counter: self.index };
            let origin = Origin { user: String::new(), auth_revision: 0 };
            let command = Command { request, origin, required_version: 1, fence_term: None, action };
            let id = LogId { term: 1, index: self.index };
            entries.push(Entry { id, payload: Payload::Command(codec::encode(&command)) });
            self.index += 1;
        }
        self.writer.apply(&entries).expect("applied").answers
    }

    fn all(&self) -> RangeReply {
        self.reader.view().range(&all()).expect("read")
    }
}

fn put(key: &str) -> PutRequest {
    let value = vec![b'v'; VALUE_BYTES].into();
    PutRequest { key: key.to_owned().into(), value, ..PutRequest::default() }
}

fn all() -> RangeRequest {
    RangeRequest::new(KeyRange::from_wire("\0".into(), "\0".into()))
}

fn delete_all() -> DeleteRequest {
    DeleteRequest { range: all().range, prev_kv: true }
}

fn reply(answers: &[AppliedEntry], n: usize) -> &Reply {
    answers[n].outcome.as_ref().expect("not refused")
}

#[test]
fn a_read_stops_soon_after_its_room_ends() {
    let world = World::new();
    let view = world.reader.view();
    let by_value = RangeRequest { target: SortTarget::Value, order: SortOrder::Descend, ..all() };
    let twice = TxnRequest { success: vec![Op::Range(all()), Op::Range(all())], ..TxnRequest::default() };
    for room in [0, 100, 5_000, 19 * VALUE_BYTES, 100 * VALUE_BYTES] {
        let asked = Cell::new(0);
        let lend = |bytes: usize| {
            asked.set(asked.get() + bytes);
            asked.get() <= room
        };
        let fits = room > 50 * VALUE_BYTES;
        let found = view.range_within(&all(), &lend).expect("read");
        assert_eq!(found.is_some(), fits, "room of {room}");
        assert!(asked.get() <= room + 64 * 2 * VALUE_BYTES, "asked for {} in a room of {room}", asked.get());
        asked.set(0);
        assert_eq!(view.range_within(&by_value, &lend).expect("read").is_some(), fits, "room of {room}");
        asked.set(0);
        assert_eq!(view.txn_within(&twice, &lend).expect("read").is_some(), fits, "room of {room}");
    }
    // Keys alone take room, too.
    let keys = RangeRequest { detail: Detail::KeysOnly, ..all() };
    assert!(view.range_within(&keys, &|_| false).expect("read").is_none());
    let counted = RangeRequest { detail: Detail::CountOnly, ..all() };
    assert_eq!(view.range_within(&counted, &|_| false).expect("read").expect("no room needed").count, 20);
}

#[test]
fn an_answer_left_out_changes_nothing_else() {
    let (mut bounded, mut endless) = (World::new(), World::new());
    bounded.writer.keep_answers(5 * VALUE_BYTES);
    let read_and_write = TxnRequest {
        success: vec![Op::Range(all()), Op::Put(put("new")), Op::Range(all())],
        ..TxnRequest::default()
    };
    let small = PutRequest { prev_kv: true, ..put("k03") };
    let group = || {
        vec![
            Action::Put(small.clone()),
            Action::Txn(read_and_write.clone()),
            Action::Put(small.clone()),
            Action::Delete(delete_all()),
            Action::Put(put("last")),
        ]
    };
    let (cut, whole) = (bounded.apply(group()), endless.apply(group()));
    let revision = 21;
    // What fits is there, whatever did not fit before it.
    for n in [0, 2, 4] {
        assert_eq!(reply(&cut, n), reply(&whole, n));
    }
    assert_eq!(reply(&cut, 1), &Reply::LeftOut { revision: revision + 2 });
    assert_eq!(reply(&cut, 3), &Reply::LeftOut { revision: revision + 4 });
    let Reply::Delete(deleted) = reply(&whole, 3) else { panic!("a delete answers as one") };
    assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (21, 21));
    assert_eq!(bounded.all(), endless.all());
    assert_eq!(
        bounded.reader.view().hash_kv(0).expect("hashed"),
        endless.reader.view().hash_kv(0).expect("hashed")
    );
}
