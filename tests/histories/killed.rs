//! `kill -9` while eight clients write, and what the checkers say of it.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bramble_tests::chance::Chance;
use bramble_tests::history::lease::{self, Bounds};
use bramble_tests::history::{
    Answer, Body, History, Op, OpAnswer, Outcome, Put, Range, Request, Span, Violation, replay, search,
    search_key, watch,
};
use bramble_tests::process::{Server, Setup};
use bramble_tests::wire::Wire;
use tokio::task::JoinSet;

use crate::run::Run;
use crate::watches::{WATCHES, follow};

const CLIENTS: u32 = 8;
/// Kills when `BRAMBLE_KILLS` says nothing.
const KILLS: u64 = 5;
/// The scan for ended leases comes every half second; the rest is for a machine that does other things.
const LATE: Bounds = Bounds { late: 5_000_000_000 };
/// In which many leases of two and three seconds end.
const LEASES_END: Duration = Duration::from_millis(4500);
/// Leases that are left alone at the end.
const LEFT: usize = 5;
/// Until all watches have been sent everything.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_through_kills_is_what_one_store_says() {
    let seed = Chance::seed_from("BRAMBLE_HISTORY_SEED");
    let kills = Chance::seed_given("BRAMBLE_KILLS").unwrap_or(KILLS);
    println!("BRAMBLE_HISTORY_SEED={seed} BRAMBLE_KILLS={kills}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let server = setup.clone().start();
    let (tell, up) = tokio::sync::watch::channel(true);
    let run = Arc::new(Run::new(&server.url, up));
    run.write(|history| history.led.push(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let run = run.clone();
        clients.spawn(async move { run.client(client, seed).await });
    }
    let mut watches = JoinSet::new();
    for index in 0..WATCHES {
        let run = run.clone();
        watches.spawn(async move { follow(&run, index, seed).await });
    }
    let server = kill(server, &setup, &run, &tell, kills, seed).await;
    run.ending.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("a client does not panic");
    }
    finish(&run).await;
    let drained = async { while watches.join_next().await.is_some_and(|watch| watch.is_ok()) {} };
    tokio::time::timeout(DRAINED_WITHIN, drained).await.expect("all watches are sent everything in time");
    assert!(watches.is_empty(), "a watch panicked");
    drop(server);
    let history = run.write(std::mem::take);
    judge(&history, kills);
}

/// Kills the server and starts it again, after a while each time.
async fn kill(
    mut server: Server,
    setup: &Setup,
    run: &Run,
    tell: &tokio::sync::watch::Sender<bool>,
    kills: u64,
    seed: u64,
) -> Server {
    let mut chance = Chance::from_seed(seed);
    for _ in 0..kills {
        // A start gives leases their time again, so they end only where the next kill takes longer.
        let pause =
            if chance.percent(10) { LEASES_END } else { Duration::from_millis(200 + chance.roll() % 1300) };
        tokio::time::sleep(pause).await;
        let (setup, ports, down) = (setup.clone(), server.ports, tell.clone());
        // It is killed under its clients' hands; those that find it gone wait for the next.
        let restarted = tokio::task::spawn_blocking(move || {
            server.kill();
            down.send_replace(false);
            setup.start_on(ports)
        });
        server = restarted.await.expect("the server starts again");
        tell.send_replace(true);
        run.write(|history| history.led.push(run.now()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    server
}

/// Nothing happens any more after this: no lease is left, and one client has read everything.
async fn finish(run: &Run) {
    let wire = Wire::connect_later(&run.url);
    leave(run, &wire).await;
    for lease in 1..=run.leases() {
        run.ask(&wire, CLIENTS, Request::Revoke(lease)).await;
    }
    let range = Range { keys: Span::all(), revision: 0, limit: 0, serializable: false };
    let outcome = run.ask(&wire, CLIENTS, Request::Op(Op::Range(range))).await;
    let Outcome::Answered(answer) = outcome else { panic!("the last read is answered, not {outcome:?}") };
    run.last.store(answer.revision, Ordering::Relaxed);
}

/// Hangs keys on leases and leaves them alone until all have ended.
async fn leave(run: &Run, wire: &Wire) {
    let mut chance = Chance::from_seed(0);
    for _ in 0..LEFT {
        let lease = run.lease(true, &mut chance);
        run.ask(wire, CLIENTS, Request::Grant { lease, ttl_s: 2 }).await;
        for index in 0..3 {
            let (key, value) =
                (format!("z{lease}-{index}").into(), format!("{CLIENTS}-{lease}-{index}").into());
            run.ask(wire, CLIENTS, Request::Op(Op::Put(Put { key, value, lease, prev_kv: false }))).await;
        }
    }
    let began = Instant::now();
    loop {
        let range = Range { keys: Span::From("z".into()), revision: 0, limit: 0, serializable: false };
        let outcome = run.ask(wire, CLIENTS, Request::Op(Op::Range(range))).await;
        if let Outcome::Answered(Answer { body: Body::Op(OpAnswer::Range { count: 0, .. }), .. }) = outcome {
            return;
        }
        assert!(began.elapsed() < DRAINED_WITHIN, "leases of two seconds do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn judge(history: &History, kills: u64) {
    let unknown = history.calls.iter().filter(|call| call.unknown()).count();
    let timed = |what: &str, check: &dyn Fn() -> Vec<Violation>| {
        let began = Instant::now();
        let violations = check();
        println!("{what}: {:?}", began.elapsed());
        if let Some(first) = violations.first() {
            panic!(
                "{what}: {} violations, the first of {:?}:\n{}",
                violations.len(),
                first.property,
                first.text
            );
        }
    };
    let began = Instant::now();
    let (log, violations) = replay::check(history);
    timed("replay", &|| violations.clone());
    println!("replay itself: {:?}", began.elapsed());
    let ends = |change: &&replay::Change| matches!(change.cause, replay::Cause::LeaseEnd { .. });
    let lost = |change: &&replay::Change| change.cause == replay::Cause::Unknown;
    println!(
        "{kills} kills, {} calls, {unknown} of unknown outcome, {} of which made revisions; {} revisions, {} ends of \
         leases with keys; {} events in {} watches",
        history.calls.len(),
        log.changes().iter().filter(lost).count(),
        log.last(),
        log.changes().iter().filter(ends).count(),
        watch::events(history),
        history.watches.len(),
    );
    timed("search over the whole store", &|| search::whole(history, search::STATES_MAX));
    timed("search key by key", &|| search_key::by_key(history, search::STATES_MAX));
    timed("watches", &|| watch::check(history, &log));
    timed("leases", &|| lease::check(history, &log, LATE));
    assert!(log.last() > 100, "too little happened: {} revisions", log.last());
    assert!(log.changes().iter().filter(ends).count() >= LEFT, "too few leases ended by themselves");
    assert!(kills == 0 || unknown > 0, "no kill hit a call");
}
