//! Locks and campaigns that wait: seen to wait on both sides by the key each leaves, then given up, and seen
//! to have taken the key away again.
use std::pin::pin;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bytes::Bytes;
use tonic::Code;

use crate::call::Call;
use crate::generate_locks::key_of;
use crate::side::Side;
use crate::words::{Outcome, Refused, Request};

/// How long one side may take to begin to wait, or to tidy up.
const WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to begin, where nothing shows it.
const BEGUN_WITHIN: Duration = Duration::from_secs(1);
/// How often to look.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is noted instead of an answer.
pub fn refused() -> Refused {
    Refused::new(Code::Cancelled, "it waits, until it is given up")
}

/// The key under which a request may have to wait, and the name it waits for.
pub fn place(request: &Request) -> Option<(Bytes, Bytes)> {
    match request {
        Request::Lock(it) => Some((it.name.clone(), key_of(&it.name, it.lease))),
        Request::Campaign(it) => Some((it.name.clone(), key_of(&it.name, it.lease))),
        _ => None,
    }
}

/// Calls both sides. If both wait, gives up and returns [`refused`] for both.
pub async fn call(sides: &mut [Side; 2], call: &Call) -> Result<[Outcome; 2], String> {
    let (name, key) = place(&call.request).expect("a request that may wait");
    let wires = [sides[0].wire.clone(), sides[1].wire.clone()];
    // A key that was there before does not tell that a server has begun to wait.
    let was_there = exists(&wires[0], &key).await;
    let begun = Instant::now() + if was_there { BEGUN_WITHIN } else { Duration::ZERO };
    let [first, second] = sides;
    {
        let mut answers = pin!(async { tokio::join!(first.call(call), second.call(call)) });
        let deadline = Instant::now() + WITHIN;
        loop {
            tokio::select! {
                biased;
                (theirs, ours) = &mut answers => return Ok([theirs, ours]),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            if Instant::now() > begun
                && waits(&wires[0], &name, &key).await
                && waits(&wires[1], &name, &key).await
            {
                break;
            }
            if Instant::now() > deadline {
                return Err("one side answers and the other waits, or one never begins to".to_string());
            }
        }
    }
    let deadline = Instant::now() + WITHIN;
    for (wire, who) in wires.iter().zip(["etcd", "bramble"]) {
        while exists(wire, &key).await {
            if Instant::now() > deadline {
                return Err(format!("{who} leaves the key of one who has given up"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok([Err(refused()), Err(refused())])
}

/// Whether the key is there, and another of this name was there before it.
async fn waits(wire: &bramble_tests::wire::Wire, name: &[u8], key: &Bytes) -> bool {
    let prefix: Bytes = [name, b"/"].concat().into();
    let range = pb::RangeRequest {
        range_end: crate::world::prefix_end(&prefix),
        key: prefix,
        sort_target: pb::range_request::SortTarget::Create as i32,
        sort_order: pb::range_request::SortOrder::Ascend as i32,
        ..Default::default()
    };
    let found = wire.kv().range(range).await.map_or_else(|_| Vec::new(), |answer| answer.into_inner().kvs);
    let own = found.iter().find(|kv| kv.key == key);
    own.is_some_and(|own| found.iter().any(|kv| kv.create_revision < own.create_revision))
}

/// Whether the key is there.
pub async fn exists(wire: &bramble_tests::wire::Wire, key: &Bytes) -> bool {
    let range = pb::RangeRequest { key: key.clone(), ..Default::default() };
    wire.kv().range(range).await.is_ok_and(|answer| answer.into_inner().count > 0)
}
