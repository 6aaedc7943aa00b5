//! Members on a device of which the kernel, a note or a flag says something. The device is this machine's; what
//! the kernel says of it is a folder of ours.
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_server::config::{Config, Media};
use bramble_server::media::others::{Counts, Others};
use bramble_server::media::warnings::warnings;
use bramble_server::media::{Choice, Kernel, Measured, Remembered, Source};
use bramble_server::node::client::{Caller, Consistency};
use bramble_server::node::{Builder, Node};
use bramble_store::disk::real::RealDisk;
use bramble_store::disk::sim::Rng;
use bramble_store::log::LogOptions;
use bramble_store::types::{KeyRange, LeaseId, PutRequest, RangeRequest};
use tempfile::TempDir;

/// Until the ring is filled, the member is calm and the device is measured.
const PROBED_WITHIN: Duration = Duration::from_secs(120);

/// A kernel that calls the device of temporary files an SD card with this id.
fn card(cid: &str) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (file, text) in [("device/type", "SD"), ("device/cid", cid), ("stat", "0 0 0 0 0 0 0")] {
        show(root.path(), &format!("sys/block/mmcblk0/{file}"), text);
    }
    link(root.path(), "sys/block/mmcblk0");
    root
}

/// The kernel shows this text in this file.
fn show(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("made");
    fs::write(path, text).expect("written");
}

/// The number of the device of temporary files.
fn number(root: &Path) -> String {
    let number = fs::metadata(root).expect("it is there").dev();
    format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
}

/// It leads to this folder.
fn link(root: &Path, folder: &str) {
    fs::create_dir_all(root.join("sys/dev/block")).expect("made");
    symlink(root.join(folder), root.join("sys/dev/block").join(number(root))).expect("linked");
}

/// A kernel that says nothing.
fn silent() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn builder(dir: &Path, kernel: &TempDir, config: Config) -> Builder {
    let config = Config { data_dir: dir.join("data"), ..config };
    Node::builder().config(config).kernel(Kernel::at(kernel.path())).in_process_only()
}

async fn start(builder: Builder) -> Node {
    let node = builder.build().await.expect("the node starts");
    node.ready(Duration::from_secs(20)).await.expect("the node gets ready");
    node
}

fn told(node: &Node, name: &str) -> f64 {
    let text = node.metrics_text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not told")).parse().expect("a number")
}

/// What a member says that it reckons with, in the metric and to its host.
fn reckons(node: &Node) -> (Media, Source) {
    let Choice { kind, source, .. } = node.media();
    let row = format!("bramble_media_info{{kind=\"{}\",source=\"{}\"}}", kind.word(), source.word());
    assert!((told(node, &row) - 1.0).abs() < f64::EPSILON);
    (kind, source)
}

fn remember(dir: &Path, media: Media, device: &str) {
    let found = Remembered { media, device: device.into(), measured: Measured::default() };
    found.write(&RealDisk, &dir.join("data")).expect("written");
}

/// Bytes that the log takes for a put.
async fn frame_of_a_put(node: &Node) -> f64 {
    let before = told(node, "etcd_disk_wal_write_bytes_total");
    let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
    node.client().put(&Caller::default(), put).await.expect("it is put");
    told(node, "etcd_disk_wal_write_bytes_total") - before
}

/// The shortest time to live that a lease gets: one and a half election timeouts.
async fn shortest_ttl_s(node: &Node) -> i64 {
    let granted = node.client().lease_grant(&Caller::default(), LeaseId::NONE, 1).await;
    granted.expect("granted").body.ttl_s
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_taken_for_the_poorest_then_measured_and_known_from_the_next_start_on() {
    let (dir, kernel) = (tempfile::tempdir().expect("a directory"), card("1b534d45"));
    // A small ring is filled soon.
    let ring = LogOptions { segment_bytes: 1 << 20, ring_segments: 2, ..LogOptions::default() };
    let node = start(builder(dir.path(), &kernel, Config::default()).log(ring.clone())).await;
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Kernel));
    let (data, deadline) = (dir.path().join("data"), Instant::now() + PROBED_WITHIN);
    let found = loop {
        match Remembered::read(&RealDisk, &data).expect("it is whole") {
            Some(found) => break found,
            None => assert!(Instant::now() < deadline, "it is not measured"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(found.device == "1b534d45" && matches!(found.media, Media::SdA1 | Media::SdBasic), "{found:?}");
    assert!(found.measured.page_scattered > Duration::ZERO, "{found:?}");
    assert!(!data.join("MEDIA.probe").exists());
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Kernel), "a life is lived with one kind");
    node.shutdown().await;

    let node = start(builder(dir.path(), &kernel, Config::default()).log(ring)).await;
    assert_eq!(reckons(&node), (found.media, Source::Probe));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_follows_from_the_kind_that_is_remembered() {
    let (dir, kernel) = (tempfile::tempdir().expect("a directory"), silent());
    let node = start(builder(dir.path(), &kernel, Config::default())).await;
    assert_eq!(reckons(&node), (Media::Ssd, Source::Default));
    assert_eq!((told(&node, "bramble_log_ring_bytes"), shortest_ttl_s(&node).await), (67_108_864.0, 2));
    node.shutdown().await;
    remember(dir.path(), Media::SdBasic, "");

    // Its frames of before are read, and the new ones lie elsewhere.
    let node = start(builder(dir.path(), &kernel, Config::default())).await;
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Probe));
    assert_eq!(shortest_ttl_s(&node).await, 8);
    // Four of 64 MiB, and the one that was left, which is still needed.
    assert_eq!(told(&node, "bramble_log_ring_bytes"), 268_435_456.0 + 16_777_216.0);
    assert_eq!(told(&node, "bramble_proposals_in_flight_max_bytes"), 8_388_608.0);
    let frame = frame_of_a_put(&node).await;
    assert!(frame >= 16384.0 && frame % 16384.0 == 0.0, "{frame} bytes for a put");
    node.shutdown().await;
    remember(dir.path(), Media::SdA1, "");

    // And back: a card that was taken for the poorest has turned out to be a good one.
    let node = start(builder(dir.path(), &kernel, Config::default())).await;
    assert_eq!(reckons(&node), (Media::SdA1, Source::Probe));
    assert_eq!(shortest_ttl_s(&node).await, 3, "a ring that was larger is no reason to refuse a write");
    let frame = frame_of_a_put(&node).await;
    assert!((4096.0..16384.0).contains(&frame) && frame % 4096.0 == 0.0, "{frame} bytes for a put");
    let all = RangeRequest::new(KeyRange::from_wire("\0".into(), "\0".into()));
    let found = node.client().range(&Caller::default(), all, Consistency::Linearizable).await;
    let found = found.expect("answered").body;
    assert_eq!((found.count, found.kvs[0].version), (1, 2), "what was written before is there");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_wins_over_what_is_remembered() {
    let (dir, kernel) = (tempfile::tempdir().expect("a directory"), silent());
    start(builder(dir.path(), &kernel, Config::default())).await.shutdown().await;
    remember(dir.path(), Media::SdBasic, "");

    let flag = Config { media: Some(Media::Emmc), ..Config::default() };
    let node = start(builder(dir.path(), &kernel, flag)).await;
    assert_eq!(reckons(&node), (Media::Emmc, Source::Flag));
    assert!(!node.media().probe, "nothing is measured");
    assert_eq!((told(&node, "bramble_log_ring_bytes"), shortest_ttl_s(&node).await), (67_108_864.0, 2));
    node.shutdown().await;

    let timed = Config { election: Some(Duration::from_secs(2)), ..Config::default() };
    let node = start(builder(dir.path(), &kernel, timed)).await;
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Probe));
    assert_eq!(shortest_ttl_s(&node).await, 3, "the flag's timing on the kind's ring");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_is_damaged_or_about_another_card_is_not_believed() {
    let (dir, kernel) = (tempfile::tempdir().expect("a directory"), card("a new card"));
    start(builder(dir.path(), &kernel, Config::default())).await.shutdown().await;
    remember(dir.path(), Media::SdA1, "an old card");
    let node = start(builder(dir.path(), &kernel, Config::default())).await;
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Kernel));
    node.shutdown().await;

    remember(dir.path(), Media::SdA1, "a new card");
    let note = dir.path().join("data/MEDIA");
    let text = fs::read_to_string(&note).expect("it is there");
    fs::write(&note, text.replace("sd-a1", "ssd")).expect("written");
    let node = start(builder(dir.path(), &kernel, Config::default())).await;
    assert_eq!(reckons(&node), (Media::SdBasic, Source::Kernel));
    assert!(node.media().probe, "it is measured again");
    node.shutdown().await;
}

/// Seconds that the engine's flush of 12 MB takes. The values do not compress.
async fn flush_s(media: Media) -> f64 {
    let (dir, kernel) = (tempfile::tempdir().expect("a directory"), silent());
    let config = Config { media: Some(media), ..Config::default() };
    let node = start(builder(dir.path(), &kernel, config)).await;
    let mut random = Rng::new(super::SEED);
    for number in 0..12 {
        let value: Vec<u8> = (0..125_000).flat_map(|_| random.number().to_le_bytes()).collect();
        let put =
            PutRequest { key: format!("k{number}").into(), value: value.into(), ..PutRequest::default() };
        node.client().put(&Caller::default(), put).await.expect("it is put");
    }
    // Flushes before it gives space back.
    node.client().defragment(&Caller::default()).await.expect("flushed");
    let took = told(&node, "bramble_flush_duration_seconds_sum{cause=\"engine\"}");
    node.shutdown().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn background_work_goes_as_slowly_as_a_poor_card_wants_it() {
    let (held_back, free) = (flush_s(Media::SdBasic).await, flush_s(Media::Ssd).await);
    // 12 MB at 4 MiB a second, of which some may go at once.
    assert!(held_back > 1.5 && free < held_back, "{held_back} s, and {free} s on an SSD");
}

/// What the kernel shows is read, judged and said in one go, as a start does it.
#[test]
fn what_is_wrong_with_a_device_is_said_from_what_the_kernel_shows() {
    let root = silent();
    let files = [
        ("sys/block/mmcblk0/device/type", "SD"),
        ("sys/block/mmcblk0/device/cid", "1b534d45"),
        ("sys/block/mmcblk0/queue/write_cache", "write back"),
        ("sys/block/mmcblk0/stat", "0 0 0 0 0 0 0"),
        ("sys/block/mmcblk0/mmcblk0p2/partition", "2"),
        ("sys/block/mmcblk0/mmcblk0p2/start", "2048"),
    ];
    files.into_iter().for_each(|(file, text)| show(root.path(), file, text));
    link(root.path(), "sys/block/mmcblk0/mmcblk0p2");
    let mounted =
        format!("27 1 {} / /data rw,noatime - ext4 /dev/mmcblk0p2 rw,barrier=0", number(root.path()));
    show(root.path(), "proc/self/mountinfo", &mounted);
    let said = || {
        let kernel = Kernel::at(root.path());
        let (device, mount) = (kernel.device(root.path()), kernel.mount(root.path()));
        warnings(Media::SdBasic, device.as_ref(), mount.as_ref())
    };
    let both = said();
    assert!(both.len() == 2, "{both:?}");
    assert!(
        both[0].contains("/data (ext4)") && both[0].contains("mount -o remount,barrier=1 /data"),
        "{both:?}"
    );
    assert!(both[1].contains("mmcblk0p2 begins at byte 1048576"), "{both:?}");
    show(root.path(), "sys/block/mmcblk0/mmcblk0p2/start", "8192");
    show(root.path(), "sys/block/mmcblk0/queue/write_cache", "write through");
    assert_eq!(said(), Vec::<String>::new());
}

#[test]
fn others_on_the_card_are_told_from_what_the_kernel_counts() {
    let (root, mut others) = (card("1b534d45"), Others::default());
    let kernel = Kernel::at(root.path());
    let device = kernel.device(root.path()).expect("it is there");
    let mut minute = |minute: u64, sectors: u64, own: u64| {
        show(root.path(), "sys/block/mmcblk0/stat", &format!("1 0 8 0 2 0 {sectors} 0 0 0 0"));
        show(
            root.path(),
            "proc/self/io",
            &format!("rchar: 1\nwrite_bytes: {own}\ncancelled_write_bytes: 0\n"),
        );
        let own = kernel.own_written_bytes().expect("counted");
        let counts = Counts { device: device.written_bytes().expect("counted"), own };
        others.look(Duration::from_secs(60 * minute), counts)
    };
    assert_eq!(minute(1, 0, 0), None);
    assert_eq!(minute(2, 4_000, 1_000_000), None, "a million of our own, and the journal's for it");
    let said = minute(3, 44_000, 1_480_000).expect("20 million of others");
    assert!(said.contains("20.0 MB") && said.contains("bramble 0.5 MB"), "{said}");
}
