//! Whole states as files: what can be carried from one machine, or one database, to another.
//!
//! - [`bbolt`]: the file format of etcd's database, read and written, whatever is in it.
pub mod bbolt;
