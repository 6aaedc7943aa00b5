//! Keys and their history: what is there at a revision, and how a write adds to it.
//!
//! ```text
//!   idx  k ‖ key ‖ newest revision first → {create, version, lease}     which versions a key has
//!   rev  main ‖ sub                      → the record                   what each of them holds
//! ```
//! Invariants:
//! - every version is in both families or in neither; a batch writes and erases both;
//! - nothing at or above the compaction floor is ever erased;
//! - the current revision is stored by itself, never inferred from rows: compaction may erase the last.
//!
//! Nothing here knows leases: a write says which keys moved between them, `state` tells the leases.
mod changes;
pub mod check;
mod compaction;
mod count;
pub(crate) mod fences;
mod hash_kv;
mod history;
mod live_keys;
mod moment;
mod page;
mod range;
mod room;
mod txn;
mod write;

pub(crate) use compaction::{Progress, check_floor, outlives, scrub};
pub(crate) use moment::Moment;
pub use page::{Page, PageRequest};
pub use room::Room;
pub(crate) use room::{Allowance, Cut, ENDLESS, Going};
pub(crate) use txn::{check_reads, run, verdicts, walk_taken};
pub(crate) use write::WriteTxn;
