//! Random users, roles and permissions, and random askers.
use bramble_proto::authpb;
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_tests::chance::Chance;
use bytes::Bytes;

use crate::call::{Call, Identity};
use crate::words::Request;
use crate::world::World;
use crate::world_auth::{AuthWorld, HASHED, ROLES, ROOT, USERS};

/// Texts that no server gave as a token. The number after a dot is one that every server has reached: a
/// server waits for a greater one.
const GARBAGE: &[&str] = &["x", "", "a.b", "aaaaaaaaaaaaaaaa.1", "..", "a.1.1", "a.-1", "Bearer x", "a.1 "];
const PASSWORDS: &[&str] = &["p", "q", "", "ü", LONG.0, LONG.0, LONG.1];
/// As long as bcrypt takes, and longer: none is made of the second, but it is taken for the first.
const LONG: (&str, &str) = (
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
);

/// A request to an RPC of Auth.
pub fn request_to(rpc: &str, world: &World, chance: &mut Chance) -> Option<Request> {
    Some(match rpc {
        "AuthEnable" => Request::AuthEnable(pb::AuthEnableRequest {}),
        "AuthDisable" => Request::AuthDisable(pb::AuthDisableRequest {}),
        "AuthStatus" => Request::AuthStatus(pb::AuthStatusRequest {}),
        "Authenticate" => Request::Authenticate(authenticate(world, chance)),
        "UserAdd" => Request::UserAdd(user_add(chance)),
        "UserGet" => Request::UserGet(pb::AuthUserGetRequest { name: user(chance) }),
        "UserList" => Request::UserList(pb::AuthUserListRequest {}),
        "UserDelete" => Request::UserDelete(pb::AuthUserDeleteRequest { name: user(chance) }),
        "UserChangePassword" => Request::UserChangePassword(change_password(chance)),
        "UserGrantRole" => {
            Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: user(chance), role: role(chance) })
        }
        "UserRevokeRole" => Request::UserRevokeRole(revoke_role(world, chance)),
        "RoleAdd" => Request::RoleAdd(pb::AuthRoleAddRequest { name: role(chance) }),
        "RoleGet" => Request::RoleGet(pb::AuthRoleGetRequest { role: role(chance) }),
        "RoleList" => Request::RoleList(pb::AuthRoleListRequest {}),
        "RoleDelete" => Request::RoleDelete(pb::AuthRoleDeleteRequest { role: role(chance) }),
        "RoleGrantPermission" => Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest {
            name: role(chance),
            perm: (!chance.percent(3)).then(|| permission(world, chance)),
        }),
        "RoleRevokePermission" => Request::RoleRevokePermission(revoke_permission(world, chance)),
        _ => return None,
    })
}

fn user(chance: &mut Chance) -> String {
    match chance.below(20) {
        0 => String::new(),
        1 => "nobody knows".to_string(),
        2..=4 => ROOT.to_string(),
        _ => (*chance.pick(USERS)).to_string(),
    }
}

fn role(chance: &mut Chance) -> String {
    match chance.below(20) {
        0 => String::new(),
        1 => "nobody has".to_string(),
        2..=4 => ROOT.to_string(),
        _ => (*chance.pick(ROLES)).to_string(),
    }
}

fn authenticate(world: &World, chance: &mut Chance) -> pb::AuthenticateRequest {
    let known: Vec<(&String, &Option<String>)> = world.auth.users.iter().collect();
    if known.is_empty() || chance.percent(20) {
        return pb::AuthenticateRequest { name: user(chance), password: password(chance) };
    }
    let (name, password) = *chance.pick(&known);
    let mut password = password.clone().unwrap_or_default();
    if password == LONG.0 && chance.percent(50) {
        password = LONG.1.to_string();
    }
    pb::AuthenticateRequest { name: name.clone(), password }
}

fn password(chance: &mut Chance) -> String {
    (*chance.pick(PASSWORDS)).to_string()
}

fn user_add(chance: &mut Chance) -> pb::AuthUserAddRequest {
    let name = user(chance);
    let no_password = name != ROOT && chance.percent(25);
    let any_length = no_password && chance.percent(30);
    pb::AuthUserAddRequest {
        password: if any_length { LONG.1.to_string() } else { password(chance) },
        options: (no_password || chance.percent(20)).then_some(authpb::UserAddOptions { no_password }),
        hashed_password: if chance.percent(10) { HASHED.0.to_string() } else { String::new() },
        name,
    }
}

fn change_password(chance: &mut Chance) -> pb::AuthUserChangePasswordRequest {
    let hashed = match chance.below(10) {
        0 | 1 => HASHED.0,
        _ => "",
    };
    let name = user(chance);
    let mut password = if hashed.is_empty() || chance.percent(50) { password(chance) } else { String::new() };
    // Without a hash to bring, an empty password is one that nobody can give; root must find back.
    if name == ROOT && password.is_empty() && hashed.is_empty() {
        password = "p".to_string();
    }
    pb::AuthUserChangePasswordRequest { name, password, hashed_password: hashed.to_string() }
}

fn revoke_role(world: &World, chance: &mut Chance) -> pb::AuthUserRevokeRoleRequest {
    let known: Vec<&(String, String)> = world.auth.granted.iter().collect();
    if known.is_empty() || chance.percent(40) {
        return pb::AuthUserRevokeRoleRequest { name: user(chance), role: role(chance) };
    }
    let (name, role) = (*chance.pick(&known)).clone();
    pb::AuthUserRevokeRoleRequest { name, role }
}

/// Points, pieces that touch or overlap, prefixes, open ends, everything; now and then nonsense.
fn permission(world: &World, chance: &mut Chance) -> authpb::Permission {
    let wild = if chance.percent(10) { 20 } else { 0 };
    let (key, range_end) = world.range(chance, wild);
    // Most ranges the right way round.
    let inverted = range_end <= key && !range_end.is_empty() && range_end.as_ref() != b"\0";
    let (key, range_end) = if inverted && !chance.percent(15) { (range_end, key) } else { (key, range_end) };
    authpb::Permission { perm_type: *chance.pick(&[0, 0, 1, 1, 2, 2]), key, range_end }
}

fn revoke_permission(world: &World, chance: &mut Chance) -> pb::AuthRoleRevokePermissionRequest {
    let known: Vec<&(String, Bytes, Bytes)> = world.auth.permitted.iter().collect();
    if known.is_empty() || chance.percent(30) {
        let (key, range_end) = world.range(chance, 10);
        return pb::AuthRoleRevokePermissionRequest { role: role(chance), key, range_end };
    }
    let (role, key, range_end) = (*chance.pick(&known)).clone();
    pb::AuthRoleRevokePermissionRequest { role, key, range_end }
}

/// Who asks for this. What only root may do is mostly asked by root.
pub fn identity(request: &Request, world: &World, chance: &mut Chance) -> Identity {
    let auth = &world.auth;
    let known = match chance.below(100) {
        0..=4 => None,
        5..=8 => return Identity::Garbage(chance.pick::<&str>(GARBAGE)),
        9..=12 => auth.dropped(chance),
        _ if roots_alone(request) && chance.percent(70) => auth.living(chance, |user| auth.is_root(user)),
        13..=19 => auth.living(chance, |user| auth.is_root(user)),
        _ => auth.living(chance, |user| !auth.is_root(user)),
    };
    known.unwrap_or_default()
}

fn roots_alone(request: &Request) -> bool {
    let service = request.path();
    service.starts_with("/etcdserverpb.Auth/")
        || service.starts_with("/etcdserverpb.Maintenance/")
        || matches!(request, Request::Compact(_))
}

/// What is missing until authentication is on and users can do something: done now and then instead of
/// what was chosen, so that sessions find back from what was taken away.
pub fn missing(world: &World, chance: &mut Chance) -> Option<Call> {
    let auth = &world.auth;
    let by_root = auth.living(chance, |user| auth.is_root(user));
    let request = roots_missing(auth, by_root.is_some(), chance).or_else(|| {
        let all = others_missing(world, chance);
        if all.is_empty() { None } else { Some(chance.pick(&all).clone()) }
    })?;
    Some(Call::by(by_root.unwrap_or_default(), request))
}

fn roots_missing(auth: &AuthWorld, has_token: bool, chance: &mut Chance) -> Option<Request> {
    let root = ROOT.to_string();
    if !auth.enabled && chance.percent(10) {
        // It may be too early.
        return Some(Request::AuthEnable(pb::AuthEnableRequest {}));
    }
    let Some(password) = auth.users.get(ROOT) else {
        return Some(add(ROOT, chance));
    };
    if !auth.is_root(ROOT) {
        return Some(Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: root.clone(), role: root }));
    }
    if !auth.enabled {
        // Not at once, for what is allowed to all is compared as well.
        return chance.percent(10).then_some(Request::AuthEnable(pb::AuthEnableRequest {}));
    }
    let password = password.clone().unwrap_or_default();
    (!has_token).then(|| Request::Authenticate(pb::AuthenticateRequest { name: root, password }))
}

fn others_missing(world: &World, chance: &mut Chance) -> Vec<Request> {
    let auth = &world.auth;
    let mut all = Vec::new();
    all.extend(USERS.iter().filter(|name| !auth.users.contains_key(**name)).map(|name| add(name, chance)));
    let roles = ROLES.iter().map(|name| name.to_string());
    let (there, absent): (Vec<String>, Vec<String>) = roles.partition(|name| auth.roles.contains(name));
    all.extend(absent.into_iter().map(|name| Request::RoleAdd(pb::AuthRoleAddRequest { name })));
    for (name, password) in auth.users.iter().filter(|(name, _)| *name != ROOT) {
        let has_role = auth.granted.iter().any(|(user, _)| user == name);
        if !has_role && !there.is_empty() {
            let role = chance.pick(&there).clone();
            all.push(Request::UserGrantRole(pb::AuthUserGrantRoleRequest { user: name.clone(), role }));
        }
        let has_token = auth.tokens.iter().any(|token| token.living && token.user == *name);
        if let (false, Some(password)) = (has_token, password) {
            let (name, password) = (name.clone(), password.clone());
            all.push(Request::Authenticate(pb::AuthenticateRequest { name, password }));
        }
    }
    for name in there {
        if auth.permitted.iter().filter(|(role, _, _)| *role == name).count() < 2 {
            let perm = Some(permission(world, chance));
            all.push(Request::RoleGrantPermission(pb::AuthRoleGrantPermissionRequest { name, perm }));
        }
    }
    all
}

fn add(name: &str, chance: &mut Chance) -> Request {
    let (name, password) = (name.to_string(), chance.pick(&["p", "q"]).to_string());
    Request::UserAdd(pb::AuthUserAddRequest { name, password, ..Default::default() })
}

/// Turns ranges that end before they begin the right way round: who may ask for the keys of none depends
/// on how the oracle has arranged the permissions.
pub fn turn_ranges(request: &mut Request) {
    match request {
        Request::Range(it) => turn(&mut it.key, &mut it.range_end),
        Request::DeleteRange(it) => turn(&mut it.key, &mut it.range_end),
        Request::Txn(it) => turn_txn(it),
        _ => {}
    }
}

fn turn_txn(txn: &mut pb::TxnRequest) {
    txn.compare.iter_mut().for_each(|it| turn(&mut it.key, &mut it.range_end));
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestRange(it)) => turn(&mut it.key, &mut it.range_end),
            Some(Op::RequestDeleteRange(it)) => turn(&mut it.key, &mut it.range_end),
            Some(Op::RequestTxn(inner)) => turn_txn(inner),
            _ => {}
        }
    }
}

/// The same for one range.
pub fn turn(key: &mut Bytes, end: &mut Bytes) {
    if *end < *key && !end.is_empty() && end.as_ref() != b"\0" {
        std::mem::swap(key, end);
    } else if *end == *key && end.as_ref() != b"\0" {
        end.clear();
    }
}
