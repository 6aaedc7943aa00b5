//! Rows of a state that is not ours: opening it, reading all of it and going on are refused or done, and
//! never end the process.
//!
//! The input is a list of rows: family (1 byte, even = `rev`), name, value.
#![no_main]
use bramble_store::auth::Need;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::mem::Mem;
use bramble_store::engine::{Batch, Change, Engine, Family, Read};
use bramble_store::error::Fatal;
use bramble_store::store::{self, ReadView, Writer};
use bramble_store::types::*;
use bramble_store_fuzz::Parts;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let engine = Mem::new();
    engine.write(rows(&mut Parts::new(input))).expect("memory takes it");
    if let Ok((mut writer, reader)) = store::open(engine) {
        read(&reader.view());
        if go_on(&mut writer).is_ok() {
            read(&reader.view());
        }
    }
});

fn rows(parts: &mut Parts<'_>) -> Batch {
    let format = Change {
        family: Family::Idx,
        key: Bytes::from_static(b"mformat"),
        value: Some(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 1])),
    };
    let mut changes = vec![format];
    while !parts.is_empty() && changes.len() < 64 {
        let family = if parts.byte() % 2 == 0 { Family::Rev } else { Family::Idx };
        let (key, value) = (parts.bytes(), parts.bytes());
        let value = Some(Bytes::copy_from_slice(value));
        changes.push(Change { family, key: Bytes::copy_from_slice(key), value });
    }
    Batch { changes }
}

/// Everything a view tells.
fn read<V: Read>(view: &ReadView<V>) {
    let _ =
        (view.revision(), view.compacted(), view.applied(), view.membership(), view.alarms(), view.auth());
    for detail in [Detail::Full, Detail::CountOnly] {
        let _ = view.range(&RangeRequest { detail, limit: 3, ..RangeRequest::new(KeyRange::all()) });
    }
    let old = RangeRequest { revision: 2, ..RangeRequest::new(KeyRange::single("a")) };
    let _ = (view.range(&old), view.hash_kv(0), view.changes(1, 10), view.before(b"a", 3));
    for lease in view.leases().unwrap_or_default() {
        let _ = view.lease_keys(lease.id);
    }
    let _ = view.roles();
    for user in view.users().unwrap_or_default() {
        let origin = Origin { user: user.name, auth_revision: u64::MAX };
        let _ = view.permit(&origin, &Need::Read(KeyRange::single("a")));
        let _ = view.credentials(&origin.user);
    }
}

/// A few entries, the erasing, and what is written before a flush.
fn go_on(writer: &mut Writer<Mem>) -> Result<(), Fatal> {
    let put = PutRequest { key: "a".into(), value: "1".into(), ..PutRequest::default() };
    let all = DeleteRequest { range: KeyRange::all(), prev_kv: true };
    let actions = [
        Action::Put(put),
        Action::Compact { revision: 2 },
        Action::LeaseRevoke { id: LeaseId(7) },
        Action::Delete(all),
    ];
    for action in actions {
        let applied = writer.applied();
        let (term, index) = applied.map_or((0, 0), |at| (at.term, at.index.wrapping_add(1)));
        let command = Command {
            request: RequestId::default(),
            origin: Origin::default(),
            required_version: 1,
            fence_term: None,
            action,
        };
        let payload = Payload::Command(bramble_store::codec::encode(&command));
        writer.apply(&[Entry { id: LogId { term, index }, payload }])?;
    }
    writer.scrub(100)?;
    writer.prepare_flush()
}
