//! Requests of clients that pass the checks made before proposing: applying them is done or refused, and is
//! never `Fatal`. The input is a list of commands, as they are in the log.
#![no_main]
use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Payload};
use bramble_store::engine::mem::Mem;
use bramble_store::error::Invalid;
use bramble_store::mvcc::check::{self, TxnLimits};
use bramble_store::store;
use bramble_store::types::{KeyRange, LeaseId, LogId, RangeRequest};
use bramble_store_fuzz::Parts;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = Parts::new(input);
    let (mut writer, reader) = store::open(Mem::new()).expect("an empty store");
    let mut index = 0;
    while !parts.is_empty() && index < 32 {
        let Ok(command) = codec::decode(Bytes::copy_from_slice(parts.bytes())) else {
            continue;
        };
        if !is_proposed(&command) {
            continue;
        }
        let entry =
            Entry { id: LogId { term: 1, index }, payload: Payload::Command(codec::encode(&command)) };
        index += 1;
        writer.apply(&[entry]).expect("a request that passed the checks");
        if index % 4 == 0 {
            writer.scrub(3).expect("scrubs");
        }
    }
    let counted = reader.view().range(&RangeRequest::new(KeyRange::all())).expect("reads");
    assert_eq!(counted.count, counted.kvs.len() as i64);
});

/// What a server, or an embedded store, makes sure of.
fn is_proposed(command: &Command) -> bool {
    let checked: Result<(), Invalid> = match &command.action {
        Action::Put(put) => check::put(put),
        Action::Delete(delete) => check::delete(delete),
        Action::Txn(txn) => check::txn(txn, &TxnLimits::default()),
        Action::LeaseGrant { id, ttl_s } => {
            return *id != LeaseId::NONE && (1..=9_000_000_000).contains(ttl_s);
        }
        _ => Ok(()),
    };
    checked.is_ok()
}
