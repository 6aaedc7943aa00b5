//! A damaged directory from the server's message to the server that serves again.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use bramble_tests::wire::Wire;

/// How long a server may take to end, or to find damage.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a repair adds to the revision when something is lost.
const LEAP: i64 = 1_000_000_000;

fn put(key: String, value: Vec<u8>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

/// What a key made after this revision holds: 4 KB that no compression makes smaller.
fn noise(revision: i64) -> Vec<u8> {
    let mut chance = bramble_tests::chance::Chance::from_seed(revision as u64);
    (0..500).flat_map(|_| chance.roll().to_le_bytes()).collect()
}

/// Writes keys until the revision is `revision`, which is even.
async fn fill(server: &Server, revision: i64) {
    let wire = Wire::connect(&server.url).await;
    let mut kv = wire.kv();
    loop {
        let header = kv.put(put("x".into(), vec![])).await.expect("answered").into_inner().header;
        let n = header.expect("a header").revision;
        if n >= revision {
            return;
        }
        kv.put(put(format!("key/{n:06}"), noise(n))).await.expect("answered");
    }
}

/// The keys that are there, and the revision.
async fn keys(server: &Server) -> (i64, i64) {
    let wire = Wire::connect(&server.url).await;
    let all = pb::RangeRequest {
        key: "key/".into(),
        range_end: "key0".into(),
        count_only: true,
        ..Default::default()
    };
    let found = wire.kv().range(all).await.expect("answered").into_inner();
    (found.count, found.header.expect("a header").revision)
}

/// Flips a bit of the value of the key made after `revision`, in the first file of `dir` that holds it.
fn flip(dir: &Path, revision: i64) -> PathBuf {
    let value = &noise(revision)[..16];
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("a directory").flatten().map(|e| e.path()).collect();
    files.sort();
    for path in files.into_iter().filter(|path| path.is_file()) {
        let mut bytes = std::fs::read(&path).expect("a file");
        if let Some(at) = bytes.windows(value.len()).position(|window| window == value) {
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).expect("a file");
            return path;
        }
    }
    panic!("revision {revision} is nowhere in {}", dir.display());
}

/// Runs `bramblectl repair`: exit code, output, errors.
fn repair(data: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(tools::bramblectl())
        .args(["repair", "--data-dir"])
        .arg(data)
        .args(arguments)
        .output()
        .expect("bramblectl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    println!("bramblectl repair {arguments:?}\n{told}{errors}");
    (output.status.code().expect("it ends by itself"), told, errors)
}

/// The server's log must name the command to use.
fn names_the_repair(server: &Server, data: &Path, file: &str) {
    let (log, command) = (server.log(), format!("bramblectl repair --data-dir {}", data.display()));
    assert!(log.contains(&command) && log.contains(file), "{file}, {command}:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rot_in_the_log() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let setup = Setup::bramble().data_dir(&data);
    let mut server = setup.clone().start();
    fill(&server, 200).await;
    let (code, _, errors) = repair(&data, &["--accept-loss"]);
    assert_eq!(code, 1);
    assert!(errors.contains("in use by another process"), "{errors}");
    server.terminate(PATIENCE).expect("it stops");
    assert_eq!(repair(&data, &[]).0, 0);

    let file = flip(&data.join("log"), 100);
    let mut refused = setup.clone().spawn();
    assert!(refused.wait_exit(PATIENCE).is_some_and(|status| !status.success()), "{}", refused.log());
    names_the_repair(&refused, &data, file.file_name().expect("a name").to_str().expect("text"));
    let (code, told, _) = repair(&data, &[]);
    assert_eq!(code, 3);
    assert!(told.contains("--accept-loss") && told.contains("would be lost"), "{told}");
    let (code, told, _) = repair(&data, &["--accept-loss", "-o", "json"]);
    assert_eq!(code, 0);
    assert!(told.contains("\"saved_revision\":100"), "{told}");

    let server = setup.start();
    // Two puts made one key: those up to revision 100 hold 49.
    let (count, revision) = keys(&server).await;
    assert_eq!(count, 49);
    assert!(revision >= 100 + LEAP, "{revision}");
    fill(&server, revision + 10).await;
    let old = pb::RangeRequest { key: "x".into(), revision: 100, ..Default::default() };
    let old = Wire::connect(&server.url).await.kv().range(old).await.expect_err("another history");
    assert!(old.message().contains("compacted"), "{old:?}");
}

/// Damage in a table is found by the scrub, before anybody asks for the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rot_in_a_table() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let setup = Setup::bramble().data_dir(&data);
    let mut server = setup.clone().start();
    fill(&server, 200).await;
    // Flushes the engine.
    Wire::connect(&server.url)
        .await
        .maintenance()
        .defragment(pb::DefragmentRequest {})
        .await
        .expect("answered");
    server.terminate(PATIENCE).expect("it stops");
    let file = flip(&data.join("engine"), 100);
    let mut server = setup.clone().arg("--scrub-interval=100ms").spawn();
    assert!(server.wait_exit(PATIENCE).is_some_and(|status| !status.success()), "{}", server.log());
    names_the_repair(&server, &data, file.file_name().expect("a name").to_str().expect("text"));
    let (code, told, _) = repair(&data, &["--accept-loss"]);
    assert_eq!(code, 0);
    // All entries are still in the log.
    assert!(told.contains("nothing is lost") && told.contains("revision 200,"), "{told}");
    assert_eq!(keys(&setup.start()).await, (99, 200));
}
