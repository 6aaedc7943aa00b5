//! Random changes of everything that a snapshot carries.
use bramble_proto::authpb::Permission;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::*;
use bramble_tests::chance::Chance;
use bramble_tests::wire::Wire;

/// Makes so many; refusals are fine.
pub async fn changes(wire: &Wire, chance: &mut Chance, count: usize) {
    for _ in 0..count {
        match chance.below(30) {
            0..=14 => drop(wire.kv().put(put(chance)).await),
            15..=19 => drop(wire.kv().delete_range(delete(chance)).await),
            20..=23 => txn(wire, chance).await,
            24 | 25 => {
                let grant = LeaseGrantRequest { id: lease(chance), ttl: chance.between(600, 90_000) };
                drop(wire.lease().lease_grant(grant).await);
            }
            26 => {
                if chance.percent(30) {
                    drop(wire.lease().lease_revoke(LeaseRevokeRequest { id: lease(chance) }).await);
                }
            }
            27 | 28 => user_or_role(wire, chance).await,
            _ => compact(wire, chance).await,
        }
    }
}

fn lease(chance: &mut Chance) -> i64 {
    *chance.pick(&[1, 2, 3, i64::MAX, -5])
}

fn key(chance: &mut Chance) -> Vec<u8> {
    match chance.below(12) {
        0 => vec![0],
        1 => b"a\0\xff\x01".to_vec(),
        2 => vec![0xff; 30],
        _ => format!("/registry/pods/{:03}", chance.below(60)).into_bytes(),
    }
}

fn put(chance: &mut Chance) -> PutRequest {
    let length = match chance.below(60) {
        0 => 1_000_000,
        1 => 20_000,
        2..=5 => 0,
        _ => chance.below(400),
    };
    let value = (0..length).map(|_| b'a' + chance.below(26) as u8).collect::<Vec<u8>>();
    let lease = if chance.percent(30) { lease(chance) } else { 0 };
    PutRequest { key: key(chance).into(), value: value.into(), lease, ..PutRequest::default() }
}

fn delete(chance: &mut Chance) -> DeleteRangeRequest {
    let range_end = if chance.percent(15) { b"/registry/pods/02".to_vec() } else { Vec::new() };
    let key = if range_end.is_empty() { key(chance) } else { b"/registry/pods/01".to_vec() };
    DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false }
}

async fn txn(wire: &Wire, chance: &mut Chance) {
    let mut puts: Vec<PutRequest> = (0..chance.below(6)).map(|_| put(chance)).collect();
    puts.sort_by(|one, other| one.key.cmp(&other.key));
    puts.dedup_by(|one, other| one.key == other.key);
    let op = |put| RequestOp { request: Some(Op::RequestPut(put)) };
    let success = puts.into_iter().map(op).collect();
    drop(wire.kv().txn(TxnRequest { success, ..TxnRequest::default() }).await);
}

async fn user_or_role(wire: &Wire, chance: &mut Chance) {
    let (user, role) = (format!("user-{}", chance.below(4)), format!("role-{}", chance.below(4)));
    match chance.below(6) {
        0 => {
            let options = Some(bramble_proto::authpb::UserAddOptions { no_password: chance.percent(80) });
            let add =
                AuthUserAddRequest { name: user, password: "secret".into(), options, ..Default::default() };
            drop(wire.auth().user_add(add).await);
        }
        1 | 2 => drop(wire.auth().role_add(AuthRoleAddRequest { name: role }).await),
        3 => drop(wire.auth().user_grant_role(AuthUserGrantRoleRequest { user, role }).await),
        4 => {
            let range_end = chance.pick(&[&b""[..], b"\0", b"z"]).to_vec();
            let perm_type = chance.below(3) as i32;
            let perm = Permission { perm_type, key: b"k".to_vec().into(), range_end: range_end.into() };
            let grant = AuthRoleGrantPermissionRequest { name: role, perm: Some(perm) };
            drop(wire.auth().role_grant_permission(grant).await);
        }
        _ => drop(wire.auth().user_delete(AuthUserDeleteRequest { name: user }).await),
    }
}

async fn compact(wire: &Wire, chance: &mut Chance) {
    let newest = wire.kv().range(RangeRequest { key: b"x".to_vec().into(), ..Default::default() }).await;
    let revision = newest.expect("it serves").into_inner().header.expect("a header").revision;
    let revision = revision - chance.between(0, 40);
    drop(wire.kv().compact(CompactionRequest { revision, physical: chance.percent(50) }).await);
}
