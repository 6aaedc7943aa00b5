//! A member in a cgroup of 128 MB: it keeps below the limit by itself, and everybody else is served while some
//! watchers stand still.
//!
//! Without a cgroup the member gets the ceiling that the limit would give it, and its peak is held to that.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::cgroup::Cgroup;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use tokio::task::JoinHandle;
use tonic::Streaming;

const MIB: u64 = 1 << 20;
const LIMIT_BYTES: u64 = 128 * MIB;
/// Three quarters of it.
const CEILING_MIB: u64 = 96;

/// What lies there before anybody watches.
const KEYS: usize = 50_000;
const VALUE_BYTES: usize = 512;
const KEYS_AT_ONCE: usize = 100;
/// Memtables of 6 MiB are full so often at least; the profile's own of 16 MiB are once.
const FLUSHES_MIN: u64 = 3;

/// Who watches: some everything, others a tenth of the keys.
const WATCHERS: usize = 200;
const STALLED: usize = 3;
/// What one of them is sent before it has read anything.
const STALLED_WINDOW: u32 = 64 << 10;
const CONNECTIONS: usize = 10;
/// What happens meanwhile: keys are written over by so many at a time, and history is compacted behind them.
const WRITERS: usize = 4;
const WRITES: usize = 500;
const COMPACT_EVERY: i64 = 400;
const COMPACT_BEHIND: i64 = 100;

/// A stuck member takes longer, a busy machine does not.
const P99_MAX: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(30);
/// What a watcher that stands still may keep waiting: its queue and its line, at this ceiling.
const STALLED_BYTES_MAX: u64 = 384 << 10;

fn key(n: usize) -> String {
    format!("k/{}/{n:05}", n % 10)
}

fn put(n: usize, fill: u8) -> pb::PutRequest {
    // Half of it compresses, as real objects do.
    let mut value = vec![fill; VALUE_BYTES];
    let mut state = n as u64 ^ (u64::from(fill) << 32);
    value[..VALUE_BYTES / 2].fill_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    pb::PutRequest { key: key(n).into(), value: value.into(), ..Default::default() }
}

async fn fill(wire: &Wire) {
    for first in (0..KEYS).step_by(KEYS_AT_ONCE) {
        let op = |n| pb::RequestOp { request: Some(Op::RequestPut(put(n, 0))) };
        let success = (first..first + KEYS_AT_ONCE).map(op).collect();
        wire.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.expect("room for all");
    }
}

/// A watch of everything, or of the keys that end in this digit.
async fn watch(wire: &Wire, tenth: Option<usize>) -> Streaming<pb::WatchResponse> {
    let (key, range_end) = match tenth {
        None => ("k/".to_owned(), "k0".to_owned()),
        Some(digit) => (format!("k/{digit}/"), format!("k/{digit}0")),
    };
    let create =
        pb::WatchCreateRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let asks = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut answers = wire.watch().watch(asks).await.expect("a stream").into_inner();
    let created = answers.message().await.expect("answered").expect("answered");
    assert!(created.created && !created.canceled, "{created:?}");
    answers
}

/// Reads so many events, each a revision later than the one before.
async fn read_all(mut stream: Streaming<pb::WatchResponse>, events: usize) {
    let (mut seen, mut revision) = (0, 0);
    while seen < events {
        let told = tokio::time::timeout(WITHIN, stream.message()).await;
        let told = told.unwrap_or_else(|_| panic!("{seen} of {events} events came, the last at {revision}"));
        for event in told.expect("the stream goes on").expect("the stream goes on").events {
            let at = event.kv.expect("a record").mod_revision;
            assert!(at > revision, "{at} after {revision}");
            (seen, revision) = (seen + 1, at);
        }
    }
}

/// One that did not read while history was compacted: what had been sent by then, and that the rest is gone.
async fn read_until_compacted(mut stream: Streaming<pb::WatchResponse>) {
    let mut revision = 0;
    loop {
        let told = tokio::time::timeout(WITHIN, stream.message()).await.expect("it is told");
        let told = told.expect("the stream goes on").expect("the stream goes on");
        for event in &told.events {
            let at = event.kv.as_ref().expect("a record").mod_revision;
            assert!(at > revision, "{at} after {revision}");
            revision = at;
        }
        if told.canceled {
            assert!(told.compact_revision > revision, "{told:?} after {revision}");
            return;
        }
    }
}

/// Writes its part of the keys over, and says how long each write took.
async fn write(wire: Wire, writer: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..WRITES {
        let begun = Instant::now();
        wire.kv().put(put((n * WRITERS + writer) * 7 % KEYS, 1)).await.expect("written");
        times.push(begun.elapsed());
    }
    times
}

/// Compacts behind the newest revision until it is told to stop.
async fn compact(wire: Wire, over: Arc<AtomicBool>) -> usize {
    let (mut compacted, mut times) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let head = wire.kv().range(pb::RangeRequest { key: "x".into(), ..Default::default() }).await;
        let revision = head.expect("read").into_inner().header.expect("a header").revision - COMPACT_BEHIND;
        if revision >= compacted + COMPACT_EVERY {
            let request = pb::CompactionRequest { revision, ..Default::default() };
            wire.kv().compact(request).await.expect("compacted");
            (compacted, times) = (revision, times + 1);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    times
}

/// In a cgroup where there can be one, so that the member finds out by itself.
fn start() -> (Option<Cgroup>, Server) {
    let setup = Setup::bramble().arg("--profile=pi").arg("--warning-unary-request-duration=0s");
    match Cgroup::with_memory(LIMIT_BYTES) {
        Ok(cgroup) => {
            let server = setup.in_cgroup(cgroup.folder()).start();
            let told = format!("the cgroup allows 128 MiB of memory: --memory-max is {CEILING_MIB} MiB");
            assert!(server.log().contains(&told), "{}", server.log());
            (Some(cgroup), server)
        }
        Err(why) => {
            println!("without a cgroup, its memory is only watched: {why}");
            (None, setup.arg(format!("--memory-max={CEILING_MIB}MiB")).start())
        }
    }
}

/// A line of `/metrics`.
fn metric(page: &str, name: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)).expect("the member counts it");
    line.trim().parse::<f64>().expect("a number") as u64
}

/// A line of `/proc/PID/status`, in bytes.
fn status(server: &Server, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of kB") * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_128_mb_serves_200_watchers_and_is_not_killed() {
    // The server goes first: a cgroup is empty before it is removed.
    let (cgroup, mut server) = start();
    let wire = Wire::connect(&server.url).await;
    fill(&wire).await;

    // Connections end with their last handle.
    let (mut standing, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..STALLED {
        let wire = Wire::connect_with_window(&server.url, STALLED_WINDOW).await;
        standing.push(watch(&wire, None).await);
        connections.push(wire);
    }
    let mut reading: Vec<JoinHandle<()>> = Vec::new();
    for connection in 0..CONNECTIONS {
        let wire = Wire::connect_with_window(&server.url, 1 << 20).await;
        for n in (connection..WATCHERS - STALLED).step_by(CONNECTIONS) {
            // The keys that are written over end in all digits alike.
            let (tenth, events) =
                if n % 5 == 0 { (None, WRITES * WRITERS) } else { (Some(n % 10), WRITES * WRITERS / 10) };
            reading.push(tokio::spawn(read_all(watch(&wire, tenth).await, events)));
        }
        connections.push(wire);
    }
    let over = Arc::new(AtomicBool::new(false));
    let compacting = tokio::spawn(compact(wire.clone(), over.clone()));
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(wire.clone(), writer))).collect();
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await.expect("all is written"));
    }
    over.store(true, Ordering::Relaxed);
    for reader in reading {
        reader.await.expect("every event comes, in order");
    }
    let compactions = compacting.await.expect("history is compacted");
    assert!(compactions > 2, "history was compacted {compactions} times");

    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    assert!(p99 < P99_MAX, "of {} writes one in a hundred took {p99:?} or longer", times.len());
    let page = crate::start_stop::get(&server.address().to_string(), "metrics");
    let waiting = metric(&page, "bramble_watch_queued_bytes ") + metric(&page, "bramble_watch_unread_bytes ");
    assert!(waiting <= STALLED as u64 * STALLED_BYTES_MAX, "{waiting} bytes wait for those who stand still");

    let flushes = metric(&page, "bramble_flushes_total{cause=\"engine\"} ");
    assert!(flushes >= FLUSHES_MIN, "{flushes} flushes: the memtables are the profile's");
    for stream in standing {
        read_until_compacted(stream).await;
    }
    assert!(server.alive(), "{}", server.log());
    let (peak, anonymous) = (status(&server, "VmHWM:"), status(&server, "RssAnon:"));
    let taken = cgroup.as_ref().map(Cgroup::peak_bytes);
    println!(
        "{flushes} flushes of the engine, peak {} MiB resident, {} MiB of it anonymous at the end, {} MiB with the kernel's; {compactions} compactions, p99 {p99:?}",
        peak / MIB,
        anonymous / MIB,
        taken.unwrap_or(0) / MIB
    );
    assert!(peak <= CEILING_MIB * MIB, "{} MiB were resident", peak / MIB);
    if let Some(cgroup) = &cgroup {
        assert_eq!(cgroup.kills(), 0, "{}", server.log());
    }
}
