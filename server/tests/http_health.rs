//! The health endpoints of a real member, in etcd's very words.
use std::time::Duration;

use bramble_server::config::Config;
use bramble_server::node::Node;
use bramble_server::node::client::Caller;
use bramble_store::command::AlarmChange;
use bramble_store::types::AlarmKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PLAIN: &str = "text/plain; charset=utf-8";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

async fn ask(addr: std::net::SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head[9..12].parse().expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn node(dir: &std::path::Path) -> Node {
    let config = Config {
        data_dir: dir.join("data"),
        listen_client: vec!["http://127.0.0.1:0".parse().expect("a URL")],
        ..Config::default()
    };
    let node = Node::builder().config(config).build().await.expect("started");
    node.ready(Duration::from_secs(20)).await.expect("ready");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_member() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let addr = node.client_addrs()[0];
    let ready =
        "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    let cases = [
        ("/health", r#"{"health":"true","reason":""}"#),
        ("/health?serializable=true&exclude=NOSPACE", r#"{"health":"true","reason":""}"#),
        ("/livez", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read?verbose", "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read?exclude=serializable_read&verbose", "[+]serializable_read ok\nok\n"),
        ("/readyz", "ok\n"),
        ("/readyz?verbose", ready),
        (
            "/readyz?exclude=non_learner&exclude=linearizable_read&exclude=foo&verbose",
            "[+]data_corruption ok\n[+]serializable_read ok\nok\n",
        ),
        ("/readyz/non_learner", "ok\n"),
    ];
    for (path, body) in cases {
        let answer = ask(addr, "GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
        assert_eq!(answer.header("content-type"), Some(PLAIN), "{path}");
    }
    let version = ask(addr, "GET", "/version").await;
    assert_eq!(version.body, r#"{"etcdserver":"3.6.11","etcdcluster":"3.6.0","storage":"3.6.0"}"#);
    assert_eq!(version.header("content-type"), Some("application/json"));
    for path in ["/", "/nosuch", "/livez/", "/livez/nosuch", "/health/", "/v2/keys"] {
        let answer = ask(addr, "GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
    for path in ["/health", "/livez", "/readyz/non_learner", "/version"] {
        let answer = ask(addr, "POST", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (405, "Method Not Allowed\n"), "{path}");
        assert_eq!(answer.header("allow"), Some("GET"), "{path}");
        let head = ask(addr, "HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (405, ""), "{path}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_make_a_member_ill_unless_they_are_excluded() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let addr = node.client_addrs()[0];
    let raise = async |kind| {
        let change = AlarmChange::Activate { member: 7, kind };
        node.client().change_alarm(&Caller::default(), Some(change)).await.expect("raised");
    };
    raise(AlarmKind::NoSpace).await;
    let full = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n";
    let well = r#"{"health":"true","reason":""}"#;
    let status_and_body = async |path| {
        let answer = ask(addr, "GET", path).await;
        (answer.status, answer.body)
    };
    assert_eq!(status_and_body("/health").await, (503, full.to_owned()));
    assert_eq!(status_and_body("/health?serializable=true").await, (503, full.to_owned()));
    assert_eq!(status_and_body("/health?exclude=NOSPACE").await, (200, well.to_owned()));
    assert_eq!(status_and_body("/readyz").await.0, 200, "a full member can be read");
    raise(AlarmKind::Corrupt).await;
    let corrupt = "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n";
    assert_eq!(status_and_body("/health?exclude=NOSPACE").await, (503, corrupt.to_owned()));
    assert_eq!(status_and_body("/health?exclude=NOSPACE&exclude=CORRUPT").await, (200, well.to_owned()));
    let (status, body) = status_and_body("/readyz").await;
    assert!(status == 503 && body.contains("[-]data_corruption failed: alarm activated: CORRUPT"), "{body}");
    assert_eq!(status_and_body("/readyz?exclude=data_corruption").await.0, 200);
    assert_eq!(status_and_body("/livez").await.0, 200);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_stopped_is_not_healthy() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = node(dir.path()).await;
    let client = node.client();
    node.shutdown().await;
    let app = bramble_server::http::routes(client);
    for (path, line) in [
        ("/livez", "[-]serializable_read failed: "),
        ("/readyz", "[-]linearizable_read failed: "),
        ("/health", r#"{"health":"false","reason":""#),
    ] {
        let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        let answer = tower::ServiceExt::oneshot(app.clone(), request).await.expect("an answer");
        assert_eq!(answer.status(), 503, "{path}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains(line), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wear_is_served_where_metrics_are() {
    // A port that was free a moment ago: the node tells only where clients come.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let metrics = free.expect("a port");
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        data_dir: dir.path().join("data"),
        listen_client: vec!["http://127.0.0.1:0".parse().expect("a URL")],
        listen_metrics: vec![format!("http://{metrics}").parse().expect("a URL")],
        ..Config::default()
    };
    let node = Node::builder().config(config).build().await.expect("started");
    node.ready(Duration::from_secs(20)).await.expect("ready");
    let key = "/registry/pods/default/web".to_owned();
    let put = bramble_store::types::PutRequest { key: key.into(), value: "v".into(), ..Default::default() };
    node.client().put(&Caller::default(), put).await.expect("answered");
    for addr in [node.client_addrs()[0], metrics] {
        let answer = ask(addr, "GET", "/debug/wear").await;
        assert_eq!(answer.status, 200, "{addr}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let wanted = [
            "date",
            "device",
            "emmc",
            "endurance",
            "flush_latency",
            "projected_life",
            "top_prefixes",
            "windows",
        ];
        assert_eq!(keys, wanted, "{json:#}");
        assert_eq!(json["windows"]["today"]["writes"], 1);
        assert_eq!(json["top_prefixes"][0]["prefix"], "/registry/pods/");
        assert_eq!(ask(addr, "POST", "/debug/wear").await.status, 405);
        assert_eq!(ask(addr, "GET", "/metrics").await.status, 200);
    }
    node.shutdown().await;
}
