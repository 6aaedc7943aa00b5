//! A log on a partition of its own: a plain file that is taken for one, and a loop device.
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bramble_bench::disk::{Asked, Disk};
use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use bramble_tests::wire::Wire;

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// A ring of 4 x 16 MiB, a segment to grow by, and the table.
const PARTITION_BYTES: u64 = 84 << 20;

fn put(n: u64) -> pb::PutRequest {
    pb::PutRequest { key: format!("key/{n:06}").into(), value: vec![7; 1024].into(), ..Default::default() }
}

/// Writes keys one after the other.
async fn write(server: &Server, numbers: std::ops::Range<u64>) {
    let mut kv = Wire::connect(&server.url).await.kv();
    for n in numbers {
        kv.put(put(n)).await.expect("answered");
    }
}

async fn count(server: &Server) -> i64 {
    let all = pb::RangeRequest {
        key: "key/".into(),
        range_end: "key0".into(),
        count_only: true,
        ..Default::default()
    };
    Wire::connect(&server.url).await.kv().range(all).await.expect("answered").into_inner().count
}

/// What a server says that does not start.
fn refusal(setup: &Setup) -> String {
    let mut refused = setup.clone().spawn();
    assert!(refused.wait_exit(PATIENCE).is_some_and(|status| !status.success()), "{}", refused.log());
    refused.log()
}

fn sparse(path: &Path, bytes: u64) {
    std::fs::File::create(path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
}

/// Runs `bramblectl repair`: exit code and all that it says.
fn repair(data: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(tools::bramblectl())
        .args(["repair", "--data-dir"])
        .arg(data)
        .args(arguments)
        .output()
        .expect("bramblectl runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8_lossy(&told).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_moves_to_a_partition_and_survives_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, device) = (dir.path().join("data"), dir.path().join("partition"));
    let (small, on) = (dir.path().join("small"), device.display().to_string());
    sparse(&device, PARTITION_BYTES);
    sparse(&small, PARTITION_BYTES - 4096);
    let without = Setup::bramble().data_dir(&data);
    let with = |path: &Path| without.clone().arg("--log-partition").arg(path.display().to_string());

    let mut server = without.clone().start();
    write(&server, 0..40).await;
    server.kill();
    let told = refusal(&with(&small));
    assert!(told.contains("is too small for the log") && told.contains("84 MiB"), "{told}");
    let mut server = with(&device).start();
    assert_eq!(count(&server).await, 40, "{}", server.log());
    let left = std::fs::read_dir(data.join("log")).expect("a directory").count();
    assert_eq!(left, 0, "the segments have moved");
    write(&server, 40..80).await;
    server.kill();

    let told = refusal(&without);
    assert!(told.contains("lies on a partition") && told.contains(&on), "{told}");
    let told = refusal(&with(&device).data_dir(&dir.path().join("unmounted")));
    assert!(told.contains("the log of another data directory"), "{told}");
    let other = dir.path().join("other");
    sparse(&other, PARTITION_BYTES);
    let told = refusal(&with(&other));
    assert!(told.contains("is not the partition with the log of"), "{told}");

    // By its environment variable this time.
    let mut server = without.clone().env("ETCD_LOG_PARTITION", &on).start();
    assert_eq!(count(&server).await, 80);
    write(&server, 80..90).await;
    server.terminate(PATIENCE).expect("it stops");

    // A flipped bit in the first frame that has a value.
    let file = std::fs::File::options().read(true).write(true).open(&device).expect("it is there");
    let mut byte = [0];
    let at = (4 << 20) + 4096 * 20 + 200;
    file.read_exact_at(&mut byte, at)
        .and_then(|()| file.write_all_at(&[byte[0] ^ 4], at))
        .expect("a flipped bit");
    let told = refusal(&with(&device));
    assert!(told.contains("00000000.seg is damaged") && told.contains("--log-partition"), "{told}");
    let (code, told) = repair(&data, &[]);
    assert!(code == 1 && told.contains("give it with --log-partition"), "{told}");
    let (code, told) = repair(&data, &["--log-partition", &on]);
    assert!(code == 3 && told.contains(&format!("--log-partition {on} --accept-loss")), "{told}");
    let (code, told) = repair(&data, &["--log-partition", &on, "--accept-loss"]);
    assert_eq!(code, 0, "{told}");
    // What was repaired lies in the directory, and is moved again.
    let mut server = with(&device).start();
    let saved = count(&server).await;
    assert!((1..=90).contains(&saved), "{saved}: {told}");
    write(&server, 100..110).await;
    server.kill();
    let server = with(&device).start();
    assert_eq!(count(&server).await, saved + 10);
}

/// Waits until nobody has written to the disk for a while: zeros are filled in behind the first answers.
fn wait_until_quiet(disk: &Disk) -> Asked {
    let (deadline, mut last) =
        (Instant::now() + PATIENCE, (disk.device().asked().expect("counted"), Instant::now()));
    while last.1.elapsed() < Duration::from_millis(500) {
        assert!(Instant::now() < deadline, "it is never quiet");
        std::thread::sleep(Duration::from_millis(20));
        let now = disk.device().asked().expect("counted");
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    last.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_is_one_block_and_one_flush_on_a_device() {
    if !tools::root() {
        println!("SKIPPED: loop devices are root's");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = match Disk::bare(PARTITION_BYTES, dir.path()) {
        Ok(disk) => disk,
        Err(why) => {
            println!("SKIPPED: no loop device: {why}");
            return;
        }
    };
    let on = disk.path().display().to_string();
    let data = dir.path().join("data");
    let setup = Setup::bramble().data_dir(&data).arg("--log-partition").arg(&on);
    let mut server = setup.clone().start();
    write(&server, 0..10).await;
    let before = wait_until_quiet(&disk);
    write(&server, 10..60).await;
    let asked = disk.device().asked().expect("counted") - before;
    println!("50 puts of 1 KiB: {asked:?}");
    assert_eq!(asked.bytes, 50 * 4096, "{asked:?}");
    assert_eq!(asked.flushes, 50, "{asked:?}");

    let other = Setup::bramble().data_dir(&dir.path().join("other")).arg("--log-partition").arg(&on);
    let told = refusal(&other);
    assert!(told.contains("is in use"), "{told}");
    server.kill();
    let server = setup.start();
    assert_eq!(count(&server).await, 60);
}
