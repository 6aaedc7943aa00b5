//! A member in this process, and its client.
//!
//! ```text
//! client ─ propose ─► raft ─► log thread (one write, one flush) ─► committed
//!    ▲                                                               │
//!    └── answers ◄── apply thread (one engine batch per group) ◄─────┘
//!                        ├─ changes ─► watch pump ─► streams
//!                        └─ leases ──► lease clock
//! ```
//!
//! Nothing here is global: two nodes live in one process. A node runs four threads of its own (log,
//! apply, watch, background) and one for Raft's tasks; clients are served by the tokio runtime that
//! started it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use bramble_server::node::{Node, client::Caller};
//! use bramble_store::types::PutRequest;
//!
//! let node = Node::builder().data_dir("/var/lib/bramble").client_addr("127.0.0.1:0").build().await?;
//! node.ready(std::time::Duration::from_secs(10)).await?;
//! let put = PutRequest { key: "greeting".into(), value: "hello".into(), ..PutRequest::default() };
//! let answer = node.client().put(&Caller::default(), put).await?;
//! println!("revision {} at {:?}", answer.header.revision, node.client_addrs());
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```
mod access;
mod admission;
mod answers;
mod apply;
mod background;
pub mod budget;
mod builder;
pub mod client;
mod compactor;
mod contest;
mod core;
pub mod desks;
mod elections;
pub mod error;
mod ids;
mod leases;
mod locks;
mod maintenance;
mod media;
mod members;
pub mod memory;
mod outbox;
mod parts;
mod pump;
mod range_stream;
mod reads;
mod scrape;
pub mod seams;
mod sessions;
mod snapshots;
mod space;
mod start;
mod status;
mod streams;
mod users;
mod waiters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use builder::{Builder, KeyError, StartError};
pub use client::Client;

use self::core::Core;
use crate::media::Choice;
use budget::{Kind, Usage};
use parts::Parts;

/// A running member. Dropping it stops it without finishing what clients have under way; its threads
/// are waited for, except after a failure, when one may hang in a disk call.
pub struct Node {
    core: Arc<Core>,
    parts: Option<Parts>,
}

/// How much the log was used, for those who measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogUse {
    /// Entries appended since the start.
    pub entries: u64,
    /// Flushes since the start; below `entries` when writers share them.
    pub flushes: u64,
    /// Bytes of the ring that are needed.
    pub used_bytes: u64,
}

impl Node {
    /// How much clients have taken of a kind.
    pub fn usage(&self, kind: Kind) -> Usage {
        self.core.budget.usage(kind)
    }

    /// Begins a description of a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Waits until the node answers linearizable requests.
    ///
    /// # Errors
    /// [`error::NotNow`] when `timeout` passes first or the node failed.
    pub async fn ready(&self, timeout: Duration) -> Result<(), error::NotNow> {
        match tokio::time::timeout(timeout, self.core.barrier()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error::Error::NotNow(reason))) => Err(reason),
            Ok(Err(_)) | Err(_) => Err(error::NotNow::ReadTimedOut),
        }
    }

    /// A client in this process, with the wire's semantics.
    pub fn client(&self) -> Client {
        Client::new(self.core.clone())
    }

    /// Where it listens on TCP, with the ports that were chosen.
    pub fn client_addrs(&self) -> Vec<SocketAddr> {
        self.parts.as_ref().map(|parts| parts.addrs.clone()).unwrap_or_default()
    }

    /// The cluster's id, the member's, and the one drawn when the data directory was made.
    pub fn ids(&self) -> bramble_store::data_dir::Ids {
        self.core.ids
    }

    /// The kind of device it reckons with, and who says so.
    pub fn media(&self) -> Choice {
        self.core.media
    }

    /// How much the log was used since the start.
    pub fn log_use(&self) -> LogUse {
        let counts = self.core.raft.log_counts();
        LogUse { entries: counts.entries, flushes: counts.flushes, used_bytes: counts.usage.used_bytes }
    }

    /// What `/metrics` answers, for hosts that serve it themselves. Reads files under `/proc`: it may
    /// block for a moment.
    pub fn metrics_text(&self) -> String {
        self.core.metrics.text()
    }

    /// What `/debug/wear` answers: bytes written today, in the last 7 and 30 days and ever, by cause, and how
    /// long the device lasts at that pace.
    pub fn wear_json(&self) -> String {
        self.core.wear().json().to_string()
    }

    /// Waits until the node has failed by itself (a disk, damaged bytes) and says why. Nothing is
    /// acknowledged from then on; the host ends the process.
    pub async fn failed(&self) -> String {
        self.core.failure.wait().await.to_string()
    }

    /// Stops: no more requests are taken, open ones are finished, streams end, the log is sealed, the
    /// data directory is free again. Takes 5 s at most while the disk answers.
    pub async fn shutdown(mut self) {
        self.core.stop.cancel();
        if let Some(parts) = self.parts.take() {
            parts.stop(&self.core).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.core.stop.cancel();
        if self.parts.take().is_some() {
            self.core.close_state();
        }
    }
}
