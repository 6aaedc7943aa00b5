//! The versions we speak of: our own, and etcd's, by which clients decide what they may ask for.

/// Bramble's own version.
pub const BRAMBLE: &str = env!("CARGO_PKG_VERSION");
/// The etcd version whose API this server answers. Clients gate features on it: Kubernetes uses
/// progress requests from 3.5.13 on, kubeadm wants 3.5.24 or newer. Never a pre-release suffix.
pub const ETCD_SERVER: &str = "3.6.11";
/// The cluster version: major and minor of the oldest member.
pub const ETCD_CLUSTER: &str = "3.6.0";
/// The same without its last part, as some answers have it.
pub const ETCD_CLUSTER_MINOR: &str = "3.6";
/// The storage schema version that goes with it.
pub const ETCD_STORAGE: &str = "3.6.0";
