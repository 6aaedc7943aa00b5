//! Signed tokens on a running node.
use super::*;
use bramble_server::config::{JwtSettings, SignMethod};

fn signed(public: Option<&str>, private: Option<&str>) -> TokenKind {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name);
    TokenKind::Jwt(JwtSettings {
        method: SignMethod::ES256,
        public_key_file: public.map(file),
        private_key_file: private.map(file),
        ttl: Duration::from_secs(300),
    })
}

#[tokio::test]
async fn a_signed_token_holds_until_users_or_roles_change() {
    let machine = Machine::new();
    let world = machine.start(signed(None, Some("p256.sec1.key"))).await;
    world.populate().await;
    let (root, exact) = (world.log_in("root").await, world.log_in("exact").await);
    assert_eq!(exact.split('.').count(), 3, "{exact}");
    assert_eq!(world.get(Some(&exact), "a").await, Ok(0));
    assert_eq!(world.put(Some(&exact), "b").await, Ok(()));
    assert_eq!(world.put(Some(&exact), "a").await, Err(denied()));
    assert_eq!(world.get(Some(&format!("{exact}x")), "a").await, Err(bad_token()));
    assert_eq!(world.get(Some("abcdefghijklmnop.1"), "a").await, Err(bad_token()));

    world.add_role(Some(&root), "new").await.expect("added");
    assert_eq!(world.get(Some(&exact), "a").await, Err(old()));
    assert_eq!(world.put(Some(&exact), "b").await, Err(old()));
    world.add_role(Some(&root), "newer").await.expect("only keys ask for the revision, as in etcd");
    let exact = world.log_in("exact").await;
    assert_eq!(world.get(Some(&exact), "a").await, Ok(0), "logged in again");

    // Nobody remembers it, so it outlives the member.
    world.stop().await;
    let world = machine.start(signed(Some("p256.pub"), None)).await;
    assert_eq!(world.get(Some(&exact), "a").await, Ok(0));
    let verify_only = refusal(Code::Unknown, "auth: token signing attempted with verify-only key");
    assert_eq!(world.authenticate("exact", "pw-exact").await, Err(verify_only));
    world.stop().await;
}

#[tokio::test]
async fn a_user_that_is_gone_has_no_rights() {
    let world = Machine::new().start(signed(None, Some("p256.sec1.key"))).await;
    world.populate().await;
    let (root, exact) = (world.log_in("root").await, world.log_in("exact").await);
    let request = pb::AuthUserDeleteRequest { name: "exact".to_owned() };
    outcome(world.auth().user_delete(with(Some(&root), request)).await).expect("deleted");
    assert_eq!(world.get(Some(&exact), "a").await, Err(old()));
    let list = world.auth().user_list(with(Some(&exact), pb::AuthUserListRequest {})).await;
    assert_eq!(
        outcome(list).map(drop),
        Err(refusal(Code::FailedPrecondition, "etcdserver: user name not found"))
    );
    world.stop().await;
}

#[tokio::test]
async fn keys_that_are_no_good_stop_the_start() {
    let kind = signed(Some("p384.pub"), None);
    let text = Machine::new().builder(kind).build().await.err().map(|error| error.to_string());
    assert!(
        text.as_ref().is_some_and(|text| text.contains("P-256") && text.contains("p384.pub")),
        "{text:?}"
    );
}

#[tokio::test]
async fn without_tokens_nobody_logs_in() {
    let world = Machine::new().start(TokenKind::None).await;
    world.populate().await;
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    assert_eq!(world.authenticate("root", "pw-root").await, Err(refusal(Code::InvalidArgument, failed)));
    assert_eq!(world.get(Some("abcdefghijklmnop.1"), "a").await, Err(bad_token()));
    world.stop().await;
}
