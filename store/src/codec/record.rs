//! etcd's messages whose bytes are part of the state, coded by hand: `KeyValue` and `Lease`. (`auth` has
//! those about users, roles and alarms.)
//!
//! Fields ascend, zeros are left out: the same record has the same bytes here and in etcd, which is
//! what HashKV compares and what backups copy.
//!
//! ```text
//!   KeyValue  1 key  2 create_revision  3 mod_revision  4 version  5 value  6 lease
//!   Lease     1 id   2 granted TTL (s)  3 remaining TTL (s)
//! ```
//! Reading skips fields it does not know: an imported record may come from a newer etcd.
use bytes::Bytes;

use super::varint::{put_bytes, put_u64, read_u64};
use crate::types::{KeyValue, Lease, LeaseId};

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// The bytes of a record.
pub fn encode_key_value(kv: &KeyValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(kv.key.len() + kv.value.len() + 48);
    field_bytes(&mut out, 1, &kv.key);
    field_number(&mut out, 2, kv.create_revision);
    field_number(&mut out, 3, kv.mod_revision);
    field_number(&mut out, 4, kv.version);
    field_bytes(&mut out, 5, &kv.value);
    field_number(&mut out, 6, kv.lease.0);
    out
}

/// The record in `bytes`; key and value share its memory. `None`: it is no record.
pub fn decode_key_value(bytes: &Bytes) -> Option<KeyValue> {
    let mut kv = KeyValue::default();
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(key)) => kv.key = bytes.slice_ref(key),
        (2, Value::Number(number)) => kv.create_revision = number as i64,
        (3, Value::Number(number)) => kv.mod_revision = number as i64,
        (4, Value::Number(number)) => kv.version = number as i64,
        (5, Value::Bytes(value)) => kv.value = bytes.slice_ref(value),
        (6, Value::Number(number)) => kv.lease = LeaseId(number as i64),
        _ => {}
    })?;
    Some(kv)
}

/// Only key and version of the record in `bytes`: what counting and scrubbing look at.
pub(crate) fn peek_key_value(bytes: &[u8]) -> Option<(&[u8], i64)> {
    let (mut key, mut version) = (&bytes[..0], 0);
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Bytes(found)) => key = found,
        (4, Value::Number(number)) => version = number as i64,
        _ => {}
    })?;
    Some((key, version))
}

/// The bytes of a lease.
pub fn encode_lease(lease: &Lease) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    field_number(&mut out, 1, lease.id.0);
    field_number(&mut out, 2, lease.ttl_s);
    field_number(&mut out, 3, lease.remaining_s);
    out
}

/// The lease in `bytes`. `None`: it is no lease.
pub fn decode_lease(bytes: &[u8]) -> Option<Lease> {
    let mut lease = Lease { id: LeaseId::NONE, ttl_s: 0, remaining_s: 0 };
    for_fields(bytes, |field, value| match (field, value) {
        (1, Value::Number(number)) => lease.id = LeaseId(number as i64),
        (2, Value::Number(number)) => lease.ttl_s = number as i64,
        (3, Value::Number(number)) => lease.remaining_s = number as i64,
        _ => {}
    })?;
    Some(lease)
}

pub(super) fn field_number(out: &mut Vec<u8>, field: u64, value: i64) {
    if value != 0 {
        put_u64(out, (field << 3) | VARINT);
        put_u64(out, value as u64);
    }
}

pub(super) fn field_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    if !value.is_empty() {
        put_u64(out, (field << 3) | BYTES);
        put_bytes(out, value);
    }
}

/// A message or one of many: there even when it is empty.
pub(super) fn field_message(out: &mut Vec<u8>, field: u64, message: &[u8]) {
    put_u64(out, (field << 3) | BYTES);
    put_bytes(out, message);
}

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Calls `each` with every field in order. `None` when the bytes are no message.
pub(super) fn for_fields<'a>(mut rest: &'a [u8], mut each: impl FnMut(u64, Value<'a>)) -> Option<()> {
    while !rest.is_empty() {
        let (tag, tag_bytes) = read_u64(rest)?;
        rest = &rest[tag_bytes..];
        let (value, value_bytes) = field_value(tag & 7, rest)?;
        rest = &rest[value_bytes..];
        each(tag >> 3, value);
    }
    Some(())
}

/// The value at the front of `rest`, and how many bytes it takes.
fn field_value(wire_type: u64, rest: &[u8]) -> Option<(Value<'_>, usize)> {
    match wire_type {
        VARINT => read_u64(rest).map(|(number, length)| (Value::Number(number), length)),
        BYTES => {
            let (length, head) = read_u64(rest)?;
            let end = head.checked_add(usize::try_from(length).ok()?)?;
            Some((Value::Bytes(rest.get(head..end)?), end))
        }
        1 => rest.get(..8).map(|_| (Value::Other, 8)),
        5 => rest.get(..4).map(|_| (Value::Other, 4)),
        _ => None,
    }
}
