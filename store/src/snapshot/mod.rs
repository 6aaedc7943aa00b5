//! Whole states as files: what can be carried from one machine, or one database, to another.
//!
//! - [`bbolt`]: the file format of etcd's database, read and written, whatever is in it;
//! - [`etcd`]: what etcd keeps in such a file, out of a state and into one.
pub mod bbolt;
pub mod etcd;
