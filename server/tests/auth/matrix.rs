//! Every RPC under every kind of identity.
//!
//! A row of the table says what a call needs; the test makes the call as nobody, with a bad token, as a
//! user without rights, as one with exactly the rights, and as `root`.
//!
//! The rows: `keys` are the RPCs that are about keys, `upkeep` all others.
use std::collections::BTreeSet;

use super::*;
use bramble_proto::METHODS;
use bramble_store::types::{LeaseId, PutRequest};

mod keys;
mod upkeep;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    Nothing,
    AnyUser,
    Root,
    /// Keys, which `exact` has and `stranger` has not.
    Keys,
    /// To be `exact`, or to have its role.
    Itself,
}

impl Needs {
    /// How a caller is refused for who it is; `None`: it is served, or refused for something else.
    fn refusal(self, who: Who) -> Option<Refused> {
        match (self, who) {
            (Needs::Nothing, _) | (_, Who::Root) => None,
            (_, Who::Nobody) => Some(nobody()),
            (_, Who::BadToken) => Some(bad_token()),
            (Needs::AnyUser, Who::Stranger | Who::Exact) => None,
            (Needs::Keys | Needs::Itself, Who::Exact) => None,
            (Needs::Root | Needs::Keys | Needs::Itself, _) => Some(denied()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    BadToken,
    Stranger,
    Exact,
    Root,
}

/// What a call needs, and what it was answered.
type Row = (Needs, Result<(), Refused>);

/// The keys of the tests: `exact` may read [a, c) and write [b, d).
pub(super) struct Matrix {
    pub(super) world: World,
    /// Hangs on key `bl`, which `exact` may write and read.
    lease: i64,
}

impl Who {
    const ALL: [Who; 5] = [Who::Nobody, Who::BadToken, Who::Stranger, Who::Exact, Who::Root];

    /// A token of its own for each call: some calls end them.
    async fn token(self, world: &World) -> Option<String> {
        match self {
            Who::Nobody => None,
            Who::BadToken => Some("abcdefghijklmnop.1".to_owned()),
            Who::Stranger => Some(world.log_in("stranger").await),
            Who::Exact => Some(world.log_in("exact").await),
            Who::Root => Some(world.log_in("root").await),
        }
    }
}

impl Matrix {
    pub(super) async fn new() -> Matrix {
        let world = World::populated().await;
        let (client, root) = (world.client(), Caller::user("root"));
        let lease = client.lease_grant(&root, LeaseId(77), 600).await.expect("granted").body.id;
        let put = PutRequest { key: bytes("bl"), value: bytes("v"), lease, ..PutRequest::default() };
        client.put(&root, put).await.expect("put");
        Matrix { world, lease: lease.0 }
    }

    /// Makes the call of this path once. `None`: no row knows it.
    async fn call(&self, path: &str, token: Option<&str>) -> Option<Row> {
        let (package, method) = path.trim_start_matches('/').split_once('/').expect("a service and an RPC");
        match package {
            "etcdserverpb.KV" => self.kv(method, token).await,
            "etcdserverpb.Watch" => Some((Needs::Keys, self.watch(token).await)),
            "etcdserverpb.Lease" => self.lease(method, token).await,
            "etcdserverpb.Cluster" => self.cluster(method, token).await,
            "etcdserverpb.Maintenance" => self.maintenance(method, token).await,
            "etcdserverpb.Auth" => self.auth(method, token).await,
            "v3lockpb.Lock" => self.lock(method, token).await,
            "v3electionpb.Election" => self.election(method, token).await,
            "grpc.health.v1.Health" => self.health(method, token).await,
            _ => None,
        }
    }
}

/// The refusals for who asks, by text: the concurrency services pass them on under another code.
fn is_about_who_asks(refused: &Refused) -> bool {
    [nobody(), bad_token(), denied(), old()].iter().any(|(_, text)| *text == refused.1)
}

#[tokio::test]
async fn every_rpc_under_every_identity() {
    let matrix = Matrix::new().await;
    let mut called = BTreeSet::new();
    for method in METHODS {
        for who in Who::ALL {
            let cell = format!("{} as {who:?}", method.path);
            let token = who.token(&matrix.world).await;
            let call = tokio::time::timeout(PATIENCE, matrix.call(method.path, token.as_deref()));
            let call = call.await.unwrap_or_else(|_| panic!("{cell}: no answer"));
            let (needs, answer) = call.unwrap_or_else(|| panic!("{cell}: the test has no row for it"));
            called.insert(method.path);
            let by_text = method.service.starts_with("v3");
            match (needs.refusal(who), answer) {
                (Some((_, text)), Err(refused)) if by_text => assert_eq!(refused.1, text, "{cell}"),
                (Some(expected), answer) => assert_eq!(answer, Err(expected), "{cell}"),
                (None, Err(refused)) => assert!(!is_about_who_asks(&refused), "{cell}: {refused:?}"),
                (None, Ok(())) => {}
            }
        }
    }
    assert_eq!(called.len(), METHODS.len());
    matrix.world.stop().await;
}
