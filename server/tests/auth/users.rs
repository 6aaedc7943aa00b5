//! The Auth service: what each RPC does, refuses and answers.
use super::*;

fn invalid(text: &str) -> Refused {
    refusal(Code::InvalidArgument, text)
}

fn failed(text: &str) -> Refused {
    refusal(Code::FailedPrecondition, text)
}

async fn roles_of(world: &World, token: Option<&str>, name: &str) -> Result<Vec<String>, Refused> {
    let request = pb::AuthUserGetRequest { name: name.to_owned() };
    outcome(world.auth().user_get(with(token, request)).await).map(|answer| answer.roles)
}

/// As the wire has them: kind, key, end.
async fn permissions_of(
    world: &World,
    token: Option<&str>,
    role: &str,
) -> Result<Vec<(i32, Bytes, Bytes)>, Refused> {
    let request = pb::AuthRoleGetRequest { role: role.to_owned() };
    let answer = outcome(world.auth().role_get(with(token, request)).await)?;
    Ok(answer.perm.into_iter().map(|one| (one.perm_type, one.key, one.range_end)).collect())
}

fn permission(kind: i32, key: &str, end: &str) -> (i32, Bytes, Bytes) {
    (kind, bytes(key), bytes(end))
}

async fn delete_user(world: &World, token: Option<&str>, name: &str) -> Result<(), Refused> {
    let request = pb::AuthUserDeleteRequest { name: name.to_owned() };
    outcome(world.auth().user_delete(with(token, request)).await).map(drop)
}

async fn delete_role(world: &World, token: Option<&str>, role: &str) -> Result<(), Refused> {
    let request = pb::AuthRoleDeleteRequest { role: role.to_owned() };
    outcome(world.auth().role_delete(with(token, request)).await).map(drop)
}

async fn take(world: &World, token: Option<&str>, name: &str, role: &str) -> Result<(), Refused> {
    let request = pb::AuthUserRevokeRoleRequest { name: name.to_owned(), role: role.to_owned() };
    outcome(world.auth().user_revoke_role(with(token, request)).await).map(drop)
}

async fn change_password(
    world: &World,
    token: Option<&str>,
    name: &str,
    password: &str,
    hashed: &str,
) -> Result<(), Refused> {
    let (name, password, hashed_password) = (name.to_owned(), password.to_owned(), hashed.to_owned());
    let request = pb::AuthUserChangePasswordRequest { name, password, hashed_password };
    outcome(world.auth().user_change_password(with(token, request)).await).map(drop)
}

#[tokio::test]
async fn enabling_needs_root_with_its_role_and_may_be_repeated() {
    let world = World::start().await;
    let enable = || async { outcome(world.auth().auth_enable(pb::AuthEnableRequest {}).await).map(drop) };
    let status = || async { outcome(world.auth().auth_status(pb::AuthStatusRequest {}).await) };
    let off = status().await.expect("the status");
    assert_eq!((off.enabled, off.auth_revision), (false, 1));

    assert_eq!(enable().await, Err(failed("etcdserver: root user does not exist")));
    world.add_user(None, "root", "pw").await.expect("added");
    assert_eq!(enable().await, Err(failed("etcdserver: root user does not have root role")));
    world.give(None, "root", "root").await.expect("a role that nobody added");
    let not_enabled = failed("etcdserver: authentication is not enabled");
    assert_eq!(world.authenticate("root", "pw").await, Err(not_enabled));
    enable().await.expect("enabled");

    let root = world.authenticate("root", "pw").await.expect("a token");
    let again = world.auth().auth_enable(with(Some(&root), pb::AuthEnableRequest {})).await;
    outcome(again).expect("twice is fine");
    let on = world.auth().auth_status(with(Some(&root), pb::AuthStatusRequest {})).await;
    let on = outcome(on).expect("the status");
    assert_eq!((on.enabled, on.auth_revision), (true, 3), "a user and a role; enabling is no change");

    let disable = async || world.auth().auth_disable(with(Some(&root), pb::AuthDisableRequest {})).await;
    outcome(disable().await).expect("disabled");
    assert_eq!(status().await.expect("without a token").auth_revision, 4);
    outcome(disable().await).expect("off already, and the token is not looked at");
    world.stop().await;
}

#[tokio::test]
async fn users_and_what_is_wrong_with_them() {
    let world = World::start().await;
    for name in ["zoe", "ann", "bob"] {
        world.add_user(None, name, "pw").await.expect("added");
    }
    let empty = invalid("etcdserver: user name is empty");
    assert_eq!(world.add_user(None, "", "pw").await, Err(empty));
    let exists = failed("etcdserver: user name already exists");
    assert_eq!(world.add_user(None, "ann", "pw").await, Err(exists));
    let too_long = refusal(Code::Unknown, "bcrypt: password length exceeds 72 bytes");
    assert_eq!(world.add_user(None, "eve", &"x".repeat(73)).await, Err(too_long.clone()));
    assert_eq!(change_password(&world, None, "ann", &"x".repeat(73), "").await, Err(too_long));

    let list = outcome(world.auth().user_list(pb::AuthUserListRequest {}).await).expect("a list");
    assert_eq!(list.users, ["ann", "bob", "zoe"]);
    assert_eq!(list.header.map(|header| header.revision), Some(1), "of the keys, not of the users");

    let unknown = failed("etcdserver: user name not found");
    assert_eq!(roles_of(&world, None, "eve").await, Err(unknown.clone()));
    assert_eq!(delete_user(&world, None, "eve").await, Err(unknown.clone()));
    assert_eq!(change_password(&world, None, "eve", "pw", "").await, Err(unknown.clone()));
    assert_eq!(world.give(None, "eve", "root").await, Err(unknown.clone()));
    assert_eq!(take(&world, None, "eve", "root").await, Err(unknown));
    let no_role = failed("etcdserver: role name not found");
    assert_eq!(world.give(None, "ann", "nosuch").await, Err(no_role));
    let not_granted = failed("etcdserver: role is not granted to the user");
    assert_eq!(take(&world, None, "ann", "nosuch").await, Err(not_granted));

    for role in ["r2", "r1", "r3"] {
        world.add_role(None, role).await.expect("added");
        world.give(None, "ann", role).await.expect("given");
    }
    let before = world.auth_revision().await;
    world.give(None, "ann", "r1").await.expect("given again is fine");
    assert_eq!(world.auth_revision().await, before, "and no change");
    assert_eq!(roles_of(&world, None, "ann").await.expect("roles"), ["r1", "r2", "r3"]);
    take(&world, None, "ann", "r2").await.expect("taken");
    delete_role(&world, None, "r3").await.expect("deleted");
    assert_eq!(
        roles_of(&world, None, "ann").await.expect("roles"),
        ["r1"],
        "a deleted role is taken from all"
    );
    delete_user(&world, None, "ann").await.expect("deleted");
    world.stop().await;
}

#[tokio::test]
async fn roles_and_what_is_wrong_with_them() {
    let world = World::start().await;
    for name in ["z", "a"] {
        world.add_role(None, name).await.expect("added");
    }
    let list = outcome(world.auth().role_list(pb::AuthRoleListRequest {}).await).expect("a list");
    assert_eq!(list.roles, ["a", "z"]);
    assert_eq!(world.add_role(None, "").await, Err(invalid("etcdserver: role name is empty")));
    assert_eq!(world.add_role(None, "a").await, Err(failed("etcdserver: role name already exists")));
    let unknown = failed("etcdserver: role name not found");
    assert_eq!(permissions_of(&world, None, "nosuch").await, Err(unknown.clone()));
    assert_eq!(delete_role(&world, None, "nosuch").await, Err(unknown.clone()));
    assert_eq!(world.grant(None, "nosuch", 0, "k", "").await, Err(unknown.clone()));
    assert_eq!(world.revoke(None, "nosuch", "k", "").await, Err(unknown));

    let without = pb::AuthRoleGrantPermissionRequest { name: "a".into(), perm: None };
    let not_given = invalid("etcdserver: permission not given");
    assert_eq!(outcome(world.auth().role_grant_permission(without).await).map(drop), Err(not_given));
    let bad_range = invalid("etcdserver: invalid auth management");
    for (key, end) in [("", ""), ("", "z"), ("b", "b"), ("c", "b")] {
        assert_eq!(world.grant(None, "a", 0, key, end).await, Err(bad_range.clone()), "[{key}, {end})");
    }
    assert_eq!(world.grant(None, "a", 7, "k", "").await, Err(bad_range), "a kind that is none");

    world.grant(None, "a", 0, "m", "\0").await.expect("open ended");
    world.grant(None, "a", 1, "b", "c").await.expect("a range");
    world.grant(None, "a", 2, "k", "").await.expect("one key");
    let before = world.auth_revision().await;
    world.grant(None, "a", 0, "b", "c").await.expect("replaced");
    assert_eq!(world.auth_revision().await, before + 1);
    let granted = [permission(0, "b", "c"), permission(2, "k", ""), permission(0, "m", "\0")];
    assert_eq!(permissions_of(&world, None, "a").await.expect("permissions"), granted);

    let not_granted = failed("etcdserver: permission is not granted to the role");
    assert_eq!(world.revoke(None, "a", "b", "d").await, Err(not_granted), "exactly the range");
    world.revoke(None, "a", "m", "\0").await.expect("revoked");
    assert_eq!(permissions_of(&world, None, "a").await.expect("permissions"), granted[..2]);

    assert!(permissions_of(&world, None, "root").await.is_err(), "nobody added it");
    world.add_role(None, "root").await.expect("added");
    assert_eq!(permissions_of(&world, None, "root").await.expect("everything"), [permission(2, "", "\0")]);
    world.stop().await;
}

#[tokio::test]
async fn root_cannot_lock_itself_out() {
    let world = World::populated().await;
    let root = world.log_in("root").await;
    let root = Some(root.as_str());
    world.add_role(root, "root").await.expect("added");
    let refused = Err(invalid("etcdserver: invalid auth management"));
    assert_eq!(delete_user(&world, root, "root").await, refused);
    assert_eq!(take(&world, root, "root", "root").await, refused);
    assert_eq!(delete_role(&world, root, "root").await, refused);
    outcome(world.auth().auth_disable(with(root, pb::AuthDisableRequest {})).await).expect("disabled");
    take(&world, None, "root", "root").await.expect("nobody is locked out while auth is off");
    delete_role(&world, None, "root").await.expect("deleted");
    delete_user(&world, None, "root").await.expect("deleted");
    world.stop().await;
}

#[tokio::test]
async fn a_user_may_look_at_itself_and_its_roles() {
    let world = World::populated().await;
    let (exact, root) = (world.log_in("exact").await, world.log_in("root").await);
    assert_eq!(roles_of(&world, Some(&exact), "exact").await.expect("its own"), ["ranger"]);
    assert_eq!(roles_of(&world, Some(&exact), "root").await, Err(denied()));
    assert_eq!(roles_of(&world, Some(&exact), "nosuch").await, Err(denied()));
    assert_eq!(permissions_of(&world, Some(&exact), "ranger").await.expect("its own").len(), 2);
    assert_eq!(permissions_of(&world, Some(&exact), "root").await, Err(denied()));
    assert_eq!(roles_of(&world, None, "exact").await, Err(nobody()));
    assert_eq!(permissions_of(&world, None, "ranger").await, Err(nobody()));
    assert_eq!(roles_of(&world, Some(&root), "exact").await.expect("root may"), ["ranger"]);
    assert_eq!(permissions_of(&world, Some(&root), "ranger").await.expect("root may").len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn passwords_right_and_wrong_and_none() {
    let world = World::populated().await;
    let root = world.log_in("root").await;
    let root = Some(root.as_str());
    let wrong = Err(invalid("etcdserver: authentication failed, invalid user ID or password"));
    assert_eq!(world.authenticate("exact", "nonsense").await, wrong);
    assert_eq!(world.authenticate("exact", "").await, wrong);
    assert_eq!(world.authenticate("nosuch", "pw").await, wrong);
    assert_eq!(world.authenticate("", "").await, wrong);

    // No password at all.
    let options = Some(authpb::UserAddOptions { no_password: true });
    let add = pb::AuthUserAddRequest { name: "cert".into(), options, ..Default::default() };
    outcome(world.auth().user_add(with(root, add)).await).expect("added");
    let no_password =
        Err(refusal(Code::Unknown, "auth: authentication failed, password was given for no password user"));
    assert_eq!(world.authenticate("cert", "pw").await, no_password);
    change_password(&world, root, "cert", "pw", "").await.expect("no error");
    assert_eq!(world.authenticate("cert", "pw").await, no_password, "it still has none");

    // A client's own hash is not taken with a new user, and only beside an empty password later.
    let hashed_password = "JDJhJDA0JG5vbmU=".to_owned();
    let add = pb::AuthUserAddRequest {
        name: "eve".into(),
        password: "pw".into(),
        hashed_password,
        ..Default::default()
    };
    outcome(world.auth().user_add(with(root, add)).await).expect("added");
    world.authenticate("eve", "pw").await.expect("its password");
    change_password(&world, root, "eve", "new", "JDJh").await.expect("changed");
    world.authenticate("eve", "new").await.expect("the plain one counts");
    assert_eq!(change_password(&world, root, "eve", "", "%%%").await.err(), no_password.err(), "no base64");
    // base64 of bcrypt of "hashed", cost 4.
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bcrypt("hashed"));
    change_password(&world, root, "eve", "", &hash).await.expect("changed");
    world.authenticate("eve", "hashed").await.expect("the hash counts");
    change_password(&world, root, "eve", "", "").await.expect("changed");
    assert_eq!(world.authenticate("eve", "").await, wrong, "no hash is nobody's");

    // An empty password is one.
    world.add_user(root, "mum", "").await.expect("added");
    world.authenticate("mum", "").await.expect("logged in");
    world.stop().await;
}

fn bcrypt(password: &str) -> String {
    bcrypt::hash(password, 4).expect("a hash")
}
