//! `bramblectl status` asks real members: what Bramble has written to its card is there, and etcd says nothing of it.
use std::process::Command;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use bramble_tests::wire::Wire;

/// Its output, when all is well.
fn status(server: &Server, arguments: &[&str]) -> String {
    let asked = Command::new(tools::bramblectl())
        .args(["status", "--endpoints", &server.url])
        .args(arguments)
        .output();
    let asked = asked.expect("bramblectl runs");
    assert!(asked.status.success(), "{asked:?}");
    String::from_utf8(asked.stdout).expect("text")
}

async fn written_to(server: &Server) {
    let put = pb::PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
    Wire::connect(&server.url).await.kv().put(put).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_card_of_a_member() {
    let server = Setup::bramble().start();
    written_to(&server).await;
    let text = status(&server, &[]);
    assert!(text.contains("\n  card ") && text.contains("written today: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&status(&server, &["-o", "json"])).expect("JSON");
    let today = &json["card"]["windows"]["today"];
    assert!(today["writes"].as_u64() >= Some(1) && today["own_bytes"].as_u64() > Some(0), "{json}");
    drop(server);

    let Some(etcd) = Setup::etcd() else { return };
    let etcd = etcd.start();
    written_to(&etcd).await;
    assert!(!status(&etcd, &[]).contains("card"));
    let json: serde_json::Value = serde_json::from_str(&status(&etcd, &["-o", "json"])).expect("JSON");
    assert!(json["card"].is_null(), "{json}");
}
