//! A wall clock that is in 1970, and jumps by hours either way: nobody notices but those who look at it.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::certs::Certs;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use bramble_tests::wire::Wire;

/// The wall clock of one process.
struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// `None`: this machine has no libfaketime.
    fn at(dir: &Path, time: &str) -> Option<WallClock> {
        let clock = WallClock { library: tools::faketime()?, file: dir.join("clock") };
        clock.set(time);
        Some(clock)
    }

    /// Sets it: `@1970-01-02 00:00:00` goes on from there, `+3h` is ahead of ours.
    fn set(&self, time: &str) {
        std::fs::write(&self.file, format!("{time}\n")).expect("a file");
    }

    fn give_to(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", self.library.display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
    }
}

/// The times of the server's log lines, in the order they came.
fn years(server: &Server) -> Vec<String> {
    let log = server.log();
    let ts = log.lines().filter_map(|line| line.split_once("\"ts\":\"")?.1.get(..4).map(str::to_owned));
    ts.collect()
}

async fn term(wire: &Wire) -> u64 {
    wire.maintenance().status(pb::StatusRequest {}).await.expect("answered").into_inner().raft_term
}

/// Grants 3 s, calls `meanwhile`, and says how long the key lived.
async fn lifetime(wire: &Wire, meanwhile: impl FnOnce()) -> Duration {
    let lease = wire.lease().lease_grant(pb::LeaseGrantRequest { ttl: 3, id: 0 }).await.expect("granted");
    let begun = Instant::now();
    let key = pb::PutRequest { key: "k".into(), lease: lease.into_inner().id, ..Default::default() };
    wire.kv().put(key).await.expect("answered");
    meanwhile();
    let get = pb::RangeRequest { key: "k".into(), ..Default::default() };
    loop {
        let found = wire.kv().range(get.clone()).await.expect("answered").into_inner();
        if found.count == 0 {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the lease does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_elections_follow_another_clock() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(clock) = WallClock::at(dir.path(), "@1970-01-02 00:00:00") else { return };
    let mut server = clock.give_to(Setup::bramble()).start();
    assert!(years(&server).iter().all(|year| year == "1970"), "{:?}", years(&server));
    let wire = Wire::connect(&server.url).await;
    let elected_in = term(&wire).await;
    for jump in ["@1970-01-02 00:00:00", "+3h", "-5h", "@1970-01-01 00:00:10", "+0"] {
        let lived = lifetime(&wire, || clock.set(jump)).await;
        println!("clock set to {jump}: a lease of 3 s lived {lived:?}");
        assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&lived), "{jump}: {lived:?}");
    }
    assert_eq!(term(&wire).await, elected_in, "an election because of a clock");
    server.terminate(Duration::from_secs(10)).expect("it stops");
    assert!(years(&server).iter().any(|year| year != "1970"), "the clock has jumped");
}

/// What the README says of certificates: the server's is shown whatever the time is, a client's is judged, and
/// judged again once the time is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_not_yet_valid_in_1970() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(clock) = WallClock::at(dir.path(), "@1970-01-02 00:00:00") else { return };
    let certs = Certs::make(dir.path());
    let with_tls = certs.server_flags().into_iter().fold(Setup::bramble().https(), Setup::arg);
    let server = clock.give_to(with_tls).start();
    let ask = |url: String, certs: Certs| async move {
        let get = pb::RangeRequest { key: "k".into(), ..Default::default() };
        Wire::connect_as(&url, &certs, "client").await.kv().range(get).await.map(drop)
    };
    // A refusal may come as early as while connecting, where the harness gives up.
    let refused = tokio::spawn(ask(server.url.clone(), certs.clone())).await;
    assert!(!matches!(refused, Ok(Ok(()))), "a certificate of a time to come");
    clock.set("+0");
    ask(server.url.clone(), certs).await.expect("the time is known now");
}
