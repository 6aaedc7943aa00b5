//! A member under work, and what moved at it between two scrapes.
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::text::Scraped;

const WITHIN: Duration = Duration::from_secs(20);

/// A member, and a connection to it.
pub struct World {
    pub server: Server,
    pub wire: Wire,
}

impl World {
    pub async fn start(arguments: &[&str]) -> World {
        let setup = arguments.iter().fold(Setup::bramble(), |setup, argument| setup.arg(*argument));
        let server = setup.start();
        let wire = Wire::connect(&server.url).await;
        World { server, wire }
    }

    pub fn scrape(&self) -> Scraped {
        Scraped::of(self.server.address())
    }

    /// Scrapes until `holds`.
    pub async fn until(&self, what: &str, holds: impl Fn(&Scraped) -> bool) -> Scraped {
        let deadline = Instant::now() + WITHIN;
        loop {
            let scraped = self.scrape();
            if holds(&scraped) {
                return scraped;
            }
            assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn put(&self, key: &str, value: Vec<u8>) {
        let put = pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
        self.wire.kv().put(put).await.expect("answered");
    }

    /// Clients that put and put until they are aborted.
    pub fn putters(&self, clients: u64) -> Vec<JoinHandle<()>> {
        let putter = |n| {
            let wire = self.wire.clone();
            let value = bytes::Bytes::from(noise(30_000, n));
            tokio::spawn(async move {
                loop {
                    let key = format!("putter {n}").into();
                    let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
                    wire.kv().put(put).await.expect("answered");
                }
            })
        };
        (0..clients).map(putter).collect()
    }

    /// A stream with one watcher of all keys; the sender keeps it open.
    pub async fn watch(&self) -> (mpsc::Sender<pb::WatchRequest>, tonic::Streaming<pb::WatchResponse>) {
        let (ask, asked) = mpsc::channel(4);
        let create =
            pb::WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        ask.send(request).await.expect("there is room");
        let answers = self.wire.watch().watch(ReceiverStream::new(asked)).await.expect("a stream");
        let mut answers = answers.into_inner();
        assert!(answers.message().await.expect("a response").expect("an answer").created);
        (ask, answers)
    }
}

/// By how much a sample grew.
pub fn grown(before: &Scraped, after: &Scraped, name: &str, labels: &[(&str, &str)]) -> f64 {
    after.value(name, labels) - before.get(name, labels).unwrap_or(0.0)
}

/// Asserts by how much samples without labels grew, exactly.
pub fn grew(before: &Scraped, after: &Scraped, wanted: &[(&str, f64)]) {
    for (name, by) in wanted {
        assert_eq!(grown(before, after, name, &[]), *by, "{name}");
    }
}

/// Asserts that samples without labels grew.
pub fn grew_somehow(before: &Scraped, after: &Scraped, names: &[&str]) {
    for name in names {
        assert!(grown(before, after, name, &[]) > 0.0, "{name} did not grow");
    }
}

/// Bytes that do not compress.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut chance = bramble_tests::chance::Chance::from_seed(seed);
    (0..bytes).map(|_| chance.below(256) as u8).collect()
}
