//! etcd's gRPC API: each service is the in-process [`Client`] plus conversion.
//!
//! ```text
//! bytes ─ guard, incoming ─ access ─► tonic, prost ─► convert ─► Client ─► convert ─► bytes
//!                                                     └ errors ─► status (etcd's codes and texts)
//! ```
//!
//! Nothing here decides anything about keys, leases or members: a check that an embedder needs too
//! is inside [`Client`]. What is not served yet answers `Unimplemented`, never a made-up success.
mod access;
mod auth;
mod cluster;
mod convert;
mod counted;
mod deadline;
mod guard;
mod health;
mod incoming;
mod kv;
mod lease;
mod lock_election;
mod maintenance;
mod slow;
pub(crate) mod status;
mod watch;

use std::sync::Arc;

use bramble_proto::etcdserverpb::auth_server::AuthServer;
use bramble_proto::etcdserverpb::cluster_server::ClusterServer;
use bramble_proto::etcdserverpb::kv_server::KvServer;
use bramble_proto::etcdserverpb::lease_server::LeaseServer;
use bramble_proto::etcdserverpb::maintenance_server::MaintenanceServer;
use bramble_proto::etcdserverpb::watch_server::WatchServer;
use bramble_proto::health::health_server::HealthServer;
use bramble_proto::v3electionpb::election_server::ElectionServer;
use bramble_proto::v3lockpb::lock_server::LockServer;
use tonic::service::Routes;
use tonic::{Code, Request, Status, Streaming};

use crate::metrics::CallMeter;
use crate::node::client::{Caller, Client};
use access::Guarded;
pub(crate) use deadline::LONGEST as TIMEOUT_MAX;
use guard::Bounded;
pub(crate) use guard::kind_of;
use slow::Slow;
pub use slow::Thresholds;

/// What one request may be; the flags `--max-request-bytes` and `--max-txn-ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcLimits {
    /// Largest command, bytes. A message may be 512 KiB more: above that gRPC refuses it, between
    /// the two the node does.
    pub request_bytes_max: usize,
    /// Most compares, or operations of one branch, in a transaction.
    pub txn_ops_max: usize,
    /// From how long on a request is written to the log.
    pub slow: Thresholds,
}

impl Default for RpcLimits {
    fn default() -> Self {
        RpcLimits { request_bytes_max: 1_572_864, txn_ops_max: 128, slow: Thresholds::default() }
    }
}

impl RpcLimits {
    /// Largest message, bytes.
    pub fn message_bytes_max(self) -> usize {
        self.request_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES)
    }
}

/// What a message may have beyond the largest command, bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 512 * 1024;

/// Where a request comes from: `address:port`, or the name of a unix socket. An extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote(pub std::sync::Arc<str>);

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// All services of the client port.
pub fn routes(client: Client, limits: RpcLimits) -> Routes {
    let message_bytes_max = limits.message_bytes_max();
    // tonic's own limits are off: `Bounded` says it with gRPC's code and text, and answers have none.
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            Slow::new(
                Bounded::new(
                    Guarded::new(
                        $server::new($service)
                            .max_decoding_message_size(usize::MAX)
                            .max_encoding_message_size(usize::MAX),
                        client.clone(),
                    ),
                    message_bytes_max,
                    client.desks(),
                ),
                limits.slow,
            )
        };
    }
    Routes::default()
        .add_service(limited!(KvServer, kv::Service::new(client.clone(), limits.txn_ops_max)))
        .add_service(limited!(WatchServer, watch::Service::new(client.clone())))
        .add_service(limited!(LeaseServer, lease::Service::new(client.clone())))
        .add_service(limited!(ClusterServer, cluster::Service::new(client.clone())))
        .add_service(limited!(MaintenanceServer, maintenance::Service::new(client.clone())))
        .add_service(limited!(AuthServer, auth::Service::new(client.clone())))
        .add_service(limited!(LockServer, lock_election::Locks::new(client.clone())))
        .add_service(limited!(ElectionServer, lock_election::Elections::new(client.clone())))
        .add_service(limited!(HealthServer, health::Service::new(client.clone())))
}

/// The services with every call counted in `meter`.
pub fn counted(routes: Routes, meter: Arc<CallMeter>) -> axum::Router {
    routes.prepare().into_axum_router().layer(counted::Counting(meter))
}

/// Takes a request apart: who asks, and what.
fn open<T>(mut request: Request<T>) -> Result<(Caller, T), Status> {
    let place = request.extensions_mut().remove();
    // Only what went past the table of access has one.
    let caller = request.extensions_mut().remove::<Caller>();
    let caller = caller.ok_or_else(|| Status::internal("a call that nobody was asked about"))?;
    let caller = Caller { place, ..caller };
    Ok((caller, request.into_inner()))
}

/// The next request of a stream. That it cannot be read is counted, unless the client went away.
async fn next_of<T>(
    asked: &mut Streaming<T>,
    client: &Client,
    api: &'static str,
) -> Result<Option<T>, Status> {
    let next = asked.message().await;
    if next.as_ref().is_err_and(|status| status.code() != Code::Cancelled) {
        client.metrics().calls.stream_failed(api);
    }
    next
}

/// The answer of an RPC that this version does not serve.
fn unserved(rpc: &'static str) -> Status {
    Status::unimplemented(format!("{rpc} is not served by this version of Bramble"))
}

/// Refuses a caller that asked for a leader (the `hasleader` metadata) while this member sees none.
/// Only for RPCs whose call of the client is made later.
fn require_leader(client: &Client, caller: &Caller) -> Result<(), Status> {
    client.has_leader(caller).map_err(status::of)
}

/// Runs until a stream of this caller has to end because the member is without a leader; for ever
/// when the caller did not ask for that (the `hasleader` metadata).
///
/// A member that stops is without a leader too, but must not say so: the Go client gives a watch up
/// for good on "no leader", and comes back after "server stopped".
fn leaderless(client: &Client, caller: &Caller) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    if !caller.require_leader {
        return Box::pin(std::future::pending());
    }
    let client = client.clone();
    Box::pin(async move {
        tokio::select! {
            biased;
            () = client.stopped() => std::future::pending().await,
            () = client.leader_lost() => {}
        }
    })
}
