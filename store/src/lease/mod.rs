//! Leases: the replicated part (which exist, which keys hang on them) and the leader's deadlines.
pub mod deadlines;
pub(crate) mod replicated;
