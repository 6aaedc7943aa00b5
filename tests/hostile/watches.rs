//! Watches by the hundred thousand, and watchers that stand still while the world goes on.
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_server::config::Profile;
use bramble_tests::wire::Wire;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::raw::*;
use crate::siege::{Siege, Target};

/// How long an expected response may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(20);
/// What one connection may have, by profile, and all together.
const DEFAULT_ONE: usize = 100_000;
const PI_ONE: usize = 25_000;
const PI_ALL: usize = 50_000;
/// What every connection may have.
const SURE: usize = 4;

/// Who stands still, and what happens meanwhile.
const STALLED: u32 = 1000;
const EVENTS: usize = 100_000;
/// Changes in one transaction.
const EVENTS_AT_ONCE: usize = 100;
const EVENTS_EVERY: Duration = Duration::from_millis(8);
const VALUE_BYTES: usize = 128;

fn create(key: String, range_end: &'static str) -> pb::WatchRequest {
    let create =
        pb::WatchCreateRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// A watch stream on a connection of its own. It ends when this is dropped.
struct Stream {
    wire: Wire,
    answers: Streaming<pb::WatchResponse>,
    _asks_more: mpsc::Sender<pb::WatchRequest>,
}

impl Stream {
    async fn open(target: Target, asks: impl Iterator<Item = pb::WatchRequest> + Send + 'static) -> Stream {
        let wire = Wire::connect(&format!("http://{}", target.server)).await;
        let (asks_more, more) = mpsc::channel(1);
        let asks = tokio_stream::iter(asks).chain(ReceiverStream::new(more));
        let answers = wire.watch().watch(asks).await.expect("a stream").into_inner();
        Stream { wire, answers, _asks_more: asks_more }
    }

    async fn next(&mut self) -> pb::WatchResponse {
        let answer = timeout(WITHIN, self.answers.message()).await.expect("a response in time");
        answer.expect("the stream goes on").expect("the stream goes on")
    }
}

/// Asks for so many watchers on one stream; how many there are. Those that are refused are told why.
async fn watch_many(target: Target, count: usize) -> (usize, Stream) {
    let asks = (0..count).map(|number| create(format!("watched/{number}"), ""));
    let mut stream = Stream::open(target, asks).await;
    let mut made = 0;
    for number in 0..count {
        let answer = stream.next().await;
        assert!(answer.created, "watcher {number}: {answer:?}");
        if answer.canceled {
            assert_eq!(answer.cancel_reason, "etcdserver: too many requests", "watcher {number}");
        } else {
            made += 1;
        }
    }
    (made, stream)
}

#[test]
fn one_connection_has_a_hundred_thousand_watches_and_no_more() {
    let mut siege = Siege::lay(Profile::Default);
    siege.attack("100,000 watches", 160, async |target| {
        let (made, mut stream) = watch_many(target, DEFAULT_ONE + 10).await;
        assert_eq!(made, DEFAULT_ONE);
        for number in [0, DEFAULT_ONE / 2, DEFAULT_ONE - 1] {
            let put = pb::PutRequest { key: format!("watched/{number}").into(), ..Default::default() };
            stream.wire.kv().put(put).await.expect("a write");
            let told = stream.next().await;
            assert_eq!((told.watch_id as usize, told.events.len()), (number, 1));
        }
        stream
    });
}

#[test]
fn all_connections_together_have_their_bound_and_each_has_a_few() {
    let mut siege = Siege::lay(Profile::Pi);
    siege.attack("50,000 watches and more", 96, async |target| {
        let (first, held) = watch_many(target, PI_ONE + 10).await;
        let (second, held_too) = watch_many(target, PI_ONE).await;
        let (third, and_held) = watch_many(target, PI_ONE).await;
        assert_eq!((first, first + second, third), (PI_ONE, PI_ALL, SURE));
        [held, held_too, and_held]
    });
}

/// Puts so many keys, many at a time and no faster than a machine with two cores has time for others;
/// every watcher of `e/` is due all of them.
async fn write_events(wire: &Wire) {
    let mut pace = tokio::time::interval(EVENTS_EVERY);
    for first in (0..EVENTS).step_by(EVENTS_AT_ONCE) {
        pace.tick().await;
        let put = |number: usize| {
            let value = vec![b'v'; VALUE_BYTES].into();
            let put =
                pb::PutRequest { key: format!("e/{}", number % 1000).into(), value, ..Default::default() };
            pb::RequestOp { request: Some(Op::RequestPut(put)) }
        };
        let success = (first..first + EVENTS_AT_ONCE).map(put).collect();
        wire.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.expect("a write");
    }
}

/// Connections whose streams watch `e/` and are never read: nine may be sent nothing, the tenth whatever the
/// system takes.
async fn stand_still(target: Target) -> Vec<Raw> {
    let request = message(0, &create("e/".into(), "e0").encode_to_vec());
    let mut open = Vec::new();
    for number in 0..10 {
        let window = if number > 0 { 0 } else { i32::MAX as u32 };
        let mut raw = Raw::connect(2, target.server, &[(INITIAL_WINDOW_SIZE, window)]).await.expect("room");
        if window > 0 {
            raw.send(WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes()).await.expect("sent");
        }
        for n in 0..STALLED / 10 {
            raw.begin(2 * n + 1, "/etcdserverpb.Watch/Watch").await.expect("sent");
            raw.send(DATA, 0, 2 * n + 1, &request).await.expect("sent");
        }
        open.push(raw);
    }
    open
}

/// Reads every event there is, in order and without a gap.
async fn read_all(stream: &mut Stream) {
    let mut seen = 0;
    while seen < EVENTS {
        for event in stream.next().await.events {
            let key = event.kv.expect("a record").key;
            assert_eq!(key, format!("e/{}", seen % 1000).as_bytes(), "event {seen}");
            seen += 1;
        }
    }
}

#[test]
fn a_thousand_watchers_that_stand_still_cost_little_whatever_happens() {
    let mut siege = Siege::lay(Profile::Pi);
    siege.attack("1,000 stalled watchers, 100,000 events", 192, async |target| {
        let watch = async || {
            let mut stream = Stream::open(target, std::iter::once(create("e/".into(), "e0"))).await;
            assert!(stream.next().await.created);
            stream
        };
        let held = stand_still(target).await;
        // One that reads as it should, and one that begins to read when all has happened.
        let (mut awake, mut late) = (watch().await, watch().await);
        let reading = tokio::spawn(async move { read_all(&mut awake).await });
        write_events(&late.wire).await;
        reading.await.expect("all events come");
        read_all(&mut late).await;
        held
    });
}
