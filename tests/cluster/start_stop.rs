//! Starting and stopping: the first answer, an early end with open watches, kubeadm's arguments, etcd's name.
use std::process::Command;
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_tests::certs::Certs;
use bramble_tests::process::Setup;
use bramble_tests::tools;
use bramble_tests::wire::Wire;
use bytes::Bytes;

/// How long a stop may take, watches or not.
const STOP_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_first_answer_comes_soon() {
    let mut times = Vec::new();
    for _ in 0..5 {
        let server = Setup::bramble().start();
        let mut kv = Wire::connect(&server.url).await.kv();
        kv.range(pb::RangeRequest { key: "a".into(), ..Default::default() }).await.expect("a read");
        times.push(server.started.elapsed());
    }
    times.sort();
    println!("process start to first linearizable read: {times:?}");
    // 100 ms on a machine of its own; the test shares this one with others.
    assert!(times[0] < Duration::from_secs(1), "the fastest of five starts took {:?}", times[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_with_open_watches_and_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let mut server = setup.clone().start();
    let wire = Wire::connect(&server.url).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut stream = wire.watch().watch(requests).await.expect("a stream").into_inner();
        stream.message().await.expect("an answer").expect("created");
        streams.push(stream);
    }
    for index in 0..50 {
        let put = pb::PutRequest { key: format!("k{index}").into(), value: "v".into(), ..Default::default() };
        wire.kv().put(put).await.expect("a write");
    }
    let began = Instant::now();
    let (server_gone, ports) = tokio::task::spawn_blocking(move || {
        let gone = server.terminate(STOP_WITHIN);
        (gone, server.ports)
    })
    .await
    .expect("no panic");
    println!("stopped in {:?} with {} watches open", began.elapsed(), streams.len());
    assert!(server_gone.is_some(), "still running after {STOP_WITHIN:?}");
    for stream in &mut streams {
        // Whatever had been sent may still be there; then the stream ends in a way that clients resume from.
        while let Ok(Some(_)) = stream.message().await {}
    }
    let server = setup.start_on(ports);
    let all =
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    let answer = Wire::connect(&server.url).await.kv().range(all).await.expect("a read").into_inner();
    assert_eq!(answer.count, 50, "acknowledged writes are there after a restart");
}

#[tokio::test]
async fn acknowledged_writes_outlive_a_kill() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let mut revision = 1;
    for round in 0..5u8 {
        let mut server = setup.clone().start();
        let mut kv = Wire::connect(&server.url).await.kv();
        for index in 0..20u8 {
            let put = pb::PutRequest {
                key: vec![b'k', round, index].into(),
                value: "v".into(),
                ..Default::default()
            };
            revision = kv.put(put).await.expect("a write").into_inner().header.expect("a header").revision;
        }
        server.kill();
    }
    let server = setup.start();
    let mut kv = Wire::connect(&server.url).await.kv();
    let all =
        pb::RangeRequest { key: "k".into(), range_end: "l".into(), count_only: true, ..Default::default() };
    let answer = kv.range(all).await.expect("a read").into_inner();
    assert_eq!(answer.count, 100);
    assert_eq!(answer.header.expect("a header").revision, revision, "revisions go on where they were");
}

/// The arguments that kubeadm writes into its manifest, word for word but for paths and addresses.
#[tokio::test]
async fn kubeadm_starts_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = Certs::make(dir.path());
    let metrics = bramble_tests::process::free_port();
    let mut setup = Setup::bramble().https();
    for flag in certs.server_flags() {
        setup = setup.arg(flag);
    }
    let server = setup
        .arg("--feature-gates=InitialCorruptCheck=true")
        .arg(format!("--peer-cert-file={}", certs.server_cert.display()))
        .arg(format!("--peer-key-file={}", certs.server_key.display()))
        .arg(format!("--peer-trusted-ca-file={}", certs.authority.display()))
        .arg("--peer-client-cert-auth=true")
        .arg("--snapshot-count=10000")
        .arg(format!("--listen-metrics-urls=http://127.0.0.1:{metrics}"))
        .arg("--watch-progress-notify-interval=5s")
        .start();
    assert!(server.log().contains("ready to serve client requests"));
    for path in ["livez", "readyz", "health"] {
        let answer = get(&format!("127.0.0.1:{metrics}"), path);
        assert!(answer.starts_with("HTTP/1.1 200"), "/{path} on the metrics address: {answer}");
    }
}

pub fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("the metrics address listens");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn it_answers_to_the_name_etcd() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = dir.path().join("etcd");
    std::os::unix::fs::symlink(tools::bramble(), &name).expect("a link");
    let output = Command::new(name).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("etcd Version: 3."), "{text}");
}

/// Lives as long as it was granted, then goes with its key, by the default timing.
#[tokio::test]
async fn a_lease_ends_after_its_time_and_not_before() {
    let server = Setup::bramble().start();
    let wire = Wire::connect(&server.url).await;
    let grant = pb::LeaseGrantRequest { ttl: 1, id: 0 };
    let began = Instant::now();
    let lease = wire.lease().lease_grant(grant).await.expect("a grant").into_inner();
    assert_eq!(lease.ttl, 2, "the least time to live with the default election timeout");
    let key = Bytes::from_static(b"leased");
    let put = pb::PutRequest { key: key.clone(), lease: lease.id, ..Default::default() };
    wire.kv().put(put).await.expect("a write");
    let read = pb::RangeRequest { key, count_only: true, ..Default::default() };
    while wire.kv().range(read.clone()).await.expect("a read").into_inner().count == 1 {
        assert!(began.elapsed() < Duration::from_secs(15), "the lease does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("a lease of 2 s ended after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(2), "a lease ended early: {:?}", began.elapsed());
}
