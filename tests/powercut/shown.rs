//! Reads everything that a server has.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::mvccpb::Event;
use bramble_proto::mvccpb::event::EventType;
use bramble_tests::wire::Wire;
use bytes::Bytes;
use tonic::{Code, Status};

use crate::ledger::{Effects, Kept, Shown};

/// How long all of history may take.
const READ_WITHIN: Duration = Duration::from_secs(60);

fn failed(what: &str) -> impl Fn(Status) -> String {
    let what = what.to_owned();
    move |status| format!("{what} fails: {status}")
}

fn name(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// All keys, and every event after revision `since`.
pub async fn read(wire: &Wire, since: i64) -> Result<Shown, String> {
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let answer = wire.kv().range(all).await.map_err(failed("reading all keys"))?.into_inner();
    let head = answer.header.map_or(0, |header| header.revision);
    if answer.count != answer.kvs.len() as i64 {
        return Err(format!("{} keys are counted and {} shown", answer.count, answer.kvs.len()));
    }
    let keys = answer.kvs.into_iter().map(|kv| {
        let (create_revision, mod_revision) = (kv.create_revision, kv.mod_revision);
        let kept =
            Kept { value: kv.value, lease: kv.lease, create_revision, mod_revision, version: kv.version };
        (name(&kv.key), kept)
    });
    let keys = keys.collect();
    let history = tokio::time::timeout(READ_WITHIN, history(wire, since, head)).await;
    let history = history.map_err(|_| format!("history from {since} to {head} is not shown in time"))??;
    Ok(Shown { head, history, keys })
}

/// What was done at each revision after `since`, up to `head`.
async fn history(wire: &Wire, since: i64, head: i64) -> Result<BTreeMap<i64, Effects>, String> {
    let mut history = BTreeMap::new();
    if since >= head {
        return Ok(history);
    }
    let create = pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: since + 1,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream must stay open for as long as answers are wanted.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut answers = wire.watch().watch(requests).await.map_err(failed("a watch"))?.into_inner();
    while !history.contains_key(&head) {
        let answer = answers.message().await.map_err(failed("a watch"))?.ok_or("a watch ended")?;
        if answer.canceled {
            return Err(format!("a watch from {} was cancelled: {}", since + 1, answer.cancel_reason));
        }
        for event in answer.events {
            note(&mut history, event)?;
        }
    }
    Ok(history)
}

fn note(history: &mut BTreeMap<i64, Effects>, event: Event) -> Result<(), String> {
    let (kind, kv) = (event.r#type(), event.kv.ok_or("an event without its key")?);
    let effect = match kind {
        EventType::Put => Some((kv.value, kv.lease)),
        EventType::Delete => None,
    };
    let effects: &mut Effects = history.entry(kv.mod_revision).or_default();
    match effects.insert(name(&kv.key), effect) {
        None => Ok(()),
        Some(_) => Err(format!("revision {} changes a key twice", kv.mod_revision)),
    }
}

/// All leases.
pub async fn leases(wire: &Wire) -> Result<BTreeSet<i64>, String> {
    let request = pb::LeaseLeasesRequest {};
    let answer = wire.lease().lease_leases(request).await.map_err(failed("listing leases"))?;
    Ok(answer.into_inner().leases.into_iter().map(|lease| lease.id).collect())
}

/// Whether history before `compacted` is gone. A compaction without an answer may have gone further.
pub async fn erased(wire: &Wire, compacted: i64) -> Result<bool, String> {
    if compacted < 2 {
        return Ok(true);
    }
    let revision = compacted - 1;
    let before = pb::RangeRequest { key: Bytes::from_static(b"w"), revision, ..Default::default() };
    match wire.kv().range(before).await {
        Err(status) if status.code() == Code::OutOfRange => Ok(true),
        Err(status) => Err(failed("reading what is compacted")(status)),
        Ok(_) => Ok(false),
    }
}
