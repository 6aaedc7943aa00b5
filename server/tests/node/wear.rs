//! What a node counts of its wear: over restarts and crashes, and without a write of its own.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bramble_server::config::{Config, Media};
use bramble_server::node::seams::Calendar;
use bramble_store::disk::sim::SimDisk;
use bramble_store::engine::mem::Mem;
use bramble_store::log::LogOptions;
use bramble_store::seams::Clock;
use serde_json::Value;

use super::*;

/// A day after 2026-01-01, so the clock was set.
const TODAY: u32 = 20_779;

/// Time and day, both moved by hand.
#[derive(Default)]
struct Hand {
    now_s: AtomicU32,
    days: AtomicU32,
}

impl Hand {
    fn forward(&self, seconds: u32) {
        self.now_s.fetch_add(seconds, Ordering::SeqCst);
    }

    fn next_day(&self) {
        self.days.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_secs(self.now_s.load(Ordering::SeqCst).into())
    }
}

impl Calendar for Hand {
    fn today(&self) -> u32 {
        TODAY + self.days.load(Ordering::SeqCst)
    }
}

async fn ready(builder: Builder, hand: &Arc<Hand>) -> Node {
    let node = builder.clock(hand.clone()).calendar(hand.clone()).build().await.expect("the node starts");
    node.ready(PATIENCE).await.expect("the node gets ready");
    node
}

/// On disks that only exist here, with a ring that is filled at once.
fn simulated(disk: &SimDisk, engine: &Mem) -> Builder {
    let log = LogOptions {
        segment_bytes: 1 << 20,
        first_fill_bytes: 1 << 20,
        ring_segments: 2,
        ..LogOptions::default()
    };
    builder(Path::new("/data")).storage(Arc::new(disk.clone()), engine.clone()).log(log)
}

fn wear(node: &Node) -> Value {
    serde_json::from_str(&node.wear_json()).expect("JSON")
}

fn count(node: &Node, window: &str, what: &str) -> u64 {
    let json = wear(node);
    json["windows"][window][what].as_u64().unwrap_or_else(|| panic!("{window}.{what}: {json:#}"))
}

fn log_bytes(node: &Node, window: &str) -> u64 {
    wear(node)["windows"][window]["own_bytes_by_cause"]["log"].as_u64().expect("a number")
}

/// 20 puts of the same size, and how many bytes that is.
async fn put_pods(node: &Node) -> u64 {
    let (key, value) = ("/registry/pods/default/web-", "v".repeat(1000));
    for n in 10..30 {
        put_at(&node.client(), &format!("{key}{n}"), &value).await;
    }
    20 * (key.len() as u64 + 2 + 1000)
}

#[tokio::test]
async fn counts_outlive_a_restart_and_go_into_their_days() {
    let (dir, hand) = (tempfile::tempdir().expect("a directory"), Arc::new(Hand::default()));
    let node = ready(builder(dir.path()), &hand).await;
    let bytes = put_pods(&node).await;
    assert_eq!((count(&node, "today", "user_bytes"), count(&node, "today", "writes")), (bytes, 20));
    assert!(count(&node, "today", "flushes") >= 20, "each put was alone");
    let logged = log_bytes(&node, "today");
    assert!(logged >= 20 * 4096, "{logged}");
    node.shutdown().await;

    hand.next_day();
    let node = ready(builder(dir.path()), &hand).await;
    // All that the engine had not flushed was applied again by now.
    assert_eq!((count(&node, "7d", "user_bytes"), count(&node, "7d", "writes")), (bytes, 20));
    assert_eq!((count(&node, "today", "user_bytes"), count(&node, "today", "writes")), (0, 0));
    let (today, week) = (log_bytes(&node, "today"), log_bytes(&node, "7d"));
    assert!(week - today >= logged, "{week} in the week, {today} of them today, {logged} the day before");
    put_at(&node.client(), "/registry/pods/default/web-30", &"v".repeat(1000)).await;
    assert_eq!(count(&node, "today", "writes"), 1);
    let top = &wear(&node)["top_prefixes"][0];
    assert_eq!((&top["prefix"], &top["bytes"]), (&"/registry/pods/".into(), &(bytes / 20 * 21).into()));
    node.shutdown().await;

    (0..29).for_each(|_| hand.next_day());
    let node = ready(builder(dir.path()), &hand).await;
    assert_eq!((count(&node, "30d", "writes"), count(&node, "all", "writes")), (1, 21));
    node.shutdown().await;
}

#[tokio::test]
async fn a_crash_loses_what_no_note_has_and_no_key() {
    let (disk, engine, hand) = (SimDisk::new(7), Mem::new(), Arc::new(Hand::default()));
    let node = ready(simulated(&disk, &engine), &hand).await;
    let bytes = put_pods(&node).await;
    let again = ready(simulated(&disk.survivor(), &engine.survivor()), &hand).await;
    assert_eq!((count(&again, "all", "user_bytes"), count(&again, "all", "writes")), (bytes, 20));
    again.shutdown().await;

    // Long enough for a note, which rides with the next put.
    hand.forward(301);
    let logged = log_bytes(&node, "all");
    put_pods(&node).await;
    let again = ready(simulated(&disk.survivor(), &engine.survivor()), &hand).await;
    assert_eq!((count(&again, "all", "user_bytes"), count(&again, "all", "writes")), (2 * bytes, 40));
    let kept = log_bytes(&again, "all");
    assert!(kept >= logged, "{kept} of {logged} bytes that the note had");
    again.shutdown().await;
    node.shutdown().await;
}

#[tokio::test]
async fn an_idle_node_writes_nothing_for_its_account() {
    let (disk, engine, hand) = (SimDisk::new(8), Mem::new(), Arc::new(Hand::default()));
    let node = ready(simulated(&disk, &engine), &hand).await;
    put_pods(&node).await;
    // The ring's second half is filled while nobody waits.
    let filled = || disk.files().iter().filter(|(_, bytes)| *bytes >= 1 << 20).count() == 2;
    within("the ring", async {
        while !filled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let before = disk.counts();
    for _ in 0..40 {
        hand.forward(86_400);
        hand.next_day();
        assert!(wear(&node).is_object() && node.metrics_text().contains("bramble_wear_"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(disk.counts(), before);
    node.shutdown().await;
    let stopped = disk.counts();
    assert_eq!(stopped.writes, before.writes + 1, "the seal, with the note in it");

    let again = ready(simulated(&disk, &engine), &hand).await;
    assert_eq!((count(&again, "today", "writes"), count(&again, "all", "writes")), (0, 20));
    again.shutdown().await;
}

/// A device as the kernel shows one.
fn device(dir: &Path, sectors_written: u64) -> std::path::PathBuf {
    let folder = dir.join("mmcblk7");
    std::fs::create_dir_all(folder.join("device")).expect("made");
    let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("written");
    write("size", "62500000\n");
    write("stat", &format!("1 0 8 0 2 0 {sectors_written} 0 0 0 0 0 0 0 0 3 0\n"));
    write("device/type", "MMC\n");
    write("device/life_time", "0x01 0x02\n");
    write("device/pre_eol_info", "0x01\n");
    folder
}

#[tokio::test]
async fn how_long_a_device_lasts_is_told_and_a_guess_is_called_one() {
    let (dir, hand) = (tempfile::tempdir().expect("a directory"), Arc::new(Hand::default()));
    let folder = device(dir.path(), 0);
    let config = Config { media: Some(Media::SdA1), ..Config::default() };
    let start = |config: Config| {
        let builder = Node::builder().config(config).data_dir(dir.path().join("data")).in_process_only();
        builder.device_folder(folder.clone())
    };
    let node = ready(start(config.clone()), &hand).await;
    let bytes = put_pods(&node).await;
    assert!(wear(&node)["projected_life"].is_null(), "nobody can tell after no time at all");
    // 2 GB on a day: more than the node itself writes.
    device(dir.path(), 2_000_000_000 / 512);
    hand.forward(86_400);
    let json = wear(&node);
    let close = |value: &Value, wanted: f64| {
        let value = value.as_f64().unwrap_or_else(|| panic!("{wanted}: {json:#}"));
        assert!((value / wanted - 1.0).abs() < 1e-3, "{value}, and not {wanted}: {json:#}");
    };
    let today = &json["windows"]["today"];
    assert_eq!(
        (&today["device_bytes"], &today["running_seconds"]),
        (&2_000_000_000_u64.into(), &86_400.into())
    );
    close(&today["write_amplification"]["device"], 2e9 / bytes as f64);
    close(&today["write_amplification"]["own"], count(&node, "today", "own_bytes") as f64 / bytes as f64);
    close(&today["flushes_per_write"], count(&node, "today", "flushes") as f64 / 20.0);
    assert_eq!(json["endurance"]["bytes"], 32_000_000_000_u64 * 300);
    assert_eq!(
        (&json["endurance"]["estimate"], &json["projected_life"]["estimate"]),
        (&true.into(), &true.into())
    );
    assert!(
        json["endurance"]["basis"].as_str().is_some_and(|basis| basis.starts_with("estimate")),
        "{json:#}"
    );
    let zeros = today["own_bytes_by_cause"]["log_fill"].as_f64().expect("a number");
    close(&json["projected_life"]["years"], 32e9 * 300.0 / (2e9 - zeros) / 365.25);
    assert_eq!(json["device"]["name"], "mmcblk7");
    let emmc = &json["emmc"];
    assert_eq!(
        (&emmc["life_time_a"], &emmc["life_time_b"], &emmc["pre_eol"]),
        (&1.into(), &2.into(), &1.into())
    );
    assert!(
        json["flush_latency"]["count"].as_u64() >= Some(20) && json["flush_latency"]["p99_seconds"].is_f64()
    );
    let text = node.metrics_text();
    for line in [
        "bramble_wear_device_bytes{days=\"30\"} 2000000000",
        "bramble_wear_endurance_bytes{source=\"estimate\"} 9600000000000",
        "bramble_wear_emmc_life_tenths{memory=\"b\"} 2",
        "bramble_wear_emmc_pre_eol 1",
        "bramble_wear_writes{days=\"7\"} 20",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    node.shutdown().await;

    let told = Config { card_endurance_bytes: Some(10_000_000_000_000), ..config };
    let node = ready(start(told), &hand).await;
    let json = wear(&node);
    assert_eq!(
        (&json["endurance"]["bytes"], &json["endurance"]["estimate"]),
        (&10_000_000_000_000_u64.into(), &false.into())
    );
    assert_eq!(json["projected_life"]["estimate"], false);
    assert!(node.metrics_text().contains("bramble_wear_projected_life_years{source=\"card-endurance\"}"));
    node.shutdown().await;
}
