//! What the measurements share: data of known size and entropy, and stores filled with it.
//!
//! Values compress by LZ4 to about half; the same seed makes the same bytes on every machine.
pub mod cardsim;
pub mod disk;
pub mod load;
pub mod plot;
pub mod shape;
pub mod versus;

use bramble_store::codec;
use bramble_store::command::{Action, Command, Entry, Origin, Payload, RequestId};
use bramble_store::engine::Engine;
use bramble_store::error::Fatal;
use bramble_store::store::{Reader, Writer, open};
use bramble_store::types::{LogId, PutRequest};
use bytes::Bytes;

/// Entries in one group while a store is filled.
const GROUP: u64 = 256;

/// A key as an API server would name it, about 40 bytes.
pub fn key(number: u64) -> Bytes {
    format!("/registry/pods/default/web-{number:012}").into()
}

/// A value of `len` bytes: half noise that follows from `seed`, half one letter.
pub fn value(seed: u64, len: usize) -> Bytes {
    let mut state = seed;
    let mut bytes = vec![b'x'; len];
    for byte in &mut bytes[..len / 2] {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    bytes.into()
}

/// The entry with `index` that puts `value` at key number `number`.
pub fn put(index: u64, number: u64, value: Bytes) -> Entry {
    let put = PutRequest { key: key(number), value, ..PutRequest::default() };
    entry(index, Action::Put(put), Origin::default())
}

/// The entry with `index` that does `action` for who asks.
pub fn entry(index: u64, action: Action, origin: Origin) -> Entry {
    let command = Command {
        request: RequestId { member: 1, counter: index },
        origin,
        required_version: codec::STATE_VERSION,
        fence_term: None,
        action,
    };
    Entry { id: LogId { term: 1, index }, payload: Payload::Command(codec::encode(&command)) }
}

/// The entries from `first` on, one for each of `count` keys taken in turn from `keys`.
pub fn puts(first: u64, count: u64, keys: u64, value_bytes: usize) -> Vec<Entry> {
    (first..first + count).map(|index| put(index, index % keys, value(index, value_bytes))).collect()
}

/// A store with `keys` keys, each written once, flushed.
///
/// # Errors
/// `Fatal` as the engine.
pub fn filled<E: Engine>(engine: E, keys: u64, value_bytes: usize) -> Result<(Writer<E>, Reader<E>), Fatal> {
    let (mut writer, reader) = open(engine)?;
    for first in (0..keys).step_by(GROUP as usize) {
        writer.apply(&puts(first, GROUP.min(keys - first), keys, value_bytes))?;
    }
    writer.prepare_flush()?;
    writer.flusher().flush()?;
    Ok((writer, reader))
}
