//! A load generator for any v3 endpoint.
//!
//! Clients work in a *closed loop* (each sends the next request when the last is answered) or in an *open loop*
//! (requests have their times, and a late one counts from the time it had: an endpoint that stands still for a
//! second is charged for all that waited). Keys look like an API server's, values have a stated part of noise.
mod tally;
mod work;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::transport::Channel;

pub use tally::{Summary, Tally, Times};
pub use work::{Data, Work};

use work::{Hand, watch};

/// Watchers are made before the first request; so long they may take.
const SETTLE: Duration = Duration::from_millis(500);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests.
    pub work: Work,
    /// The keys and values.
    pub data: Data,
    /// How many clients there are, at least one.
    pub clients: u32,
    /// Requests a second of all clients together; `None`: a closed loop.
    pub rate: Option<f64>,
    /// How long is measured.
    pub measured: Duration,
    /// How long is worked before, without being measured.
    pub warm_up: Duration,
    /// What chance begins with.
    pub seed: u64,
}

/// When is what.
#[derive(Clone, Copy, Debug)]
struct Course {
    begin: Instant,
    measured_from: Instant,
    end: Instant,
    /// Between two requests of one client; zero: a closed loop.
    every: Duration,
}

/// Puts every key once, by 16 clients.
///
/// # Errors
/// The first put that fails.
pub async fn fill(channels: &[Channel], data: &Data, seed: u64) -> Result<(), Status> {
    let mut loaders = JoinSet::new();
    for loader in 0..16 {
        let mut hand =
            Hand::new(channels[loader as usize % channels.len()].clone(), data.clone(), seed + loader);
        let keys = data.keys;
        loaders.spawn(async move {
            for key in (loader..keys).step_by(16) {
                hand.put(key).await?;
            }
            Ok::<_, Status>(())
        });
    }
    while let Some(done) = loaders.join_next().await {
        done.map_err(|panicked| Status::internal(panicked.to_string()))??;
    }
    Ok(())
}

/// Does it. Requests that fail are counted by their code.
///
/// # Errors
/// What makes the work impossible before it begins: a watch that is refused.
pub async fn run(channels: &[Channel], plan: &Plan) -> Result<Summary, Status> {
    let begin = Instant::now() + SETTLE;
    let measured_from = begin + plan.warm_up;
    let every =
        plan.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(plan.clients) / rate));
    let times = Course { begin, measured_from, end: measured_from + plan.measured, every };
    let (stop, stopped) = tokio::sync::watch::channel(());
    let mut watchers = JoinSet::new();
    if let Work::Watch { watchers: count } = plan.work {
        for watcher in 0..count {
            let channel = channels[watcher as usize % channels.len()].clone();
            watchers.spawn(watch(channel, &plan.data, times, stopped.clone()).await?);
        }
    }
    let mut clients = JoinSet::new();
    for client in 0..plan.clients {
        let channel = channels[client as usize % channels.len()].clone();
        let hand = Hand::new(channel, plan.data.clone(), plan.seed + u64::from(client));
        clients.spawn(work_through(hand, plan.work, times, every * client / plan.clients));
    }
    let asked = gather(clients).await?;
    // What is under way still comes; what a watcher is told after the end is not counted.
    drop(stop);
    let told = gather(watchers).await?;
    Ok(Summary::of(&asked, &told, plan.measured))
}

async fn gather(mut workers: JoinSet<Tally>) -> Result<Tally, Status> {
    let mut all = Tally::default();
    while let Some(done) = workers.join_next().await {
        all.add(&done.map_err(|panicked| Status::internal(panicked.to_string()))?);
    }
    Ok(all)
}

/// One client, until the end.
async fn work_through(mut hand: Hand, work: Work, times: Course, offset: Duration) -> Tally {
    let mut tally = Tally::default();
    let mut due = times.begin + offset;
    sleep_until(due).await;
    while due < times.end {
        let asked = if times.every.is_zero() { Instant::now() } else { due };
        let done = hand.work(work).await;
        let answered = Instant::now();
        if asked >= times.measured_from && asked < times.end {
            match done {
                Ok(bytes) => tally.answered(answered - asked, bytes),
                Err(status) => tally.failed(status.code()),
            }
        }
        due = if times.every.is_zero() { answered } else { due + times.every };
        sleep_until(due).await;
    }
    tally
}
