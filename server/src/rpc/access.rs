//! Who may call what, in one table over every RPC, asked in one place before any handler runs.
//!
//! ```text
//! call ─ metadata, certificate ─► Caller ─ its row ─► Open, ByRequest ─► handler
//!                                                 ├─► AnyUser, Root ── asked ─► handler, or refused
//!                                                 └─► no row: refused while auth is on
//! ```
//! The handler finds the caller in the request's extensions ([`super::open`]); a request that came
//! past this place has none and is refused. What `ByRequest` leaves open is asked by the in-process
//! client, which knows keys and leases; it asks for `AnyUser` and `Root`, too, for callers of this process.
//!
//! The rows are those of the etcd version we report (3.6.11). Where older versions asked for less, so
//! do not we.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bramble_proto::METHODS;
use bramble_store::auth::Need;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::status;
use crate::node::client::{Caller, Client, Identity};
use crate::tls::PeerName;

/// What a caller needs while auth is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Open,
    /// To be somebody.
    AnyUser,
    /// The role `root`.
    Root,
    /// Whatever the keys, leases and names in the request need.
    ByRequest,
}

use Access::{AnyUser, ByRequest, Open, Root};

/// The table.
#[rustfmt::skip] // one RPC, one line
pub(crate) const TABLE: &[(&str, Access)] = &[
    ("/etcdserverpb.KV/Range", ByRequest),
    ("/etcdserverpb.KV/RangeStream", ByRequest),
    ("/etcdserverpb.KV/Put", ByRequest),
    ("/etcdserverpb.KV/DeleteRange", ByRequest),
    ("/etcdserverpb.KV/Txn", ByRequest),
    ("/etcdserverpb.KV/Compact", Root),
    // Asked at each create.
    ("/etcdserverpb.Watch/Watch", ByRequest),
    ("/etcdserverpb.Lease/LeaseGrant", AnyUser),
    ("/etcdserverpb.Lease/LeaseRevoke", ByRequest),
    // Asked at each renewal.
    ("/etcdserverpb.Lease/LeaseKeepAlive", ByRequest),
    ("/etcdserverpb.Lease/LeaseTimeToLive", ByRequest),
    ("/etcdserverpb.Lease/LeaseLeases", ByRequest),
    ("/etcdserverpb.Cluster/MemberAdd", Root),
    ("/etcdserverpb.Cluster/MemberRemove", Root),
    ("/etcdserverpb.Cluster/MemberUpdate", Root),
    ("/etcdserverpb.Cluster/MemberList", AnyUser),
    ("/etcdserverpb.Cluster/MemberPromote", Root),
    // To list alarms any user will do.
    ("/etcdserverpb.Maintenance/Alarm", ByRequest),
    ("/etcdserverpb.Maintenance/Status", Root),
    ("/etcdserverpb.Maintenance/Defragment", Root),
    ("/etcdserverpb.Maintenance/Hash", Root),
    ("/etcdserverpb.Maintenance/HashKV", Root),
    ("/etcdserverpb.Maintenance/Snapshot", Root),
    ("/etcdserverpb.Maintenance/MoveLeader", Root),
    ("/etcdserverpb.Maintenance/Downgrade", Root),
    ("/etcdserverpb.Auth/AuthEnable", Root),
    ("/etcdserverpb.Auth/AuthDisable", Root),
    ("/etcdserverpb.Auth/AuthStatus", Root),
    ("/etcdserverpb.Auth/Authenticate", Open),
    ("/etcdserverpb.Auth/UserAdd", Root),
    // Users may look at themselves.
    ("/etcdserverpb.Auth/UserGet", ByRequest),
    ("/etcdserverpb.Auth/UserList", Root),
    ("/etcdserverpb.Auth/UserDelete", Root),
    ("/etcdserverpb.Auth/UserChangePassword", Root),
    ("/etcdserverpb.Auth/UserGrantRole", Root),
    ("/etcdserverpb.Auth/UserRevokeRole", Root),
    ("/etcdserverpb.Auth/RoleAdd", Root),
    // And at the roles they have.
    ("/etcdserverpb.Auth/RoleGet", ByRequest),
    ("/etcdserverpb.Auth/RoleList", Root),
    ("/etcdserverpb.Auth/RoleDelete", Root),
    ("/etcdserverpb.Auth/RoleGrantPermission", Root),
    ("/etcdserverpb.Auth/RoleRevokePermission", Root),
    // These are ranges, transactions and leases of the caller.
    ("/v3lockpb.Lock/Lock", ByRequest),
    ("/v3lockpb.Lock/Unlock", ByRequest),
    ("/v3electionpb.Election/Campaign", ByRequest),
    ("/v3electionpb.Election/Proclaim", ByRequest),
    ("/v3electionpb.Election/Leader", ByRequest),
    ("/v3electionpb.Election/Observe", ByRequest),
    ("/v3electionpb.Election/Resign", ByRequest),
    ("/grpc.health.v1.Health/Check", Open),
    ("/grpc.health.v1.Health/Watch", Open),
];

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// The table says so.
    Of(Access),
    /// There is such an RPC, and the table forgot it.
    Missing,
    /// There is no such RPC; the services say that better.
    NoRpc,
}

fn row(path: &str) -> Row {
    static ROWS: LazyLock<HashMap<&'static str, Row>> = LazyLock::new(|| {
        let missing = METHODS.iter().map(|method| (method.path, Row::Missing));
        missing.chain(TABLE.iter().map(|(path, access)| (*path, Row::Of(*access)))).collect()
    });
    ROWS.get(path).copied().unwrap_or(Row::NoRpc)
}

/// A gRPC service behind the table.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    service: S,
    client: Client,
}

impl<S> Guarded<S> {
    /// Asks `client` who may call `service`.
    pub(crate) fn new(service: S, client: Client) -> Self {
        Guarded { service, client }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

type Response = http::Response<Body>;
type Asked<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Asked<S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let caller = match caller(request.headers(), request.extensions().get()) {
            Ok(caller) => caller,
            Err(refusal) => return refused(refusal),
        };
        let needs = match row(request.uri().path()) {
            Row::NoRpc | Row::Of(Open | ByRequest) => None,
            Row::Of(AnyUser) => Some(Need::User),
            Row::Of(Root) => Some(Need::Root),
            Row::Missing => match self.client.auth_is_on() {
                Ok(false) => None,
                Ok(true) => return refused(Status::permission_denied("etcdserver: permission denied")),
                Err(error) => return refused(status::of(error)),
            },
        };
        request.extensions_mut().insert(caller.clone());
        let Some(needs) = needs else {
            return Either::Left(self.service.call(request));
        };
        // The clone becomes the service, so that the one that was found ready is the one that is called.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        let client = self.client.clone();
        Either::Right(Box::pin(async move {
            match client.admits(&caller, &[needs]).await {
                Ok(()) => service.call(request).await,
                Err(error) => Ok(status::of(error).into_http()),
            }
        }))
    }
}

fn refused<F, E: Send + 'static>(refusal: Status) -> Either<F, Asked<E>> {
    Either::Right(Box::pin(std::future::ready(Ok(refusal.into_http()))))
}

/// What a call says of its caller.
fn caller(headers: &HeaderMap, peer: Option<&PeerName>) -> Result<Caller, Status> {
    // Header values are bytes; this one becomes a label of a metric.
    if let Some(version) = headers.get("client-api-version")
        && std::str::from_utf8(version.as_bytes()).is_err()
    {
        return Err(Status::invalid_argument("etcdserver: invalid client api version"));
    }
    let require_leader = headers.get("hasleader").is_some_and(|value| value == "true");
    Ok(Caller { identity: identity(headers, peer), require_leader, ..Caller::default() })
}

/// A token counts before a certificate, and of tokens etcd's own header before HTTP's. They are taken as
/// they are: `Bearer ` in front belongs to versions after the one we report.
fn identity(headers: &HeaderMap, peer: Option<&PeerName>) -> Identity {
    if let Some(token) = headers.get("token").or_else(|| headers.get("authorization")) {
        return Identity::Token(text(token));
    }
    // The gateway calls with the server's own connection: its certificate names nobody.
    match peer {
        Some(PeerName(name)) if !headers.contains_key("grpcgateway-accept") => {
            Identity::User(name.to_string())
        }
        _ => Identity::Nobody,
    }
}

/// A token that is no text is no token of ours; it is refused as one.
fn text(token: &HeaderValue) -> String {
    String::from_utf8_lossy(token.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rpc_has_a_row_and_every_row_an_rpc() {
        let rpcs: BTreeSet<&str> = METHODS.iter().map(|method| method.path).collect();
        let rows: BTreeSet<&str> = TABLE.iter().map(|(path, _)| *path).collect();
        assert_eq!(rows, rpcs);
        assert_eq!(rows.len(), TABLE.len(), "a row stands twice");
        assert!(rpcs.iter().all(|path| matches!(row(path), Row::Of(_))));
        assert_eq!(row("/etcdserverpb.KV/Nothing"), Row::NoRpc);
    }

    #[test]
    fn only_what_makes_a_caller_known_is_open() {
        let open: Vec<&str> =
            TABLE.iter().filter(|(_, access)| *access == Open).map(|(path, _)| *path).collect();
        let health = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];
        assert_eq!(open, [&["/etcdserverpb.Auth/Authenticate"], &health[..]].concat());
    }

    fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let value = |bytes| HeaderValue::from_bytes(bytes).expect("legal in HTTP");
        pairs.iter().map(|(name, bytes)| (http::HeaderName::from_static(name), value(bytes))).collect()
    }

    fn known(pairs: &[(&'static str, &'static [u8])], peer: Option<&str>) -> Identity {
        let peer = peer.map(|name| PeerName(name.into()));
        caller(&headers(pairs), peer.as_ref()).expect("a good caller").identity
    }

    #[test]
    fn who_calls() {
        let token = |text: &str| Identity::Token(text.to_owned());
        let ann = Some("ann");
        assert_eq!(known(&[], None), Identity::Nobody);
        assert_eq!(known(&[], ann), Identity::User("ann".into()));
        assert_eq!(known(&[("token", b"abc.1")], ann), token("abc.1"), "a token counts before a certificate");
        assert_eq!(known(&[("authorization", b"abc.2")], ann), token("abc.2"));
        let both: [(&str, &[u8]); 2] = [("authorization", b"abc.2"), ("token", b"abc.1")];
        assert_eq!(known(&both, None), token("abc.1"), "etcd's header counts before HTTP's");
        assert_eq!(known(&[("authorization", b"Bearer abc.2")], None), token("Bearer abc.2"), "as it is");
        assert_eq!(known(&[("token", b"")], ann), token(""), "an empty token is one, and a bad one");
        assert_eq!(known(&[("token", b"\xff")], ann), token("\u{fffd}"));
    }

    #[test]
    fn the_gateways_certificate_names_nobody() {
        let gateway: (&str, &[u8]) = ("grpcgateway-accept", b"*/*");
        assert_eq!(known(&[gateway], Some("ann")), Identity::Nobody);
        let token: (&str, &[u8]) = ("authorization", b"abc.1");
        assert_eq!(known(&[gateway, token], Some("ann")), Identity::Token("abc.1".into()));
    }

    #[test]
    fn a_caller_requires_a_leader_only_by_the_exact_word() {
        let cases: [(&[u8], bool); 4] = [(b"true", true), (b"false", false), (b"TRUE", false), (b"", false)];
        for (value, required) in cases {
            let caller = caller(&headers(&[("hasleader", value)]), None).expect("a good caller");
            assert_eq!(caller.require_leader, required, "{value:?}");
        }
        assert!(!caller(&HeaderMap::new(), None).expect("a good caller").require_leader);
    }

    #[test]
    fn a_client_version_that_is_not_text_is_refused() {
        let refusal = caller(&headers(&[("client-api-version", b"3.5\xff")]), None).expect_err("a refusal");
        assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
        assert_eq!(refusal.message(), "etcdserver: invalid client api version");
        assert!(caller(&headers(&[("client-api-version", b"3.5.30")]), None).is_ok());
    }
}
