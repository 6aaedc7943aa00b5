//! Bramble's store: what all replicas agree on, and its bytes.

pub mod command;
pub mod data_dir;
pub mod disk;
pub mod engine;
pub mod error;
pub mod log;
pub mod seams;
pub mod types;
