//! How Bramble is driven from outside: real processes on loopback ports, their tools, and chance by seed.
//!
//! Nothing in here knows Bramble's insides. A test starts a [`process::Server`], talks to it over the
//! wire and drops it; dropping ends exactly the process that was started. What a machine may lack (the
//! rival server, Go, root) is asked for through [`tools`], which says SKIPPED and why, or fails where
//! everything is required.

pub mod certs;
pub mod cgroup;
pub mod chance;
pub mod history;
pub mod process;
pub mod pulse;
pub mod tools;
pub mod wire;
