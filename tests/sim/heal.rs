//! After the chaos: nothing goes wrong any more, and the member has to serve, tell its watchers, end its
//! leases in time, count rightly, and at last leave nothing behind.
use std::time::Duration;

use bramble_server::node::Node;
use bramble_server::node::budget::KINDS;
use bramble_server::node::error::{Error, NotNow, Refusal};
use bramble_store::types::{LeaseId, PutRequest, RangeRequest};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::{ask, everything};
use crate::machine::Life;
use crate::record::{Op, Outcome, Reply};

use crate::world::{World, until};

/// A disk call that stalls when the chaos ends has returned after this.
const CALM: Duration = Duration::from_secs(11);
/// A write is answered within this.
const SERVED: Duration = Duration::from_secs(5);
/// Writes are back within this where there is room again.
const BACK: Duration = Duration::from_secs(12);
/// Watchers have been told of everything within this: one of them may be asleep for 15 s.
const TOLD: Duration = Duration::from_secs(30);
/// A lease ends at most so much after its time: half a second between two looks, and the revoke.
const LATE: Duration = Duration::from_secs(1);
/// An idle log is sealed within this.
const IDLE: Duration = Duration::from_secs(90);
/// So long it is watched after that, and read from now and then.
const LEFT_ALONE: Duration = Duration::from_secs(300);
const LOOKED_AT_EVERY: Duration = Duration::from_secs(20);
/// Who asks here.
const HEALER: usize = 99;

/// Heals the world and sees that it works. Clients and watchers are gone afterwards.
pub async fn heal(world: &mut World, life: Life, mut people: JoinSet<()>, watchers: usize) -> Life {
    world.weather.end(&mut world.machines[0], &world.desk.eye);
    world.desk.door.calms();
    let life = world.run(life, CALM, true).await;
    serves(world, &life).await;
    watchers_know(world, &life, watchers).await;
    leases_end(world, &life).await;
    world.desk.door.close();
    while let Some(ended) = people.join_next().await {
        if let Err(panicked) = ended {
            world.desk.eye.violated(format_args!("a client panicked: {panicked}"));
        }
    }
    counts_rightly(world, &life).await;
    seals(world, &life).await;
    life
}

/// Asks, and is answered in time.
async fn answered(world: &World, life: &Life, op: Op) -> Reply {
    let begun = world.desk.eye.now();
    loop {
        match ask(&world.desk, HEALER, &life.node.client(), op.clone(), SERVED).await {
            Outcome::Answered(reply, _) => return reply,
            // The ring is small: what fills it up is soon written away.
            Outcome::Refused(Error::NotNow(NotNow::TooManyRequests))
                if world.desk.eye.now() < begun + SERVED =>
            {
                sleep(Duration::from_millis(100)).await;
            }
            // A member that has just begun looks for room after ten seconds.
            Outcome::Refused(Error::Refused(Refusal::NoSpace)) if world.desk.eye.now() < begun + BACK => {
                sleep(Duration::from_millis(100)).await;
            }
            other => world.desk.eye.violated(format_args!("healed, {op:?} is answered {other:?}")),
        }
    }
}

fn put(key: String, lease: LeaseId) -> Op {
    Op::Put(PutRequest { key: key.into(), value: "healed".into(), lease, ..PutRequest::default() })
}

async fn serves(world: &World, life: &Life) {
    answered(world, life, put("healed".into(), LeaseId::NONE)).await;
    answered(world, life, Op::Range(RangeRequest::new(everything()), Default::default())).await;
}

/// Every key is written once more, and every watcher hears of it.
async fn watchers_know(world: &World, life: &Life, watchers: usize) {
    let before = world.desk.eye.revision();
    for key in 0..12 {
        answered(world, life, put(format!("k{key:02}"), LeaseId::NONE)).await;
    }
    let told = || {
        let history = world.desk.recorder.history();
        (0..watchers).all(|number| history.positions.get(&number).is_some_and(|next| *next > before))
    };
    until(&world.desk.eye, "every watcher is told", TOLD, told).await;
}

/// A lease ends in time, and its key with it.
async fn leases_end(world: &World, life: &Life) {
    let (eye, id, ttl) = (&world.desk.eye, LeaseId(77), Duration::from_secs(2));
    answered(world, life, Op::Grant { id, ttl_s: 2 }).await;
    answered(world, life, put("leased".into(), id)).await;
    let gone = || {
        eye.with_truth(|truth| {
            let changes = truth.moments.values().rev().flat_map(|moment| &moment.changes);
            let last = changes.into_iter().find(|change| change.kv.key == "leased");
            last.is_some_and(|change| change.tombstone)
        })
    };
    // Its clock may be a twentieth slower.
    until(eye, "the lease ends in time", ttl + ttl / 10 + LATE, gone).await;
}

/// Nobody is there: what is counted for clients is nothing, and what is told of the state is right.
async fn counts_rightly(world: &World, life: &Life) {
    let (eye, node) = (&world.desk.eye, &life.node);
    let nothing = || KINDS.iter().all(|kind| node.usage(*kind).used == 0);
    until(eye, "clients' memory is given back", Duration::from_secs(5), nothing).await;
    sleep(Duration::from_secs(10)).await;
    let Reply::Range(all) =
        answered(world, life, Op::Range(RangeRequest::new(everything()), Default::default())).await
    else {
        return;
    };
    let told = node.metrics_text();
    let right = [
        ("etcd_debugging_mvcc_keys_total", all.count),
        ("etcd_debugging_mvcc_current_revision", eye.revision()),
        ("etcd_debugging_mvcc_watcher_total", 0),
        ("etcd_debugging_mvcc_watch_stream_total", 0),
        ("etcd_debugging_mvcc_pending_events_total", 0),
        ("etcd_server_proposals_pending", 0),
        ("bramble_proposals_in_flight_bytes", 0),
    ];
    for (name, value) in right {
        let gauge = gauge(&told, name);
        if gauge != Some(value) {
            eye.violated(format_args!("{name} is {gauge:?}, and should be {value}"));
        }
    }
    if gauge(&told, "bramble_flushes_total{cause=\"engine\"}") > Some(0) {
        eye.hit("engine flushed");
    }
    used(world, node);
}

/// What the log came to.
fn used(world: &World, node: &Node) {
    let used = node.log_use();
    if used.entries > used.flushes {
        world.desk.eye.hit("several entries in one flush");
    }
}

/// The value of a gauge in what `/metrics` says.
pub fn gauge(told: &str, name: &str) -> Option<i64> {
    let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).map(|value| value as i64)
}

/// Left alone, the log says once that its last batch is on the disk; after that nothing is written, whatever
/// is read and however often somebody asks how the member is.
async fn seals(world: &World, life: &Life) {
    answered(world, life, put("last".into(), LeaseId::NONE)).await;
    sleep(Duration::from_secs(10)).await;
    let counts = || world.machines[0].disk.counts();
    let before = counts();
    sleep(IDLE).await;
    if counts().syncs == before.syncs {
        world.desk.eye.violated(format_args!("an idle log is not sealed after {IDLE:?}"));
    }
    world.desk.eye.hit("log sealed when idle");
    let sealed = counts();
    for _ in 0..LEFT_ALONE.as_secs() / LOOKED_AT_EVERY.as_secs() {
        sleep(LOOKED_AT_EVERY).await;
        answered(world, life, Op::Range(RangeRequest::new(everything()), Default::default())).await;
        let _ = life.node.metrics_text();
    }
    if counts() != sealed {
        let now = counts();
        world.desk.eye.violated(format_args!("an idle member writes: {sealed:?}, then {now:?}"));
    }
}

/// The member has stopped: no task of its is there any more.
pub async fn nothing_is_left(world: &World) {
    let tasks = || Handle::current().metrics().num_alive_tasks() == 0;
    until(&world.desk.eye, "all tasks have ended", Duration::from_secs(30), tasks).await;
}
