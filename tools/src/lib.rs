//! What Bramble's command line and load generator share: reaching a member.
//!
//! Everything here speaks etcd's v3 API and works on etcd members too.
pub mod client;
pub mod status;
