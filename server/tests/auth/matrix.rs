//! Every RPC under every kind of identity.
//!
//! A row of the table says what a call needs; the test makes the call as nobody, with a bad token, as a
//! user without rights, as one with exactly the rights, and as `root`.
use std::collections::BTreeSet;

use super::*;
use bramble_proto::METHODS;
use bramble_proto::etcdserverpb::cluster_client::ClusterClient;
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::health::HealthCheckRequest;
use bramble_proto::health::health_client::HealthClient;
use bramble_proto::v3electionpb::election_client::ElectionClient;
use bramble_proto::v3electionpb::{self as election};
use bramble_proto::v3lockpb::lock_client::LockClient;
use bramble_proto::v3lockpb::{self as lock};
use bramble_store::types::{LeaseId, PutRequest};

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

/// The keys of the tests: `exact` may read [a, c) and write [b, d).
struct Matrix {
    world: World,
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
    async fn new() -> Matrix {
        let world = World::populated().await;
        let (client, root) = (world.client(), Caller::user("root"));
        let lease = client.lease_grant(&root, LeaseId(77), 600).await.expect("granted").body.id;
        let put = PutRequest { key: bytes("bl"), value: bytes("v"), lease, ..PutRequest::default() };
        client.put(&root, put).await.expect("put");
        Matrix { world, lease: lease.0 }
    }

    /// Makes the call of this path once. `None`: no row knows it.
    async fn call(&self, path: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
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

    async fn kv(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut kv = self.world.kv();
        let range = pb::RangeRequest { key: bytes("a"), range_end: bytes("c"), ..Default::default() };
        let put = pb::PutRequest { key: bytes("c"), value: bytes("v"), ..Default::default() };
        Some(match method {
            "Range" => (Needs::Keys, outcome(kv.range(with(token, range)).await).map(drop)),
            "RangeStream" => {
                let answer = match kv.range_stream(with(token, range)).await {
                    Ok(stream) => stream.into_inner().message().await.map(|_| Response::new(())),
                    Err(status) => Err(status),
                };
                (Needs::Keys, outcome(answer))
            }
            "Put" => (Needs::Keys, outcome(kv.put(with(token, put)).await).map(drop)),
            "DeleteRange" => {
                let delete =
                    pb::DeleteRangeRequest { key: bytes("b"), range_end: bytes("bk"), ..Default::default() };
                (Needs::Keys, outcome(kv.delete_range(with(token, delete)).await).map(drop))
            }
            "Txn" => {
                let compare = pb::Compare { key: bytes("a"), ..Default::default() };
                let op = |request| pb::RequestOp { request: Some(request) };
                let txn = pb::TxnRequest {
                    compare: vec![compare],
                    success: vec![op(Op::RequestPut(put))],
                    failure: vec![op(Op::RequestRange(range))],
                };
                (Needs::Keys, outcome(kv.txn(with(token, txn)).await).map(drop))
            }
            "Compact" => {
                let compact = pb::CompactionRequest { revision: 1, physical: false };
                (Needs::Root, outcome(kv.compact(with(token, compact)).await).map(drop))
            }
            _ => return None,
        })
    }

    /// The stream is open to all; its watchers are not, and say why in their own way.
    async fn watch(&self, token: Option<&str>) -> Result<(), Refused> {
        let create = pb::WatchCreateRequest { key: bytes("a"), range_end: bytes("c"), ..Default::default() };
        let asked = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let asked = tokio_stream::StreamExt::chain(tokio_stream::once(asked), tokio_stream::pending());
        let answer = WatchClient::new(self.world.routes.clone()).watch(with(token, asked)).await;
        let mut stream = outcome(answer)?;
        let created = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
        let created = created.expect("no error").expect("an answer");
        if !created.canceled {
            return Ok(());
        }
        assert_eq!((created.created, created.watch_id), (true, -1));
        assert!(created.header.is_some_and(|header| header.revision > 1), "{:?}", created.header);
        let refusals =
            [(nobody(), "InvalidArgument"), (bad_token(), "Unauthenticated"), (denied(), "PermissionDenied")];
        let said = refusals.into_iter().find(|((_, text), code)| {
            created.cancel_reason == format!("rpc error: code = {code} desc = {text}")
        });
        Err(said.unwrap_or_else(|| panic!("{:?}", created.cancel_reason)).0)
    }

    async fn lease(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = LeaseClient::new(self.world.routes.clone());
        let id = self.lease;
        Some(match method {
            "LeaseGrant" => {
                let request = pb::LeaseGrantRequest { ttl: 600, id: 0 };
                (Needs::AnyUser, outcome(client.lease_grant(with(token, request)).await).map(drop))
            }
            "LeaseRevoke" => {
                // One of its own for each who may, so that there is always one to revoke.
                let root = Caller::user("root");
                let grant = self.world.client().lease_grant(&root, LeaseId::NONE, 600).await;
                let lease = grant.expect("granted").body.id;
                let put = PutRequest { key: bytes("c"), value: bytes("v"), lease, ..PutRequest::default() };
                self.world.client().put(&root, put).await.expect("put");
                let request = pb::LeaseRevokeRequest { id: lease.0 };
                (Needs::Keys, outcome(client.lease_revoke(with(token, request)).await).map(drop))
            }
            "LeaseKeepAlive" => {
                let asked = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
                let answer = match client.lease_keep_alive(with(token, asked)).await {
                    Ok(stream) => stream.into_inner().message().await.map(|answer| {
                        assert!(answer.is_some_and(|answer| answer.ttl == 600));
                        Response::new(())
                    }),
                    Err(status) => Err(status),
                };
                (Needs::Keys, outcome(answer))
            }
            "LeaseTimeToLive" => {
                let request = pb::LeaseTimeToLiveRequest { id, keys: true };
                (Needs::Keys, outcome(client.lease_time_to_live(with(token, request)).await).map(drop))
            }
            "LeaseLeases" => {
                let request = pb::LeaseLeasesRequest {};
                (Needs::Keys, outcome(client.lease_leases(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    async fn cluster(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = ClusterClient::new(self.world.routes.clone());
        Some(match method {
            "MemberList" => {
                let request = pb::MemberListRequest { linearizable: true };
                (Needs::AnyUser, outcome(client.member_list(with(token, request)).await).map(drop))
            }
            "MemberAdd" => {
                let request = pb::MemberAddRequest { peer_ur_ls: vec!["nonsense".into()], is_learner: false };
                (Needs::Root, outcome(client.member_add(with(token, request)).await).map(drop))
            }
            "MemberRemove" => {
                let request = pb::MemberRemoveRequest { id: 1 };
                (Needs::Root, outcome(client.member_remove(with(token, request)).await).map(drop))
            }
            "MemberUpdate" => {
                let request = pb::MemberUpdateRequest { id: 1, peer_ur_ls: vec!["nonsense".into()] };
                (Needs::Root, outcome(client.member_update(with(token, request)).await).map(drop))
            }
            "MemberPromote" => {
                let request = pb::MemberPromoteRequest { id: 1 };
                (Needs::Root, outcome(client.member_promote(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    async fn maintenance(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = MaintenanceClient::new(self.world.routes.clone());
        let answer = match method {
            // To list them; see below for the rest.
            "Alarm" => {
                let answer = client.alarm(with(token, pb::AlarmRequest::default())).await;
                return Some((Needs::AnyUser, outcome(answer).map(drop)));
            }
            "Status" => outcome(client.status(with(token, pb::StatusRequest {})).await).map(drop),
            "Defragment" => outcome(client.defragment(with(token, pb::DefragmentRequest {})).await).map(drop),
            "Hash" => outcome(client.hash(with(token, pb::HashRequest {})).await).map(drop),
            "HashKV" => {
                outcome(client.hash_kv(with(token, pb::HashKvRequest { revision: 0 })).await).map(drop)
            }
            "Snapshot" => outcome(client.snapshot(with(token, pb::SnapshotRequest {})).await).map(drop),
            "MoveLeader" => {
                outcome(client.move_leader(with(token, pb::MoveLeaderRequest { target_id: 1 })).await)
                    .map(drop)
            }
            "Downgrade" => {
                outcome(client.downgrade(with(token, pb::DowngradeRequest::default())).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Root, answer))
    }

    async fn auth(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = self.world.auth();
        let (name, role) = ("nosuch".to_owned(), "nosuch".to_owned());
        let answer = match method {
            "Authenticate" => {
                let request = pb::AuthenticateRequest { name: "exact".into(), password: "pw-exact".into() };
                return Some((
                    Needs::Nothing,
                    outcome(client.authenticate(with(token, request)).await).map(drop),
                ));
            }
            "UserGet" => {
                let request = pb::AuthUserGetRequest { name: "exact".into() };
                return Some((Needs::Itself, outcome(client.user_get(with(token, request)).await).map(drop)));
            }
            "RoleGet" => {
                let request = pb::AuthRoleGetRequest { role: "ranger".into() };
                return Some((Needs::Itself, outcome(client.role_get(with(token, request)).await).map(drop)));
            }
            "AuthEnable" => {
                outcome(client.auth_enable(with(token, pb::AuthEnableRequest {})).await).map(drop)
            }
            "AuthDisable" => {
                let answer = outcome(client.auth_disable(with(token, pb::AuthDisableRequest {})).await);
                if answer.is_ok() {
                    outcome(client.auth_enable(pb::AuthEnableRequest {}).await).expect("on again");
                }
                answer.map(drop)
            }
            "AuthStatus" => {
                outcome(client.auth_status(with(token, pb::AuthStatusRequest {})).await).map(drop)
            }
            "UserAdd" => {
                let request = pb::AuthUserAddRequest { name: "exact".into(), ..Default::default() };
                outcome(client.user_add(with(token, request)).await).map(drop)
            }
            "UserList" => outcome(client.user_list(with(token, pb::AuthUserListRequest {})).await).map(drop),
            "UserDelete" => {
                outcome(client.user_delete(with(token, pb::AuthUserDeleteRequest { name })).await).map(drop)
            }
            "UserChangePassword" => {
                let request = pb::AuthUserChangePasswordRequest { name, ..Default::default() };
                outcome(client.user_change_password(with(token, request)).await).map(drop)
            }
            "UserGrantRole" => {
                let request = pb::AuthUserGrantRoleRequest { user: name, role };
                outcome(client.user_grant_role(with(token, request)).await).map(drop)
            }
            "UserRevokeRole" => {
                let request = pb::AuthUserRevokeRoleRequest { name, role };
                outcome(client.user_revoke_role(with(token, request)).await).map(drop)
            }
            "RoleAdd" => {
                let request = pb::AuthRoleAddRequest { name: "ranger".into() };
                outcome(client.role_add(with(token, request)).await).map(drop)
            }
            "RoleList" => outcome(client.role_list(with(token, pb::AuthRoleListRequest {})).await).map(drop),
            "RoleDelete" => {
                outcome(client.role_delete(with(token, pb::AuthRoleDeleteRequest { role })).await).map(drop)
            }
            "RoleGrantPermission" => {
                let request = pb::AuthRoleGrantPermissionRequest { name, perm: None };
                outcome(client.role_grant_permission(with(token, request)).await).map(drop)
            }
            "RoleRevokePermission" => {
                let request = pb::AuthRoleRevokePermissionRequest { role, ..Default::default() };
                outcome(client.role_revoke_permission(with(token, request)).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Root, answer))
    }

    async fn lock(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = LockClient::new(self.world.routes.clone());
        Some(match method {
            "Lock" => {
                let request = lock::LockRequest { name: bytes("bl"), lease: self.lease };
                (Needs::Keys, outcome(client.lock(with(token, request)).await).map(drop))
            }
            "Unlock" => {
                let request = lock::UnlockRequest { key: bytes("bk") };
                (Needs::Keys, outcome(client.unlock(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    async fn election(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = ElectionClient::new(self.world.routes.clone());
        let name = bytes("be");
        let leader = || {
            let (name, key) = (bytes("be"), bytes("be/4d"));
            Some(election::LeaderKey { name, key, rev: 1, lease: self.lease })
        };
        let answer = match method {
            "Campaign" => {
                let request = election::CampaignRequest { name, lease: self.lease, value: bytes("v") };
                outcome(client.campaign(with(token, request)).await).map(drop)
            }
            "Proclaim" => {
                let request = election::ProclaimRequest { leader: leader(), value: bytes("v") };
                outcome(client.proclaim(with(token, request)).await).map(drop)
            }
            "Leader" => outcome(client.leader(with(token, election::LeaderRequest { name })).await).map(drop),
            "Observe" => {
                let answer = match client.observe(with(token, election::LeaderRequest { name })).await {
                    Ok(stream) => stream.into_inner().message().await.map(|_| Response::new(())),
                    Err(status) => Err(status),
                };
                outcome(answer)
            }
            "Resign" => {
                let request = election::ResignRequest { leader: leader() };
                outcome(client.resign(with(token, request)).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Keys, answer))
    }

    async fn health(&self, method: &str, token: Option<&str>) -> Option<(Needs, Result<(), Refused>)> {
        let mut client = HealthClient::new(self.world.routes.clone());
        let request = HealthCheckRequest { service: String::new() };
        Some(match method {
            "Check" => (Needs::Nothing, outcome(client.check(with(token, request)).await).map(drop)),
            "Watch" => (Needs::Nothing, outcome(client.watch(with(token, request)).await).map(drop)),
            _ => return None,
        })
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

/// One request and whether `exact` may make it.
type Case = (&'static str, Op, bool);

fn range(key: &str, end: &str) -> Op {
    Op::RequestRange(pb::RangeRequest { key: bytes(key), range_end: bytes(end), ..Default::default() })
}

fn put(key: &str, prev_kv: bool, lease: i64) -> Op {
    Op::RequestPut(pb::PutRequest { key: bytes(key), prev_kv, lease, ..Default::default() })
}

fn delete(key: &str, end: &str, prev_kv: bool) -> Op {
    Op::RequestDeleteRange(pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv })
}

fn nested(op: Op, deep: usize) -> Op {
    (0..deep).fold(op, |op, _| {
        let ops = vec![pb::RequestOp { request: Some(op) }];
        Op::RequestTxn(pb::TxnRequest { failure: ops, ..Default::default() })
    })
}

/// `exact` may read [a, c) and write [b, d). Lease 77 has key `bl`, lease 78 has key `x`.
fn cases() -> Vec<Case> {
    vec![
        ("a key", range("a", ""), true),
        ("the last key before the end", range("bzzz", ""), true),
        ("the end", range("c", ""), false),
        ("the whole range", range("a", "c"), true),
        ("a part of it", range("aa", "b"), true),
        ("one too many", range("a", "c\0"), false),
        ("one before", range("A", "b"), false),
        ("from a key on", range("b", "\0"), false),
        ("everything", range("\0", "\0"), false),
        ("a write", put("b", false, 0), true),
        ("a write where only reading is allowed", put("a", false, 0), false),
        ("a write and what was there", put("b", true, 0), true),
        ("a write and what was there, which may not be read", put("c", true, 0), false),
        ("a write on a lease with a key of its own", put("b", false, 77), true),
        ("a write on a lease with a key of others", put("b", false, 78), false),
        ("a deletion", delete("b", "d", false), true),
        ("a deletion of too much", delete("b", "d\0", false), false),
        ("a deletion and what was there", delete("b", "c", true), true),
        ("a deletion and what was there, which may not be read", delete("b", "d", true), false),
    ]
}

#[tokio::test]
async fn keys_and_ranges_to_the_letter_alone_and_in_transactions() {
    let matrix = Matrix::new().await;
    let (world, root) = (&matrix.world, Caller::user("root"));
    world.client().lease_grant(&root, LeaseId(78), 600).await.expect("granted");
    let other =
        PutRequest { key: bytes("x"), value: bytes("v"), lease: LeaseId(78), ..PutRequest::default() };
    world.client().put(&root, other).await.expect("put");
    let exact = world.log_in("exact").await;
    let token = Some(exact.as_str());
    for (what, op, may) in cases() {
        let expected = if may { Ok(()) } else { Err(denied()) };
        let mut kv = world.kv();
        let alone = match op.clone() {
            Op::RequestRange(range) => outcome(kv.range(with(token, range)).await).map(drop),
            Op::RequestPut(put) => outcome(kv.put(with(token, put)).await).map(drop),
            Op::RequestDeleteRange(delete) => outcome(kv.delete_range(with(token, delete)).await).map(drop),
            Op::RequestTxn(txn) => outcome(kv.txn(with(token, txn)).await).map(drop),
        };
        assert_eq!(alone, expected, "{what}");
        // Branches that are not taken count, too.
        for deep in [0, 1, 3] {
            let ops = vec![pb::RequestOp { request: Some(nested(op.clone(), deep)) }];
            for txn in [
                pb::TxnRequest { success: ops.clone(), ..Default::default() },
                pb::TxnRequest { failure: ops.clone(), ..Default::default() },
            ] {
                let answer = outcome(kv.txn(with(token, txn)).await).map(drop);
                assert_eq!(answer, expected, "{what}, {deep} deep");
            }
        }
    }
    for (key, end, may) in [("a", "", true), ("c", "", false), ("a", "c", true), ("a", "\0", false)] {
        let compare = pb::Compare { key: bytes(key), range_end: bytes(end), ..Default::default() };
        let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
        let expected = if may { Ok(()) } else { Err(denied()) };
        let answer = outcome(world.kv().txn(with(token, txn)).await).map(drop);
        assert_eq!(answer, expected, "a compare of [{key}, {end})");
    }
    matrix.world.stop().await;
}

#[tokio::test]
async fn leases_by_their_keys() {
    let matrix = Matrix::new().await;
    let (world, root) = (&matrix.world, Caller::user("root"));
    let mut leases = LeaseClient::new(world.routes.clone());
    let exact = world.log_in("exact").await;
    let exact = Some(exact.as_str());
    let ask = |id, keys| pb::LeaseTimeToLiveRequest { id, keys };
    world.client().lease_grant(&root, LeaseId(78), 600).await.expect("granted");
    // Without keys it is anybody's.
    outcome(leases.lease_time_to_live(with(exact, ask(78, true))).await).expect("no keys");
    outcome(leases.lease_leases(with(exact, pb::LeaseLeasesRequest {})).await).expect("all its own");
    let other =
        PutRequest { key: bytes("x"), value: bytes("v"), lease: LeaseId(78), ..PutRequest::default() };
    world.client().put(&root, other).await.expect("put");
    let with_keys = outcome(leases.lease_time_to_live(with(exact, ask(78, true))).await).map(drop);
    assert_eq!(with_keys, Err(denied()));
    let without = outcome(leases.lease_time_to_live(with(exact, ask(78, false))).await);
    assert_eq!(without.expect("any user").granted_ttl, 600);
    let list = outcome(leases.lease_leases(with(exact, pb::LeaseLeasesRequest {})).await).map(drop);
    assert_eq!(list, Err(denied()), "one key that may not be read");
    let revoke = outcome(leases.lease_revoke(with(exact, pb::LeaseRevokeRequest { id: 78 })).await).map(drop);
    assert_eq!(revoke, Err(denied()));
    // What is not there is not there for every user, and nobody is told.
    let unknown = pb::LeaseRevokeRequest { id: 99 };
    let not_found = refusal(Code::NotFound, "etcdserver: requested lease not found");
    assert_eq!(outcome(leases.lease_revoke(with(exact, unknown)).await).map(drop), Err(not_found));
    assert_eq!(outcome(leases.lease_revoke(with(None, unknown)).await).map(drop), Err(nobody()));
    let unknown = outcome(leases.lease_time_to_live(with(exact, ask(99, true))).await);
    assert_eq!(unknown.expect("no error").ttl, -1);
    assert_eq!(outcome(leases.lease_time_to_live(with(None, ask(99, true))).await).map(drop), Err(nobody()));
    matrix.world.stop().await;
}

#[tokio::test]
async fn leases_end_by_themselves_whoever_their_keys_belong_to() {
    let hand = Arc::new(Hand::default());
    let world = World::of(Machine::new().builder(simple()).clock(hand.clone())).await;
    world.populate().await;
    let root = Caller::user("root");
    world.client().lease_grant(&root, LeaseId(5), 10).await.expect("granted");
    let put = PutRequest { key: bytes("x"), value: bytes("v"), lease: LeaseId(5), ..PutRequest::default() };
    world.client().put(&root, put).await.expect("put");
    hand.turn(Duration::from_secs(60));
    let gone = async {
        let token = world.log_in("root").await;
        while world.get(Some(&token), "x").await.expect("the range") > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the lease ends, though nobody asked for it");
    world.stop().await;
}
