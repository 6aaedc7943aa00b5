//! A database of etcd, as anybody may hand it over: importing it is refused or done, and what was imported
//! opens, can be read, written and compacted. The input is pages to make a file of or, after a 255, the file.
#![no_main]
use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::snapshot::bbolt::Bbolt;
use bramble_store::snapshot::etcd::{Given, ImportError, import};
use bramble_store::store::{self, Scrub, Writer};
use bramble_store::types::*;
use bramble_store_fuzz::{Parts, pages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let raise = i64::from(parts.byte() % 2) * 1_000;
    let file = match input.get(1) {
        Some(255) => input[2..].to_vec(),
        _ => pages::of(&mut parts),
    };
    let engine = Mem::new();
    match Bbolt::open(&file[..])
        .map_err(ImportError::from)
        .and_then(|file| import(file, &engine, Given { raise }))
    {
        Ok(_) => {}
        Err(ImportError::Fatal(fatal)) => panic!("the engine is in memory: {fatal}"),
        Err(refused) => {
            assert!(!refused.to_string().is_empty());
            return;
        }
    }
    let (mut writer, reader) = store::open(engine).expect("what was imported opens");
    let all = RangeRequest::new(KeyRange::all());
    let keys = reader.view().range(&all).expect("readable").kvs;
    reader.view().hash().map_err(|error| error.to_string()).expect("readable");
    for key in keys.into_iter().map(|kv| kv.key) {
        apply(&mut writer, Action::Put(PutRequest { key, ..PutRequest::default() }));
    }
    for lease in reader.view().leases().expect("readable") {
        apply(&mut writer, Action::LeaseRevoke { id: lease.id });
    }
    apply(&mut writer, Action::Delete(DeleteRequest { range: KeyRange::all(), prev_kv: false }));
    let revision = reader.view().revision();
    apply(&mut writer, Action::Compact { revision });
    while writer.scrub(100).expect("memory") != Scrub::Idle {}
});

/// Refusals are fine.
fn apply(writer: &mut Writer<Mem>, action: Action) {
    let index = writer.applied().map_or(0, |id| id.index + 1);
    let request = RequestId { member: 7, counter: index };
    let command =
        Command { request, origin: Origin::default(), required_version: 1, fence_term: None, action };
    let payload = Payload::Command(codec::encode(&command));
    writer.apply(&[Entry { id: LogId { term: 1, index }, payload }]).expect("memory");
}
