//! A call to the disk fails: the server ends, says why and names the file, and after the fault it is clean.
use std::process::Command;
use std::time::{Duration, Instant};

use bramble_bench::cardsim::{Call, CardOptions, Errno, Fault};
use bramble_tests::process::Server;

use crate::lab::{self, END_WITHIN, Lab};
use crate::ledger::Findings;

/// A server with a failed disk ends within this, unless the machine has no time for it.
const FAIL_STOP: Duration = Duration::from_secs(1);
/// So many threads that want to run, for each processor, are a machine without time.
const BUSY: f64 = 4.0;
/// The kernel's own writes may be what a fault strikes; so often it is tried again.
const TRIES: usize = 10;

/// How long a server with a failed disk may go on.
fn fail_stop() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if load < BUSY * processors as f64 {
        return FAIL_STOP;
    }
    println!("this machine is busy (load {load}): {END_WITHIN:?} are given instead of {FAIL_STOP:?}");
    END_WITHIN
}

/// The line of the log that says why the server ended holds all these words.
fn said(server: &Server, words: &[&str]) {
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
    println!("{}", line.unwrap_or_else(|| panic!("no line says {words:?}:\n{log}")));
}

/// The card in again, the server up, everything there.
async fn clean_again(lab: &mut Lab) {
    lab.card.fail(None);
    lab.card.unplug().expect("nobody uses the card");
    lab.card.plug_in().expect("the file system is whole");
    let (mut server, findings) = lab.start_and_check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(findings, Findings::default());
    lab.load.write_once(&server.url).await.expect("the disk is well");
    assert!(server.terminate(END_WITHIN).is_some(), "it does not stop:\n{}", server.log());
}

/// Everything that the kernel has for the disk goes there now.
fn sync(lab: &Lab) {
    let synced = Command::new("sync").arg("--file-system").arg(lab.card.files()).status();
    assert!(synced.is_ok_and(|status| status.success()), "sync is a part of coreutils");
}

/// The next such call of a server with one write to do fails.
async fn strike(lab: &mut Lab, fault: Fault) -> Server {
    for _ in 0..TRIES {
        let mut server = lab.start().unwrap_or_else(|log| panic!("{log}"));
        for _ in 0..3 {
            lab.load.write_once(&server.url).await.expect("the disk is well");
        }
        sync(lab);
        lab.card.fail(Some(fault));
        let begun = Instant::now();
        let answer = lab.load.write_once(&server.url).await;
        if server.wait_exit(fail_stop().saturating_sub(begun.elapsed())).is_some() {
            let error = answer.expect_err("a write that failed must not be acknowledged");
            println!(
                "{fault:?}: the writer heard '{}', the end came after {:?}",
                error.message(),
                begun.elapsed()
            );
            return server;
        }
        // The kernel's write was struck, or the log's, and the server lives on with it: the same test tells.
        answer.expect("the server lives, so it must have written");
        drop(server);
        clean_again(lab).await;
    }
    panic!("{fault:?} never struck the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_write_that_fails_ends_the_server_which_names_the_file() {
    let Some(card) = lab::card(CardOptions::ext4()) else { return };
    let mut lab = Lab::new(card, 1);
    let cases = [
        (Call::Write, Errno::Eio, "Input/output error"),
        (Call::Flush, Errno::Eio, "Input/output error"),
        (Call::Write, Errno::Enospc, "No space left on device"),
    ];
    for (call, errno, words) in cases {
        let server = strike(&mut lab, Fault { call, after: 0, errno, for_ever: false }).await;
        said(&server, &["the node has failed and stops", "data/log/", words]);
        drop(server);
        clean_again(&mut lab).await;
    }
}

/// The disk is gone from call N on, whatever the server is at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_goes_at_call_n_ends_the_server() {
    let Some(card) = lab::card(CardOptions::ext4()) else { return };
    let mut lab = Lab::new(card, super::seed());
    for round in 0..8 {
        let call = if round % 2 == 0 { Call::Write } else { Call::Flush };
        let after = lab.chance.below(400) as u64;
        let (mut server, findings) = lab.start_and_check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(findings, Findings::default());
        let tasks = lab.load.begin(&server.url).await;
        lab.card.fail(Some(Fault { call, after, errno: Errno::Eio, for_ever: true }));
        let struck = struck(&lab).await;
        let ended = server.wait_exit(fail_stop().saturating_sub(struck.elapsed()));
        assert!(ended.is_some(), "it lives on without a disk:\n{}", server.log());
        println!("{call:?} fails from the {after}th on: the end came after {:?}", struck.elapsed());
        // The log names its segment; the engine its file, or that it was one of its own.
        let part = if server.log().contains("stops: engine: ") { "stops: engine: " } else { "data/log/" };
        said(&server, &["the node has failed and stops", part]);
        lab.load.end(tasks).await;
        drop(server);
        clean_again(&mut lab).await;
    }
}

/// Waits until the fault has struck.
async fn struck(lab: &Lab) -> Instant {
    let before = lab.card.counts().faults;
    let deadline = Instant::now() + Duration::from_secs(30);
    while lab.card.counts().faults == before {
        assert!(Instant::now() < deadline, "the disk was not used");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

/// ext4 finds its journal damaged under the running server, and lets nobody write any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_turns_read_only_ends_the_server() {
    let options = CardOptions { mount_options: "errors=remount-ro".into(), ..CardOptions::ext4() };
    let Some(card) = lab::card(options) else { return };
    let mut lab = Lab::new(card, 2);
    let (mut server, _) = lab.start_and_check().await.unwrap_or_else(|wrong| panic!("{wrong}"));
    lab.load.write_once(&server.url).await.expect("the disk is well");
    sync(&lab);
    lab.card.fail(Some(Fault { call: Call::Write, after: 0, errno: Errno::Eio, for_ever: false }));
    let file = std::fs::File::create(lab.card.files().join("another")).and_then(|file| file.sync_all());
    file.expect_err("its journal cannot be written");
    let begun = Instant::now();
    lab.load.write_once(&server.url).await.expect_err("nothing can be written");
    let ended = server.wait_exit(fail_stop().saturating_sub(begun.elapsed()));
    assert!(ended.is_some(), "it lives on on a read-only disk:\n{}", server.log());
    said(&server, &["the node has failed and stops", "data/log/", "Read-only file system"]);
    drop(server);
    clean_again(&mut lab).await;
}
