//! etcd's own Go client (`go/main.go`): watches over a restart, transactional memory, leasing, locks.
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use bramble_tests::process::Setup;
use bramble_tests::tools;

#[test]
fn the_go_client_finds_all_it_relies_on() {
    let Some(program) = tools::go_client() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = Setup::bramble().data_dir(&dir.path().join("data"));
    let mut server = setup.clone().start();
    let mut client = Command::new(program)
        .env("BRAMBLE_ENDPOINT", &server.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client program runs");
    let mut input = client.stdin.take().expect("its input was asked for");
    let output = BufReader::new(client.stdout.take().expect("its output was asked for"));
    let mut restarts = 0;
    for line in output.lines() {
        let line = line.expect("text");
        println!("{line}");
        if line == "RESTART" {
            let ports = server.ports;
            assert!(server.terminate(Duration::from_secs(5)).is_some(), "the server does not stop");
            server = setup.clone().start_on(ports);
            restarts += 1;
            writeln!(input, "RESTARTED").expect("the client waits for this line");
        }
    }
    assert!(client.wait().expect("our own child").success(), "the client saw a wrong answer");
    assert_eq!(restarts, 1, "the watch was not tried over a restart");
}
