//! Slow requests in the log: etcd's messages, keys and texts, and never a value.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use serde_json::Value;

/// What nobody may find in a log.
const SECRET: &str = "a-value-that-is-nobodys-business";

/// One of each kind, all of them slower than a nanosecond.
async fn ask(server: &Server) {
    let wire = Wire::connect(&server.url).await;
    let put = pb::PutRequest { key: "foo".into(), value: SECRET.into(), ..Default::default() };
    let range = pb::RangeRequest { key: "foo".into(), range_end: "fop".into(), ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest {
        success: vec![
            op(pb::request_op::Request::RequestPut(put.clone())),
            op(pb::request_op::Request::RequestRange(range.clone())),
        ],
        ..Default::default()
    };
    let delete = pb::DeleteRangeRequest { key: "foo".into(), ..Default::default() };
    wire.kv().put(put).await.expect("put");
    wire.kv().range(range).await.expect("read");
    wire.kv().txn(txn).await.expect("done");
    wire.kv().delete_range(delete).await.expect("deleted");
}

/// The lines with this message, once one of them satisfies `last`.
fn lines(server: &Server, message: &str, last: impl Fn(&Value) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let log = server.log();
        let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<Value> =
            parsed.filter(|line| line["msg"].as_str().is_some_and(|msg| msg.starts_with(message))).collect();
        if found.iter().any(&last) {
            return found;
        }
        assert!(Instant::now() < deadline, "no such line with {message:?} in\n{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn keys(line: &Value) -> BTreeSet<String> {
    line.as_object().expect("an object").keys().cloned().collect()
}

#[tokio::test]
async fn a_slow_read_is_written_as_etcd_writes_it() {
    let Some(etcd) = Setup::etcd() else { return };
    let etcd = etcd.arg("--experimental-warning-apply-duration=1ns").start();
    let bramble = Setup::bramble().arg("--warning-apply-duration=1ns").start();
    let mut written = Vec::new();
    for server in [&etcd, &bramble] {
        ask(server).await;
        let of_read = |line: &Value| line["prefix"] == "read-only range ";
        let all = lines(server, "apply request took too long", of_read);
        written.push(all.into_iter().find(of_read).expect("just seen"));
        assert!(!server.log().contains(SECRET), "{:?} wrote a value", server.kind);
    }
    assert_eq!(keys(&written[0]), keys(&written[1]));
    for key in ["level", "expected-duration", "request"] {
        assert_eq!(written[0][key], written[1][key], "{key}");
    }
    let found =
        |line: &Value| line["response"].as_str().expect("text").starts_with("range_response_count:1 ");
    assert!(found(&written[0]) && found(&written[1]), "{written:?}");
}

#[tokio::test]
async fn a_slow_request_is_written_with_its_sizes_and_steps() {
    let bramble = Setup::bramble().arg("--warning-unary-request-duration=1ns").start();
    ask(&bramble).await;
    let is = |line: &Value, name: &str| line["response type"] == format!("/etcdserverpb.KV/{name}");
    let all = lines(&bramble, "request stats", |line| is(line, "DeleteRange"));
    let of = |name: &str| all.iter().find(|line| is(line, name)).expect("one of each");
    let expected = [
        ("Put", 1, 0, "key:\"foo\" value_size:32 "),
        ("Range", 0, 1, "key:\"foo\" range_end:\"fop\" "),
        (
            "Txn",
            2,
            0,
            "compare:<> success:<request_put:<key:\"foo\" value_size:32 > \
             request_range:<key:\"foo\" range_end:\"fop\" > > failure:<>",
        ),
        ("DeleteRange", 0, 1, "key:\"foo\" "),
    ];
    for (name, requests, responses, content) in expected {
        let line = of(name);
        assert_eq!(line["level"], "warn");
        assert_eq!(line["request content"], content, "{name}");
        assert_eq!(
            (line["request count"].as_i64(), line["response count"].as_i64()),
            (Some(requests), Some(responses))
        );
        for size in ["request size", "response size"] {
            assert!(line[size].as_u64().is_some_and(|bytes| bytes > 4), "{name}: {size} in {line}");
        }
        assert!(line["remote"].as_str().expect("text").starts_with("127.0.0.1:"), "{line}");
    }
    let traces = lines(&bramble, "trace[", |line| line["msg"].as_str().expect("text").ends_with("] range"));
    let range = traces.iter().find(|line| line["msg"].as_str().expect("text").ends_with("] range"));
    let steps = range.expect("just seen")["steps"].to_string();
    for step in
        ["agreement among raft nodes before linearized reading", "range keys", "assemble the response"]
    {
        assert!(steps.contains(step), "{steps}");
    }
    assert!(!bramble.log().contains(SECRET));
}

#[tokio::test]
async fn quick_requests_are_not_written() {
    let bramble = Setup::bramble()
        .arg("--warning-unary-request-duration=1h")
        .arg("--warning-apply-duration=1h")
        .start();
    ask(&bramble).await;
    let log = bramble.log();
    assert!(!log.contains("request stats") && !log.contains("took too long"), "{log}");
}

/// A log file that is full is put aside while the member serves.
#[tokio::test]
async fn the_log_file_is_rotated() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("member.log");
    let bramble = Setup::bramble()
        .arg(format!("--log-outputs=stderr,{}", path.display()))
        .arg("--enable-log-rotation")
        .arg(r#"--log-rotation-config-json={"maxsize": 1, "maxbackups": 1, "compress": true}"#)
        .arg("--warning-unary-request-duration=1ns")
        .start();
    let wire = Wire::connect(&bramble.url).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    let aside = || {
        let entries = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "gz")).count()
    };
    while aside() == 0 {
        assert!(Instant::now() < deadline, "nothing was put aside");
        let key = "k".repeat(20_000);
        wire.kv().range(pb::RangeRequest { key: key.into(), ..Default::default() }).await.expect("read");
    }
    assert!(std::fs::metadata(&path).expect("a new file").len() <= 1 << 20);
}
