//! Users log in with their old passwords, wherever they were moved to.
use std::path::Path;
use std::process::Command;

use bramble_tests::process::{Server, Setup};
use bramble_tests::tools::etcdctl_newest;

use crate::restored;
use crate::tools::{Tools, done};

fn etcdctl(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(etcdctl_newest().expect("it was there"));
    command.args(["--endpoints", &server.url]).args(arguments);
    command
}

/// What alice may and may not do.
fn assert_alice(server: &Server) {
    let alice = ["--user", "alice:wonderland"];
    let run =
        |arguments: &[&str]| etcdctl(server, &[&alice[..], arguments].concat()).output().expect("it runs");
    let read = run(&["get", "tea/cup"]);
    assert!(read.status.success() && read.stdout == b"tea/cup\nfull\n", "{read:?}");
    assert!(!run(&["put", "tea/cup", "empty"]).status.success(), "she may only read");
    let wrong =
        etcdctl(server, &["--user", "alice:looking-glass", "get", "tea/cup"]).output().expect("it runs");
    assert!(!wrong.status.success(), "not her password");
    done(&mut etcdctl(server, &["--user", "root:queen", "put", "tea/pot", "warm"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_keep_passwords_and_permissions() {
    let Some(tools) = Tools::found() else { return };
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let bramble = Setup::bramble().in_memory().arg("--bcrypt-cost=4").start();
    for command in [
        "put tea/cup full",
        "role add guest",
        "role grant-permission guest read --prefix tea/",
        "user add alice:wonderland",
        "user grant-role alice guest",
        "user add root:queen",
        "user grant-role root root",
        "auth enable",
    ] {
        done(&mut etcdctl(&bramble, &command.split(' ').collect::<Vec<_>>()));
    }
    assert_alice(&bramble);
    let save = |server: &Server, file: &Path| {
        let refused = etcdctl(server, &["--user", "alice:wonderland", "snapshot", "save"]).arg(file).output();
        assert!(!refused.expect("it runs").status.success(), "a snapshot is root's");
        done(etcdctl(server, &["--user", "root:queen", "snapshot", "save"]).arg(file));
    };
    let file = scratch.path().join("ours.db");
    save(&bramble, &file);
    let etcd = restored(&tools, &scratch, &file);
    assert_alice(&etcd);
    let file = scratch.path().join("theirs.db");
    save(&etcd, &file);
    let dir = scratch.path().join("bramble");
    tools.import(&file, &dir, &[]);
    assert_alice(&Setup::bramble().data_dir(&dir).start());
}
