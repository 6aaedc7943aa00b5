//! Alert rules and dashboards read what moves: one workload moves every metric that is read by those
//! that are published for etcd, and by our own in `server/observability`.
use std::collections::BTreeSet;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::tools;
use tokio::task::JoinHandle;

use crate::table::OF_PEERS;
use crate::text::Scraped;
use crate::world::{World, noise};

const QUOTA_BYTES: f64 = 123_456_789.0;

/// What the workload does to a metric.
enum Moves {
    /// Some scrape after the first says more than the first.
    Rises,
    /// The last scrape says this; before the member ran, nothing did.
    Is(f64),
    /// A size, or what the kernel counts on some file systems only: it is there.
    Told,
}
use Moves::{Is, Rises, Told};

/// Read by the rules and the dashboard that are published for etcd.
const BY_ETCDS: &[(&str, Moves)] = &[
    ("etcd_server_has_leader", Is(1.0)),
    ("etcd_server_leader_changes_seen_total", Is(1.0)),
    ("etcd_server_proposals_committed_total", Rises),
    ("etcd_server_proposals_applied_total", Rises),
    ("etcd_server_proposals_pending", Rises),
    ("etcd_server_proposals_failed_total", Rises),
    ("etcd_server_quota_backend_bytes", Is(QUOTA_BYTES)),
    ("etcd_disk_wal_fsync_duration_seconds_bucket", Rises),
    ("etcd_disk_backend_commit_duration_seconds_bucket", Rises),
    ("etcd_mvcc_db_total_size_in_bytes", Rises),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", Rises),
    ("etcd_network_client_grpc_sent_bytes_total", Rises),
    ("etcd_network_client_grpc_received_bytes_total", Rises),
    ("process_resident_memory_bytes", Rises),
    ("grpc_server_started_total", Rises),
    ("grpc_server_handled_total", Rises),
    ("grpc_server_handling_seconds_bucket", Rises),
];

/// Read by our own as well.
const BY_OURS: &[(&str, Moves)] = &[
    ("etcd_debugging_mvcc_watcher_total", Rises),
    ("etcd_debugging_mvcc_slow_watcher_total", Rises),
    ("bramble_user_written_bytes_total", Rises),
    ("bramble_disk_written_bytes_total", Rises),
    ("bramble_process_written_bytes_total", Told),
    ("bramble_flushes_total", Rises),
    ("bramble_flush_duration_seconds_bucket", Rises),
    ("bramble_log_used_bytes", Rises),
    ("bramble_log_ring_bytes", Told),
    ("bramble_unflushed_bytes", Rises),
    ("bramble_budget_used", Rises),
    ("bramble_budget_limit", Told),
];

/// Told where the device can be seen.
const OF_THE_DEVICE: &str = "bramble_device_written_bytes_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_workload_moves_every_metric_that_rules_and_dashboards_read() {
    let quota = format!("--quota-backend-bytes={QUOTA_BYTES}");
    let world = World::start(&[&quota, "--metrics=extensive"]).await;
    let mut scrapes = vec![world.scrape()];
    work(&world, &mut scrapes).await;
    for (name, moves) in BY_ETCDS.iter().chain(BY_OURS) {
        let told: Vec<f64> = scrapes.iter().map(|scraped| scraped.value(name, &[])).collect();
        let (first, last) = (told[0], told[told.len() - 1]);
        match moves {
            Rises => assert!(told.iter().any(|value| *value > first), "{name} never rises: {told:?}"),
            Is(wanted) => assert_eq!(last, *wanted, "{name}"),
            Told => {}
        }
    }
}

/// A bit of everything; a scrape after each step.
async fn work(world: &World, scrapes: &mut Vec<Scraped>) {
    let (ask, answers) = world.watch().await;
    scrapes.push(world.scrape());
    for n in 0..60 {
        world.put("k", noise(200_000, n)).await;
    }
    let slow = |now: &Scraped| now.value("etcd_debugging_mvcc_slow_watcher_total", &[]) > 0.0;
    scrapes.push(world.until("the watcher is behind", slow).await);
    drop((ask, answers));
    let refused = world.wire.kv().put(pb::PutRequest::default()).await.expect_err("no key");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let before = world.scrape();
    let putters = world.putters(64);
    let pending = |now: &Scraped| now.value("etcd_server_proposals_pending", &[]) > 0.0;
    scrapes.push(world.until("proposals wait", pending).await);
    putters.iter().for_each(JoinHandle::abort);
    let failed = |now: &Scraped| now.value("etcd_server_proposals_failed_total", &[]);
    scrapes.push(world.until("proposals were given up", |now| failed(now) > failed(&before)).await);
}

#[test]
fn whatever_our_rules_and_our_dashboard_read_is_known_here() {
    let folder = tools::workspace().join("server").join("observability");
    let texts = ["alerts.yml", "dashboard.json"].map(|file| std::fs::read_to_string(folder.join(file)));
    let read: BTreeSet<String> = texts.into_iter().flat_map(|text| names(&text.expect("a file"))).collect();
    let moved = BY_ETCDS.iter().chain(BY_OURS).map(|(name, _)| *name);
    let base = |name: &str| name.trim_end_matches("_bucket").to_owned();
    let known: BTreeSet<String> = moved.chain([OF_THE_DEVICE]).map(str::to_owned).collect();
    for name in &read {
        assert!(known.contains(name) || OF_PEERS.contains(&base(name).as_str()), "{name} is not known");
    }
    let unread: Vec<_> = known.iter().filter(|name| !read.contains(*name)).collect();
    assert!(unread.is_empty(), "{unread:?}: nobody reads them");
}

/// Names of metrics in a text of queries.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metric = |word: &&str| {
        ["etcd_", "bramble_", "process_", "grpc_server_"].iter().any(|start| word.starts_with(start))
    };
    words.filter(metric).map(str::to_owned).collect()
}
