//! Splitting one delivery into messages of a bounded size, for clients that asked for it.
use super::event::{encoded_len, nested_len};
use crate::types::Event;

/// A piece of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The events of the piece; never empty.
    pub events: &'a [Event],
    /// Whether more pieces follow.
    pub more: bool,
}

/// Splits `events` into pieces whose message stays below `bytes_max`: `envelope_bytes` (the encoded
/// answer with header, ids and fragment flag, without events) plus the encoded events. An event that
/// alone reaches the bound is a piece of its own. Every piece holds as many events as it may.
pub fn fragments(events: &[Event], envelope_bytes: usize, bytes_max: usize) -> Vec<Fragment<'_>> {
    let mut pieces = Vec::new();
    let (mut first, mut bytes) = (0, envelope_bytes);
    for (number, event) in events.iter().enumerate() {
        let event_bytes = nested_len(encoded_len(event));
        if first < number && bytes + event_bytes >= bytes_max {
            pieces.push(Fragment { events: &events[first..number], more: true });
            (first, bytes) = (number, envelope_bytes);
        }
        bytes += event_bytes;
    }
    if first < events.len() {
        pieces.push(Fragment { events: &events[first..], more: false });
    }
    pieces
}
