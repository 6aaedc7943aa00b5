//! The load generator does what it says, against a real server.
use std::time::Duration;

use bramble_bench::load::{Data, Plan, Work, fill, run};
use bramble_tests::process::Setup;
use tonic::transport::Endpoint;

#[tokio::test]
async fn every_kind_of_work_is_done_and_counted() {
    let server = Setup::bramble().in_memory().start();
    let endpoint = Endpoint::from_shared(server.url.clone()).expect("a URL the harness made");
    let channels = [endpoint.connect().await.expect("the server was ready")];
    let data = Data { keys: 50, value_bytes: 256, noise_percent: 50 };
    fill(&channels, &data, 1).await.expect("filled");
    let works = [
        Work::Put,
        Work::Get,
        Work::SerializableGet,
        Work::Update,
        Work::List { limit: 10 },
        Work::Watch { watchers: 3 },
        Work::Lease,
    ];
    for work in works {
        let (measured, warm_up) = (Duration::from_millis(300), Duration::from_millis(50));
        let plan =
            Plan { work, data: data.clone(), clients: 4, rate: Some(200.0), measured, warm_up, seed: 1 };
        let told = run(&channels, &plan).await.expect("nothing stands in its way");
        let requests = &told.requests;
        // 200 a second for 0.3 s, whoever is how late.
        assert!((55..=65).contains(&requests.count), "{work:?}: {told}");
        assert!(told.failed.is_empty() && requests.max_us > 0, "{work:?}: {told}");
        assert_eq!(requests.bytes_per_s > 0.0, work != Work::Lease, "{work:?}: {told}");
        let events = told.events.map(|events| events.count);
        match work {
            // Those at the edges of the time may be counted on one side alone.
            Work::Watch { .. } => {
                assert!(events.is_some_and(|n| n.abs_diff(3 * requests.count) < 60), "{events:?}")
            }
            _ => assert_eq!(events, None, "{work:?}"),
        }
    }
    let nobody = Plan {
        work: Work::Put,
        data,
        clients: 2,
        rate: None,
        measured: Duration::from_millis(200),
        warm_up: Duration::ZERO,
        seed: 1,
    };
    drop(server);
    let told = run(&channels, &nobody).await.expect("failures are counted");
    assert!(told.requests.count == 0 && told.failed.values().sum::<u64>() > 0, "{told}");
}
