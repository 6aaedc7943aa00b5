//! What is asked in [`crate::matrix`], and the keys, leases and users that are there before.
use bramble_proto::authpb::Permission;
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::v3electionpb as el;
use bramble_proto::v3lockpb as lk;
use bytes::Bytes;

use crate::names::{ONE_BELOW, SELF};
use crate::words::Request;

/// One question.
pub struct Question {
    /// What distinguishes it from others to the same RPC.
    pub about: &'static str,
    pub request: Request,
}

/// A kind of permission, and its range.
type May = (i32, &'static str, &'static str);

/// Users, and what each may, by a role of the same name.
const USERS: &[(&str, Option<May>)] = &[
    ("bare", None),
    ("reader", Some((0, "m/a", ""))),
    ("writer", Some((1, "m/a", ""))),
    ("exact", Some((2, "m/a", "m/c"))),
    ("half", Some((2, "m/a", "m/b"))),
    ("prefix", Some((2, "m/", "m0"))),
];
/// A second user with the role of root.
const SECOND: &str = "second";
const PASSWORD: &str = "p";
/// A lease with a key, one without, and one that is asked for.
const LEASES: (i64, i64, i64) = (5, 6, 50);
const TTL_S: i64 = 3000;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn name(name: &str) -> String {
    name.to_string()
}

/// What is there before users are enabled.
pub fn before() -> Vec<Request> {
    let mut all = vec![grant(LEASES.0), grant(LEASES.1), put("m/a", LEASES.0, false)];
    all.extend(["m/b", "m/c", "x"].map(|key| put(key, 0, false)));
    for user in ["root", SECOND] {
        let (name, password) = (name(user), name(PASSWORD));
        all.push(Request::UserAdd(pb::AuthUserAddRequest { name, password, ..Default::default() }));
        all.push(grant_role(user, "root"));
    }
    for (user, permission) in USERS {
        let (own, password) = (name(user), name(PASSWORD));
        all.push(Request::UserAdd(pb::AuthUserAddRequest { name: own, password, ..Default::default() }));
        let Some((perm_type, key, end)) = permission else { continue };
        let perm = Permission { perm_type: *perm_type, key: bytes(key), range_end: bytes(end) };
        all.push(Request::RoleAdd(pb::AuthRoleAddRequest { name: name(user) }));
        all.push(Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
            name: name(user),
            perm: Some(perm),
        }));
        all.push(grant_role(user, user));
    }
    all
}

/// Turns users on.
pub fn enable() -> Request {
    Request::AuthEnable(pb::AuthEnableRequest {})
}

/// Asks for a token.
pub fn authenticate(user: &str) -> Request {
    Request::Authenticate(pb::AuthenticateRequest { name: name(user), password: name(PASSWORD) })
}

/// Takes a user away.
pub fn delete(user: &str) -> Request {
    Request::UserDelete(pb::AuthUserDeleteRequest { name: name(user) })
}

/// Takes away what a user may.
pub fn revoke(user: &str) -> Request {
    let (_, permission) = USERS.iter().find(|(name, _)| *name == user).expect("a user from the table");
    let (_, key, end) = permission.expect("a user who may something");
    Request::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest {
        role: name(user),
        key: bytes(key),
        range_end: bytes(end),
    })
}

/// Looks at a user.
pub fn user_get(user: &str) -> Request {
    Request::UserGet(pb::AuthUserGetRequest { name: name(user) })
}

fn grant(id: i64) -> Request {
    Request::LeaseGrant(pb::LeaseGrantRequest { ttl: TTL_S, id })
}

fn put(key: &'static str, lease: i64, prev_kv: bool) -> Request {
    Request::Put(pb::PutRequest { key: bytes(key), value: bytes("v"), lease, prev_kv, ..Default::default() })
}

fn grant_role(user: &str, role: &str) -> Request {
    Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name(user), role: name(role) })
}

fn range(key: &'static str, range_end: &'static str, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(range_end), serializable, ..Default::default() }
}

/// Every question, in an order in which those to come find what they need.
pub fn all() -> Vec<Question> {
    let asked = [keys(), leases(), locks(), cluster(), maintenance(), users(), last()];
    asked.into_iter().flatten().map(|(about, request)| Question { about, request }).collect()
}

type Asked = Vec<(&'static str, Request)>;

fn keys() -> Asked {
    let watch = |range_end| {
        let create =
            pb::WatchCreateRequest { key: bytes("m/a"), range_end: bytes(range_end), ..Default::default() };
        Request::Watch(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })
    };
    let delete = |key, end, prev_kv| {
        Request::DeleteRange(pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(end), prev_kv })
    };
    vec![
        ("of the key", Request::Range(range("m/a", "", false))),
        ("of the range", Request::Range(range("m/a", "m/c", false))),
        ("of the range, serializable", Request::Range(range("m/a", "m/c", true))),
        ("of everything", Request::Range(range("\0", "\0", false))),
        ("without a key", Request::Range(range("", "", false))),
        ("of the range", Request::RangeStream(range("m/a", "m/c", false))),
        ("", put("m/a", 0, false)),
        ("with what was before", put("m/a", 0, true)),
        ("with the lease of a key", put("m/a", LEASES.0, false)),
        ("with a lease without keys", put("m/a", LEASES.1, false)),
        ("beside the range", put("x", 0, false)),
        ("of the range", delete("m/a", "m/c", false)),
        ("of the range, with what was before", delete("m/a", "m/c", true)),
        ("again", put("m/a", LEASES.0, false)),
        ("empty", Request::Txn(pb::TxnRequest::default())),
        ("that reads the range", txn(&[], &[Op::RequestRange(range("m/a", "m/c", false))], &[])),
        ("that puts, after a look at another key", txn(&["x"], &[an_op("m/a")], &[])),
        ("that would put beside the range", txn(&["m/a"], &[], &[an_op("x")])),
        ("that nests", txn(&["m/a"], &[Op::RequestTxn(inner())], &[an_op("m/a")])),
        ("of the range", watch("m/c")),
        ("of the key", watch("")),
        ("with an open end", watch("\0")),
        ("", Request::Compact(pb::CompactionRequest { revision: 2, physical: false })),
    ]
}

fn an_op(key: &'static str) -> Op {
    Op::RequestPut(pb::PutRequest { key: bytes(key), value: bytes("w"), prev_kv: true, ..Default::default() })
}

fn inner() -> pb::TxnRequest {
    let delete = pb::DeleteRangeRequest { key: bytes("m/b"), prev_kv: true, ..Default::default() };
    let success = vec![pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }];
    pb::TxnRequest { success, ..Default::default() }
}

fn txn(compared: &[&'static str], success: &[Op], failure: &[Op]) -> Request {
    let ops = |ops: &[Op]| ops.iter().map(|op| pb::RequestOp { request: Some(op.clone()) }).collect();
    let compare = compared.iter().map(|key| pb::Compare { key: bytes(key), ..Default::default() });
    Request::Txn(pb::TxnRequest { compare: compare.collect(), success: ops(success), failure: ops(failure) })
}

fn leases() -> Asked {
    let left = |id, keys| Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys });
    vec![
        ("", grant(LEASES.2)),
        ("of a key", Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: LEASES.0 })),
        ("without keys", Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: LEASES.1 })),
        ("unknown", Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: 999 })),
        ("alone", left(LEASES.0, false)),
        ("with keys", left(LEASES.0, true)),
        ("unknown, with keys", left(999, true)),
        ("", Request::LeaseLeases(pb::LeaseLeasesRequest {})),
        ("without keys", Request::LeaseRevoke(pb::LeaseRevokeRequest { id: LEASES.1 })),
        ("of a key", Request::LeaseRevoke(pb::LeaseRevokeRequest { id: LEASES.0 })),
    ]
}

fn locks() -> Asked {
    let lease = LEASES.2;
    let leader = || Some(el::LeaderKey { name: bytes("m/e"), key: bytes("m/e/32"), rev: 1, lease });
    let (lock, election) = (bytes("m/l"), bytes("m/e"));
    vec![
        ("", Request::Lock(lk::LockRequest { name: lock, lease })),
        ("", Request::Unlock(lk::UnlockRequest { key: bytes("m/l/32") })),
        ("", Request::Campaign(el::CampaignRequest { name: election.clone(), lease, value: bytes("v") })),
        ("", Request::Leader(el::LeaderRequest { name: election.clone() })),
        ("", Request::Observe(el::LeaderRequest { name: election })),
        ("of another", Request::Proclaim(el::ProclaimRequest { leader: leader(), value: bytes("v") })),
        ("without a leader", Request::Proclaim(el::ProclaimRequest { leader: None, value: bytes("v") })),
        ("of another", Request::Resign(el::ResignRequest { leader: leader() })),
    ]
}

fn cluster() -> Asked {
    let urls = || vec!["http://127.0.0.1:1".to_string()];
    vec![
        ("", Request::MemberList(pb::MemberListRequest { linearizable: false })),
        ("linearizable", Request::MemberList(pb::MemberListRequest { linearizable: true })),
        ("", Request::MemberRemove(pb::MemberRemoveRequest { id: 77 })),
        ("", Request::MemberUpdate(pb::MemberUpdateRequest { id: 77, peer_ur_ls: urls() })),
        ("", Request::MemberPromote(pb::MemberPromoteRequest { id: 77 })),
    ]
}

fn maintenance() -> Asked {
    let alarm = |action| Request::Alarm(pb::AlarmRequest { action, member_id: SELF, alarm: 1 });
    vec![
        ("", Request::Status(pb::StatusRequest {})),
        ("", Request::Hash(pb::HashRequest {})),
        ("", Request::HashKV(pb::HashKvRequest { revision: 0 })),
        ("", Request::Snapshot(pb::SnapshotRequest {})),
        ("", Request::Defragment(pb::DefragmentRequest {})),
        ("", Request::MoveLeader(pb::MoveLeaderRequest { target_id: SELF })),
        ("", Request::Downgrade(pb::DowngradeRequest { action: 0, version: ONE_BELOW.to_string() })),
        ("get", alarm(0)),
        ("raise", alarm(1)),
        ("lower", alarm(2)),
    ]
}

fn users() -> Asked {
    let role_get = |role| Request::RoleGet(pb::AuthRoleGetRequest { role: name(role) });
    let password = |user, password| {
        Request::Authenticate(pb::AuthenticateRequest { name: name(user), password: name(password) })
    };
    vec![
        ("", Request::AuthStatus(pb::AuthStatusRequest {})),
        ("right", password("half", PASSWORD)),
        ("wrong", password("half", "wrong")),
        ("of exact", user_get("exact")),
        ("of root", user_get("root")),
        ("unknown", user_get("nobody")),
        ("", Request::UserList(pb::AuthUserListRequest {})),
        ("of exact", role_get("exact")),
        ("of reader", role_get("reader")),
        ("unknown", role_get("nobody")),
        ("", Request::RoleList(pb::AuthRoleListRequest {})),
    ]
}

fn last() -> Asked {
    let perm = Permission { perm_type: 0, key: bytes("k"), range_end: Bytes::new() };
    let victim = || name("victim");
    let password = name(PASSWORD);
    let (user, role) = (name("half"), name("half"));
    vec![
        ("", Request::UserAdd(pb::AuthUserAddRequest { name: victim(), password, ..Default::default() })),
        (
            "",
            Request::UserChangePassword(pb::AuthUserChangePasswordRequest {
                name: victim(),
                password: name("q"),
                ..Default::default()
            }),
        ),
        ("", Request::RoleAdd(pb::AuthRoleAddRequest { name: victim() })),
        (
            "",
            Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
                name: victim(),
                perm: Some(perm),
            }),
        ),
        ("", grant_role("victim", "victim")),
        (
            "",
            Request::RoleRevokePermission(pb::AuthRoleRevokePermissionRequest {
                role: victim(),
                key: bytes("k"),
                range_end: Bytes::new(),
            }),
        ),
        ("", Request::UserRevokeRole(pb::AuthUserRevokeRoleRequest { name: user, role })),
        ("", Request::RoleDelete(pb::AuthRoleDeleteRequest { role: victim() })),
        ("", delete("victim")),
        ("of root", delete("root")),
        ("", enable()),
        // It may get its member; a learner votes on nothing.
        (
            "",
            Request::MemberAdd(pb::MemberAddRequest {
                peer_ur_ls: vec!["http://127.0.0.1:1".to_string()],
                is_learner: true,
            }),
        ),
        ("", Request::AuthDisable(pb::AuthDisableRequest {})),
    ]
}
