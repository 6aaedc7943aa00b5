//! A Kubernetes API server on Bramble over TLS; the work itself is in `apiserver_test.go`.
use std::process::{Command, Stdio};

use bramble_tests::certs::Certs;
use bramble_tests::process::Setup;
use bramble_tests::tools;

#[test]
fn an_api_server_runs_on_it() {
    let Some(program) = tools::kubernetes() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let certs = Certs::make(dir.path());
    let flags = certs.server_flags().into_iter().chain(["--watch-progress-notify-interval=1s".to_string()]);
    let mut server = flags.fold(Setup::bramble().https(), Setup::arg).start();
    let status = Command::new(program)
        .current_dir(tools::workspace().join("tests/kubernetes"))
        .args(["-test.v", "-test.timeout=240s"])
        .env("BRAMBLE_ENDPOINT", &server.url)
        .env("BRAMBLE_CA", &certs.authority)
        .env("BRAMBLE_CERT", &certs.client_cert)
        .env("BRAMBLE_KEY", &certs.client_key)
        .env("KUBE_WATCHCACHE_CONSISTENCY_CHECKER", "true")
        .stdin(Stdio::null())
        .status()
        .expect("the test program runs");
    assert!(server.alive(), "the server ended");
    assert!(status.success(), "the API server's day failed; its output is above");
}
