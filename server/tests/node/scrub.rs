//! The scrub finds damage that nobody has asked for yet, and finds none where there is none.
use bramble_server::config::Config;

use super::*;

async fn scrubbing(dir: &Path) -> Node {
    let config = Config { scrub_interval: Duration::from_millis(50), ..Config::default() };
    let node = Node::builder().config(config).data_dir(dir).in_process_only().build().await;
    let node = node.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

/// The value of a metric without labels.
fn metric(node: &Node, name: &str) -> Option<f64> {
    let text = node.metrics_text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

/// Waits until everything was read back once more.
async fn one_pass(node: &Node) {
    let passes = || metric(node, "bramble_scrubs_total").expect("a counter");
    // The pass under way may have begun too early.
    let enough = passes() + 2.0;
    within("two passes", async {
        while passes() < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A word that has nothing in common with others, so that compression leaves it as it is.
fn word(n: u64) -> String {
    format!("{:016x}", (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Flips a bit of `text` in the one file under `dir` that holds it.
fn flip(dir: &Path, text: &str) -> std::path::PathBuf {
    for path in std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path()) {
        let mut bytes = if path.is_file() { std::fs::read(&path).expect("a file") } else { continue };
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            bytes[at] ^= 1;
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..at + 1], at as u64).expect("written");
            return path;
        }
    }
    panic!("{text:?} is nowhere in {}", dir.display());
}

/// The node must fail, name the file, and the way out.
async fn ends_naming(node: &Node, file: &Path) {
    let why = within("the failure", node.failed()).await;
    let name = file.file_name().expect("a name").to_string_lossy();
    assert!(why.contains(&*name) && why.contains("bramblectl repair --data-dir"), "{name}: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_log_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = scrubbing(dir.path()).await;
    for n in 0..50 {
        put_at(&node.client(), &format!("key{n}"), &format!("value {n} of the log")).await;
    }
    one_pass(&node).await;
    assert!(metric(&node, "bramble_scrub_read_bytes_total").expect("a counter") > 1000.0);
    assert!(metric(&node, "bramble_scrub_age_seconds").expect("a pass has ended") < 20.0);
    let file = flip(&dir.path().join("log"), "value 20 of the log");
    ends_naming(&node, &file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_a_table_is_found_though_the_row_is_cached() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = scrubbing(dir.path()).await;
    let client = node.client();
    for n in 0..300 {
        put_at(&client, &format!("key{n}"), &word(n)).await;
    }
    client.defragment(&anyone()).await.expect("flushed");
    drop(client);
    node.shutdown().await;
    // A defragmentation puts the next pass off; a start does not.
    let node = scrubbing(dir.path()).await;
    assert!(value_of(&node.client(), "key20").await.is_some(), "and cached");
    one_pass(&node).await;
    let file = flip(&dir.path().join("engine"), &word(20));
    assert!(file.extension().is_some_and(|end| end == "sst"), "{}", file.display());
    ends_naming(&node, &file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    // Of a process that was killed.
    std::fs::create_dir(dir.path().join("engine.scrub")).expect("a directory");
    std::fs::write(dir.path().join("FORMAT"), "bramble data 1\n").expect("a file");
    let node = scrubbing(dir.path()).await;
    let client = node.client();
    let passes = metric(&node, "bramble_scrubs_total").expect("a counter");
    let begun = std::time::Instant::now();
    let mut revision = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        revision = put_at(&client, &format!("key{}", revision % 50), &"v".repeat(3000)).await;
        if revision.rem_euclid(200) == 0 {
            client.compact(&anyone(), revision - 1, true).await.expect("compacted");
        }
    }
    assert!(metric(&node, "bramble_scrubs_total").expect("a counter") > passes, "it never came to its turn");
    // It holds on to every table, so it makes way for one who wants their space.
    within("a pass under way", async {
        while metric(&node, "bramble_scrub_inflight") != Some(1.0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    client.defragment(&anyone()).await.expect("defragmented");
    assert_eq!(metric(&node, "bramble_scrub_inflight"), Some(0.0));
    node.shutdown().await;
    let left = std::fs::read_dir(dir.path()).expect("a directory").flatten().map(|entry| entry.file_name());
    assert!(!left.into_iter().any(|name| name == "engine.scrub"), "the scrub's names are still there");
}
