//! Bramble's store: what all replicas agree on, and its bytes.
#![cfg_attr(feature = "rocks", doc = include_str!("../README.md"))]

pub mod alarm;
pub mod auth;
pub mod codec;
pub mod command;
pub mod data_dir;
pub mod disk;
pub mod embedded;
pub mod engine;
pub mod error;
mod facts;
mod hash;
mod intervals;
pub mod lease;
pub mod log;
pub mod log_place;
mod members;
pub mod mvcc;
#[cfg(feature = "rocks")]
pub mod repair;
pub mod seams;
pub mod snapshot;
mod state;
pub mod store;
pub mod types;
mod view;
pub mod watch;
