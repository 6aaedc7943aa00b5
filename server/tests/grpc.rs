//! The gRPC services over a running node, called without a network: what clients of the wire see.
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::cluster_client::ClusterClient;
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::response_op::Response as OpResponse;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::health::HealthCheckRequest;
use bramble_proto::health::health_client::HealthClient;
use bramble_proto::v3electionpb::election_client::ElectionClient;
use bramble_proto::v3lockpb::lock_client::LockClient;
use bramble_proto::{v3electionpb, v3lockpb};
use bramble_server::node::Node;
use bramble_server::rpc::{RpcLimits, routes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Code, Request, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    node: Node,
    routes: Routes,
    _dir: tempfile::TempDir,
}

impl Served {
    async fn start() -> Served {
        let dir = tempfile::tempdir().expect("a directory");
        let node = Node::builder()
            .data_dir(dir.path())
            .name("one")
            .client_addr("127.0.0.1:0")
            .build()
            .await
            .expect("the node starts");
        node.ready(PATIENCE).await.expect("the node is ready");
        let routes = routes(node.client(), RpcLimits::default());
        Served { node, routes, _dir: dir }
    }

    fn kv(&self) -> KvClient<Routes> {
        KvClient::new(self.routes.clone())
    }

    fn lease(&self) -> LeaseClient<Routes> {
        LeaseClient::new(self.routes.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Routes> {
        MaintenanceClient::new(self.routes.clone())
    }

    async fn put(&self, key: &str, value: &str) -> pb::PutResponse {
        let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
        self.kv().put(put).await.expect("the put").into_inner()
    }

    async fn watch(&self) -> (mpsc::Sender<pb::WatchRequest>, Streaming<pb::WatchResponse>) {
        let (requests, stream) = mpsc::channel(16);
        let mut client = WatchClient::new(self.routes.clone());
        let mut request = Request::new(ReceiverStream::new(stream));
        request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
        (requests, client.watch(request).await.expect("a watch stream").into_inner())
    }
}

fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..Default::default() }
}

fn create(key: &str, start_revision: i64) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest { key: bytes(key), start_revision, ..Default::default() };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("an answer in time")
}

async fn event(stream: &mut Streaming<pb::WatchResponse>) -> pb::WatchResponse {
    next(stream).await.expect("no error").expect("a response")
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("a refusal");
    (status.code(), status.message().to_owned())
}

fn refusal(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

#[tokio::test]
async fn headers_are_whole_outside_and_bare_inside_a_transaction() {
    let served = Served::start().await;
    let first = served.put("k", "v").await.header.expect("a header");
    assert_eq!(first.revision, 2, "the first write");
    assert!(first.cluster_id != 0 && first.member_id != 0 && first.raft_term > 0, "{first:?}");

    let inner = pb::TxnRequest { success: vec![op(Op::RequestRange(get("k")))], ..Default::default() };
    let put = pb::PutRequest { key: bytes("k"), value: bytes("w"), prev_kv: true, ..Default::default() };
    let ops = vec![op(Op::RequestRange(get("k"))), op(Op::RequestPut(put)), op(Op::RequestTxn(inner))];
    let txn = pb::TxnRequest { success: ops, ..Default::default() };
    let answer = served.kv().txn(txn).await.expect("the transaction").into_inner();
    assert_eq!(answer.header, Some(pb::ResponseHeader { revision: 3, ..first }));
    let bare = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    match &answer.responses.iter().map(|one| one.response.as_ref()).collect::<Vec<_>>()[..] {
        [
            Some(OpResponse::ResponseRange(range)),
            Some(OpResponse::ResponsePut(put)),
            Some(OpResponse::ResponseTxn(txn)),
        ] => {
            assert_eq!((range.header, put.header, txn.header), (bare(2), bare(3), bare(0)));
            assert_eq!(put.prev_kv.as_ref().map(|kv| kv.value.as_ref()), Some(&b"v"[..]));
        }
        other => panic!("other answers than operations: {other:?}"),
    }
    let read = served.kv().range(pb::RangeRequest { revision: 2, ..get("k") }).await.expect("the range");
    assert_eq!(read.get_ref().header.map(|header| header.revision), Some(3), "now, not what was read");
    assert_eq!(read.get_ref().kvs[0].value.as_ref(), b"v");
    served.node.shutdown().await;
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let served = Served::start().await;
    let mut kv = served.kv();
    let empty = refusal(Code::InvalidArgument, "etcdserver: key is not provided");
    assert_eq!(refused(kv.range(get("")).await), empty);
    assert_eq!(refused(kv.put(pb::PutRequest::default()).await), empty);
    assert_eq!(refused(kv.delete_range(pb::DeleteRangeRequest::default()).await), empty);
    let sorted = pb::RangeRequest { sort_order: 3, ..get("k") };
    assert_eq!(
        refused(kv.range(sorted).await),
        refusal(Code::InvalidArgument, "etcdserver: invalid sort option")
    );
    let future = "etcdserver: mvcc: required revision is a future revision";
    let later = pb::RangeRequest { revision: 9, ..get("k") };
    assert_eq!(refused(kv.range(later).await), refusal(Code::OutOfRange, future));
    let compaction = pb::CompactionRequest { revision: 9, physical: false };
    assert_eq!(refused(kv.compact(compaction).await), refusal(Code::OutOfRange, future));
    let leased = pb::PutRequest { key: bytes("k"), lease: 7, ..Default::default() };
    let no_lease = refusal(Code::NotFound, "etcdserver: requested lease not found");
    assert_eq!(refused(kv.put(leased).await), no_lease);
    assert_eq!(refused(served.lease().lease_revoke(pb::LeaseRevokeRequest { id: 7 }).await), no_lease);
    let long = pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 };
    let too_long = refusal(Code::OutOfRange, "etcdserver: too large lease TTL");
    assert_eq!(refused(served.lease().lease_grant(long).await), too_long);
    let double = pb::PutRequest { key: bytes("k"), ..Default::default() };
    let twice = vec![op(Op::RequestPut(double.clone())), op(Op::RequestPut(double))];
    let twice = pb::TxnRequest { success: twice, ..Default::default() };
    let duplicate = refusal(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
    assert_eq!(refused(kv.txn(twice).await), duplicate);
    assert_eq!(
        served.put("k", "v").await.header.map(|header| header.revision),
        Some(2),
        "nothing was written"
    );
    served.node.shutdown().await;
}

#[tokio::test]
async fn messages_too_large_are_refused_by_grpc_and_commands_by_the_node() {
    let served = Served::start().await;
    let put =
        |bytes: usize| pb::PutRequest { key: "k".into(), value: vec![7; bytes].into(), ..Default::default() };
    let answer = refused(served.kv().put(put(3_000_000)).await);
    let text = "grpc: received message larger than max (3000008 vs. 2097152)";
    assert_eq!(answer, refusal(Code::ResourceExhausted, text));
    let answer = refused(served.kv().put(put(1_600_000)).await);
    assert_eq!(answer, refusal(Code::InvalidArgument, "etcdserver: request is too large"));
    served.kv().put(put(1_500_000)).await.expect("large, but not too large");
    let read = served.kv().max_decoding_message_size(usize::MAX).range(get("k")).await.expect("the range");
    assert_eq!(read.get_ref().kvs[0].value.len(), 1_500_000);
    served.node.shutdown().await;
}

#[tokio::test]
async fn a_watch_stream_from_create_to_cancel() {
    let served = Served::start().await;
    served.put("k", "1").await;
    let (requests, mut stream) = served.watch().await;
    requests.send(create("k", 2)).await.expect("open");
    let created = event(&mut stream).await;
    assert!(created.created && !created.canceled && created.events.is_empty(), "{created:?}");
    assert_eq!(created.watch_id, 0);
    let history = event(&mut stream).await;
    assert_eq!(history.events.len(), 1);
    served.put("k", "2").await;
    let live = event(&mut stream).await;
    assert_eq!(live.header.map(|header| header.revision), Some(3));
    assert_eq!(live.events[0].kv.as_ref().map(|kv| kv.value.as_ref()), Some(&b"2"[..]));

    requests.send(create("k", -1)).await.expect("open");
    let below = event(&mut stream).await;
    assert!(below.created && below.canceled, "{below:?}");
    assert_eq!(
        (below.watch_id, below.cancel_reason.as_str()),
        (-1, "etcdserver: mvcc: required revision has been compacted")
    );

    let cancel = RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 });
    requests.send(pb::WatchRequest { request_union: Some(cancel) }).await.expect("open");
    let canceled = event(&mut stream).await;
    assert!(canceled.canceled && !canceled.created && canceled.cancel_reason.is_empty(), "{canceled:?}");

    // A client that closes its direction goes on hearing, as with etcd.
    requests.send(create("other", 0)).await.expect("open");
    drop(requests);
    assert!(event(&mut stream).await.created);
    served.put("other", "1").await;
    assert_eq!(event(&mut stream).await.events.len(), 1);
    served.node.shutdown().await;
}

#[tokio::test]
async fn keep_alives_are_answered_one_by_one() {
    let served = Served::start().await;
    let granted =
        served.lease().lease_grant(pb::LeaseGrantRequest { ttl: 60, id: -5 }).await.expect("a lease");
    assert_eq!((granted.get_ref().id, granted.get_ref().ttl), (-5, 60));
    let (requests, stream) = mpsc::channel(16);
    let mut answers =
        served.lease().lease_keep_alive(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
    for (id, ttl) in [(-5, 60), (77, 0), (0, 0), (-5, 60)] {
        requests.send(pb::LeaseKeepAliveRequest { id }).await.expect("open");
        let answer = next(&mut answers).await.expect("no error").expect("an answer");
        assert_eq!((answer.id, answer.ttl), (id, ttl));
        assert!(answer.header.is_some());
    }
    drop(requests);
    assert!(next(&mut answers).await.expect("a clean end").is_none());
    let unknown = pb::LeaseTimeToLiveRequest { id: 77, keys: true };
    let unknown = served.lease().lease_time_to_live(unknown).await.expect("an answer").into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (77, -1, 0));
    let leases =
        served.lease().lease_leases(pb::LeaseLeasesRequest {}).await.expect("the leases").into_inner();
    assert_eq!(leases.leases, [pb::LeaseStatus { id: -5 }]);
    served.node.shutdown().await;
}

#[tokio::test]
async fn streams_end_as_unavailable_when_the_node_stops() {
    let served = Served::start().await;
    let (_requests, mut watch) = served.watch().await;
    let (_asks, stream) = mpsc::channel(1);
    let mut keep_alives =
        served.lease().lease_keep_alive(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
    let mut health = HealthClient::new(served.routes.clone());
    let mut health = health.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    assert_eq!(next(&mut health).await.expect("no error").expect("an answer").status, 1);
    let stopping = tokio::spawn(served.node.shutdown());
    let stopped = refusal(Code::Unavailable, "etcdserver: server stopped");
    assert_eq!(refused(next(&mut watch).await), stopped);
    assert_eq!(refused(next(&mut keep_alives).await), stopped);
    assert_eq!(refused(next(&mut health).await), stopped);
    tokio::time::timeout(PATIENCE, stopping).await.expect("in time").expect("no panic");
    let mut kv = KvClient::new(served.routes);
    assert_eq!(refused(kv.put(pb::PutRequest { key: bytes("k"), ..Default::default() }).await), stopped);
}

#[tokio::test]
async fn what_a_member_says_of_itself() {
    let served = Served::start().await;
    served.put("k", "v").await;
    let mut maintenance = served.maintenance();
    let status = maintenance.status(pb::StatusRequest {}).await.expect("the status").into_inner();
    let header = status.header.expect("a header");
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.6.11", "3.6.0"));
    assert_eq!((status.leader, status.raft_term), (header.member_id, header.raft_term));
    assert_eq!(header.revision, 2);
    assert!(status.raft_applied_index > 0 && status.db_size_quota > 0, "{status:?}");
    assert!(!status.is_learner && status.errors.is_empty());

    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.expect("the hash").into_inner();
    assert_eq!((hash.compact_revision, hash.hash_revision), (-1, 2));

    let mut cluster = ClusterClient::new(served.routes.clone());
    for linearizable in [false, true] {
        let members = cluster.member_list(pb::MemberListRequest { linearizable }).await.expect("the members");
        let members = members.into_inner();
        assert_eq!(members.header, Some(pb::ResponseHeader { revision: 0, ..header }));
        assert_eq!(members.members.iter().map(|member| member.id).collect::<Vec<_>>(), [header.member_id]);
        assert_eq!(members.members[0].name, "one");
    }
    let mut health = HealthClient::new(served.routes.clone());
    assert_eq!(health.check(HealthCheckRequest::default()).await.expect("healthy").get_ref().status, 1);
    let other = HealthCheckRequest { service: "etcdserverpb.KV".to_owned() };
    assert_eq!(refused(health.check(other).await), refusal(Code::NotFound, "unknown service"));
    served.node.shutdown().await;
}

#[tokio::test]
async fn a_range_is_streamed_and_what_cannot_be_is_refused_by_etcds_texts() {
    let served = Served::start().await;
    for n in 0..15 {
        served.put(&format!("k{n:02}"), "v").await;
    }
    let all = || pb::RangeRequest { range_end: bytes("l"), ..get("k") };
    let mut stream = served.kv().range_stream(all()).await.expect("a stream").into_inner();
    let first = next(&mut stream).await.expect("no error").and_then(|chunk| chunk.range_response);
    let first = first.expect("a chunk");
    assert_eq!((first.kvs.len(), first.header, first.more, first.count), (10, None, false, 0));
    let last = next(&mut stream).await.expect("no error").and_then(|chunk| chunk.range_response);
    let last = last.expect("a chunk");
    assert_eq!((last.kvs.len(), last.more, last.count), (5, false, 15));
    let header = last.header.expect("a header");
    assert!(header.revision == 16 && header.member_id != 0 && header.cluster_id != 0 && header.raft_term > 0);
    assert_eq!(next(&mut stream).await.expect("no error"), None);

    let sorted = "RangeStream does not support custom sort orders";
    let filtered = "RangeStream does not support revision filters";
    for (request, code, text) in [
        (get(""), Code::InvalidArgument, "etcdserver: key is not provided"),
        (
            pb::RangeRequest { sort_order: 9, ..all() },
            Code::InvalidArgument,
            "etcdserver: invalid sort option",
        ),
        (pb::RangeRequest { sort_order: 2, min_mod_revision: 1, ..all() }, Code::Unimplemented, sorted),
        (pb::RangeRequest { sort_order: 1, sort_target: 1, ..all() }, Code::Unimplemented, sorted),
        (pb::RangeRequest { max_create_revision: 1, ..all() }, Code::Unimplemented, filtered),
    ] {
        let answer = served.kv().range_stream(request).await.map(|_| ());
        assert_eq!(refused(answer), refusal(code, text));
    }
    let later = pb::RangeRequest { revision: 99, ..all() };
    let mut stream = served.kv().range_stream(later).await.expect("a stream").into_inner();
    let future = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(refused(next(&mut stream).await), refusal(Code::OutOfRange, future));
    served.node.shutdown().await;
}

#[tokio::test]
async fn alarms_are_raised_listed_and_cleared_one_by_one() {
    let served = Served::start().await;
    let mut maintenance = served.maintenance();
    let mut ask = async |action, member_id, alarm| {
        let answer = maintenance.alarm(pb::AlarmRequest { action, member_id, alarm }).await?.into_inner();
        assert!(answer.header.is_some_and(|header| header.revision > 0 && header.member_id != 0));
        Ok(answer.alarms.iter().map(|it| (it.member_id, it.alarm)).collect::<Vec<_>>())
    };
    let (get, activate, deactivate) = (0, 1, 2);
    let nothing: Result<Vec<(u64, i32)>, Status> = ask(get, 0, 0).await;
    assert_eq!(nothing.expect("listed"), []);
    assert_eq!(ask(activate, 7, 0).await.expect("no alarm is no change"), []);
    for _ in 0..2 {
        assert_eq!(ask(activate, 7, 1).await.expect("raised"), [(7, 1)]);
    }
    ask(activate, 8, 1).await.expect("raised");
    ask(activate, 0, 1).await.expect("raised");
    ask(activate, 7, 2).await.expect("raised");
    assert_eq!(ask(get, 99, 0).await.expect("all"), [(0, 1), (7, 1), (7, 2), (8, 1)]);
    assert_eq!(ask(get, 0, 2).await.expect("one kind"), [(7, 2)]);
    assert_eq!(ask(get, 0, 9).await.expect("no such kind"), []);
    assert_eq!(ask(deactivate, 9, 1).await.expect("9 is nobody"), []);
    assert_eq!(ask(deactivate, 7, 2).await.expect("cleared"), [(7, 2)]);
    for no_alarm in [0, 9, -1] {
        assert_eq!(ask(deactivate, 7, no_alarm).await.expect("none was raised"), []);
    }
    for (action, alarm) in [(7, 0), (-1, 1), (1, 9), (1, -1)] {
        assert_eq!(refused(ask(action, 7, alarm).await).0, Code::InvalidArgument, "{action} {alarm}");
    }
    let put = pb::PutRequest { key: bytes("k"), ..Default::default() };
    let space = refusal(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    assert_eq!(refused(served.kv().put(put).await), space);
    let status = served.maintenance().status(pb::StatusRequest {}).await.expect("answered").into_inner();
    assert_eq!(status.errors, ["alarm:NOSPACE ", "memberID:7 alarm:NOSPACE ", "memberID:8 alarm:NOSPACE "]);
    served.node.shutdown().await;
}

#[tokio::test]
async fn upkeep_answers_as_etcd_does() {
    let served = Served::start().await;
    served.put("k", "v").await;
    let mut maintenance = served.maintenance();
    let done = maintenance.defragment(pb::DefragmentRequest {}).await.expect("defragmented");
    assert_eq!(done.get_ref().header, None);
    let hash = maintenance.hash(pb::HashRequest {}).await.expect("hashed").into_inner();
    assert_eq!(hash.header.map(|header| header.revision), Some(2));
    assert_eq!(maintenance.hash(pb::HashRequest {}).await.expect("hashed").get_ref().hash, hash.hash);

    let member = hash.header.expect("a header").member_id;
    let lead = |target_id| pb::MoveLeaderRequest { target_id };
    let moved = maintenance.move_leader(lead(member)).await.expect("no change");
    assert_eq!(moved.get_ref().header, None);
    let stranger = refusal(Code::FailedPrecondition, "etcdserver: bad leader transferee");
    assert_eq!(refused(maintenance.move_leader(lead(1)).await), stranger);

    let ask = |action, version: &str| pb::DowngradeRequest { action, version: version.to_owned() };
    for (request, code, text) in [
        (ask(0, "x"), Code::InvalidArgument, "etcdserver: wrong downgrade target version format"),
        (ask(1, "3.4"), Code::InvalidArgument, "etcdserver: invalid downgrade target version"),
        (ask(2, ""), Code::FailedPrecondition, "etcdserver: no inflight downgrade job"),
        (ask(9, "3.5"), Code::Unknown, "etcdserver: unknown method"),
    ] {
        assert_eq!(refused(maintenance.downgrade(request).await), refusal(code, text));
    }
    for action in [0, 1] {
        let answer = maintenance.downgrade(ask(action, "3.5")).await.expect("it can").into_inner();
        assert_eq!((answer.version.as_str(), answer.header.map(|it| it.revision)), ("3.6", Some(2)));
    }
    let running = refusal(Code::FailedPrecondition, "etcdserver: cluster has a downgrade job in progress");
    assert_eq!(refused(maintenance.downgrade(ask(0, "3.5")).await), running);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("answered").into_inner();
    let info = status.downgrade_info.expect("always there");
    assert_eq!((info.enabled, info.target_version.as_str()), (true, "3.5.0"));
    assert_eq!((status.storage_version.as_str(), status.db_size_quota), ("3.6.0", 2 << 30));
    served.node.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_is_a_file_and_its_hash() {
    let served = Served::start().await;
    served.put("k", &"v".repeat(100_000)).await;
    let mut stream =
        served.maintenance().snapshot(pb::SnapshotRequest {}).await.expect("a stream").into_inner();
    let (mut file, mut remaining) = (Vec::new(), Vec::new());
    while let Some(part) = next(&mut stream).await.expect("no error") {
        file.extend_from_slice(&part.blob);
        remaining.push((file.len() as u64 + part.remaining_bytes, part.remaining_bytes));
    }
    let (last, parts) = remaining.split_last().expect("parts");
    assert_eq!(last.1, 0);
    assert!(parts.len() > 3 && parts.iter().all(|part| part.0 + 32 == last.0), "{remaining:?}");
    let (database, hash) = file.split_at(file.len() - 32);
    assert_eq!(ring::digest::digest(&ring::digest::SHA256, database).as_ref(), hash);
    served.node.shutdown().await;
}

#[tokio::test]
async fn refusals_of_locks_and_elections_are_unknown_with_the_text() {
    let served = Served::start().await;
    let mut locks = LockClient::new(served.routes.clone());
    let mut elections = ElectionClient::new(served.routes.clone());
    let (door, throne) = (bytes("door"), bytes("throne"));
    let lost = refusal(Code::Unknown, "etcdserver: requested lease not found");
    let lock = |lease| v3lockpb::LockRequest { name: door.clone(), lease };
    assert_eq!(refused(locks.lock(lock(4711)).await), lost);
    let locked = locks.lock(lock(0)).await.expect("locked").into_inner();
    let header = locked.header.expect("a header");
    assert!(locked.key.starts_with(b"door/") && header.revision == 2 && header.member_id != 0);
    let unlocked = locks.unlock(v3lockpb::UnlockRequest { key: locked.key }).await.expect("unlocked");
    assert_eq!(unlocked.get_ref().header.map(|header| header.revision), Some(3));
    let empty = refusal(Code::Unknown, "etcdserver: key is not provided");
    assert_eq!(refused(locks.unlock(v3lockpb::UnlockRequest::default()).await), empty);

    let who = || v3electionpb::LeaderRequest { name: throne.clone() };
    assert_eq!(refused(elections.leader(who()).await), refusal(Code::Unknown, "election: no leader"));
    let missing = refusal(Code::Unknown, "\"leader\" field must be provided");
    assert_eq!(refused(elections.resign(v3electionpb::ResignRequest::default()).await), missing);
    let proclaim = |leader| v3electionpb::ProclaimRequest { leader, value: bytes("v") };
    assert_eq!(refused(elections.proclaim(proclaim(None)).await), missing);
    let campaign = v3electionpb::CampaignRequest { name: throne.clone(), lease: 0, value: bytes("me") };
    let won = elections.campaign(campaign).await.expect("won").into_inner();
    let leader = won.leader.expect("a leader");
    assert_eq!(
        (leader.name.as_ref(), leader.rev, won.header.map(|it| it.revision)),
        (&b"throne"[..], 4, Some(4))
    );
    let stale = v3electionpb::LeaderKey { rev: leader.rev + 1, ..leader.clone() };
    assert_eq!(
        refused(elections.proclaim(proclaim(Some(stale))).await),
        refusal(Code::Unknown, "election: not leader")
    );

    let mut observe = Request::new(who());
    observe.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let mut observed = elections.observe(observe).await.expect("a stream").into_inner();
    let first = next(&mut observed).await.expect("no error").expect("a leader");
    assert_eq!(first.kv.map(|kv| (kv.key, kv.value)), Some((leader.key.clone(), bytes("me"))));
    elections.proclaim(proclaim(Some(leader))).await.expect("proclaimed");
    let second = next(&mut observed).await.expect("no error").expect("a value");
    assert_eq!(second.header.map(|header| header.revision), second.kv.map(|kv| kv.mod_revision));
    served.node.shutdown().await;
    assert_eq!(refused(next(&mut observed).await), refusal(Code::Unavailable, "etcdserver: server stopped"));
}

#[tokio::test]
async fn garbage_and_deep_nesting_are_errors_and_the_node_lives() {
    let served = Served::start().await;
    let deep = (0..1_000).fold(pb::TxnRequest::default(), |inner, _| pb::TxnRequest {
        success: vec![op(Op::RequestTxn(inner))],
        ..Default::default()
    });
    let (code, text) = refused(served.kv().txn(deep).await);
    assert_eq!(
        (code, text.as_str()),
        (Code::InvalidArgument, "etcdserver: too many operations in txn request")
    );
    // Lies about its length, then ends.
    let body = http_body_util::Full::new(bytes::Bytes::from_static(b"\0\0\0\x10\0garbage"));
    let request = http::Request::post("/etcdserverpb.KV/Put").header("content-type", "application/grpc");
    let request = request.body(body).expect("a request");
    let response = tower::ServiceExt::oneshot(served.routes.clone(), request).await.expect("an answer");
    assert_ne!(response.headers()["grpc-status"], "0");
    assert_eq!(
        served.put("k", "v").await.header.map(|header| header.revision),
        Some(2),
        "nothing was written"
    );
    served.node.shutdown().await;
}
