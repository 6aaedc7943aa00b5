//! The names beside etcd's own: whatever a fresh etcd tells, Bramble tells too, with the same type,
//! labels and buckets, or it is on the list of what is left out.
use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;

use crate::text::{Scraped, get};

/// Left out: what speaks of Go, of bbolt's inside, of the v2 store and of the proxy.
const LEFT_OUT: &[&str] = &[
    "go_",
    "etcd_grpc_proxy_",
    "etcd_debugging_store_",
    "etcd_debugging_snap_save_",
    "etcd_debugging_disk_backend_commit_",
    // etcd 3.4's second name of etcd_mvcc_range_total.
    "etcd_debugging_mvcc_range_total",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_etcd_tells_is_told_alike() {
    let Some(etcd) = Setup::etcd() else { return };
    let etcd = etcd.arg("--metrics=extensive").start();
    let bramble = Setup::bramble().arg("--metrics=extensive").start();
    some_of_everything(&etcd).await;
    some_of_everything(&bramble).await;
    let [etcd, bramble] = [&etcd, &bramble].map(|server| Scraped::of(server.address()));
    let mut compared = 0;
    for (name, theirs) in &etcd.families {
        if LEFT_OUT.iter().any(|left_out| name.starts_with(left_out)) {
            continue;
        }
        let ours = bramble.families.get(name).unwrap_or_else(|| panic!("etcd tells {name}"));
        assert_eq!(ours.kind, theirs.kind, "{name}");
        assert_eq!(ours.labels(), theirs.labels(), "{name}");
        assert_eq!(ours.bounds(), theirs.bounds(), "{name}");
        compared += 1;
    }
    println!("{compared} families of etcd were compared");
    assert!(compared > 60, "only {compared}");
    methods_are_the_same(&etcd, &bramble);
}

/// A method of the oracle's gRPC library, younger than any client.
const NOT_SERVED: (&str, &str) = ("grpc.health.v1.Health", "List");

/// Makes rows where there are none before the first call.
async fn some_of_everything(server: &Server) {
    let wire = Wire::connect(&server.url).await;
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    wire.kv().put(put).await.expect("answered");
    let range = pb::RangeRequest { key: "k".into(), ..Default::default() };
    wire.kv().range(range).await.expect("answered");
    let delete = pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
    wire.kv().delete_range(delete).await.expect("answered");
    wire.kv().txn(pb::TxnRequest::default()).await.expect("answered");
    let compact = pb::CompactionRequest { revision: 2, physical: true };
    wire.kv().compact(compact).await.expect("answered");
    wire.lease().lease_grant(pb::LeaseGrantRequest { id: 1, ttl: 60 }).await.expect("answered");
    wire.lease().lease_revoke(pb::LeaseRevokeRequest { id: 1 }).await.expect("answered");
    let raise = pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 };
    wire.maintenance().alarm(raise).await.expect("answered");
    get(server.address(), "/readyz");
}

/// Every row of the calls: method, type, code.
fn methods_are_the_same(etcd: &Scraped, bramble: &Scraped) {
    let rows = &etcd.families["grpc_server_handled_total"].samples;
    let served = rows.iter().filter(|(_, labels, _)| {
        (labels["grpc_service"].as_str(), labels["grpc_method"].as_str()) != NOT_SERVED
    });
    for (name, labels, _) in served {
        let wanted: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert!(bramble.get(name, &wanted).is_some(), "etcd tells {name}{wanted:?}");
    }
}
