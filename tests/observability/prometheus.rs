//! Prometheus itself: its tools read our text and our rules, and a server that scrapes members evaluates
//! every alert and every query of the dashboard. Three alerts are made to ring by what happens to the
//! members; when each of all rings, and when not, is in `alerts.test.yml`.
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb as pb;
use bramble_tests::process::{Server, Setup, free_port};
use bramble_tests::tools;
use bramble_tests::wire::Wire;
use serde_json::Value;

use crate::text::get;
use crate::world::noise;

const WITHIN: Duration = Duration::from_secs(30);

/// What `promtool check metrics` has to say against etcd's own names, which cannot be changed.
const ETCDS_NAMES: &[&str] = &[
    "etcd_debugging_lease_ttl_total",
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
    "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_disk_wal_write_bytes_total",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_learner_promote_successes",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_snapshot_apply_in_progress_total",
];

/// Alerts and a part of their expression that must find something on a busy sole member.
const MUST_FIND: &[(&str, &str)] = &[
    ("BrambleMembersDown", r#"up{job=~".*(bramble|etcd).*"}"#),
    ("BrambleQuorumLost", r#"count without (instance) (up{job=~".*(bramble|etcd).*"})"#),
    ("BrambleNoLeader", r#"etcd_server_has_leader{job=~".*(bramble|etcd).*"}"#),
    (
        "BrambleLeaderChanges",
        r#"max without (instance) (etcd_server_leader_changes_seen_total{job=~".*(bramble|etcd).*"})"#,
    ),
    (
        "BrambleFailedRequests",
        r#"sum without (grpc_type, grpc_code) (rate(grpc_server_handled_total{job=~".*(bramble|etcd).*"}[5m]))"#,
    ),
    (
        "BrambleSlowRequests",
        r#"histogram_quantile(0.99, sum without (grpc_type) (rate(grpc_server_handling_seconds_bucket{grpc_method!="Defragment",grpc_type="unary",job=~".*(bramble|etcd).*"}[5m])))"#,
    ),
    ("BrambleFailedProposals", r#"rate(etcd_server_proposals_failed_total{job=~".*(bramble|etcd).*"}[15m])"#),
    (
        "BrambleSlowLog",
        r#"histogram_quantile(0.99, rate(etcd_disk_wal_fsync_duration_seconds_bucket{job=~".*(bramble|etcd).*"}[5m]))"#,
    ),
    (
        "BrambleSlowEngine",
        r#"histogram_quantile(0.99, rate(etcd_disk_backend_commit_duration_seconds_bucket{job=~".*(bramble|etcd).*"}[5m]))"#,
    ),
    (
        "BrambleQuotaNearlyUsed",
        r#"last_over_time(etcd_mvcc_db_total_size_in_bytes{job=~".*(bramble|etcd).*"}[5m])"#,
    ),
    (
        "BrambleGrowsFast",
        r#"predict_linear(etcd_mvcc_db_total_size_in_bytes{job=~".*(bramble|etcd).*"}[4h], 4 * 3600)"#,
    ),
    (
        "BrambleMuchUnusedSpace",
        r#"last_over_time(etcd_mvcc_db_total_size_in_use_in_bytes{job=~".*(bramble|etcd).*"}[5m])"#,
    ),
    ("BrambleLogRingFull", r#"bramble_log_used_bytes{job=~".*(bramble|etcd).*"} / bramble_log_ring_bytes"#),
];

/// In `alerts.yml`: etcd's fifteen, the wear of the device, the log's ring.
const ALERTS: usize = 17;

/// Alerts whose expression finds nothing on a sole member, or where no block device can be seen.
const MAY_FIND_NOTHING: &[&str] = &["BrambleSlowPeers", "BrambleCardWear"];

fn observability() -> PathBuf {
    tools::workspace().join("server").join("observability")
}

/// Runs promtool; what it says.
fn promtool(arguments: &[&str], stdin: &str) -> Option<(bool, String)> {
    let mut child = Command::new(tools::promtool()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn promtool_has_nothing_against_our_text_and_our_rules() {
    if tools::promtool().is_none() {
        return;
    }
    let server = Setup::bramble().start();
    let text = get(server.address(), "/metrics");
    let (_, said) = promtool(&["check", "metrics"], &text).expect("it is there");
    for complaint in said.lines() {
        let about = complaint.split_whitespace().next().unwrap_or_default();
        assert!(ETCDS_NAMES.contains(&about), "{complaint}");
    }
    let (_, broken) = promtool(&["check", "metrics"], "a 1\na 2\n").expect("it is there");
    assert!(!broken.is_empty(), "it can complain");
    let rules = observability().join("alerts.yml");
    let (good, said) = promtool(&["check", "rules", &rules.display().to_string()], "").expect("it is there");
    assert!(good && said.contains("SUCCESS"), "{said}");
}

/// A Prometheus that scrapes members and evaluates rules every second. Dropping it ends it.
struct Prometheus {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Prometheus {
    fn start(targets: &[&Server]) -> Option<Prometheus> {
        let program = tools::prometheus()?;
        let dir = tempfile::tempdir().expect("a directory");
        // The rules as they are, but for the patience.
        let rules = std::fs::read_to_string(observability().join("alerts.yml")).expect("the rules");
        let impatient: Vec<&str> =
            rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
        std::fs::write(dir.path().join("alerts.yml"), impatient.join("\n")).expect("written");
        let targets: Vec<String> = targets.iter().map(|server| format!("'{}'", server.address())).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: bramble\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("written");
        let port = free_port();
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        let child = Command::new(program)
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Some(Prometheus { child, port, _dir: dir })
    }

    /// One call of its API: `data` of a good answer; `Err` with its words otherwise.
    fn ask(&self, path: &str) -> Result<Value, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(WITHIN)).map_err(|error| error.to_string())?;
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: Value = serde_json::from_str(body).map_err(|_| answer.clone())?;
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].clone()),
            _ => Err(body["error"].to_string()),
        }
    }

    /// How many series an expression finds now.
    fn finds(&self, expression: &str) -> usize {
        self.try_finds(expression).unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    fn try_finds(&self, expression: &str) -> Result<usize, String> {
        let found = self.ask(&format!("query?query={}", escaped(expression)))?;
        found["result"].as_array().map(Vec::len).ok_or_else(|| found.to_string())
    }

    /// All alert rules: name, expression, health, state.
    fn rules(&self) -> Vec<[String; 4]> {
        let Ok(data) = self.ask("rules?type=alert") else { return Vec::new() };
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| ["name", "query", "health", "state"].map(|key| text(&rule[key]))).collect()
    }

    fn firing(&self) -> BTreeSet<String> {
        let firing = self.rules().into_iter().filter(|[.., state]| state == "firing");
        firing.map(|[name, ..]| name).collect()
    }

    fn until(&self, what: &str, holds: impl Fn(&Prometheus) -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}; rules: {:?}", self.rules());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A query as part of a URL.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The expressions of the dashboard's panels, with its variables filled in.
fn dashboard() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(observability().join("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("queries").iter();
        targets.map(move |target| (title.to_owned(), target["expr"].as_str().expect("a query").to_owned()))
    });
    let filled = |query: String| {
        query.replace("$__rate_interval", "1m").replace("$job", "bramble").replace("$instance", ".*")
    };
    queries.map(|(title, query)| (title, filled(query))).collect()
}

/// Some of everything, a part of it bound to fail.
async fn work(wire: &Wire) {
    for n in 0..30 {
        let put =
            pb::PutRequest { key: format!("k{n}").into(), value: vec![n; 500].into(), ..Default::default() };
        wire.kv().put(put).await.expect("answered");
        let range = pb::RangeRequest { key: "k1".into(), ..Default::default() };
        wire.kv().range(range).await.expect("answered");
        // The second grant of an id fails, and so do all after it.
        let grant = pb::LeaseGrantRequest { id: 7, ttl: 600 };
        let _ = wire.lease().lease_grant(grant).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_evaluates_every_alert_and_every_panel() {
    let (mut first, second) = (Setup::bramble().start(), Setup::bramble().start());
    let Some(prometheus) = Prometheus::start(&[&first, &second]) else { return };
    prometheus.until("both members are scraped", |p| p.try_finds("up == 1") == Ok(2));
    let wire = Wire::connect(&second.url).await;
    // A rate is between two scrapes: one before the work, one after.
    work(&wire).await;
    prometheus.until("what fails rings", |p| p.firing().contains("BrambleFailedRequests"));
    assert!(!prometheus.firing().contains("BrambleMembersDown"));
    every_alert_evaluates(&prometheus);
    every_panel_evaluates(&prometheus);
    first.kill();
    prometheus.until("a dead member rings", |p| p.firing().contains("BrambleMembersDown"));
    // The rest is quiet: one of two is no quorum, what failed goes on ringing for five minutes, and a
    // second of work looks like four hours of it.
    let ringing = prometheus.firing();
    let known = ["BrambleFailedRequests", "BrambleMembersDown", "BrambleQuorumLost", "BrambleGrowsFast"];
    assert!(ringing.iter().all(|name| known.contains(&name.as_str())), "{ringing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_used_up_rings_until_there_is_space() {
    let member = Setup::bramble().arg("--quota-backend-bytes=4000000").start();
    let Some(prometheus) = Prometheus::start(&[&member]) else { return };
    prometheus.until("it is scraped", |p| p.try_finds("up == 1") == Ok(1));
    let wire = Wire::connect(&member.url).await;
    let filler = tokio::spawn(fill(wire.clone()));
    let rings = |p: &Prometheus| p.firing().contains("BrambleQuotaNearlyUsed");
    prometheus.until("the used quota rings", rings);
    prometheus.until("the refused puts ring", |p| p.firing().contains("BrambleFailedRequests"));
    filler.abort();
    let all = pb::DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let deleted = wire.kv().delete_range(all).await.expect("answered").into_inner();
    let revision = deleted.header.expect("a header").revision;
    let compact = pb::CompactionRequest { revision, physical: true };
    wire.kv().compact(compact).await.expect("answered");
    wire.maintenance().defragment(pb::DefragmentRequest {}).await.expect("answered");
    prometheus.until("there is space again", |p| !rings(p));
}

/// Puts new keys for ever; there may be no space.
async fn fill(wire: Wire) {
    for n in 0.. {
        let key = format!("filler {n}").into();
        let put = pb::PutRequest { key, value: noise(100_000, n).into(), ..Default::default() };
        if let Err(refused) = wire.kv().put(put).await {
            assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn every_alert_evaluates(prometheus: &Prometheus) {
    prometheus
        .until("every rule was evaluated", |p| p.rules().iter().all(|[_, _, health, _]| health != "unknown"));
    let rules = prometheus.rules();
    assert_eq!(rules.len(), ALERTS);
    for [name, query, health, _] in &rules {
        assert_eq!(health, "ok", "{name}: {query}");
        let listed =
            MUST_FIND.iter().any(|(known, _)| known == name) || MAY_FIND_NOTHING.contains(&name.as_str());
        assert!(listed, "{name} is in no list of this test");
    }
    for (name, part) in MUST_FIND {
        let of_rule = rules.iter().any(|[known, query, ..]| known == name && query.contains(part));
        assert!(of_rule, "{part} is no part of {name}: {rules:#?}");
        prometheus.until(&format!("{name}: {part} finds something"), |p| p.finds(part) > 0);
    }
}

fn every_panel_evaluates(prometheus: &Prometheus) {
    let queries = dashboard();
    assert!(queries.len() > 30, "{}", queries.len());
    let device = device_is_seen(prometheus);
    for (title, query) in queries {
        let found = prometheus.finds(&query);
        let may_be_empty = query.contains("_peer_") || (query.contains("bramble_device_") && !device);
        assert!(found > 0 || may_be_empty, "{title}: {query} finds nothing");
    }
}

fn device_is_seen(prometheus: &Prometheus) -> bool {
    prometheus.finds("bramble_device_written_bytes_total") > 0
}

#[test]
fn every_alert_rings_after_its_time_and_not_before() {
    let file = tools::workspace().join("tests").join("observability").join("alerts.test.yml");
    let Some((good, said)) = promtool(&["test", "rules", &file.display().to_string()], "") else { return };
    assert!(good, "{said}");
    let [rules, tests] = [observability().join("alerts.yml"), file].map(std::fs::read_to_string);
    let (rules, tests) = (rules.expect("the rules"), tests.expect("their tests"));
    let alerts = severities(&rules, "alert: ");
    assert_eq!(rules.matches("- alert: ").count(), ALERTS);
    assert_eq!(alerts, severities(&tests, "alertname: "), "rules, and those that ring in their tests");
    for (name, _) in alerts {
        assert!(tests.contains(&format!("alertname: {name}}}")), "{name} is never quiet in its tests");
    }
}

/// Names of alerts, each with the severities that follow it in the text.
fn severities<'a>(text: &'a str, word: &str) -> BTreeSet<(&'a str, &'a str)> {
    let (mut found, mut alert) = (BTreeSet::new(), "");
    for line in text.lines() {
        if let Some((_, name)) = line.split_once(word) {
            alert = name;
        } else if let Some((_, severity)) = line.split_once("{severity: ") {
            found.insert((alert, severity.split([',', '}']).next().unwrap_or_default()));
        }
    }
    found
}
