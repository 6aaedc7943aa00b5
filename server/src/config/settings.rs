//! The settings of a member after parsing and checking: plain values, ready to use.
//!
//! `Config::default()` is a single member with etcd's defaults; programs that embed a member set
//! fields on it. Text (flags, environment, YAML) becomes a `Config` in `check.rs`.
use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthSettings;
use super::urls::ListenUrl;
use crate::media::{Media, Timing};

/// Everything a member needs to know before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Human-readable name of the member.
    pub name: String,
    /// Where its data lives.
    pub data_dir: PathBuf,
    /// The partition, or file, that its log lies on; `None` = in the data directory.
    pub log_partition: Option<PathBuf>,
    /// Where clients are listened to (gRPC, and HTTP unless `listen_client_http` is not empty).
    pub listen_client: Vec<ListenUrl>,
    /// If not empty, HTTP (health, version) is served here and leaves the gRPC listeners.
    pub listen_client_http: Vec<ListenUrl>,
    /// Listeners that serve `/metrics` and health endpoints only; often plain HTTP on the loopback.
    pub listen_metrics: Vec<ListenUrl>,
    /// Whether TCP listeners set SO_REUSEPORT.
    pub reuse_port: bool,
    /// Client URLs that this member tells the cluster's clients.
    pub advertise_client: Vec<String>,
    /// Peer URLs that this member tells the other members. Nothing listens on them yet.
    pub advertise_peer: Vec<String>,
    /// Guards against members of another cluster; part of the cluster id.
    pub initial_cluster_token: String,
    /// Whether etcd's API is served as JSON under `/v3`.
    pub gateway: bool,
    /// Origins of web pages that may read answers over HTTP; empty or `*` = all.
    pub cors: Vec<String>,
    /// Names of this server that are answered over HTTP without TLS; empty or `*` = all.
    pub host_whitelist: Vec<String>,
    /// TLS for clients; needed by listeners whose scheme is `https` or `unixs`.
    pub client_tls: Option<ClientTls>,
    /// What a login is worth, and how passwords are kept.
    pub auth: AuthSettings,
    /// Memory: sizes of memtables and caches.
    pub profile: Profile,
    /// Bytes of memory that the member and its clients share, at least [`MEMORY_MIN_BYTES`]; `None` = as
    /// much as the profile takes.
    pub memory_max_bytes: Option<u64>,
    /// The device: log geometry, bounds and default timing; `None` = it is found out.
    pub media: Option<Media>,
    /// Time between heartbeats, 1 ms or more; `None` = see [`Config::timing`].
    pub heartbeat: Option<Duration>,
    /// Election timeout, at least five heartbeats, at most 50 s; `None` = see [`Config::timing`].
    pub election: Option<Duration>,
    /// Operations allowed in one transaction.
    pub txn_ops_max: usize,
    /// Bytes allowed in one request (its encoded command).
    pub request_bytes_max: usize,
    /// HTTP/2 streams that one connection may have open at once.
    pub streams_max: u32,
    /// The shortest time between a client's pings; zero = gRPC's own, five minutes.
    pub keepalive_min: Duration,
    /// How often the server pings an idle connection; zero = never.
    pub keepalive_interval: Duration,
    /// How long the server waits for the answer to its ping before it closes.
    pub keepalive_timeout: Duration,
    /// What automatic compaction keeps; `None` = it is off.
    pub auto_compaction: Option<AutoCompaction>,
    /// Revisions that one step of physical compaction looks at.
    pub compaction_batch: usize,
    /// Pause between two such steps.
    pub compaction_pause: Duration,
    /// Between two readings of all files, to see whether they are whole; zero = never.
    pub scrub_interval: Duration,
    /// Bytes that may be written to the device in its life, by its data sheet; `None` = guessed.
    pub card_endurance_bytes: Option<u64>,
    /// How often an idle watcher that asked for it gets a progress mark.
    pub watch_progress: Duration,
    /// How much `/metrics` tells of each gRPC method.
    pub metrics: MetricsDetail,
    /// Applying a group of entries longer than this is logged.
    pub warn_apply: Duration,
    /// A unary request that takes longer is logged; zero = never.
    pub warn_request: Duration,
    /// Bytes of data after which the alarm NOSPACE is raised and writes are refused; negative = never.
    pub quota_bytes: i64,
    /// Whether the leader writes down now and then what is left of long leases.
    pub lease_checkpoints: bool,
    /// Where and how much is logged (used by the `bramble` program only).
    pub log: LogSettings,
}

/// Files of client TLS. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificate chain, PEM, leaf first.
    pub cert_file: PathBuf,
    /// Private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key_file: PathBuf,
    /// Authorities whose client certificates are accepted, PEM.
    pub trusted_ca_file: Option<PathBuf>,
    /// Revoked client certificates, PEM or DER.
    pub crl_file: Option<PathBuf>,
    /// Whether a client must show a certificate that `trusted_ca_file` has signed.
    pub client_auth: bool,
    /// Whether that certificate's common name is the user of a call without a token.
    pub names_users: bool,
    /// Host names or addresses of which a client's certificate must have one; empty = any certificate.
    pub allowed_hostnames: Vec<String>,
    /// Cipher suites allowed under TLS 1.2 by their IANA names; empty = all that rustls has.
    pub cipher_suites: Vec<String>,
    /// Oldest protocol version.
    pub version_min: TlsVersion,
    /// Newest protocol version.
    pub version_max: TlsVersion,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// How much memory may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Small machines: 16 MiB memtables, one background job, automatic compaction on.
    Pi,
    /// Others: 24 MiB memtables, two background jobs, automatic compaction as in etcd (off).
    #[default]
    Default,
}

/// How much `/metrics` tells of each gRPC method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsDetail {
    /// Handling times of the methods that were called.
    #[default]
    Basic,
    /// Handling times of all methods from the start.
    Extensive,
}

/// What automatic compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// History of this length.
    Periodic(Duration),
    /// This many revisions before the newest, looked at every five minutes.
    Revision(i64),
}

/// The program's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Least important level that is written.
    pub level: LogLevel,
    /// `None`: lines for people on a terminal, JSON elsewhere.
    pub format: Option<LogFormat>,
    /// Where to; each line goes to all of them.
    pub outputs: Vec<LogOutput>,
    /// How the one file among `outputs` is rotated; `None` = it only grows.
    pub rotation: Option<LogRotation>,
}

/// When a log file is put aside, and what is kept of those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// Bytes of the file before a new one is begun, 1 or more.
    pub bytes_max: u64,
    /// Days that a file put aside is kept; 0 = for ever.
    pub days_max: u32,
    /// Files put aside that are kept; 0 = all.
    pub backups_max: usize,
    /// Whether names tell local time; otherwise UTC.
    pub local_time: bool,
    /// Whether files put aside are compressed (gzip).
    pub compress: bool,
}

/// Level of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line with zap's keys: level, ts, caller, msg and the fields.
    Json,
    /// Text for people.
    Console,
}

/// Destination of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// A larger quota is warned of, as in etcd.
pub const QUOTA_BYTES_SUGGESTED_MAX: i64 = 8 * 1024 * 1024 * 1024;

/// etcd's default quota, which 0 stands for.
pub const QUOTA_BYTES_DEFAULT: i64 = 2 * 1024 * 1024 * 1024;

/// The least memory that a member can work with: below it there is no room for clients beside what it takes
/// itself.
pub const MEMORY_MIN_BYTES: u64 = 80 << 20;

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "default".into(),
            data_dir: PathBuf::from("default.bramble"),
            log_partition: None,
            listen_client: vec![ListenUrl::localhost(2379)],
            listen_client_http: Vec::new(),
            listen_metrics: Vec::new(),
            reuse_port: false,
            advertise_client: vec!["http://localhost:2379".into()],
            advertise_peer: vec!["http://localhost:2380".into()],
            initial_cluster_token: "etcd-cluster".into(),
            gateway: true,
            cors: vec!["*".into()],
            host_whitelist: vec!["*".into()],
            client_tls: None,
            auth: AuthSettings::default(),
            profile: Profile::default(),
            memory_max_bytes: None,
            media: None,
            heartbeat: None,
            election: None,
            txn_ops_max: 128,
            request_bytes_max: 1_572_864,
            streams_max: u32::MAX,
            keepalive_min: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(2 * 3600),
            keepalive_timeout: Duration::from_secs(20),
            auto_compaction: None,
            compaction_batch: 1000,
            compaction_pause: Duration::from_millis(10),
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            card_endurance_bytes: None,
            watch_progress: Duration::from_secs(600),
            metrics: MetricsDetail::default(),
            warn_apply: Duration::from_millis(100),
            warn_request: Duration::from_millis(300),
            quota_bytes: QUOTA_BYTES_DEFAULT,
            lease_checkpoints: false,
            log: LogSettings::default(),
        }
    }
}

impl Config {
    /// Heartbeat and election timeout on a device of this kind: what is set, else the kind's. Where the kind
    /// was found out and one of them is set, the other is etcd's: what a probe finds must not make a
    /// contradiction of the two.
    pub fn timing(&self, media: Media) -> Timing {
        let one_is_set = self.heartbeat.or(self.election).is_some();
        let kind = if self.media.is_none() && one_is_set { Media::Ssd } else { media };
        let Timing { heartbeat, election } = kind.settings().timing;
        Timing { heartbeat: self.heartbeat.unwrap_or(heartbeat), election: self.election.unwrap_or(election) }
    }
}

impl Default for ClientTls {
    fn default() -> ClientTls {
        ClientTls {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            trusted_ca_file: None,
            crl_file: None,
            client_auth: false,
            names_users: false,
            allowed_hostnames: Vec::new(),
            cipher_suites: Vec::new(),
            version_min: TlsVersion::V1_2,
            version_max: TlsVersion::V1_3,
        }
    }
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings { level: LogLevel::Info, format: None, outputs: vec![LogOutput::Stderr], rotation: None }
    }
}
