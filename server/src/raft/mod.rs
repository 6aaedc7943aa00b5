//! Consensus: the only folder that names openraft, whose API and bugs move.
//!
//! Two channels meet the rest: command bytes go in through [`Consensus::propose`], committed entries
//! come out as [`Group`]s for the apply thread. Nothing comes back through openraft; its errors only
//! settle those who wait.
//!
//! ```text
//! propose ─► openraft's core ─► LogStore ─► log thread (one write, one flush per batch)
//!                  │ committed
//!                  ▼
//!               Machine ─► Group ─► apply thread
//! ```
//!
//! openraft runs on its own threads and never touches a disk: requests of clients cannot delay it.
mod applied;
mod consensus;
mod log_store;
mod log_thread;
mod machine;
pub mod members;
mod network;
mod tail;
mod types;

pub use consensus::{Consensus, Setback, Standing, Start, StartError};
pub use log_thread::{LogCounts, Notes, Occasion};
pub use machine::{Group, Inbox};
pub use tail::entry_bytes;
