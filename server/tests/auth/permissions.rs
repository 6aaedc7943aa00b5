//! Permissions to the letter: which keys and ranges, alone and in transactions, and whose leases.
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_store::types::{LeaseId, PutRequest};

use super::matrix::Matrix;
use super::*;

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
