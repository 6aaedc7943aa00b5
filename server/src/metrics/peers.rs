//! What other members move, and images sent and received: nothing yet on a sole member.
//!
//! Vectors are not seen before their first row, as in etcd; what has no labels says 0, which is the
//! truth. The names are taken here so that nothing else can come under them.
use super::register::{Register, exponential};

/// Registers them all.
pub(super) fn register(register: &Register<'_>) {
    let counters = [
        ("etcd_network_disconnected_peers_total", "Connections to peers lost.", &["Local", "Remote"] as &[_]),
        ("etcd_network_peer_sent_bytes_total", "Bytes sent to peers.", &["To"]),
        ("etcd_network_peer_received_bytes_total", "Bytes received from peers.", &["From"]),
        ("etcd_network_peer_sent_failures_total", "Messages that could not be sent to peers.", &["To"]),
        (
            "etcd_network_peer_received_failures_total",
            "Messages from peers that could not be read.",
            &["From"],
        ),
        ("etcd_network_snapshot_send_success", "Images sent to peers.", &["To"]),
        ("etcd_network_snapshot_send_failures", "Images that could not be sent to peers.", &["To"]),
        ("etcd_network_snapshot_receive_success", "Images received from peers.", &["From"]),
        (
            "etcd_network_snapshot_receive_failures",
            "Images from peers that could not be received.",
            &["From"],
        ),
        ("etcd_server_learner_promote_failures", "Learners that could not be made voters.", &["Reason"]),
    ];
    for (name, help, labels) in counters {
        register.counters(name, help, labels);
    }
    let gauges = [
        ("etcd_network_active_peers", "Peers connected now.", &["Local", "Remote"] as &[_]),
        ("etcd_network_snapshot_send_inflights_total", "Images being sent to peers.", &["To"]),
        ("etcd_network_snapshot_receive_inflights_total", "Images being received from peers.", &["From"]),
    ];
    for (name, help, labels) in gauges {
        register.gauges(name, help, labels);
    }
    let transfers = || exponential(0.1, 2.0, 10);
    let round_trips = exponential(0.000_1, 2.0, 16);
    let histograms = [
        ("etcd_network_peer_round_trip_time_seconds", "Round trips to peers.", round_trips, "To"),
        (
            "etcd_network_snapshot_send_total_duration_seconds",
            "How long sending images takes.",
            transfers(),
            "To",
        ),
        (
            "etcd_network_snapshot_receive_total_duration_seconds",
            "How long receiving images takes.",
            transfers(),
            "From",
        ),
    ];
    for (name, help, buckets, label) in histograms {
        register.histograms(name, help, buckets, &[label]);
    }
    for (name, help) in [
        ("etcd_server_heartbeat_send_failures_total", "Heartbeats that a busy leader sent too late."),
        ("etcd_server_learner_promote_successes", "Learners made voters."),
    ] {
        register.counter(name, help);
    }
    register.gauge("etcd_server_snapshot_apply_in_progress_total", "Images being taken over now.");
    let syncs = || exponential(0.001, 2.0, 14);
    for (name, help, buckets) in [
        ("etcd_snap_fsync_duration_seconds", "How long syncing an image's description takes.", syncs()),
        ("etcd_snap_db_fsync_duration_seconds", "How long syncing a received image takes.", syncs()),
        (
            "etcd_snap_db_save_total_duration_seconds",
            "How long saving a received image takes.",
            exponential(0.1, 2.0, 10),
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "How long sending a backup takes.",
            exponential(0.01, 2.0, 17),
        ),
    ] {
        register.histogram(name, help, buckets);
    }
}
