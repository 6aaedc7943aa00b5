//! What a client does moves the metrics that speak of it, by how much it should and in the right
//! direction; what it does not do moves none.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

use crate::text::{Scraped, get};
use crate::world::{World, grew, grew_somehow, grown, noise};

const KV: &str = "etcdserverpb.KV";
const LEASE: &str = "etcdserverpb.Lease";
const WATCH: &str = "etcdserverpb.Watch";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_move_the_log_the_engine_and_the_sizes() {
    let world = World::start(&["--quota-backend-bytes=123456789"]).await;
    let before = world.scrape();
    assert_eq!(before.value("etcd_server_has_leader", &[]), 1.0);
    assert_eq!(before.value("etcd_server_is_leader", &[]), 1.0);
    assert_eq!(before.value("etcd_server_leader_changes_seen_total", &[]), 1.0);
    assert_eq!(before.value("etcd_server_quota_backend_bytes", &[]), 123_456_789.0);
    for n in 0..40 {
        world.put(&format!("key {n:02}"), noise(200_000, n)).await;
    }
    let after = world.scrape();
    grew(
        &before,
        &after,
        &[
            ("etcd_mvcc_put_total", 40.0),
            ("etcd_debugging_mvcc_keys_total", 40.0),
            ("etcd_debugging_mvcc_current_revision", 40.0),
            ("etcd_debugging_mvcc_total_put_size_in_bytes", 40.0 * 200_006.0),
            ("bramble_user_written_bytes_total", 40.0 * 200_006.0),
            ("etcd_server_proposals_committed_total", 40.0),
            ("etcd_server_proposals_applied_total", 40.0),
            ("bramble_log_entries_total", 40.0),
            ("etcd_server_proposals_failed_total", 0.0),
            ("etcd_server_leader_changes_seen_total", 0.0),
        ],
    );
    grew_somehow(
        &before,
        &after,
        &[
            "etcd_disk_wal_fsync_duration_seconds_count",
            "etcd_disk_wal_fsync_duration_seconds_sum",
            "etcd_disk_wal_write_duration_seconds_count",
            "etcd_disk_backend_commit_duration_seconds_count",
            "etcd_disk_backend_commit_duration_seconds_sum",
            "bramble_log_used_bytes",
            "bramble_unflushed_bytes",
            "process_resident_memory_bytes",
        ],
    );
    for size in ["etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes"] {
        assert!(grown(&before, &after, size, &[]) > 7e6, "{size}");
    }
    let log = [("cause", "log")];
    let frames = grown(&before, &after, "etcd_disk_wal_write_bytes_total", &[]);
    assert!(frames > 8e6);
    // Frames that are faster than the filling behind them bring their zeros with them, as long as the ring is new.
    let written = grown(&before, &after, "bramble_disk_written_bytes_total", &log);
    assert!((frames..2.0 * frames).contains(&written), "{written} bytes for {frames} of frames");
    let flushes = grown(&before, &after, "bramble_flushes_total", &log);
    assert_eq!(flushes, grown(&before, &after, "bramble_flush_duration_seconds_count", &log));
    assert_eq!(flushes, grown(&before, &after, "etcd_disk_wal_fsync_duration_seconds_count", &[]));
    assert_eq!(
        grown(
            &before,
            &after,
            "etcd_server_apply_duration_seconds_count",
            &[("op", "Put"), ("success", "true")]
        ),
        40.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_with_their_codes_messages_and_bytes() {
    let world = World::start(&[]).await;
    let before = world.scrape();
    let method = |name: &'static str| [("grpc_service", KV), ("grpc_method", name)];
    world.put("k", vec![7; 1000]).await;
    let read = pb::RangeRequest { key: "k".into(), ..Default::default() };
    world.wire.kv().range(read).await.expect("answered");
    let refused = world.wire.kv().put(pb::PutRequest::default()).await.expect_err("no key");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let after = world.scrape();
    for (name, calls, good) in [("Put", 2.0, 1.0), ("Range", 1.0, 1.0)] {
        assert_eq!(grown(&before, &after, "grpc_server_started_total", &method(name)), calls);
        assert_eq!(grown(&before, &after, "grpc_server_msg_received_total", &method(name)), calls);
        assert_eq!(grown(&before, &after, "grpc_server_msg_sent_total", &method(name)), good);
        assert_eq!(grown(&before, &after, "grpc_server_handling_seconds_count", &method(name)), calls);
        let code = |code| [("grpc_method", name), ("grpc_service", KV), ("grpc_code", code)];
        assert_eq!(grown(&before, &after, "grpc_server_handled_total", &code("OK")), good);
        assert_eq!(
            grown(&before, &after, "grpc_server_handled_total", &code("InvalidArgument")),
            calls - good
        );
    }
    // A put of 3 + 1003 bytes, a range of 3, an empty put: prost writes a tag and a length for each field.
    assert_eq!(grown(&before, &after, "etcd_network_client_grpc_received_bytes_total", &[]), 1009.0);
    let sent = grown(&before, &after, "etcd_network_client_grpc_sent_bytes_total", &[]);
    assert!((1000.0..1200.0).contains(&sent), "{sent}");
    let unary = [("type", "unary"), ("client_api_version", "unknown")];
    assert_eq!(grown(&before, &after, "etcd_server_client_requests_total", &unary), 3.0);
    assert_eq!(grown(&before, &after, "etcd_mvcc_range_total", &[]), 1.0);
    assert_eq!(
        grown(&before, &after, "etcd_server_range_duration_seconds_count", &[("success", "true")]),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_deletes_and_compaction_are_counted() {
    let world = World::start(&[]).await;
    for n in 0..10 {
        world.put("k", vec![n]).await;
    }
    world.put("gone", vec![]).await;
    let before = world.scrape();
    let delete = pb::DeleteRangeRequest { key: "gone".into(), ..Default::default() };
    world.wire.kv().delete_range(delete).await.expect("answered");
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    let ops = [Op::RequestRange(range.clone()), Op::RequestPut(put), Op::RequestRange(range)];
    let success = ops.map(|op| pb::RequestOp { request: Some(op) }).to_vec();
    world.wire.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.expect("answered");
    let after = world.scrape();
    grew(
        &before,
        &after,
        &[
            ("etcd_mvcc_delete_total", 1.0),
            ("etcd_mvcc_txn_total", 1.0),
            ("etcd_mvcc_put_total", 1.0),
            ("etcd_mvcc_range_total", 2.0),
            ("etcd_debugging_mvcc_keys_total", -1.0),
            ("etcd_debugging_mvcc_current_revision", 2.0),
        ],
    );
    let revision = after.value("etcd_debugging_mvcc_current_revision", &[]);
    let compact = pb::CompactionRequest { revision: revision as i64, physical: true };
    world.wire.kv().compact(compact).await.expect("answered");
    let compacted = world.scrape();
    assert_eq!(compacted.value("etcd_debugging_mvcc_compact_revision", &[]), revision);
    // Ten older versions of k, gone's value and its tombstone.
    let erased = grown(&after, &compacted, "etcd_debugging_mvcc_db_compaction_keys_total", &[]);
    assert_eq!(erased, 12.0);
    grew_somehow(
        &after,
        &compacted,
        &[
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds_count",
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count",
            "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds_count",
            "etcd_debugging_mvcc_db_compaction_last",
        ],
    );
    // A physical compaction ends with a flush of the engine.
    let engine = [("cause", "engine")];
    assert!(grown(&after, &compacted, "bramble_flushes_total", &engine) >= 1.0);
    assert!(grown(&after, &compacted, "bramble_flush_duration_seconds_count", &engine) >= 1.0);
    let flushed = grown(&after, &compacted, "bramble_disk_written_bytes_total", &[("cause", "engine_flush")]);
    assert!(flushed > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_counted_when_they_come_fall_behind_and_go() {
    let world = World::start(&[]).await;
    let (ask, mut answers) = world.watch().await;
    let watching =
        world.until("the watcher is there", |now| now.value("etcd_debugging_mvcc_watcher_total", &[]) == 1.0);
    let before = watching.await;
    assert_eq!(before.value("etcd_debugging_mvcc_watch_stream_total", &[]), 1.0);
    world.put("k", vec![]).await;
    let response = answers.message().await.expect("a response").expect("an event");
    assert_eq!(response.events.len(), 1);
    let after = world.scrape();
    grew(
        &before,
        &after,
        &[("etcd_debugging_mvcc_events_total", 1.0), ("etcd_debugging_mvcc_slow_watcher_total", 0.0)],
    );
    // The client reads no more: first the queues fill, then the watcher is behind.
    for n in 0..60 {
        world.put("k", noise(200_000, n)).await;
    }
    let slow = world.until("the watcher is behind", |now| {
        now.value("etcd_debugging_mvcc_slow_watcher_total", &[]) == 1.0
    });
    let slow = slow.await;
    assert!(slow.value("etcd_debugging_mvcc_pending_events_total", &[]) > 0.0);
    // It goes away.
    drop((ask, answers));
    let gone =
        world.until("the watcher is gone", |now| now.value("etcd_debugging_mvcc_watcher_total", &[]) == 0.0);
    let gone = gone.await;
    for name in ["watch_stream_total", "slow_watcher_total", "pending_events_total"] {
        assert_eq!(gone.value(&format!("etcd_debugging_mvcc_{name}"), &[]), 0.0, "{name}");
    }
    let canceled = [("grpc_service", WATCH), ("grpc_code", "Canceled")];
    let counted =
        world.until("the cancel is counted", |now| now.value("grpc_server_handled_total", &canceled) == 1.0);
    let counted = counted.await;
    let all = counted.value("grpc_server_handled_total", &[("grpc_service", WATCH)]);
    assert_eq!(all, 1.0, "as Canceled and as nothing else");
    assert_eq!(counted.value("grpc_server_started_total", &[("grpc_service", WATCH)]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_counted_when_they_are_granted_kept_revoked_and_end() {
    let world = World::start(&["--heartbeat-interval=20", "--election-timeout=200"]).await;
    let before = world.scrape();
    let grant = |id| pb::LeaseGrantRequest { id, ttl: 1 };
    for id in [1, 2] {
        world.wire.lease().lease_grant(grant(id)).await.expect("answered");
    }
    let again = world.wire.lease().lease_grant(grant(1)).await.expect_err("it is there");
    assert_eq!(again.code(), tonic::Code::FailedPrecondition);
    let (ask, asked) = mpsc::channel(4);
    ask.send(pb::LeaseKeepAliveRequest { id: 2 }).await.expect("there is room");
    let mut kept =
        world.wire.lease().lease_keep_alive(ReceiverStream::new(asked)).await.expect("a stream").into_inner();
    assert!(kept.message().await.expect("an answer").expect("an answer").ttl > 0);
    world.wire.lease().lease_revoke(pb::LeaseRevokeRequest { id: 2 }).await.expect("answered");
    let expired = world.until("the other lease has ended", |now| {
        now.value("etcd_debugging_server_lease_expired_total", &[]) == 1.0
    });
    let after = expired.await;
    grew(
        &before,
        &after,
        &[
            ("etcd_debugging_lease_granted_total", 2.0),
            ("etcd_debugging_lease_revoked_total", 2.0),
            ("etcd_debugging_lease_renewed_total", 1.0),
            ("etcd_debugging_lease_ttl_total_count", 2.0),
            ("etcd_debugging_lease_ttl_total_sum", 2.0),
        ],
    );
    let failed =
        [("grpc_service", LEASE), ("grpc_method", "LeaseGrant"), ("grpc_code", "FailedPrecondition")];
    assert_eq!(grown(&before, &after, "grpc_server_handled_total", &failed), 1.0);
    let refused = [("op", "LeaseGrant"), ("success", "false")];
    assert_eq!(grown(&before, &after, "etcd_server_apply_duration_seconds_count", &refused), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn proposals_are_pending_while_they_wait_and_failed_when_given_up() {
    let world = World::start(&[]).await;
    let before = world.scrape();
    let putters = world.putters(64);
    world.until("proposals wait", |now| now.value("etcd_server_proposals_pending", &[]) > 0.0).await;
    // The clients lose patience all at once, some of them between their request and its answer.
    putters.iter().for_each(JoinHandle::abort);
    let given_up = world.until("proposals were given up", |now| {
        grown(&before, now, "etcd_server_proposals_failed_total", &[]) > 0.0
    });
    let given_up = given_up.await;
    let canceled = [("grpc_method", "Put"), ("grpc_code", "Canceled")];
    assert!(given_up.value("grpc_server_handled_total", &canceled) > 0.0);
    let quiet =
        world.until("none waits any more", |now| now.value("etcd_server_proposals_pending", &[]) == 0.0);
    quiet.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_and_scrapes_are_counted_and_write_nothing() {
    let world = World::start(&[]).await;
    let before = world.scrape();
    get(world.server.address(), "/health");
    get(world.server.address(), "/readyz");
    let after = world.scrape();
    grew(&before, &after, &[("etcd_server_health_success", 1.0), ("etcd_server_health_failures", 0.0)]);
    let check = [("type", "readyz"), ("name", "linearizable_read")];
    assert_eq!(after.value("etcd_server_healthcheck", &check), 1.0);
    assert_eq!(
        after.value("etcd_server_healthchecks_total", &[check[0], check[1], ("status", "success")]),
        1.0
    );
    for _ in 0..20 {
        world.scrape();
    }
    let scraped = world.scrape();
    assert_eq!(grown(&after, &scraped, "promhttp_metric_handler_requests_total", &[("code", "200")]), 21.0);
    let log = [("cause", "log")];
    for name in ["bramble_flushes_total", "bramble_disk_written_bytes_total"] {
        assert_eq!(grown(&after, &scraped, name, &log), 0.0, "{name}");
    }
    grew(
        &after,
        &scraped,
        &[("bramble_log_entries_total", 0.0), ("etcd_server_proposals_committed_total", 0.0)],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_users_moves_the_auth_revision() {
    let world = World::start(&[]).await;
    let before = world.scrape();
    let role = pb::AuthRoleAddRequest { name: "r".into() };
    world.wire.auth().role_add(role).await.expect("answered");
    let after = world.scrape();
    grew(&before, &after, &[("etcd_debugging_auth_revision", 1.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashing_and_defragmenting_are_timed_each_for_itself() {
    const HASH: &str = "etcd_mvcc_hash_duration_seconds";
    const HASH_KV: &str = "etcd_mvcc_hash_rev_duration_seconds";
    const DEFRAGMENT: &str = "etcd_disk_backend_defrag_duration_seconds";
    let world = World::start(&[]).await;
    world.put("k", noise(1_000_000, 1)).await;
    let mut maintenance = world.wire.maintenance();
    let timed = |before: &Scraped, name: &str| {
        let after = world.scrape();
        for other in [HASH, HASH_KV, DEFRAGMENT] {
            let times = grown(before, &after, &format!("{other}_count"), &[]);
            assert_eq!(times, f64::from(u8::from(other == name)), "{other} after {name}");
        }
        assert!(grown(before, &after, &format!("{name}_sum"), &[]) > 0.0, "{name} took no time");
        assert_eq!(after.value("etcd_disk_defrag_inflight", &[]), 0.0);
        after
    };
    let fresh = world.scrape();
    maintenance.hash(pb::HashRequest {}).await.expect("answered");
    let hashed = timed(&fresh, HASH);
    maintenance.hash_kv(pb::HashKvRequest::default()).await.expect("answered");
    let hashed = timed(&hashed, HASH_KV);
    maintenance.defragment(pb::DefragmentRequest {}).await.expect("answered");
    timed(&hashed, DEFRAGMENT);
}
