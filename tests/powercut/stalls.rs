//! A card stands still for half a second, and for two, as cheap ones do while they clean up: writes wait, nobody is
//! told that the member is ill, and nothing is acknowledged before the card has answered.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bramble_bench::cardsim::CardOptions;
use bramble_proto::etcdserverpb as pb;
use bramble_proto::health::HealthCheckRequest;
use bramble_proto::health::health_check_response::ServingStatus;
use bramble_tests::wire::Wire;

use crate::lab::{self, Lab};
use crate::ledger::Findings;

const STALLS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Probes ask no disk. kubelet's usual time-out is a second.
const PROBED_WITHIN: Duration = Duration::from_secs(1);
const PROBES: [&str; 4] = ["/health", "/livez", "/readyz", "/health?serializable=true"];
/// A write is answered so soon after the card goes on, also on a busy machine.
const GOES_ON_WITHIN: Duration = Duration::from_secs(5);

/// Status line and body.
fn get(server: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&server, PROBED_WITHIN).expect("the port is open");
    stream.set_read_timeout(Some(PROBED_WITHIN)).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: no answer: {error}"));
    answer
}

/// How often there was another leader, and the term.
fn leaders(server: SocketAddr) -> [String; 2] {
    let page = get(server, "/metrics");
    ["etcd_server_leader_changes_seen_total ", "bramble_raft_term "].map(|name| {
        page.lines().find(|line| line.starts_with(name)).expect("the member counts it").to_owned()
    })
}

/// Everybody who asks hears that all is well, until then.
async fn all_is_well(server: SocketAddr, wire: &Wire, end: Instant) -> usize {
    let mut asked = 0;
    while Instant::now() < end {
        for path in PROBES {
            let answer = get(server, path);
            assert!(answer.starts_with("HTTP/1.0 200"), "{path} while the card stands still: {answer}");
        }
        let said = wire.health().check(HealthCheckRequest::default()).await.expect("answered").into_inner();
        assert_eq!(said.status(), ServingStatus::Serving);
        let status = wire.maintenance().status(pb::StatusRequest {}).await.expect("answered").into_inner();
        assert!(status.leader != 0 && status.errors.is_empty(), "{status:?}");
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_card_that_stands_still_makes_writes_wait_and_nobody_ill() {
    let Some(card) = lab::card(CardOptions::ext4()) else { return };
    let mut lab = Lab::new(card, super::seed());
    let (mut server, _) = lab.start_and_check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    let (address, wire) = (server.address(), Wire::connect(&server.url).await);
    let before = leaders(address);
    for stall in STALLS {
        for _ in 0..3 {
            lab.load.write_once(&server.url).await.expect("the disk is well");
        }
        let end = lab.card.stall(stall);
        let write = async {
            let write = tokio::time::timeout(stall + GOES_ON_WITHIN, lab.load.write_once(&server.url));
            write.await.expect("the card goes on").expect("a stall is no failure");
            Instant::now()
        };
        let (answered, asked) = tokio::join!(write, all_is_well(address, &wire, end));
        assert!(asked > 0, "nobody asked while the card stood still");
        assert!(answered >= end, "acknowledged {:?} before the card had answered", end - answered);
        println!("{stall:?}: asked {asked} times, the write was answered {:?} after its end", answered - end);
    }
    assert_eq!(leaders(address), before, "a stall is no reason for an election");
    assert!(!server.log().contains("health check failed"), "{}", server.log());
    server.kill();
    drop(server);
    let (_server, findings) = lab.start_and_check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(findings, Findings::default());
}
