//! An error at each of the first disk calls of a whole node, in six ways: the node ends at once and starts
//! again with everything that was acknowledged, or nobody notices.
//!
//! `BRAMBLE_FAULTS_STRIDE=1` tries each of the calls instead of every 131st.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bramble_server::node::error::{Error, NotNow};
use bramble_store::disk::sim::{Fault, SimDisk};
use bramble_store::engine::mem::Mem;

use super::*;

const KINDS: [Fault; 6] =
    [Fault::Io, Fault::Full, Fault::Short, Fault::Interrupted, Fault::ReadOnly, Fault::TooManyFiles];
const CALLS: u64 = 2_000;
const STRIDE: usize = 131;
/// Runs at once: most of a run is waiting.
const LANES: usize = 4;
/// How long a node may go on after a call that failed.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Between two steps of filling the log ahead.
const FILL_PAUSE: Duration = Duration::from_millis(20);

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It did not start, and said why.
    Refused,
    /// It ended by itself.
    Ended,
    /// Nobody noticed.
    Unnoticed,
}

/// A node on a disk of which one call fails, and who writes to it.
struct Run {
    disk: SimDisk,
    engine: Mem,
    call: u64,
    fault: Fault,
    acknowledged: u64,
    revision: i64,
}

impl Run {
    fn new(call: u64, fault: Fault) -> Run {
        let disk = SimDisk::new(call);
        disk.fail_at_call(call, fault);
        Run { disk, engine: Mem::new(), call, fault, acknowledged: 0, revision: 1 }
    }

    async fn start(&self) -> Result<Node, String> {
        let storage = (Arc::new(self.disk.clone()), self.engine.clone());
        let node = builder(Path::new("/data")).storage(storage.0, storage.1).build().await;
        let node = node.map_err(|why| why.to_string())?;
        match within("getting ready or failing", node.ready(PATIENCE)).await {
            Ok(()) => Ok(node),
            Err(_) => {
                let why = within("the reason", node.failed()).await;
                node.shutdown().await;
                Err(why)
            }
        }
    }

    async fn go(mut self) -> Outcome {
        let outcome = match self.start().await {
            Err(why) => {
                assert!(why.contains('/'), "no path: {why}");
                Outcome::Refused
            }
            Ok(node) => self.write(node).await,
        };
        let expected = match self.fault {
            Fault::Io | Fault::ReadOnly => outcome != Outcome::Unnoticed,
            Fault::Short | Fault::Interrupted => outcome == Outcome::Unnoticed,
            // What reserves space or files may fail; what was reserved may not.
            Fault::Full | Fault::TooManyFiles => true,
        };
        assert!(expected, "{:?} at call {}: {outcome:?}", self.fault, self.call);
        self.comes_back().await;
        outcome
    }

    /// Writes until the call has failed and sixty more were made, or the node ends.
    async fn write(&mut self, node: Node) -> Outcome {
        let client = node.client();
        while self.disk.calls() < self.call + 60 {
            let n = self.acknowledged + 1;
            if n < 5 {
                // The log is filled ahead when nobody writes.
                tokio::time::sleep(FILL_PAUSE * 2).await;
            }
            let begun = Instant::now();
            match client.put(&anyone(), put("k", &n.to_string())).await {
                Ok(answer) => (self.acknowledged, self.revision) = (n, answer.header.revision),
                Err(_) => {
                    within("the failure", node.failed()).await;
                    assert!(begun.elapsed() < END_WITHIN, "{:?} after a failed call", begun.elapsed());
                    let late = client.put(&anyone(), put("k", "late")).await.map(|_| ());
                    assert_eq!(late, Err(Error::NotNow(NotNow::Stopped)), "acknowledged after a failure");
                    node.shutdown().await;
                    return Outcome::Ended;
                }
            }
            if n.is_multiple_of(150) {
                // Compacts and flushes, so that the log is purged too; it may fail with the node.
                let _ = client.compact(&anyone(), self.revision, true).await;
            }
        }
        node.shutdown().await;
        Outcome::Unnoticed
    }

    /// Started again on a disk that works, everything is there that was acknowledged.
    async fn comes_back(&self) {
        self.disk.kill();
        self.engine.crash();
        let node =
            self.start().await.unwrap_or_else(|why| panic!("{:?} at {}: {why}", self.fault, self.call));
        let client = node.client();
        let value = value_of(&client, "k").await.map_or(0, |value| value.parse().expect("a number"));
        let known = self.acknowledged..=self.acknowledged + 1;
        assert!(known.contains(&value), "{value} after {} was acknowledged", self.acknowledged);
        assert!(client.header().revision >= self.revision);
        assert!(put_at(&client, "k", "0").await > self.revision);
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_may_fail_in_six_ways() {
    let stride =
        std::env::var("BRAMBLE_FAULTS_STRIDE").map_or(STRIDE, |text| text.parse().expect("a number"));
    let runs = KINDS.into_iter().flat_map(|fault| (1..=CALLS).step_by(stride).map(move |call| (call, fault)));
    // The first calls make the directory and fill the log: all of them.
    let first = KINDS.into_iter().flat_map(|fault| (2..=40).map(move |call| (call, fault)));
    let mut runs = first.filter(|_| stride > 1).chain(runs);
    let mut lanes = tokio::task::JoinSet::new();
    let mut outcomes: BTreeMap<(String, Outcome), usize> = BTreeMap::new();
    loop {
        while lanes.len() < LANES
            && let Some((call, fault)) = runs.next()
        {
            lanes.spawn(async move { (fault, Run::new(call, fault).go().await) });
        }
        let Some(done) = lanes.join_next().await else { break };
        let (fault, outcome) = done.expect("a run that went well");
        *outcomes.entry((format!("{fault:?}"), outcome)).or_default() += 1;
    }
    println!("{outcomes:#?}");
    let count =
        |fault: &str, outcome| outcomes.get(&(fault.to_owned(), outcome)).copied().unwrap_or_default();
    assert!(count("Io", Outcome::Ended) >= 5 && count("Io", Outcome::Refused) >= 5, "{outcomes:?}");
    // Zeros ahead of the log are space that is reserved: without it nothing is lost yet.
    assert!(count("Full", Outcome::Unnoticed) > 0 && count("Full", Outcome::Ended) > 0, "{outcomes:?}");
}
