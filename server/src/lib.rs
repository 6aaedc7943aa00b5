//! A Bramble member: how replicas come to agree on what `bramble_store` holds, and who is told.
//!
//! [`node::Node`] is a whole member in this process: start it, take its client, stop it. The binary
//! is this library plus signals and flags.
pub mod auth;
pub mod config;
mod failure;
pub mod http;
pub mod media;
pub mod metrics;
pub mod node;
pub mod raft;
pub mod rpc;
mod threads;
pub mod tls;
mod trace;
pub mod version;
mod wear;
