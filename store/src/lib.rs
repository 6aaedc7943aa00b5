//! Bramble's store: what all replicas agree on, and its bytes.

pub mod command;
pub mod engine;
pub mod error;
pub mod seams;
pub mod types;
