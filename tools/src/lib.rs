//! What Bramble's command line and load generator share: reaching a member.
//!
//! What asks members speaks etcd's v3 API and works on etcd members too; `repair` works on files.
pub mod client;
pub mod repair;
pub mod status;
