//! etcd's metrics, written down by hand from its documentation: type, labels, buckets. What a fresh
//! member tells is compared with it, name by name.
use std::collections::BTreeSet;

use bramble_tests::process::Setup;

use crate::text::Scraped;

/// Buckets: first bound, factor, number.
type Exponential = (f64, f64, i32);

const MS: Exponential = (0.001, 2.0, 14);
const FINE: Exponential = (0.0001, 2.0, 20);

/// Counters and gauges: name, type, labels.
const SIMPLE: &[(&str, &str, &str)] = &[
    ("etcd_server_has_leader", "gauge", ""),
    ("etcd_server_is_leader", "gauge", ""),
    ("etcd_server_is_learner", "gauge", ""),
    ("etcd_server_leader_changes_seen_total", "counter", ""),
    ("etcd_server_proposals_committed_total", "gauge", ""),
    ("etcd_server_proposals_applied_total", "gauge", ""),
    ("etcd_server_proposals_pending", "gauge", ""),
    ("etcd_server_proposals_failed_total", "counter", ""),
    ("etcd_server_slow_apply_total", "counter", ""),
    ("etcd_server_slow_read_indexes_total", "counter", ""),
    ("etcd_server_read_indexes_failed_total", "counter", ""),
    ("etcd_server_heartbeat_send_failures_total", "counter", ""),
    ("etcd_server_snapshot_apply_in_progress_total", "gauge", ""),
    ("etcd_server_quota_backend_bytes", "gauge", ""),
    ("etcd_server_id", "gauge", "server_id"),
    ("etcd_server_version", "gauge", "server_version"),
    ("etcd_server_go_version", "gauge", "server_go_version"),
    ("etcd_cluster_version", "gauge", "cluster_version"),
    ("etcd_server_client_requests_total", "counter", "client_api_version type"),
    ("etcd_server_feature_enabled", "gauge", "name stage"),
    ("etcd_server_health_success", "counter", ""),
    ("etcd_server_health_failures", "counter", ""),
    ("etcd_server_healthcheck", "gauge", "name type"),
    ("etcd_server_healthchecks_total", "counter", "name status type"),
    ("etcd_server_learner_promote_successes", "counter", ""),
    ("etcd_disk_wal_write_bytes_total", "gauge", ""),
    ("etcd_disk_defrag_inflight", "gauge", ""),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge", ""),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", ""),
    ("etcd_mvcc_db_open_read_transactions", "gauge", ""),
    ("etcd_mvcc_range_total", "counter", ""),
    ("etcd_mvcc_put_total", "counter", ""),
    ("etcd_mvcc_delete_total", "counter", ""),
    ("etcd_mvcc_txn_total", "counter", ""),
    ("etcd_network_client_grpc_sent_bytes_total", "counter", ""),
    ("etcd_network_client_grpc_received_bytes_total", "counter", ""),
    ("etcd_network_known_peers", "gauge", "Local Remote"),
    ("etcd_debugging_mvcc_keys_total", "gauge", ""),
    ("etcd_debugging_mvcc_watcher_total", "gauge", ""),
    ("etcd_debugging_mvcc_watch_stream_total", "gauge", ""),
    ("etcd_debugging_mvcc_slow_watcher_total", "gauge", ""),
    ("etcd_debugging_mvcc_pending_events_total", "gauge", ""),
    ("etcd_debugging_mvcc_current_revision", "gauge", ""),
    ("etcd_debugging_mvcc_compact_revision", "gauge", ""),
    ("etcd_debugging_mvcc_total_put_size_in_bytes", "gauge", ""),
    ("etcd_debugging_mvcc_db_compaction_last", "gauge", ""),
    ("etcd_debugging_mvcc_events_total", "counter", ""),
    ("etcd_debugging_mvcc_db_compaction_keys_total", "counter", ""),
    ("etcd_debugging_lease_granted_total", "counter", ""),
    ("etcd_debugging_lease_revoked_total", "counter", ""),
    ("etcd_debugging_lease_renewed_total", "counter", ""),
    ("etcd_debugging_server_lease_expired_total", "counter", ""),
    ("etcd_debugging_server_alarms", "gauge", "alarm_type server_id"),
    ("etcd_debugging_auth_revision", "gauge", ""),
    ("os_fd_used", "gauge", ""),
    ("os_fd_limit", "gauge", ""),
    ("process_cpu_seconds_total", "counter", ""),
    ("process_open_fds", "gauge", ""),
    ("process_max_fds", "gauge", ""),
    ("process_resident_memory_bytes", "gauge", ""),
    ("process_virtual_memory_bytes", "gauge", ""),
    ("process_start_time_seconds", "gauge", ""),
    ("grpc_server_started_total", "counter", "grpc_method grpc_service grpc_type"),
    ("grpc_server_msg_received_total", "counter", "grpc_method grpc_service grpc_type"),
    ("grpc_server_msg_sent_total", "counter", "grpc_method grpc_service grpc_type"),
    ("grpc_server_handled_total", "counter", "grpc_code grpc_method grpc_service grpc_type"),
];

/// Histograms: name, labels, buckets.
const HISTOGRAMS: &[(&str, &str, Exponential)] = &[
    ("etcd_server_apply_duration_seconds", "op success version", FINE),
    ("etcd_server_range_duration_seconds", "success", FINE),
    ("etcd_server_request_duration_seconds", "success type", MS),
    ("etcd_disk_wal_fsync_duration_seconds", "", MS),
    ("etcd_disk_wal_write_duration_seconds", "", MS),
    ("etcd_disk_backend_commit_duration_seconds", "", MS),
    ("etcd_disk_backend_defrag_duration_seconds", "", (0.1, 2.0, 13)),
    ("etcd_disk_backend_snapshot_duration_seconds", "", (0.01, 2.0, 17)),
    ("etcd_mvcc_hash_duration_seconds", "", (0.01, 2.0, 15)),
    ("etcd_mvcc_hash_rev_duration_seconds", "", (0.01, 2.0, 15)),
    ("etcd_snap_fsync_duration_seconds", "", MS),
    ("etcd_snap_db_fsync_duration_seconds", "", MS),
    ("etcd_snap_db_save_total_duration_seconds", "", (0.1, 2.0, 10)),
    ("etcd_debugging_lease_ttl_total", "", (1.0, 2.0, 24)),
    ("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "", (0.5, 2.0, 14)),
    ("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "", (1.0, 2.0, 13)),
    ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "", (100.0, 2.0, 14)),
];

/// What only other members bring.
pub const OF_PEERS: &[&str] = &[
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_network_peer_round_trip_time_seconds",
];

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_has_etcds_type_labels_and_buckets() {
    let server = Setup::bramble().arg("--metrics=extensive").start();
    let wire = bramble_tests::wire::Wire::connect(&server.url).await;
    let put = bramble_proto::etcdserverpb::PutRequest { key: "k".into(), ..Default::default() };
    wire.kv().put(put).await.expect("answered");
    crate::text::get(server.address(), "/readyz");
    let scraped = Scraped::of(server.address());
    let family = |name: &str| {
        let family = scraped.families.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(family.help.len() > 3, "{name} has no help");
        family
    };
    for (name, kind, labels) in SIMPLE {
        assert_eq!((family(name).kind.as_str(), family(name).labels()), (*kind, words(labels)), "{name}");
    }
    for (name, labels, (first, factor, count)) in HISTOGRAMS {
        let family = family(name);
        assert_eq!((family.kind.as_str(), family.labels()), ("histogram", words(labels)), "{name}");
        let wanted = (0..*count).map(|n| first * factor.powi(n)).chain([f64::INFINITY]);
        for (wanted, told) in wanted.zip(family.bounds()) {
            assert!(told == wanted || (told / wanted - 1.0).abs() < 1e-9, "{name}: {told} for {wanted}");
        }
        assert_eq!(family.bounds().len(), *count as usize + 1, "{name}");
    }
    let handling = family("grpc_server_handling_seconds");
    let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, f64::INFINITY];
    assert_eq!((handling.kind.as_str(), handling.bounds()), ("histogram", bounds.to_vec()));
    assert_eq!(handling.labels(), words("grpc_method grpc_service grpc_type"));
    for name in OF_PEERS {
        assert!(!scraped.families.contains_key(*name), "{name} without a peer");
    }
    every_method_is_there_from_the_start(&scraped);
}

/// With 0 for every code, so that a rate sees the first failure.
fn every_method_is_there_from_the_start(scraped: &Scraped) {
    for (service, method, kind) in [
        ("etcdserverpb.KV", "Range", "unary"),
        ("etcdserverpb.KV", "RangeStream", "server_stream"),
        ("etcdserverpb.Watch", "Watch", "bidi_stream"),
        ("etcdserverpb.Lease", "LeaseKeepAlive", "bidi_stream"),
        ("etcdserverpb.Maintenance", "Defragment", "unary"),
        ("etcdserverpb.Auth", "Authenticate", "unary"),
        ("v3electionpb.Election", "Observe", "server_stream"),
        ("v3lockpb.Lock", "Lock", "unary"),
    ] {
        let labels = [("grpc_service", service), ("grpc_method", method), ("grpc_type", kind)];
        for name in
            ["grpc_server_started_total", "grpc_server_msg_received_total", "grpc_server_msg_sent_total"]
        {
            scraped.value(name, &labels);
        }
        assert_eq!(scraped.value("grpc_server_handling_seconds_count", &labels), 0.0);
        for code in
            ["OK", "Canceled", "Unknown", "DeadlineExceeded", "ResourceExhausted", "Unavailable", "DataLoss"]
        {
            let all = [labels[0], labels[1], labels[2], ("grpc_code", code)];
            assert_eq!(scraped.value("grpc_server_handled_total", &all), 0.0, "{all:?}");
        }
    }
}
