//! The watches of a run: broken by kills and by their clients, and resumed where they were.
use std::sync::atomic::Ordering;
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::chance::Chance;
use bramble_tests::history::{Message, Span, Watch, What, wire};
use bramble_tests::wire::Wire;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::Streaming;

use crate::run::Run;

/// How often a client asks how far its watch is.
const MARK_EVERY: Duration = Duration::from_millis(100);
/// Watches of a run; the first is of all keys from the beginning.
pub const WATCHES: u32 = 7;

/// Follows one watch through all its stretches.
pub async fn follow(run: &Run, index: u32, seed: u64) {
    let mut chance = Chance::from_seed(seed.wrapping_mul(1000).wrapping_add(500 + u64::from(index)));
    let mut start = i64::from(index == 0);
    loop {
        run.is_up().await;
        let mut watch = watch(index, start, run);
        let over = stretch(run, &mut watch, &mut chance).await;
        start = next(&watch);
        if index == 0 && start > 0 {
            run.witnessed.fetch_max(start - 1, Ordering::Relaxed);
        }
        if index > 1 && chance.percent(20) {
            // Some go back and see again what they have seen.
            start = (start - chance.between(0, 100)).max(1);
        }
        run.watched(watch);
        if over {
            return;
        }
    }
}

fn watch(index: u32, start: i64, run: &Run) -> Watch {
    let key = |name: &'static str| Bytes::from_static(name.as_bytes());
    let keys = match index {
        0 | 1 => Span::all(),
        2 => Span::Key(key("k3")),
        3 => Span::Between(key("k2"), key("k7")),
        _ => Span::From(key("k5")),
    };
    Watch {
        client: 100 + index,
        began: run.now(),
        keys,
        start,
        no_put: index == 4,
        no_delete: index == 5,
        prev_kv: index != 3,
        fragment: index == 6,
        messages: Vec::new(),
    }
}

/// One stretch; whether it has seen all that will ever happen.
async fn stretch(run: &Run, watch: &mut Watch, chance: &mut Chance) -> bool {
    let (asks, requests) = mpsc::channel(4);
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(wire::create(watch))) };
    let requests = tokio_stream::once(create).chain(tokio_stream::wrappers::ReceiverStream::new(requests));
    let wire = Wire::connect_later(&run.url);
    watch.began = run.now();
    let Ok(stream) = wire.watch().watch(requests).await else {
        tokio::time::sleep(Duration::from_millis(10)).await;
        return false;
    };
    let mut stream = stream.into_inner();
    let life = Duration::from_millis(300 + chance.roll() % 3000);
    let broken = tokio::time::sleep(life);
    tokio::pin!(broken);
    let mut tick = tokio::time::interval(MARK_EVERY);
    loop {
        tokio::select! {
            heard = hear(run, &mut stream, watch) => if !heard { return false },
            _ = tick.tick() => {
                let ask = pb::WatchRequest { request_union: Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})) };
                // One that cannot be asked now is asked at the next tick.
                asks.try_send(ask).ok();
                if reached(run, watch) {
                    return true;
                }
            }
            () = &mut broken => return false,
        }
    }
}

/// Whether it has seen all that will ever happen; one that begins after that is told nothing, and needs nothing.
fn reached(run: &Run, watch: &Watch) -> bool {
    let reached = next(watch) - 1;
    if watch.client == 100 {
        run.witnessed.fetch_max(reached, Ordering::Relaxed);
    }
    reached >= run.last.load(Ordering::Relaxed)
}

/// Writes down one message; whether there are more.
async fn hear(run: &Run, stream: &mut Streaming<pb::WatchResponse>, watch: &mut Watch) -> bool {
    let Ok(Some(response)) = stream.message().await else { return false };
    let messages = wire::messages(run.now(), response);
    let ends = |message: &Message| matches!(message.what, What::Canceled(_));
    let goes_on = !messages.iter().any(ends);
    watch.messages.extend(messages);
    goes_on
}

/// Where to go on after all that came: 0 when not even the creation did.
fn next(watch: &Watch) -> i64 {
    let mut next = watch.start;
    let mut open = None;
    for message in &watch.messages {
        next = match &message.what {
            What::Created if watch.start == 0 => message.revision + 1,
            What::Events { events, more } => {
                let last = events.last().map_or(next, |event| event.kv.modified + 1);
                // A revision of which only pieces came has to come again.
                open = more.then(|| open.unwrap_or(next));
                open.unwrap_or(last)
            }
            What::Progress => next.max(message.revision + 1),
            What::Canceled(floor) if *floor > 0 => *floor,
            What::Created | What::Canceled(_) => next,
        };
    }
    next
}
