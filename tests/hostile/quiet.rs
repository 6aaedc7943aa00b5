//! The client that behaves: a put and a get every few milliseconds, and now and then as a newcomer.
//!
//! Every request has its time, and how long it took counts from then: one that had to wait for those
//! before it is slow, too, so that no pause of the server hides behind a single slow request.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::wire::Wire;
use tokio::time::timeout;

/// Between the times of two requests.
const EVERY: Duration = Duration::from_millis(2);
/// So many requests, and the client connects anew: newcomers are others, too.
const NEW_EVERY: usize = 100;
/// A request that takes so long has failed.
const WITHIN: Duration = Duration::from_secs(10);

/// What it met.
#[derive(Debug, Default)]
pub struct Times {
    took: Vec<Duration>,
    /// What was refused or lost; must be empty.
    pub failed: Vec<String>,
}

impl Times {
    /// The time within which all but one in a hundred were answered.
    pub fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or(Duration::MAX)
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.took.len()
    }
}

/// The client at work, in a thread of its own.
pub struct Quiet {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Times>,
}

impl Quiet {
    /// Begins.
    pub fn begin(server: SocketAddr) -> Quiet {
        let enough = Arc::new(AtomicBool::new(false));
        let until = enough.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work(server, &until))
        });
        Quiet { enough, thread }
    }

    /// Ends, and tells what it met.
    pub fn end(self) -> Times {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("the quiet client does not panic")
    }
}

async fn work(server: SocketAddr, enough: &AtomicBool) -> Times {
    let url = format!("http://{server}");
    let (mut times, mut wire) = (Times::default(), Wire::connect(&url).await);
    let mut due = Instant::now();
    for turn in 0.. {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        due += EVERY;
        tokio::time::sleep_until(due.into()).await;
        let one = async {
            if turn % NEW_EVERY == NEW_EVERY - 1 {
                wire = Wire::connect(&url).await;
            }
            ask(&wire, turn).await
        };
        match timeout(WITHIN, one).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => times.failed.push(status.to_string()),
            Err(_) => times.failed.push(format!("request {turn} had no answer within {WITHIN:?}")),
        }
        times.took.push(due.elapsed());
    }
    times
}

/// A put, or a get of what was put.
async fn ask(wire: &Wire, turn: usize) -> Result<(), tonic::Status> {
    let key = format!("quiet/{}", turn / 2 % 100);
    let value = turn / 2;
    if turn.is_multiple_of(2) {
        let put = pb::PutRequest { key: key.into(), value: value.to_string().into(), ..Default::default() };
        return wire.kv().put(put).await.map(|_| ());
    }
    let get = pb::RangeRequest { key: key.into(), ..Default::default() };
    let found = wire.kv().range(get).await?.into_inner();
    let found = found.kvs.first().map(|kv| kv.value.to_vec()).unwrap_or_default();
    match found == value.to_string().into_bytes() {
        true => Ok(()),
        false => Err(tonic::Status::internal(format!("{value} was put, {found:?} is there"))),
    }
}
