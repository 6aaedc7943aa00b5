//! The wires of Bramble, generated: etcd's v3 API as messages, servers and clients, and nothing else.
//!
//! The sources are the `.proto` files in `proto/`; the code under `src/generated` is committed and
//! `tests/generated_is_fresh.rs` keeps it equal to them. Bytes fields are [`bytes::Bytes`], so
//! decoding slices the request's buffer instead of copying. The messages also read and write JSON
//! (serde), by protobuf's mapping with etcd's choices; [`json`] says which.

pub mod json;

/// The generated modules lie where their packages say; `mvccpb` and `authpb` are reached by `super`.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $($file:literal),+) => {
        $(#[$doc])*
        #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, rustdoc::all)]
        pub mod $name {
            $(include!(concat!("generated/", $file));)+
        }
    };
}

generated!(
    /// Keys and events.
    mvccpb, "mvccpb.rs", "mvccpb.serde.rs"
);
generated!(
    /// Users, roles, permissions.
    authpb, "authpb.rs", "authpb.serde.rs"
);
generated!(
    /// KV, Watch, Lease, Cluster, Maintenance, Auth.
    etcdserverpb, "etcdserverpb.rs", "etcdserverpb.serde.rs"
);
generated!(
    /// Locks.
    v3lockpb, "v3lockpb.rs", "v3lockpb.serde.rs"
);
generated!(
    /// Elections.
    v3electionpb, "v3electionpb.rs", "v3electionpb.serde.rs"
);
generated!(
    /// gRPC's own health service (`grpc.health.v1`).
    health, "grpc.health.v1.rs"
);

/// One RPC of the `.proto` files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// What a call names: `/etcdserverpb.KV/Range`.
    pub path: &'static str,
    /// The service with its package: `etcdserverpb.KV`.
    pub service: &'static str,
    /// The RPC alone: `Range`.
    pub method: &'static str,
    /// Whether the client sends more than one message.
    pub client_streaming: bool,
    /// Whether the server does.
    pub server_streaming: bool,
}

mod methods {
    use super::Method;
    include!("generated/methods.rs");
}
pub use methods::METHODS;
