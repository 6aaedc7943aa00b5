//! A program that embeds a member is asked for permissions as the wire is.
use super::*;
use bramble_server::node::client::{Consistency, NewPassword};
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::types::{DeleteRequest, KeyRange, LeaseId, PutRequest, RangeRequest, TxnRequest};

/// Every call of the in-process client, by name: who makes it, and how it is refused.
async fn calls(client: &Client, caller: &Caller) -> Vec<(&'static str, Result<(), Error>)> {
    let all = KeyRange::from_wire(bytes("\0"), bytes("\0"));
    let put = PutRequest { key: bytes("x"), value: bytes("v"), ..PutRequest::default() };
    let delete = DeleteRequest { range: all.clone(), prev_kv: false };
    let compare = bramble_store::types::Compare {
        range: all.clone(),
        target: bramble_store::types::CompareTarget::Version(0),
        result: bramble_store::types::CompareResult::Equal,
    };
    let txn = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
    let lease = LeaseId(9);
    let read = Consistency::Serializable;
    let range = RangeRequest::new(all);
    vec![
        ("range", client.range(caller, range.clone(), Consistency::Linearizable).await.map(drop)),
        ("serializable range", client.range(caller, range, read).await.map(drop)),
        ("put", client.put(caller, put).await.map(drop)),
        ("delete", client.delete(caller, delete).await.map(drop)),
        ("txn", client.txn(caller, txn, read).await.map(drop)),
        ("compact", client.compact(caller, 1, false).await.map(drop)),
        ("lease_revoke", client.lease_revoke(caller, lease).await.map(drop)),
        ("lease_keep_alive", client.lease_keep_alive(caller, lease).await.map(drop)),
        ("lease_time_to_live", client.lease_time_to_live(caller, lease, true).await.map(drop)),
        ("leases", client.leases(caller).await.map(drop)),
        ("status", client.status(caller).await.map(drop)),
        ("hash_kv", client.hash_kv(caller, 0).await.map(drop)),
        ("auth_status", client.auth_status(caller).await.map(drop)),
        ("auth_enable", client.auth_enable(caller).await.map(drop)),
        ("user_add", client.user_add(caller, "new", NewPassword::None).await.map(drop)),
        ("user_get", client.user_get(caller, "root").await.map(drop)),
        ("user_list", client.user_list(caller).await.map(drop)),
        (
            "user_change_password",
            client.user_change_password(caller, "new", NewPassword::None).await.map(drop),
        ),
        ("user_grant_role", client.user_grant_role(caller, "new", "ranger").await.map(drop)),
        ("user_revoke_role", client.user_revoke_role(caller, "new", "ranger").await.map(drop)),
        ("user_delete", client.user_delete(caller, "new").await.map(drop)),
        ("role_add", client.role_add(caller, "new").await.map(drop)),
        ("role_get", client.role_get(caller, "root").await.map(drop)),
        ("role_list", client.role_list(caller).await.map(drop)),
        ("role_delete", client.role_delete(caller, "new").await.map(drop)),
    ]
}

/// What any user may.
async fn calls_of_any_user(client: &Client, caller: &Caller) -> Vec<(&'static str, Result<(), Error>)> {
    vec![
        ("lease_grant", client.lease_grant(caller, LeaseId::NONE, 600).await.map(drop)),
        ("members", client.members(caller, Consistency::Serializable).await.map(drop)),
        ("alarms", client.alarms(caller).await.map(drop)),
    ]
}

#[tokio::test]
async fn every_call_is_checked() {
    let world = World::populated().await;
    let (client, root) = (world.client(), Caller::user("root"));
    client.role_add(&root, "root").await.expect("added");
    client.lease_grant(&root, LeaseId(9), 600).await.expect("granted");
    let put = PutRequest { key: bytes("xl"), value: bytes("v"), lease: LeaseId(9), ..PutRequest::default() };
    client.put(&root, put).await.expect("put");

    let nobody: Error = Refusal::UserEmpty.into();
    let bad_token: Error = NotNow::InvalidToken.into();
    let denied: Error = Refusal::PermissionDenied.into();
    for (caller, expected) in [
        (Caller::default(), nobody),
        (Caller::user(""), Refusal::PermissionDenied.into()),
        (Caller::token("abcdefghijklmnop.1"), bad_token),
        (Caller::user("stranger"), denied.clone()),
        (Caller::user("nosuch"), denied),
    ] {
        for (call, answer) in calls(&client, &caller).await {
            let refused = answer.expect_err(call);
            let expected = match (&caller.identity, call) {
                // A user without a name is nobody, to whom something else is asked than a key.
                _ if refused == Refusal::UserEmpty.into() && caller.identity == Caller::user("").identity => {
                    continue;
                }
                // There is no such user to have a role.
                _ if caller.identity == Caller::user("nosuch").identity
                    && refused == Refusal::UserNotFound.into() =>
                {
                    continue;
                }
                _ => expected.clone(),
            };
            assert_eq!(refused, expected, "{call} as {:?}", caller.identity);
        }
    }
    for (call, answer) in calls_of_any_user(&client, &Caller::default()).await {
        assert_eq!(answer, Err(Refusal::UserEmpty.into()), "{call}");
    }
    for (call, answer) in calls_of_any_user(&client, &Caller::user("stranger")).await {
        assert_eq!(answer, Ok(()), "{call}");
    }
    for (call, answer) in calls(&client, &root).await {
        let known = match call {
            "txn" | "range" | "lease_keep_alive" | "lease_time_to_live" => answer == Ok(()),
            // Refused for what it asks, not for who asks.
            _ => !matches!(answer, Err(Error::Refused(Refusal::PermissionDenied | Refusal::UserEmpty))),
        };
        assert!(known, "{call} as root");
    }
    world.stop().await;
}

#[tokio::test]
async fn probes_need_no_user() {
    use tower::ServiceExt;
    let world = World::populated().await;
    for path in ["/health", "/livez", "/readyz"] {
        let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        let probes = bramble_server::http::health::probes(world.client());
        let response = probes.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), http::StatusCode::OK, "{path}");
    }
    world.stop().await;
}
