//! A node on a disk that loses power or fails: what was acknowledged is there afterwards, and what
//! could not be kept is never acknowledged.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bramble_server::node::error::{Error, NotNow};
use bramble_store::disk::sim::{Fault, Rng, SimDisk};
use bramble_store::engine::mem::Mem;

use super::*;

const WRITERS: usize = 6;

/// What survives of a machine between two starts, and what its clients know for certain.
struct Machine {
    disk: SimDisk,
    engine: Mem,
    acknowledged: Arc<[AtomicU64; WRITERS]>,
    revision: i64,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let acknowledged = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Machine { disk: SimDisk::new(seed), engine: Mem::new(), acknowledged, revision: 1 }
    }

    /// `None` when the power went while it started.
    async fn start(&self) -> Option<Node> {
        let builder = builder(Path::new("/data")).storage(Arc::new(self.disk.clone()), self.engine.clone());
        let node = builder.build().await.ok()?;
        let ready = within("getting ready or failing", node.ready(PATIENCE)).await;
        if ready.is_err() {
            node.shutdown().await;
            return None;
        }
        Some(node)
    }

    /// The power goes, and comes back.
    fn cut(&self) {
        if self.disk.powered() {
            self.disk.cut();
        } else {
            self.disk.power_on();
        }
        self.engine.crash();
    }

    /// How many writers lost something they were promised.
    async fn losses(&self, client: &Client) -> usize {
        let mut losses = 0;
        for writer in 0..WRITERS {
            let value = value_of(client, &format!("writer{writer}")).await;
            let there: u64 = value.map_or(0, |value| value.parse().expect("a number was written"));
            let promised = self.acknowledged[writer].load(Ordering::SeqCst);
            if there < promised {
                println!("writer {writer} was promised {promised}, there is {there}");
                losses += 1;
            }
        }
        losses
    }

    async fn check(&mut self, client: &Client) {
        assert_eq!(self.losses(client).await, 0);
        let revision = client.header().revision;
        assert!(revision >= self.revision, "revision {revision} after {}", self.revision);
        self.revision = revision;
    }

    /// Writes until the node fails.
    fn load(&self, client: &Client, round: u64) -> tokio::task::JoinSet<()> {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (client, acknowledged) = (client.clone(), self.acknowledged.clone());
            writers.spawn(async move {
                let key = format!("writer{writer}");
                for n in 1.. {
                    let value = round * 1_000_000 + n;
                    if client.put(&anyone(), put(&key, &value.to_string())).await.is_err() {
                        return;
                    }
                    acknowledged[writer].store(value, Ordering::SeqCst);
                    if writer == 0 && n % 20 == 0 {
                        // Compacts and flushes, so that the log is purged too.
                        let _ = client.compact(&anyone(), client.header().revision - 1, true).await;
                    }
                }
            });
        }
        writers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_power_cut_loses_what_was_acknowledged() {
    let mut failed_starts = 0;
    let mut written = 0;
    for seed in 0..12 {
        let mut machine = Machine::new(seed);
        let mut rng = Rng::new(seed);
        for round in 1..6 {
            if rng.chance(30) {
                machine.disk.cut_at_call(Some(machine.disk.calls() + 1 + rng.below(30)));
            }
            let Some(node) = machine.start().await else {
                println!("seed {seed} round {round}: the power went while it started");
                failed_starts += 1;
                machine.cut();
                continue;
            };
            machine.disk.cut_at_call(None);
            if !machine.disk.powered() {
                node.shutdown().await;
                machine.cut();
                continue;
            }
            machine.check(&node.client()).await;
            let mut writers = machine.load(&node.client(), round);
            machine.disk.cut_at_call(Some(machine.disk.calls() + 1 + rng.below(300)));
            println!("seed {seed} round {round}: {}", within("the failure", node.failed()).await);
            within("the writers' answers", async { while writers.join_next().await.is_some() {} }).await;
            let late = node.client().put(&anyone(), put("late", "v")).await.map(|_| ());
            assert_eq!(late, Err(Error::NotNow(NotNow::Stopped)));
            // Its threads must be gone before the engine loses what it had not flushed.
            node.shutdown().await;
            machine.cut();
        }
        let node = machine.start().await.expect("the power is on");
        machine.check(&node.client()).await;
        written += machine.revision;
        node.shutdown().await;
    }
    assert!(failed_starts > 0 && written > 1000, "{failed_starts} failed starts, {written} revisions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_test_notices_a_disk_that_only_says_synced() {
    let mut noticed = 0;
    for seed in 0..4 {
        let machine = Machine::new(seed);
        let node = machine.start().await.expect("the power is on");
        machine.disk.set_lying(true);
        let mut writers = machine.load(&node.client(), 1);
        machine.disk.cut_at_call(Some(machine.disk.calls() + 200));
        within("the failure", node.failed()).await;
        within("the writers' answers", async { while writers.join_next().await.is_some() {} }).await;
        node.shutdown().await;
        machine.disk.set_lying(false);
        machine.cut();
        match machine.start().await {
            // The log found it out.
            None => noticed += 1,
            Some(node) => {
                noticed += usize::from(machine.losses(&node.client()).await > 0);
                node.shutdown().await;
            }
        }
    }
    assert!(noticed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_write_ends_the_node_at_once_and_nothing_is_acknowledged_after_it() {
    let machine = Machine::new(7);
    let node = machine.start().await.expect("the power is on");
    let client = node.client();
    let mut stream = client.watch(&anyone()).await.expect("a stream");
    stream.create(WatchCreate::new(everything())).await.expect("asked");
    assert!(next(&mut stream).await.created);
    put_at(&client, "k", "before").await;
    machine.disk.fail_at_call(machine.disk.calls() + 1, Fault::Io);
    let begun = Instant::now();
    let failed = client.put(&anyone(), put("k", "after")).await;
    assert!(failed.is_err(), "{failed:?}");
    let why = node.failed().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{why} after {:?}", begun.elapsed());
    let read = client.range(&anyone(), get("k"), Default::default()).await.map(|_| ());
    assert_eq!(read, Err(Error::NotNow(NotNow::Stopped)));
    while let Some(response) = within("the end of the stream", stream.next()).await {
        let told = response.expect("a response");
        assert!(told.events.iter().all(|event| event.kv.value == "before"), "{told:?}");
    }
    drop(node);
}
