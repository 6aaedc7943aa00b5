//! Simple tokens: how long they live and what ends them.
use super::*;

#[tokio::test]
async fn a_token_has_etcds_form_and_works_under_both_headers() {
    let world = World::populated().await;
    let token = world.log_in("exact").await;
    let (letters, index) = token.split_once('.').expect("a dot");
    assert!(letters.len() == 16 && letters.bytes().all(|byte| byte.is_ascii_alphabetic()), "{token}");
    assert!(index.parse::<u64>().is_ok_and(|index| index > 0), "{token}");
    assert_eq!(world.get(Some(&token), "a").await, Ok(0));

    let by = |name: &'static str, value: String| {
        let mut request = Request::new(pb::RangeRequest { key: bytes("a"), ..Default::default() });
        request.metadata_mut().insert(name, value.parse().expect("ASCII"));
        request
    };
    let range = |request| async { outcome(world.kv().range(request).await).map(drop) };
    assert_eq!(range(by("authorization", token.clone())).await, Ok(()));
    assert_eq!(range(by("authorization", format!("Bearer {token}"))).await, Err(bad_token()));
    let mut both = by("authorization", token.clone());
    both.metadata_mut().insert("token", "nonsense.1".parse().expect("ASCII"));
    assert_eq!(range(both).await, Err(bad_token()), "`token` counts first");
    world.stop().await;
}

#[tokio::test]
async fn while_auth_is_off_no_token_is_looked_at() {
    let world = World::start().await;
    for token in [None, Some(""), Some("nonsense"), Some("aaaaaaaaaaaaaaaa.99999999")] {
        assert_eq!(world.put(token, "k").await, Ok(()), "{token:?}");
        assert_eq!(world.get(token, "k").await, Ok(1), "{token:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_token_lives_for_its_time_after_each_use() {
    let hand = Arc::new(Hand::default());
    let world = World::of(Machine::new().builder(simple()).clock(hand.clone())).await;
    world.populate().await;
    let (used, idle) = (world.log_in("exact").await, world.log_in("exact").await);
    assert_ne!(used, idle);
    for _ in 0..3 {
        hand.turn(Duration::from_secs(299));
        assert_eq!(world.get(Some(&used), "a").await, Ok(0));
    }
    assert_eq!(world.get(Some(&idle), "a").await, Err(bad_token()));
    hand.turn(Duration::from_secs(301));
    assert_eq!(world.get(Some(&used), "a").await, Err(bad_token()));
    assert!(world.authenticate("exact", "pw-exact").await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_token_is_refused_at_once() {
    let world = World::populated().await;
    let bad =
        ["", ".", "nonsense", "abcdefghijklmnop.1", "abcdefghijklmnop.18446744073709551615", "a.b.c", "é.1"];
    for token in bad {
        let request = pb::RangeRequest { key: bytes("a"), ..Default::default() };
        let mut request = Request::new(request);
        let value = tonic::metadata::MetadataValue::try_from(token.as_bytes()).expect("legal in HTTP");
        request.metadata_mut().insert("token", value);
        let answer = tokio::time::timeout(PATIENCE, world.kv().range(request)).await.expect("in time");
        assert_eq!(outcome(answer).map(drop), Err(bad_token()), "{token:?}");
    }
    world.stop().await;
}

/// One change of users and roles, and whether the token of `exact` outlives it.
#[derive(Clone, Copy, Debug)]
enum Change {
    UserAdd,
    RoleAdd,
    RoleDelete,
    Grant,
    Revoke,
    Give,
    Take,
    OthersPassword,
    OwnPassword,
    OthersDeletion,
    OwnDeletion,
    Enable,
    Disable,
}

impl Change {
    async fn make(self, world: &World, root: Option<&str>) {
        let (exact, stranger) = ("exact".to_owned(), "stranger".to_owned());
        let mut auth = world.auth();
        let password = |name| pb::AuthUserChangePasswordRequest {
            name,
            password: "new".to_owned(),
            hashed_password: String::new(),
        };
        match self {
            Change::UserAdd => world.add_user(root, "new", "pw").await,
            Change::RoleAdd => world.add_role(root, "new").await,
            Change::RoleDelete => {
                let request = pb::AuthRoleDeleteRequest { role: "ranger".to_owned() };
                outcome(auth.role_delete(with(root, request)).await).map(drop)
            }
            Change::Grant => world.grant(root, "ranger", 2, "x", "").await,
            Change::Revoke => world.revoke(root, "ranger", "a", "c").await,
            Change::Give => world.give(root, "exact", "root").await,
            Change::Take => {
                let request = pb::AuthUserRevokeRoleRequest { name: exact, role: "ranger".to_owned() };
                outcome(auth.user_revoke_role(with(root, request)).await).map(drop)
            }
            Change::OthersPassword => {
                outcome(auth.user_change_password(with(root, password(stranger))).await).map(drop)
            }
            Change::OwnPassword => {
                outcome(auth.user_change_password(with(root, password(exact))).await).map(drop)
            }
            Change::OthersDeletion => {
                let request = pb::AuthUserDeleteRequest { name: stranger };
                outcome(auth.user_delete(with(root, request)).await).map(drop)
            }
            Change::OwnDeletion => {
                let request = pb::AuthUserDeleteRequest { name: exact };
                outcome(auth.user_delete(with(root, request)).await).map(drop)
            }
            Change::Enable => outcome(auth.auth_enable(with(root, pb::AuthEnableRequest {})).await).map(drop),
            Change::Disable => {
                outcome(auth.auth_disable(with(root, pb::AuthDisableRequest {})).await).expect("disabled");
                outcome(auth.auth_enable(pb::AuthEnableRequest {}).await).map(drop)
            }
        }
        .unwrap_or_else(|refused| panic!("{self:?}: {refused:?}"));
    }
}

#[tokio::test]
async fn only_a_new_password_a_deletion_and_disabling_end_tokens() {
    use Change::*;
    let cases = [
        (UserAdd, true),
        (RoleAdd, true),
        (RoleDelete, true),
        (Grant, true),
        (Revoke, true),
        (Give, true),
        (Take, true),
        (OthersPassword, true),
        (OwnPassword, false),
        (OthersDeletion, true),
        (OwnDeletion, false),
        (Enable, true),
        (Disable, false),
    ];
    for (change, outlives) in cases {
        let world = World::populated().await;
        let (root, exact) = (world.log_in("root").await, world.log_in("exact").await);
        // Its own row needs no right that a change could take.
        let own = || async {
            let request = pb::AuthUserGetRequest { name: "exact".to_owned() };
            outcome(world.auth().user_get(with(Some(&exact), request)).await).map(drop)
        };
        assert_eq!(own().await, Ok(()), "before {change:?}");
        change.make(&world, Some(&root)).await;
        let expected = if outlives { Ok(()) } else { Err(bad_token()) };
        assert_eq!(own().await, expected, "after {change:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn tokens_do_not_outlive_the_member() {
    let machine = Machine::new();
    let world = machine.start(simple()).await;
    world.populate().await;
    let token = world.log_in("exact").await;
    assert_eq!(world.get(Some(&token), "a").await, Ok(0));
    world.stop().await;
    // The state falls back to its last flush, and the log is applied again, logins included.
    machine.engine.crash();
    let world = machine.start(simple()).await;
    assert_eq!(world.get(Some(&token), "a").await, Err(bad_token()));
    assert_eq!(world.get(None, "a").await, Err(nobody()), "auth is still on");
    let token = world.log_in("exact").await;
    assert_eq!(world.get(Some(&token), "a").await, Ok(0), "and logins work");
    world.stop().await;
}

#[tokio::test]
async fn permissions_change_under_a_living_token() {
    let world = World::populated().await;
    let (root, exact) = (world.log_in("root").await, world.log_in("exact").await);
    assert_eq!(world.get(Some(&exact), "x").await, Err(denied()));
    world.grant(Some(&root), "ranger", 0, "x", "").await.expect("granted");
    assert_eq!(world.get(Some(&exact), "x").await, Ok(0), "at once");
    world.revoke(Some(&root), "ranger", "x", "").await.expect("revoked");
    assert_eq!(world.get(Some(&exact), "x").await, Err(denied()), "at once");
    world.stop().await;
}
