//! The wires of Bramble, generated: etcd's v3 API as messages, servers and clients, and nothing else.
//!
//! The sources are the `.proto` files in `proto/`; the code under `src/generated` is committed and
//! `tests/generated_is_fresh.rs` keeps it equal to them. Bytes fields are [`bytes::Bytes`], so
//! decoding slices the request's buffer instead of copying.

/// The generated modules lie where their packages say; `mvccpb` and `authpb` are reached by `super`.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, rustdoc::all)]
        pub mod $name {
            include!(concat!("generated/", $file));
        }
    };
}

generated!(
    /// Keys and events.
    mvccpb, "mvccpb.rs"
);
generated!(
    /// Users, roles, permissions.
    authpb, "authpb.rs"
);
generated!(
    /// KV, Watch, Lease, Cluster, Maintenance, Auth.
    etcdserverpb, "etcdserverpb.rs"
);
generated!(
    /// Locks.
    v3lockpb, "v3lockpb.rs"
);
generated!(
    /// Elections.
    v3electionpb, "v3electionpb.rs"
);
generated!(
    /// gRPC's own health service (`grpc.health.v1`).
    health, "grpc.health.v1.rs"
);
