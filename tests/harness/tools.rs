//! What the tests need beside Rust: the server under test, the oracle, clients.
//!
//! `.ci/tools` puts the foreign programs into a cache outside the clone. A test that lacks one says
//! SKIPPED and why; with `BRAMBLE_REQUIRE_ALL=1`, as in CI, lacking one is a failure.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The oracle's version; `.ci/tools` builds it.
pub const ETCD_VERSION: &str = "3.5.30";
/// The newest client's version; `.ci/tools` builds it.
pub const ETCDCTL_VERSION: &str = "3.7.3";
/// The version of etcd's tool for its own files; `.ci/tools` builds it.
pub const ETCDUTL_VERSION: &str = "3.5.21";

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// The server under test: `BRAMBLE_BIN`, or the release build of this workspace, brought up to date first.
pub fn bramble() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::var_os("BRAMBLE_BIN").map_or_else(build, PathBuf::from)).clone()
}

/// The command line that belongs to it.
pub fn bramblectl() -> PathBuf {
    bramble().with_file_name("bramblectl")
}

/// A stale binary would prove nothing, so cargo is asked; it answers at once when all is fresh. The
/// whole workspace is named so that features, and with them the dependencies, are those of the tests.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--release", "--quiet", "--workspace", "--bin", "bramble", "--bin", "bramblectl"])
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the server under test does not build");
    let target = profile_folder().parent().expect("a profile lies in the target directory").to_owned();
    target.join("release").join("bramble")
}

/// The folder of what cargo has compiled for the running test and its profile, `<target>/release`.
pub fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    test.parent().and_then(Path::parent).expect("tests lie in <target>/release/deps").to_owned()
}

/// The oracle.
pub fn etcd() -> Option<PathBuf> {
    cached(&format!("etcd-{ETCD_VERSION}"))
}

/// The newest etcdctl.
pub fn etcdctl_newest() -> Option<PathBuf> {
    cached(&format!("etcdctl-{ETCDCTL_VERSION}"))
}

/// etcd's tool for its own files.
pub fn etcdutl() -> Option<PathBuf> {
    cached(&format!("etcdutl-{ETCDUTL_VERSION}"))
}

/// The etcdctl that Debian ships.
pub fn etcdctl_debian() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/etcdctl");
    if path.exists() { Some(path) } else { missing("/usr/bin/etcdctl (Debian: apt install etcd-client)") }
}

/// curl, as the system has it.
pub fn curl() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/curl");
    if path.exists() { Some(path) } else { missing("/usr/bin/curl (Debian: apt install curl)") }
}

/// The program on etcd's Go client (`tests/clients/go`).
pub fn go_client() -> Option<PathBuf> {
    cached("goclient")
}

/// Python with the package `etcd3` (`tests/clients/python`).
pub fn python() -> Option<PathBuf> {
    cached("python/bin/python")
}

/// The program on the crate `etcd-client` (`tests/clients/rust`).
pub fn rust_client() -> Option<PathBuf> {
    cached("rustclient")
}

/// Java, and the folder of the program on jetcd with all that it needs (`tests/clients/java`).
pub fn java_client() -> Option<(PathBuf, PathBuf)> {
    let folder = cached("javaclient")?;
    Some((installed("java", "default-jdk-headless")?, folder))
}

/// The Kubernetes API server's test (`tests/kubernetes`).
pub fn kubernetes() -> Option<PathBuf> {
    cached("kubernetes.test")
}

/// git, which plants bugs.
pub fn git() -> Option<PathBuf> {
    installed("git", "git")
}

/// Prometheus, as Debian ships it.
pub fn prometheus() -> Option<PathBuf> {
    installed("prometheus", "prometheus")
}

/// Prometheus' tool for rules and texts; of the same package.
pub fn promtool() -> Option<PathBuf> {
    installed("promtool", "prometheus")
}

/// libfaketime, which tells one process another time.
pub fn faketime() -> Option<PathBuf> {
    let name = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    let path = PathBuf::from(name);
    if path.exists() { Some(path) } else { missing("libfaketime.so.1 (Debian: apt install libfaketime)") }
}

/// Whether the tests run as root, who may mount.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test is left out; where everything is required, fails.
pub fn skip(why: &str) {
    assert!(!required(), "{why}, and BRAMBLE_REQUIRE_ALL is set");
    println!("SKIPPED: {why}");
}

fn required() -> bool {
    std::env::var("BRAMBLE_REQUIRE_ALL").is_ok_and(|value| value == "1")
}

/// A program on PATH, or where Debian puts it.
fn installed(program: &str, package: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&search).chain([PathBuf::from("/usr/bin")]);
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.exists()));
    found.or_else(|| missing(&format!("{program} (Debian: apt install {package})")))
}

fn cached(name: &str) -> Option<PathBuf> {
    let path = cache().join("tools").join(name);
    if path.exists() { Some(path) } else { missing(&format!("{} (run .ci/tools)", path.display())) }
}

fn cache() -> PathBuf {
    let given = std::env::var_os("BRAMBLE_CACHE").map(PathBuf::from);
    given.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        home.join(".cache").join("bramble")
    })
}

fn missing(what: &str) -> Option<PathBuf> {
    skip(&format!("{what} is missing"));
    None
}
