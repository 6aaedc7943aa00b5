//! `pi --quick` from beginning to end, on the disk that the build is on. Others may write there while it runs, so it
//! may end either way, but it says which.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn pi(arguments: &[&str], dir: &Path, report: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pi"));
    command.arg(dir).arg("--report").arg(report).args(arguments).output().expect("it runs")
}

/// The server of the tests, or the one that was built with this.
fn bramble() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_pi")).with_file_name("bramble");
    std::env::var_os("BRAMBLE_BIN").map_or_else(beside, PathBuf::from)
}

#[test]
fn a_quick_run_tells_all_its_parts_and_whether_it_counts() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (report, bramble) = (dir.path().join("report"), bramble());
    let bramble = bramble.to_str().expect("a path of letters");
    let quick = ["--quick", "--bramble", bramble, "--etcd", "/missing/etcd", "--only", "client"];
    let output = pi(&quick, dir.path(), &report);
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text =
        std::fs::read_to_string(report.join("report.json")).unwrap_or_else(|why| panic!("{why}: {said}"));
    let json: Value = serde_json::from_str(&text).expect("JSON");

    let valid = json["valid"].as_bool().expect("a verdict");
    assert_eq!(output.status.code(), Some(if valid { 0 } else { 3 }), "{said}");
    assert_eq!(json["invalid_because"].as_array().is_some_and(Vec::is_empty), valid, "{said}");
    assert!(json["left_out"][0].as_str().is_some_and(|why| why.contains("/missing/etcd")), "{said}");
    for (fact, of) in
        [("kernel", "machine"), ("processors", "machine"), ("file system", "disk"), ("folder", "disk")]
    {
        assert!(json[of][fact].is_string(), "{fact}: {said}");
    }
    assert_eq!(json["shapes"].as_array().map(Vec::len), Some(6), "{said}");
    let workloads = json["workloads"].as_array().expect("workloads");
    assert_eq!(workloads.len(), 2 * 2, "{said}");
    for part in workloads {
        assert_eq!(part["figures_are_of"], json["figures_are_of"]);
        let figure =
            |name: &str| part["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} of {part:#}"));
        assert!(figure("per s") > 0.0 && figure("p99 µs") > 0.0 && figure("RSS max MB") > 1.0, "{part:#}");
        assert!(part["samples"].as_array().is_some_and(|samples| samples.len() >= 2), "{part:#}");
    }

    let markdown = std::fs::read_to_string(report.join("report.md")).expect("Markdown");
    let verdict = format!("**{}", if valid { "VALID" } else { "INVALID" });
    assert!(markdown.contains(&verdict) && markdown.contains("### 2,000 keys, 16 clients"), "{markdown}");
    for plot in markdown.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')')) {
        assert!(report.join(plot).metadata().is_ok_and(|file| file.len() > 500), "{plot}");
    }
    assert!(markdown.contains("plots/shapes.svg") && markdown.contains("plots/rate.svg"), "{markdown}");
    let left = std::fs::read_dir(dir.path()).expect("the folder").count();
    assert_eq!(left, 1, "only the report is left in {}", dir.path().display());
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let there = pi(&["--quick", "--bramble", env!("CARGO_BIN_EXE_pi")], dir.path(), dir.path());
    assert!(told(&there).contains("is there already"), "{there:?}");
    let report = dir.path().join("report");
    let missing = pi(&["--quick"], &dir.path().join("missing"), &report);
    assert!(told(&missing).contains("missing"), "{missing:?}");
    let no_server = pi(&["--bramble", "/missing/bramble", "--quick"], dir.path(), &report);
    assert!(told(&no_server).contains("Bramble is not at /missing/bramble"), "{no_server:?}");
    for output in [there, missing, no_server] {
        assert_eq!(output.status.code(), Some(1));
    }
    assert!(!report.exists());
}
