//! What Bramble's command line and load generator share: reaching a member.
//!
//! What asks members speaks etcd's v3 API and works on etcd members too; `import` and `repair` work on files.
pub mod client;
pub mod import;
pub mod repair;
pub mod status;
pub mod wear;
