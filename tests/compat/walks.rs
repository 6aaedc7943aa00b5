//! Walks that chance does not find: who waits for a lock and gets it, a downgrade, a quota that is used up.
//! Each is a script on a fresh pair of servers, compared step by step.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::v3electionpb as el;
use bramble_proto::v3lockpb as lk;
use bramble_tests::chance::Chance;
use bramble_tests::process::Setup;
use bytes::Bytes;
use tonic::Code;

use crate::call::Call;
use crate::names::{ONE_BELOW, SELF};
use crate::session::Session;
use crate::side::Side;
use crate::words::{Outcome, Request};
use crate::world::Kind;

/// How long a step may take to have its effect.
const WITHIN: Duration = Duration::from_secs(20);
/// A small quota: some of the largest values that a request may have.
const QUOTA_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = 1 << 20;

/// A session for a script.
pub async fn session(setups: &[Setup; 2]) -> Session {
    let sides = Side::start_both(setups).await;
    Session::new(sides, Kind::Plain, Chance::from_seed(1), Arc::default())
}

fn lease(id: i64) -> Request {
    Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 3000, id })
}

fn lock(lease: i64) -> Request {
    Request::Lock(lk::LockRequest { name: Bytes::from_static(b"l"), lease })
}

fn campaign(lease: i64) -> Request {
    let (name, value) = (Bytes::from_static(b"e"), Bytes::from_static(b"v"));
    Request::Campaign(el::CampaignRequest { name, lease, value })
}

/// Who holds, lets go in each way there is; who waits, gets it, and answers as on the other side.
pub async fn locks(setups: &[Setup; 2]) -> Result<(), String> {
    let unlock = Request::Unlock(lk::UnlockRequest { key: Bytes::from_static(b"l/1") });
    let revoke = Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 1 });
    let resign = Request::Resign(el::ResignRequest {
        leader: Some(el::LeaderKey {
            name: Bytes::from_static(b"e"),
            key: Bytes::from_static(b"e/1"),
            rev: 2,
            lease: 1,
        }),
    });
    let ways: [(Request, Request, Request); 4] = [
        (lock(1), lock(2), unlock),
        (lock(1), lock(2), revoke.clone()),
        (campaign(1), campaign(2), resign),
        (campaign(1), campaign(2), revoke),
    ];
    for (holds, waits, lets_go) in ways {
        let mut session = session(setups).await;
        for request in [lease(1), lease(2), holds] {
            session.call(request).await?;
        }
        let asked = [waiting(&session.sides[0], &waits), waiting(&session.sides[1], &waits)];
        let key = crate::blocked::place(&waits).expect("it may wait").1;
        await_key(&session.sides, &key).await?;
        session.call(lets_go).await?;
        let [theirs, ours] = asked;
        let answers = [theirs.await, ours.await].map(|answer| answer.expect("a call does not panic"));
        let [theirs, ours] = answers;
        let masked = [0, 1].map(|index| session.sides[index].names.clone());
        let theirs: Outcome = theirs.map(|reply| masked[0].mask(reply)).map_err(Into::into);
        let ours: Outcome = ours.map(|reply| masked[1].mask(reply)).map_err(Into::into);
        if theirs != ours {
            return Err(format!("{waits:?}\n  etcd:    {theirs:?}\n  bramble: {ours:?}"));
        }
    }
    Ok(())
}

fn waiting(
    side: &Side,
    request: &Request,
) -> tokio::task::JoinHandle<Result<crate::words::Reply, tonic::Status>> {
    let (wire, request) = (side.wire.clone(), tonic::Request::new(request.clone()));
    tokio::spawn(async move { crate::words::send(&wire, request).await })
}

async fn await_key(sides: &[Side; 2], key: &Bytes) -> Result<(), String> {
    let deadline = Instant::now() + WITHIN;
    for side in sides {
        while !crate::blocked::exists(&side.wire, key).await {
            if Instant::now() > deadline {
                return Err(format!("nobody waits under {key:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

/// Enabled, asked for again, cancelled, cancelled again. What changes something, etcd 3.5 does and never
/// answers.
pub async fn downgrade(setups: &[Setup; 2]) -> Result<(), String> {
    let mut session = session(setups).await;
    let ask = |action| Request::Downgrade(pb::DowngradeRequest { action, version: ONE_BELOW.to_string() });
    let (validate, enable, cancel) = (0, 1, 2);
    session.call(ask(cancel)).await?;
    session.call(ask(validate)).await?;
    changes(&mut session.sides, ask(enable)).await?;
    session.call(ask(validate)).await?;
    session.call(ask(enable)).await?;
    changes(&mut session.sides, ask(cancel)).await?;
    session.call(ask(cancel)).await
}

async fn changes(sides: &mut [Side; 2], request: Request) -> Result<(), String> {
    let call = Call::from(request);
    let [first, second] = sides;
    let (theirs, ours) = tokio::join!(first.call(&call), second.call(&call));
    let silent = theirs.as_ref().is_err_and(|refused| refused.code == Code::Unavailable);
    let done = ours.is_ok() || theirs == ours;
    if silent && done { Ok(()) } else { Err(format!("{call:?}\n  etcd:    {theirs:?}\n  bramble: {ours:?}")) }
}

/// The hash of a revision that deletes every key and puts some of them again, and of the next ones: what
/// etcd counts then of what was there before is a matter of its index.
pub async fn hash(setups: &[Setup; 2]) -> Result<(), String> {
    let mut session = session(setups).await;
    let put = |key: &'static str| pb::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    // For etcd's check of puts that meet deletes this range is empty; for its deletes it has no end.
    let every_key = || pb::DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: false };
    for again in [&["a"][..], &["a", "b"], &["a", "new"], &[]] {
        for key in ["a", "b", "c"] {
            session.call(Request::Put(put(key))).await?;
        }
        let revision = session.world.revision;
        session.call(Request::Compact(pb::CompactionRequest { revision, physical: true })).await?;
        let puts = again.iter().map(|key| op(pb::request_op::Request::RequestPut(put(key))));
        let delete = op(pb::request_op::Request::RequestDeleteRange(every_key()));
        let success = std::iter::once(delete).chain(puts).collect();
        session.call(Request::Txn(pb::TxnRequest { success, ..Default::default() })).await?;
        session.call(Request::Put(put("later"))).await?;
        for revision in revision..=session.world.revision {
            session.call(Request::HashKV(pb::HashKvRequest { revision })).await?;
        }
    }
    Ok(())
}

/// Puts until the quota says no; what goes on and what does not; and the way back. Sizes are each server's
/// own, so that only codes and texts are compared, and not after how many puts.
pub async fn quota(setups: &[Setup; 2]) -> Result<(), String> {
    let quota = format!("--quota-backend-bytes={QUOTA_BYTES}");
    let setups = setups.clone().map(|setup| setup.arg(quota.clone()));
    let mut told = Vec::new();
    for setup in setups {
        let mut side = Side::start(&setup).await;
        told.push(walk_of_quota(&mut side).await?);
    }
    if told[0] == told[1] {
        Ok(())
    } else {
        Err(format!("quota\n  etcd:    {:#?}\n  bramble: {:#?}", told[0], told[1]))
    }
}

async fn walk_of_quota(side: &mut Side) -> Result<Vec<String>, String> {
    let mut told = vec![fill(side).await?];
    let put = pb::PutRequest { key: Bytes::from_static(b"k"), ..Default::default() };
    let op = |request| vec![pb::RequestOp { request: Some(request) }];
    let puts = op(pb::request_op::Request::RequestPut(put.clone()));
    let range = pb::RangeRequest { key: Bytes::from_static(b"big/0"), keys_only: true, ..Default::default() };
    let reads = op(pb::request_op::Request::RequestRange(range.clone()));
    let delete = pb::DeleteRangeRequest {
        key: Bytes::from_static(b"big/"),
        range_end: Bytes::from_static(b"big0"),
        prev_kv: false,
    };
    let alarm = |action| Request::Alarm(pb::AlarmRequest { action, member_id: SELF, alarm: 1 });
    let steps = [
        alarm(0),
        Request::Put(put),
        Request::Txn(pb::TxnRequest { success: puts, ..Default::default() }),
        Request::Txn(pb::TxnRequest { success: reads, ..Default::default() }),
        lease(1),
        Request::Range(range),
        Request::DeleteRange(delete),
    ];
    for step in steps {
        told.push(code_of(step.rpc(), &side.call(&Call::from(step)).await));
    }
    Ok(told)
}

fn code_of(rpc: &str, outcome: &Outcome) -> String {
    match outcome {
        Ok(_) => format!("{rpc}: ok"),
        Err(refused) => format!("{rpc}: {:?} {}", refused.code, refused.text),
    }
}

/// What the first put says that is refused.
async fn fill(side: &mut Side) -> Result<String, String> {
    for number in 0..10 * QUOTA_BYTES / VALUE_BYTES {
        let put = pb::PutRequest {
            key: format!("big/{number}").into(),
            value: vec![b'v'; VALUE_BYTES].into(),
            ..Default::default()
        };
        let outcome = side.call(&Call::from(Request::Put(put))).await;
        if outcome.is_err() {
            return Ok(code_of("Put", &outcome));
        }
    }
    Err("ten times the quota was taken".to_string())
}
