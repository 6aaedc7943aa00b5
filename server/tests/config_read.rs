//! Flags, environment and file as users write them.
use std::path::PathBuf;
use std::time::Duration;

use bramble_server::config::{
    self, AuthSettings, AutoCompaction, Config, ConfigError, Invocation, JwtSettings, ListenAddr, LogOutput,
    Media, Notice, Profile, SignMethod, TokenKind,
};

type Env<'a> = &'a [(&'a str, &'a str)];

fn invoke(argv: &[&str], env: Env) -> Result<Invocation, ConfigError> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    config::read(&argv, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn run(argv: &[&str], env: Env) -> (Config, Vec<Notice>) {
    match invoke(argv, env) {
        Ok(Invocation::Run(config, notices)) => (*config, notices),
        other => panic!("expected a configuration for {argv:?}, got {other:?}"),
    }
}

fn parse(argv: &[&str]) -> Config {
    run(&[&["bramble"], argv].concat(), &[]).0
}

fn refuse(argv: &[&str]) -> (String, u8) {
    match invoke(&[&["bramble"], argv].concat(), &[]) {
        Err(error) => (error.to_string(), error.exit_code()),
        Ok(invocation) => panic!("expected an error for {argv:?}, got {invocation:?}"),
    }
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("etcd.conf.yml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (dir, path)
}

fn warned(notices: &[Notice], part: &str) -> bool {
    notices.iter().any(|notice| matches!(notice, Notice::Warn(text) if text.contains(part)))
}

#[test]
fn nothing_given_is_the_default() {
    let (config, notices) = run(&["bramble"], &[]);
    assert_eq!(config, Config::default());
    assert_eq!(config.data_dir, PathBuf::from("default.bramble"));
    assert_eq!(notices, []);
}

#[test]
fn called_etcd_it_keeps_etcds_directory() {
    assert_eq!(run(&["/usr/bin/etcd", "--name=n1"], &[]).0.data_dir, PathBuf::from("n1.etcd"));
    assert_eq!(run(&["/usr/bin/bramble", "--name=n1"], &[]).0.data_dir, PathBuf::from("n1.bramble"));
}

#[test]
fn go_spellings_of_flags() {
    for argv in [
        &["--name=a", "--socket-reuse-port"][..],
        &["-name", "a", "-socket-reuse-port=true"],
        &["--name", "a", "--socket-reuse-port=T"],
    ] {
        let config = parse(argv);
        assert_eq!((config.name.as_str(), config.reuse_port), ("a", true), "{argv:?}");
    }
    assert_eq!(parse(&["--name", "a", "--name=b"]).name, "b", "the last one wins");
    assert_eq!(parse(&["--name", "--odd"]).name, "--odd", "a value may begin with a dash");
    assert!(!parse(&["--pre-vote=false", "--socket-reuse-port=false"]).reuse_port);
}

#[test]
fn whom_http_answers() {
    let config = parse(&[]);
    assert!(config.gateway);
    assert_eq!((config.cors, config.host_whitelist), (vec!["*".to_owned()], vec!["*".to_owned()]));
    let config = parse(&[
        "--enable-grpc-gateway=false",
        "--cors=https://a.example, http://b.example:8080",
        "--host-whitelist=localhost,127.0.0.1",
    ]);
    assert!(!config.gateway);
    assert_eq!(config.cors, ["https://a.example", "http://b.example:8080"]);
    assert_eq!(config.host_whitelist, ["localhost", "127.0.0.1"]);
    assert!(parse(&["--cors="]).cors.is_empty());
    assert_eq!(parse(&["--cors=https://a.example/,*"]).cors, ["https://a.example", "*"]);
    for bad in ["a.example", "ftp://a.example", "http://a.example/path"] {
        let (why, status) = refuse(&[&format!("--cors={bad}")]);
        assert!(why.contains("origins") && status == 2, "{why}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_etcds_status() {
    let cases = [
        (&["--data-dri=x"][..], "did you mean --data-dir?", 2),
        (&["--nosuchthing"], "see --help", 2),
        (&["--name"], "needs a value", 2),
        (&["--heartbeat-interval=abc"], "whole number", 2),
        (&["--grpc-keepalive-interval=5"], "with its unit", 2),
        (&["--pre-vote=perhaps"], "true or false", 2),
        (&["--logger=glog"], "zap", 2),
        (&["extra"], "not a valid flag", 1),
        (&["--pre-vote", "false"], "not a valid flag", 1),
        (&["gateway", "start"], "not served", 1),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            1,
        ),
        (
            &["--heartbeat-interval=300"],
            "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[300ms]",
            1,
        ),
        (&["--election-timeout=60000"], "too long", 1),
        (&["--unsafe-no-fsync"], "every acknowledged write is flushed", 1),
        (&["--discovery-srv=example.com"], "discovery is not served", 1),
        (&["--auto-tls"], "--cert-file", 1),
        (
            &["--initial-cluster=a=http://10.0.0.1:2380,default=http://10.0.0.2:2380"],
            "clusters are not served yet",
            1,
        ),
        (&["--initial-cluster=a=http://10.0.0.1:2380"], "couldn't find local name \"default\"", 1),
        (&["--initial-cluster-state=existing"], "joining a cluster is not served yet", 1),
        (&["--cert-file=/x"], "belong together", 1),
        (&["--cert-file=/x", "--key-file=/y", "--client-cert-auth"], "--trusted-ca-file", 1),
        (
            &["--cert-file=/x", "--key-file=/y", "--client-cert-allowed-hostname=a.test"],
            "--trusted-ca-file",
            1,
        ),
        (&["--auth-token=magic"], "`simple`, or `jwt`", 2),
        (&["--auth-token=jwt"], "it needs sign-method=", 2),
        (&["--auth-token=jwt,sign-method"], "name=value", 2),
        (&["--auth-token=jwt,sign-method=ES512,priv-key=/k"], "one of HS256", 2),
        (&["--auth-token=jwt,sign-method=none,priv-key=/k"], "one of HS256", 2),
        (&["--auth-token=jwt,sign-method=RS256"], "priv-key=FILE, pub-key=FILE or both", 2),
        (&["--auth-token=jwt,sign-method=HS256,pub-key=/k"], "HMAC needs priv-key", 2),
        (&["--auth-token=jwt,sign-method=RS256,priv-key=/k,priv-key=/l"], "twice", 2),
        (&["--auth-token=jwt,sign-method=RS256,priv-key=/k,ttl=soon"], "ttl is a time", 2),
        (&["--auth-token=jwt,sign-method=RS256,priv-key=/k,ttl=18446744073709551615s"], "at most 292", 2),
        (&["--auth-token-ttl=-1"], "whole number", 2),
        (
            &["--enable-log-rotation", "--log-outputs=/l", r#"--log-rotation-config-json={"maxBackup": 3}"#],
            "unknown field `maxbackup`",
            2,
        ),
        (&["--bcrypt-cost=3"], "from 4 to 31", 2),
        (&["--bcrypt-cost=32"], "from 4 to 31", 2),
        (&["--feature-gates=Lonely"], "Name=true", 2),
        (&["--feature-gates=LeaseCheckpointPersist=true"], "needs LeaseCheckpoint", 1),
        (&["--experimental-enable-lease-checkpoint-persist"], "needs LeaseCheckpoint", 1),
        (
            &["--feature-gates=LeaseCheckpoint=true", "--experimental-enable-lease-checkpoint"],
            "are one thing; give one",
            1,
        ),
        (&["--quota-backend-bytes=lots"], "a whole number", 2),
        (&["--card-endurance=lots"], "such as 10TB or 64GiB", 2),
        (&["--memory-max=64MiB"], "80 MiB or more: with less there is no room for clients", 2),
        (&["--memory-max=96"], "such as 10TB or 64GiB", 2),
        (&["--config-file=/nonexistent/etcd.yml"], "/nonexistent/etcd.yml", 1),
    ];
    for (argv, part, status) in cases {
        let (text, code) = refuse(argv);
        assert!(text.contains(part), "{argv:?}: {text}");
        assert_eq!(code, status, "{argv:?}: {text}");
        assert_eq!(text.lines().count(), 1, "one line: {text}");
    }
}

#[test]
fn listen_urls() {
    let listen = |url: &str| {
        let flag = format!("--listen-client-urls={url}");
        let argv =
            ["bramble", &flag, "--advertise-client-urls=http://h:1", "--cert-file=/c", "--key-file=/k"];
        invoke(&argv, &[]).map(|invocation| match invocation {
            Invocation::Run(config, _) => config.listen_client,
            Invocation::Print(text) => panic!("{text}"),
        })
    };
    let one = |url: &str| listen(url).expect("a good URL").remove(0);
    assert_eq!(
        one("http://127.0.0.1:2379").addr,
        ListenAddr::Tcp("127.0.0.1:2379".parse().expect("address"))
    );
    assert_eq!(one("https://[::1]:2379").addr, ListenAddr::Tcp("[::1]:2379".parse().expect("address")));
    assert!(one("https://[::1]:2379").tls && one("unixs:///a").tls && !one("unix:///a").tls);
    assert_eq!(one("http://localhost:0/").addr, ListenAddr::Localhost(0));
    assert_eq!(one("unix:///run/k.sock:12379").addr, ListenAddr::Unix(PathBuf::from("/run/k.sock:12379")));
    assert_eq!(one("unix://localhost:m1").addr, ListenAddr::Unix(PathBuf::from("localhost:m1")));
    let wrong = [
        ("http://example.com:2379", "expected IP in URL for binding"),
        ("http://:2379", "0.0.0.0"),
        ("http://127.0.0.1", "host:port"),
        ("http://127.0.0.1:99999", "no port"),
        ("http://127.0.0.1:1/path", "path"),
        ("ftp://127.0.0.1:1", "scheme must be"),
        ("127.0.0.1:2379", "no scheme"),
        ("http://::1:2379", "brackets"),
        ("unix://", "no address"),
    ];
    for (url, part) in wrong {
        let text = listen(url).expect_err(url).to_string();
        assert!(text.contains(part), "{url}: {text}");
    }
}

#[test]
fn https_needs_a_certificate() {
    let (text, _) =
        refuse(&["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://h:1"]);
    assert!(text.contains("https://127.0.0.1:1 speaks TLS") && text.contains("--cert-file"), "{text}");
}

#[test]
fn kubeadms_command_line() {
    let argv = [
        "etcd",
        "--name=cp1",
        "--feature-gates=InitialCorruptCheck=true",
        "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.7:2379",
        "--advertise-client-urls=https://10.0.0.7:2379",
        "--listen-peer-urls=https://10.0.0.7:2380",
        "--initial-advertise-peer-urls=https://10.0.0.7:2380",
        "--initial-cluster=cp1=https://10.0.0.7:2380",
        "--data-dir=/var/lib/etcd",
        "--cert-file=/etc/kubernetes/pki/etcd/server.crt",
        "--key-file=/etc/kubernetes/pki/etcd/server.key",
        "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        "--client-cert-auth=true",
        "--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt",
        "--peer-key-file=/etc/kubernetes/pki/etcd/peer.key",
        "--peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt",
        "--peer-client-cert-auth=true",
        "--snapshot-count=10000",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        "--watch-progress-notify-interval=5s",
    ];
    let (config, notices) = run(&argv, &[]);
    assert_eq!(config.listen_client.len(), 2);
    assert_eq!(config.listen_metrics[0].to_string(), "http://127.0.0.1:2381");
    assert_eq!(config.watch_progress, Duration::from_secs(5));
    assert_eq!(config.advertise_peer, ["https://10.0.0.7:2380"]);
    let tls = config.client_tls.expect("TLS");
    assert!(tls.client_auth && tls.names_users);
    assert!(notices.iter().all(|notice| matches!(notice, Notice::Info(_))), "{notices:?}");
    // The same, as kubeadm wrote it for etcd 3.5.
    let older = [
        "etcd",
        "--experimental-initial-corrupt-check=true",
        "--experimental-watch-progress-notify-interval=5s",
    ];
    assert_eq!(run(&older, &[]).0.watch_progress, Duration::from_secs(5));
}

#[test]
fn logins_and_passwords() {
    let auth = |argv: &[&str]| parse(argv).auth;
    let simple = |ttl_s| TokenKind::Simple { ttl: Duration::from_secs(ttl_s) };
    assert_eq!(auth(&[]), AuthSettings { tokens: simple(300), bcrypt_cost: 10 });
    let given = auth(&["--auth-token=simple", "--auth-token-ttl=60", "--bcrypt-cost=4"]);
    assert_eq!(given, AuthSettings { tokens: simple(60), bcrypt_cost: 4 });
    assert_eq!(auth(&["--auth-token-ttl=0"]).tokens, simple(300), "0 is the default, as in etcd");
    assert_eq!(auth(&["--auth-token="]).tokens, TokenKind::None);

    let jwt = |options: &str| auth(&[&format!("--auth-token=jwt,{options}")]).tokens;
    let rsa = JwtSettings {
        method: SignMethod::RS512,
        public_key_file: Some("/k/app.pub".into()),
        private_key_file: Some("/k/app.key".into()),
        ttl: Duration::from_secs(600),
    };
    let all = jwt("pub-key=/k/app.pub,priv-key=/k/app.key,sign-method=RS512,ttl=10m");
    assert_eq!(all, TokenKind::Jwt(rsa.clone()));
    let ttl = Duration::from_secs(300);
    let public = jwt("sign-method=RS512,pub-key=/k/app.pub");
    assert_eq!(public, TokenKind::Jwt(JwtSettings { private_key_file: None, ttl, ..rsa }));
    let argv = ["bramble", "--auth-token=jwt,sign-method=HS256,priv-key=/k,colour=red"];
    assert!(warned(&run(&argv, &[]).1, "unknown option colour"));
}

#[test]
fn k3s_config_file() {
    let (_dir, path) = file(
        "advertise-client-urls: https://10.0.0.7:2379
client-transport-security:
  cert-file: /k3s/server-client.crt
  client-cert-auth: true
  key-file: /k3s/server-client.key
  trusted-ca-file: /k3s/server-ca.crt
data-dir: /var/lib/rancher/k3s/server/db/etcd
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
initial-advertise-peer-urls: https://10.0.0.7:2380
initial-cluster: pi-1=https://10.0.0.7:2380
initial-cluster-state: new
listen-client-http-urls: https://127.0.0.1:2382
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.7:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380,https://10.0.0.7:2380
log-outputs:
- stderr
logger: zap
name: pi-1
peer-transport-security:
  cert-file: /k3s/peer.crt
  client-cert-auth: true
  key-file: /k3s/peer.key
  trusted-ca-file: /k3s/peer-ca.crt
snapshot-count: 10000
",
    );
    let config = parse(&["--config-file", &path]);
    let ms = |time: Option<Duration>| time.map(|time| time.as_millis());
    assert_eq!((ms(config.heartbeat), ms(config.election)), (Some(500), Some(5000)));
    assert_eq!(config.watch_progress, Duration::from_secs(5));
    assert_eq!(config.listen_client_http[0].to_string(), "https://127.0.0.1:2382");
    assert_eq!(config.name, "pi-1");
    let tls = config.client_tls.expect("TLS");
    assert_eq!(tls.trusted_ca_file, Some(PathBuf::from("/k3s/server-ca.crt")));
}

#[test]
fn the_file_yields_to_the_environment_and_that_to_the_flags() {
    let (_dir, path) = file("name: f\nmax-txn-ops: 1\nmax-request-bytes: 10\n");
    let env = [("ETCD_CONFIG_FILE", path.as_str()), ("ETCD_NAME", "e"), ("ETCD_MAX_TXN_OPS", "2")];
    let (config, notices) = run(&["bramble", "--name=a"], &env);
    assert_eq!((config.name.as_str(), config.txn_ops_max, config.request_bytes_max), ("a", 2, 10));
    assert!(warned(&notices, "ETCD_NAME and --name are both set; the flag wins"), "{notices:?}");
}

#[test]
fn values_in_a_file() {
    let (_dir, path) = file(
        "name: 007\ngrpc-keepalive-interval: 10m\ngrpc-keepalive-timeout: 7000000000\nlisten-metrics-urls: [http://127.0.0.1:1, http://127.0.0.1:2]\nauto-compaction-retention: 5\nwal-dir:\nwatch-progress-notify-interval: \"1500ms\"\nlog-outputs: stdout,/tmp/x.log\n",
    );
    let config = parse(&["--config-file", &path]);
    assert_eq!(config.name, "007", "scalars are taken as written");
    assert_eq!(config.keepalive_interval, Duration::from_secs(600));
    assert_eq!(config.keepalive_timeout, Duration::from_secs(7));
    assert_eq!(config.watch_progress, Duration::from_millis(1500));
    assert_eq!(config.listen_metrics.len(), 2);
    assert_eq!(config.auto_compaction, Some(AutoCompaction::Periodic(Duration::from_secs(5 * 3600))));
    assert_eq!(config.log.outputs, [LogOutput::Stdout, LogOutput::File("/tmp/x.log".into())]);
    let (_dir, json) = file("{\"name\": \"j\", \"client-transport-security\": {\"auto-tls\": false}}");
    assert_eq!(parse(&["--config-file", &json]).name, "j");
    let (_dir, empty) = file("# nothing\n");
    assert_eq!(parse(&["--config-file", &empty]), Config::default());
}

#[test]
fn a_wrong_file_is_an_error_that_names_the_place() {
    let cases = [
        ("nmae: x\n", "unknown key \"nmae\"; did you mean name?"),
        (
            "client-transport-security:\n  cert-fil: /x\n",
            "unknown key \"client-transport-security.cert-fil\"; did you mean cert-file?",
        ),
        ("client-transport-security: 3\n", "client-transport-security"),
        ("name: [a, b]\n", "expected string"),
        ("name: {a: b}\n", "expected string"),
        ("- a\n- b\n", "flag: value"),
        ("name: a\nname: b\n", "name"),
        ("name: \"unclosed\n", "config file"),
        ("heartbeat-interval: soon\n", "heartbeat-interval in "),
        ("client-transport-security:\n  auto-tls: true\n", "client-transport-security.auto-tls in "),
    ];
    for (text, part) in cases {
        let (_dir, path) = file(text);
        let (error, status) = refuse(&["--config-file", &path]);
        assert!(error.contains(part) && error.contains(&path), "{text:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(status, 1);
    }
}

#[test]
fn an_endurance_is_bytes_with_a_unit() {
    let given = |text: &str| parse(&[&format!("--card-endurance={text}")]).card_endurance_bytes;
    for (text, bytes) in [
        ("10TB", 10_000_000_000_000),
        ("1.5tb", 1_500_000_000_000),
        ("0.0001KB", 0),
        ("64GiB", 64 << 30),
        ("117 TB", 117_000_000_000_000),
        ("5000000B", 5_000_000),
        (".5MB", 0),
        ("18446744073709551615B", u64::MAX),
    ] {
        match bytes {
            0 => assert!(refuse(&["--card-endurance", text]).0.contains("more than 0"), "{text}"),
            _ => assert_eq!(given(text), Some(bytes), "{text}"),
        }
    }
    assert_eq!(given(""), None);
    for wrong in
        ["10", "TB", "-1TB", "+1TB", "1e3GB", "1.2.3TB", "1 TB per year", "99999999TiB", "0TB", "1.xTB"]
    {
        assert!(refuse(&["--card-endurance", wrong]).0.contains("10TB"), "{wrong}");
    }
    let (config, _) = run(&["bramble"], &[("ETCD_CARD_ENDURANCE", "2TB")]);
    assert_eq!(config.card_endurance_bytes, Some(2_000_000_000_000));
    let (_dir, path) = file("card-endurance: 3TB\n");
    assert_eq!(parse(&["--config-file", &path]).card_endurance_bytes, Some(3_000_000_000_000));
}

#[test]
fn a_ceiling_of_memory_is_given_in_three_ways() {
    assert_eq!(parse(&[]).memory_max_bytes, None);
    assert_eq!(parse(&["--memory-max=96MiB"]).memory_max_bytes, Some(96 << 20));
    let (config, _) = run(&["bramble"], &[("ETCD_MEMORY_MAX", "80MiB")]);
    assert_eq!(config.memory_max_bytes, Some(80 << 20));
    let (_dir, path) = file("memory-max: 1GiB\n");
    assert_eq!(parse(&["--config-file", &path]).memory_max_bytes, Some(1 << 30));
}

#[test]
fn the_quota_has_a_default_and_may_be_none() {
    for (argv, bytes) in [
        (vec!["bramble"], 2 << 30),
        (vec!["bramble", "--quota-backend-bytes=0"], 2 << 30),
        (vec!["bramble", "--quota-backend-bytes", "-1"], -1),
        (vec!["bramble", "--quota-backend-bytes=0x1000000"], 1 << 24),
        (vec!["bramble", "--quota-backend-bytes=8589934592"], 8 << 30),
    ] {
        let (config, notices) = run(&argv, &[]);
        assert_eq!((config.quota_bytes, notices.len()), (bytes, 0), "{argv:?}: {notices:?}");
    }
    let (config, notices) = run(&["bramble", "--quota-backend-bytes=8589934593"], &[]);
    assert_eq!(config.quota_bytes, (8 << 30) + 1);
    assert!(warned(&notices, "--quota-backend-bytes"), "{notices:?}");
}

#[test]
fn checkpoints_of_leases_are_a_gate_with_old_names() {
    for (argv, on) in [
        (vec!["bramble"], false),
        (vec!["bramble", "--feature-gates=LeaseCheckpoint=true"], true),
        (vec!["bramble", "--feature-gates=LeaseCheckpoint=true,LeaseCheckpointPersist=true"], true),
        (vec!["bramble", "--feature-gates=AllAlpha=true"], true),
        (
            vec![
                "bramble",
                "--feature-gates=AllAlpha=true,LeaseCheckpoint=false,LeaseCheckpointPersist=false",
            ],
            false,
        ),
        (vec!["bramble", "--experimental-enable-lease-checkpoint"], true),
        (
            vec![
                "bramble",
                "--experimental-enable-lease-checkpoint=true",
                "--experimental-enable-lease-checkpoint-persist=true",
            ],
            true,
        ),
    ] {
        let (config, notices) = run(&argv, &[]);
        assert_eq!(config.lease_checkpoints, on, "{argv:?}");
        assert!(!notices.iter().any(|notice| matches!(notice, Notice::Warn(_))), "{notices:?}");
    }
}

#[test]
fn unknown_variables_and_gates_are_warned_of() {
    let env = [("ETCD_NMAE", "x"), ("ETCDCTL_API", "3"), ("ETCD_NAME", ""), ("ETCD_UNSUPPORTED_ARCH", "arm")];
    let (config, notices) =
        run(&["bramble", "--feature-gates=InitialCorruptCheck=true,FromTheFuture=true"], &env);
    assert_eq!(config.name, "default", "an empty variable is not set");
    assert!(
        warned(&notices, "ETCD_NMAE") && !warned(&notices, "ETCDCTL") && !warned(&notices, "ARCH"),
        "{notices:?}"
    );
    assert!(warned(&notices, "FromTheFuture") && !warned(&notices, "InitialCorruptCheck"), "{notices:?}");
}

#[test]
fn flags_without_effect_say_so_once_and_only_when_they_ask_for_something() {
    let argv = ["bramble", "--snapshot-count=10000", "--pre-vote=true", "--max-wals=7", "--auto-tls=false"];
    let (config, notices) = run(&argv, &[]);
    assert_eq!(config.quota_bytes, 2 << 30);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(matches!(&notices[0], Notice::Info(text) if text.contains("--max-wals has no effect")));
    let legacy = ["bramble", "-v", "--force", "--max-result-buffer=3"];
    assert_eq!(run(&legacy, &[]).0, Config::default());
}

#[test]
fn auto_compaction() {
    let retention = |argv: &[&str]| parse(argv).auto_compaction;
    let hours = |hours: u64| Some(AutoCompaction::Periodic(Duration::from_secs(hours * 3600)));
    assert_eq!(retention(&["--auto-compaction-retention=3"]), hours(3));
    assert_eq!(
        retention(&["--auto-compaction-retention=90m"]),
        Some(AutoCompaction::Periodic(Duration::from_secs(5400)))
    );
    assert_eq!(retention(&["--auto-compaction-retention=0"]), None);
    assert_eq!(
        retention(&["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"]),
        Some(AutoCompaction::Revision(1000))
    );
    assert_eq!(retention(&["--profile=pi"]), hours(1));
    assert_eq!(retention(&["--profile=pi", "--auto-compaction-retention=0"]), None);
    let (text, _) = refuse(&["--auto-compaction-mode=revision", "--auto-compaction-retention=5m"]);
    assert!(text.contains("number of revisions"), "{text}");
    let (text, _) = refuse(&["--auto-compaction-retention=-1"]);
    assert!(text.contains("hours"), "{text}");
}

#[test]
fn profile_and_media() {
    let ms = |config: &Config, found: Media| {
        let timing = config.timing(found);
        (timing.heartbeat.as_millis(), timing.election.as_millis())
    };
    let config = parse(&["--profile=pi", "--media=sd-basic"]);
    assert_eq!((config.profile, config.media), (Profile::Pi, Some(Media::SdBasic)));
    assert_eq!(ms(&config, Media::SdBasic), (500, 5000));
    let explicit = parse(&["--media=sd-basic", "--heartbeat-interval=100"]);
    assert_eq!(ms(&explicit, Media::SdBasic), (100, 5000), "an explicit flag wins");
    let auto = parse(&["--media=auto"]);
    assert_eq!(auto.media, None);
    assert_eq!((ms(&auto, Media::Ssd), ms(&auto, Media::SdA1)), ((100, 1000), (250, 2000)));
    for argv in ["--heartbeat-interval=200", "--election-timeout=1000"] {
        let (heartbeat_ms, election_ms) = ms(&parse(&[argv]), Media::SdBasic);
        assert!(election_ms == 1000 && heartbeat_ms <= 200, "{argv}: what was found out contradicts nothing");
    }
    let (text, _) = refuse(&["--media=sd-a1", "--election-timeout=1000"]);
    assert!(
        text.contains("--election-timeout[1000ms]") && text.contains("--heartbeat-interval[250ms]"),
        "{text}"
    );
}

#[test]
fn initial_flags_are_not_looked_at_once_there_is_data() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = format!("--data-dir={}", dir.path().display());
    let argv = [
        data.as_str(),
        "--initial-cluster-state=existing",
        "--initial-cluster=a=http://h:1,default=http://i:1",
    ];
    assert!(refuse(&argv).0.contains("joining"), "an empty directory is no data");
    std::fs::write(dir.path().join("something"), "").expect("written");
    parse(&argv);
}

#[test]
fn version_and_help() {
    let print = |argv: &[&str]| match invoke(argv, &[]) {
        Ok(Invocation::Print(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(print(&["/usr/bin/etcd", "--version"]).lines().next(), Some("etcd Version: 3.6.11"));
    assert_eq!(print(&["bramble", "--version"]), "bramble 0.1.0\netcd Version: 3.6.11\n");
    for spelling in ["--help", "-h", "-help"] {
        assert!(print(&["bramble", spelling]).contains("--data-dir '${name}.bramble'"));
    }
}

#[test]
fn the_bounds_of_rotation_may_be_written_in_any_case() {
    let json = r#"--log-rotation-config-json={"MaxSize": 7, "maxBackups": 3, "localTime": true}"#;
    let rotation =
        parse(&["--enable-log-rotation", "--log-outputs=/l", json]).log.rotation.expect("rotation");
    assert_eq!((rotation.bytes_max, rotation.backups_max, rotation.local_time), (7 << 20, 3, true));
}

#[test]
fn a_partition_for_the_log_is_given_as_any_flag_and_there_is_none_by_default() {
    let device = "/dev/disk/by-partlabel/bramble-log";
    assert_eq!(parse(&[]).log_partition, None);
    let given = Some(PathBuf::from(device));
    assert_eq!(parse(&["--log-partition", device]).log_partition, given);
    assert_eq!(run(&["bramble"], &[("ETCD_LOG_PARTITION", device)]).0.log_partition, given);
    let (_dir, path) = file(&format!("log-partition: {device}\n"));
    assert_eq!(parse(&["--config-file", &path]).log_partition, given);
}
