//! What the node says of itself when somebody scrapes: read from its parts, kept nowhere else.
use std::sync::{Arc, Weak};

use bramble_store::types::{AlarmKind, Detail, KeyRange, RangeRequest};

use super::budget::{self, KINDS, Usage};
use super::core::{Core, READS_MAX, View};
use super::members;
use crate::metrics::{Kind, Scrape};
use crate::raft::Standing;
use crate::version;

/// Makes the node a source of its own metrics, for as long as it lives.
pub(super) fn begin(core: &Arc<Core>) {
    let weak: Weak<Core> = Arc::downgrade(core);
    core.metrics.add_source(move |scrape| {
        if let Some(core) = weak.upgrade() {
            tell(&core, scrape);
        }
    });
}

fn tell(core: &Core, scrape: &mut Scrape) {
    let standing = core.raft.standing();
    tell_identity(core, scrape);
    tell_features(core, scrape);
    tell_standing(core, &standing, scrape);
    tell_log(core, scrape);
    tell_watching(core, scrape);
    tell_queues(core, scrape);
    tell_budget(core, scrape);
    // A node that stops has no state any more; what it counts is still told.
    if let Ok(view) = core.view() {
        tell_state(core, &view, &standing, scrape);
    }
    tell_engine(core, scrape);
    core.wear().tell(scrape);
}

fn tell_identity(core: &Core, scrape: &mut Scrape) {
    let mut info = |name: &str, help: &str, label: &str, value: &str| {
        scrape.family(Kind::Gauge, name, help, &[label], [([value], 1.0)]);
    };
    let id = format!("{:x}", core.ids.member);
    let cluster = version::ETCD_CLUSTER.rsplit_once('.').map_or(version::ETCD_CLUSTER, |(minor, _)| minor);
    info("etcd_server_id", "The member's id, in hexadecimal.", "server_id", &id);
    info(
        "etcd_server_version",
        "The etcd whose API this member answers.",
        "server_version",
        version::ETCD_SERVER,
    );
    info("etcd_cluster_version", "The cluster's version: major and minor.", "cluster_version", cluster);
    info(
        "etcd_server_go_version",
        "The Go that etcd is built with; this is not etcd.",
        "server_go_version",
        "none",
    );
    info("bramble_info", "Bramble's own version.", "version", version::BRAMBLE);
    scrape.family(
        Kind::Gauge,
        "bramble_media_info",
        "The kind of device that this start reckons with, and who says so: flag, probe, kernel or default.",
        &["kind", "source"],
        [([core.media.kind.word(), core.media.source.word()], 1.0)],
    );
    scrape.family(
        Kind::Gauge,
        "bramble_log_partition_info",
        "The partition that the log lies on, if it is not in the data directory.",
        &["path"],
        core.config.log_partition.iter().map(|path| ([path.display().to_string()], 1.0)),
    );
}

fn tell_standing(core: &Core, standing: &Standing, scrape: &mut Scrape) {
    let leads = standing.leader == Some(core.ids.member);
    scrape.gauge(
        "etcd_server_has_leader",
        "Whether a leader is known: 1, or 0.",
        claim(standing.leader.is_some()),
    );
    scrape.gauge("etcd_server_is_leader", "Whether this member leads: 1, or 0.", claim(leads));
    let applied = core.position.borrow().map_or(0, |id| id.index);
    // What Raft tells of itself may be a moment older than the state.
    let committed = standing.committed.map_or(0, |id| id.index).max(applied);
    scrape.gauge(
        "etcd_server_proposals_committed_total",
        "Index of the newest committed entry.",
        committed as f64,
    );
    scrape.gauge("etcd_server_proposals_applied_total", "Index of the newest applied entry.", applied as f64);
    scrape.gauge(
        "etcd_server_proposals_pending",
        "Proposals that wait for their answer.",
        core.waiters.len() as f64,
    );
}

fn tell_log(core: &Core, scrape: &mut Scrape) {
    let counts = core.raft.log_counts();
    scrape.gauge(
        "etcd_disk_wal_write_bytes_total",
        "Bytes of frames written to the log since the start.",
        counts.bytes as f64,
    );
    scrape.counter("bramble_log_entries_total", "Entries appended to the log.", counts.entries);
    scrape.gauge(
        "bramble_log_used_bytes",
        "Bytes of the log's ring that are needed until the engine has flushed what they hold.",
        counts.usage.used_bytes as f64,
    );
    scrape.gauge("bramble_log_ring_bytes", "Size of the log's ring.", counts.usage.ring_bytes as f64);
    let flushes = [("log", counts.flushes), ("engine", core.metrics.flushes.engine_flushes())];
    scrape.family(
        Kind::Counter,
        "bramble_flushes_total",
        "Times that data was made durable, by cause.",
        &["cause"],
        flushes.map(|(cause, count)| ([cause], count as f64)),
    );
}

fn tell_watching(core: &Core, scrape: &mut Scrape) {
    let watching = core.pump.watching();
    let (unread, unread_bytes) = core.backlog.size();
    let pending = watching.hub.queued_events + unread;
    let mut gauge = |name: &str, help: &str, value: usize| scrape.gauge(name, help, value as f64);
    gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams.", watching.streams);
    gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", watching.hub.watchers);
    gauge(
        "etcd_debugging_mvcc_slow_watcher_total",
        "Watchers that are behind: they read history instead of the newest events.",
        watching.hub.behind,
    );
    gauge("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent to watchers.", pending);
    gauge(
        "bramble_watch_queued_bytes",
        "Bytes of events in the watch hub's queues.",
        watching.hub.queued_bytes,
    );
    gauge(
        "bramble_watch_unread_bytes",
        "Bytes of watch responses that their streams have not taken.",
        unread_bytes,
    );
}

fn tell_queues(core: &Core, scrape: &mut Scrape) {
    let (feed, asks) = core.pump.waiting();
    let depths =
        [("barriers", READS_MAX - core.reads.capacity()), ("watch_feed", feed), ("watch_requests", asks)];
    scrape.family(
        Kind::Gauge,
        "bramble_queue_depth",
        "Entries in internal queues: read barriers, changed keys for watchers, requests of watch streams.",
        &["queue"],
        depths.map(|(queue, depth)| ([queue], depth as f64)),
    );
    let in_flight = (core.in_flight_kib_max - core.in_flight.available_permits()) << 10;
    scrape.gauge(
        "bramble_proposals_in_flight_bytes",
        "Bytes of proposals under way, in steps of 1 KiB.",
        in_flight as f64,
    );
    scrape.gauge(
        "bramble_proposals_in_flight_max_bytes",
        "Bytes of proposals that may be under way, by the kind of the device.",
        (core.in_flight_kib_max << 10) as f64,
    );
}

/// The memory budget of clients, as `node/budget.rs` has it.
fn tell_budget(core: &Core, scrape: &mut Scrape) {
    let usages = KINDS.map(|kind| (kind_name(kind), core.budget.usage(kind)));
    let mut family = |kind, name: &str, help: &str, value: fn(&Usage) -> f64| {
        let rows = usages.iter().map(|(name, usage)| ([*name], value(usage)));
        scrape.family(kind, name, help, &["kind"], rows);
    };
    family(
        Kind::Gauge,
        "bramble_budget_used",
        "What clients have taken of their memory budget, in pieces or bytes.",
        |usage| usage.used as f64,
    );
    family(
        Kind::Gauge,
        "bramble_budget_limit",
        "How much there is for all clients together, in pieces or bytes.",
        |usage| usage.max as f64,
    );
    family(
        Kind::Counter,
        "bramble_budget_refusals_total",
        "Times that a client was refused for want of budget.",
        |usage| usage.refused as f64,
    );
}

fn kind_name(kind: budget::Kind) -> &'static str {
    match kind {
        budget::Kind::Connections => "connections",
        budget::Kind::Requests => "requests",
        budget::Kind::RequestBytes => "request_bytes",
        budget::Kind::AnswerBytes => "answer_bytes",
        budget::Kind::WatchStreams => "watch_streams",
        budget::Kind::OtherStreams => "other_streams",
        budget::Kind::Watches => "watches",
    }
}

fn tell_state(core: &Core, view: &View, standing: &Standing, scrape: &mut Scrape) {
    scrape.gauge(
        "etcd_server_is_learner",
        "Whether this member is a learner: 1, or 0.",
        claim(members::is_learner(core, view)),
    );
    let local = format!("{:x}", core.ids.member);
    let members = members::list(core, view).unwrap_or_default();
    let known = members.iter().map(|member| ([local.clone(), format!("{:x}", member.id)], 1.0));
    scrape.family(
        Kind::Gauge,
        "etcd_network_known_peers",
        "Members of the cluster that this one knows, itself included.",
        &["Local", "Remote"],
        known,
    );
    let mut all = RangeRequest::new(KeyRange::all());
    all.detail = Detail::CountOnly;
    if let Ok(keys) = view.range(&all) {
        scrape.gauge("etcd_debugging_mvcc_keys_total", "Keys.", keys.count as f64);
    }
    let (revision, floor) = (view.revision() as f64, view.compacted() as f64);
    scrape.gauge("etcd_debugging_mvcc_current_revision", "The newest revision.", revision);
    scrape.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The compaction floor; -1 = never compacted.",
        floor,
    );
    tell_alarms(core, view, &local, scrape);
    let auth_revision = view.auth().revision as f64;
    scrape.gauge("etcd_debugging_auth_revision", "The revision of users and roles.", auth_revision);
    scrape.gauge("bramble_raft_term", "The newest term this member knows.", standing.term as f64);
}

/// This member's alarms are told when they are not raised, too; of others only what is raised.
fn tell_alarms(core: &Core, view: &View, local: &str, scrape: &mut Scrape) {
    let raised = |member: u64, kind| view.alarms().contains(&(member, kind));
    let kinds = [AlarmKind::NoSpace, AlarmKind::Corrupt];
    let own = kinds.map(|kind| (local.to_owned(), kind, claim(raised(core.ids.member, kind))));
    let others = view.alarms().iter().filter(|(member, _)| *member != core.ids.member);
    let others = others.map(|(member, kind)| (format!("{member:x}"), *kind, 1.0));
    let rows = own.into_iter().chain(others).map(|(member, kind, value)| {
        let name = match kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        ([member, name.to_owned()], value)
    });
    scrape.family(
        Kind::Gauge,
        "etcd_debugging_server_alarms",
        "Alarms: 1 raised, 0 not.",
        &["server_id", "alarm_type"],
        rows,
    );
}

/// etcd's feature gates with their stages there, and whether what they stand for is on here: always,
/// or never; checkpoints by setting. AllAlpha and AllBeta stand for nothing of their own.
const FEATURES: [(&str, &str, bool); 9] = [
    ("AllAlpha", "ALPHA", false),
    ("AllBeta", "BETA", false),
    ("CompactHashCheck", "ALPHA", false),
    ("InitialCorruptCheck", "ALPHA", true),
    ("LeaseCheckpoint", "ALPHA", false),
    ("LeaseCheckpointPersist", "ALPHA", false),
    ("SetMemberLocalAddr", "ALPHA", false),
    ("StopGRPCServiceOnDefrag", "ALPHA", false),
    ("TxnModeWriteWithSharedBuffer", "BETA", false),
];

/// Those that `lease_checkpoints` stands for.
const CHECKPOINTS: [&str; 2] = ["LeaseCheckpoint", "LeaseCheckpointPersist"];

fn tell_features(core: &Core, scrape: &mut Scrape) {
    let on =
        |name: &str, always: bool| always || (core.config.lease_checkpoints && CHECKPOINTS.contains(&name));
    scrape.family(
        Kind::Gauge,
        "etcd_server_feature_enabled",
        "Whether what etcd's feature gate stands for is on: 1, or 0.",
        &["name", "stage"],
        FEATURES.map(|(name, stage, always)| ([name, stage], claim(on(name, always)))),
    );
}

fn tell_engine(core: &Core, scrape: &mut Scrape) {
    scrape.gauge(
        "etcd_server_quota_backend_bytes",
        "Size of the data above which writes are refused.",
        core.config.quota_bytes as f64,
    );
    let mut written: Vec<_> = core.metrics.disk.written().to_vec();
    let mut read = vec![("log", core.metrics.disk.read_bytes())];
    if let Ok((size, work)) = core.size_and_work() {
        let total = size.total_bytes + size.unflushed_bytes;
        let in_use = size.in_use_bytes.min(size.total_bytes) + size.unflushed_bytes;
        scrape.gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "Bytes of the engine's files, with what is still in memory.",
            total as f64,
        );
        scrape.gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Of these, bytes that live rows take.",
            in_use as f64,
        );
        scrape.gauge(
            "etcd_mvcc_db_open_read_transactions",
            "Views of the state that are held: by reads under way, and the newest one.",
            work.pinned_views as f64,
        );
        scrape.gauge(
            "bramble_unflushed_bytes",
            "Bytes that are in the log and in memory only, until the engine's next flush.",
            size.unflushed_bytes as f64,
        );
        written.extend([("engine_flush", work.flush_bytes), ("compaction", work.compaction_written_bytes)]);
        read.push(("compaction", work.compaction_read_bytes));
    }
    let rows =
        |rows: Vec<(&'static str, u64)>| rows.into_iter().map(|(cause, bytes)| ([cause], bytes as f64));
    scrape.family(
        Kind::Counter,
        "bramble_disk_written_bytes_total",
        "Bytes written to files, by cause: start, log, log_fill (zeros ahead of the log, also those that a frame of a new ring waits for), engine_flush, compaction.",
        &["cause"],
        rows(written),
    );
    scrape.family(
        Kind::Counter,
        "bramble_disk_read_bytes_total",
        "Bytes read from files, by cause: log (replay, and entries that left memory), compaction.",
        &["cause"],
        rows(read),
    );
}

fn claim(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}
