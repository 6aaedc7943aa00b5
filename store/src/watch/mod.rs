//! Watching: who is told about which change.
//!
//! The [`Hub`] knows every watcher of this node. A watcher is in one of two states: *synced* (it was
//! queued everything up to the hub's revision) or *behind at a revision* (it still needs that one and
//! all later ones). Nothing is kept for a watcher that is behind: what it needs is in the history, and
//! [`Hub::catch_up`] reads it from there in bounded steps.
//!
//! ```text
//!  apply ── publish(view, changes) ──► groups find watchers by key ──► queue of each stream ── take ──► client
//!                                              │ queue full                     ▲
//!                                              ▼                                │
//!                                     behind at a revision ── catch_up(view) ───┘
//! ```
//!
//! Invariants:
//! - what one watcher is sent is ordered by (main, sub), has no gap, nothing twice, and never a part of
//!   a main revision;
//! - queue order is time order, and a header's revision is the hub's when it was queued, or what the watcher's
//!   `created` named while the hub was not there yet: revisions named to a watcher never go back;
//! - a progress mark R is queued only when everything up to R has been queued before it;
//! - a full queue, a lost feed or a slow client costs the watcher one revision number of memory;
//! - the hub asks no clock, holds no lock and starts nothing: the same calls give the same deliveries.
//!
//! What the caller owes, in one turn of its loop:
//!
//! 1. everything new from the feed: `publish`, in revision order, or `missed` if the feed lost some;
//! 2. requests: `watch`, `cancel`, `progress`, `tick_progress`; their answers (`created`, `canceled`) go into
//!    the same outgoing line as the deliveries of that stream;
//! 3. `catch_up`, one step or a few, with a view taken after point 1;
//! 4. for each stream in `ready`, and those left half full: `take` as much as its outgoing line has room
//!    for. A line that is full is left alone; the queue here is bounded, and then the watchers fall behind;
//! 5. at once again if [`Hub::wants_catch_up`]: what was taken may have made room.
use std::sync::Arc;

use crate::types::{Event, KeyRange};

mod catch_up;
mod event;
mod fragment;
mod groups;
mod history;
mod hub;
mod intervals;
mod queue;

pub use event::encoded_len;
pub use fragment::{Fragment, fragments};
pub use history::History;
pub use hub::Hub;

/// One client's stream: many watchers, one ordered queue. The caller chooses the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One watcher; unique in its hub and never used again. (The ids clients see are per stream, and the server's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// What a watcher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Which keys. An empty range is legal here and matches nothing; the server refuses it.
    pub range: KeyRange,
    /// First main revision wanted; 0 = whatever comes after what the client may know. A future one: nothing
    /// older is sent, and no progress until that revision is reached.
    pub start: i64,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletes.
    pub no_delete: bool,
    /// With the record as it was one main revision before each change; never for creates.
    pub prev_kv: bool,
}

/// Bounds of a hub. All in bytes are bytes of keys and values plus a fixed cost per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// Bytes one stream may have queued. One main revision is always taken into an empty queue, whatever its
    /// size, because it cannot be split.
    pub stream_bytes_max: usize,
    /// Bytes all streams together may have queued; beyond it each keeps only `stream_bytes_min`.
    pub total_bytes_max: usize,
    /// Bytes a stream may have queued however full the others are.
    pub stream_bytes_min: usize,
    /// Changes one catch-up step reads (more only to finish a main revision).
    pub step_rows_max: usize,
    /// Bytes of history one catch-up step reads (more only to finish a main revision).
    pub step_bytes_max: usize,
    /// Watchers one catch-up step serves.
    pub step_watchers_max: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        HubOptions {
            stream_bytes_max: 1 << 20,
            total_bytes_max: 16 << 20,
            stream_bytes_min: 8 << 10,
            step_rows_max: 1000,
            step_bytes_max: 512 << 10,
            step_watchers_max: 1024,
        }
    }
}

/// Something to tell a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// For which watcher; `None` = for the stream as a whole (progress that was asked for; id -1 on the wire).
    pub watcher: Option<WatcherId>,
    /// The header's revision. Live events: the events' revision, or what `created` named. Catch-up: the newest
    /// revision. Both may be ahead of what was sent; resume from the last event instead. Progress: the revision promised.
    /// Compacted: 0.
    pub header_revision: i64,
    /// What to tell.
    pub what: What,
}

/// The content of a [`Delivery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One or more whole main revisions, in order; never empty. Shared by the watchers that want the same.
    Events(Arc<[Event]>),
    /// The watcher needed a revision below this floor. It is gone, and nothing follows for it.
    Compacted {
        /** The compaction floor. */
        floor: i64,
    },
    /// Everything up to the header's revision has been sent.
    Progress,
}

/// How much a hub holds; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open streams that have or had a watcher.
    pub streams: usize,
    /// Watchers, synced and behind.
    pub watchers: usize,
    /// Of these, behind.
    pub behind: usize,
    /// Deliveries waiting in queues.
    pub queued: usize,
    /// Events in them.
    pub queued_events: usize,
    /// Their bytes.
    pub queued_bytes: usize,
}
