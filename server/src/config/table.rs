//! The flags, in one table: name, kind, default, what we do with it, and why.
//!
//! Parsing, `--help`, the environment, the YAML keys and the table in `server/README.md` all come
//! from here, so they cannot disagree. Three policies, and nothing in between:
//!
//! - **honoured**: it does what etcd's documentation says, with limits named in the note;
//! - **accepted**: it has no effect; one line in the log says so when it asks for something else
//!   than the default;
//! - **refused**: asking for it stops the start, because going on would be a silent lie.
use Group::{Cluster, Disk, Legacy, Log, Member, Monitor, Other, Raft, Security};
use Kind::{Bool, Bytes, Choice, Count, Duration, Ignored, Integer, List, Text, Urls};
use Policy::{Accepted, Honoured, Refused};

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes; `ETCD_` and upper snake case make the environment variable.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// As text; empty = unset.
    pub default: &'static str,
    /// Under which heading `--help` shows it.
    pub group: Group,
    /// What we do with it.
    pub policy: Policy,
    /// What it does, why it has no effect, or what to do instead.
    pub note: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text, a path, an address.
    Text,
    /// Go's spellings of true and false; alone it means true.
    Bool,
    /// A whole number, zero or more.
    Count,
    /// A whole number, perhaps negative.
    Integer,
    /// Go's `1h30m`; in a file also a whole number of nanoseconds.
    Duration,
    /// A number of bytes with its unit, such as `10TB` or `64GiB`.
    Bytes,
    /// URLs with commas between; in a file also a list.
    Urls,
    /// Words with commas between; in a file also a list.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Read and thrown away, with or without a value.
    Ignored,
}

/// What we do with a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Does what it says.
    Honoured,
    /// Has no effect, and says so.
    Accepted,
    /// Stops the start.
    Refused,
}

/// A heading of `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Member,
    Cluster,
    Raft,
    Disk,
    Security,
    Log,
    Monitor,
    Other,
    Legacy,
}

impl Group {
    /// All, in the order of `--help`.
    pub const ALL: [Group; 9] = [Member, Cluster, Raft, Disk, Security, Log, Monitor, Other, Legacy];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Member => "Member and listeners",
            Cluster => "Cluster",
            Raft => "Timing and limits",
            Disk => "Space and memory",
            Security => "Security",
            Log => "Logging",
            Monitor => "Monitoring",
            Other => "Configuration",
            Legacy => "Of older etcd versions",
        }
    }
}

impl Policy {
    /// As written in the table.
    pub fn word(self) -> &'static str {
        match self {
            Honoured => "honoured",
            Accepted => "accepted",
            Refused => "refused",
        }
    }
}

const fn flag(
    group: Group,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    policy: Policy,
    note: &'static str,
) -> Flag {
    Flag { name, kind, default, group, policy, note }
}

const NO_PEERS: &str = "there are no peers yet: a member is alone";
const ONE_DISK_FORMAT: &str = "speaks of etcd's bbolt file, which Bramble does not have";
const NO_DISCOVERY: &str = "discovery is not served; name the members in --initial-cluster";
const NO_TRACING: &str = "traces are not exported";
const NO_V2: &str = "etcd's v2 API is gone";

/// The table.
#[rustfmt::skip] // one flag, one line
pub const FLAGS: &[Flag] = &[
    flag(Member, "name", Text, "default", Honoured, "Human-readable name of this member."),
    flag(Member, "data-dir", Text, "${name}.bramble", Honoured, "Where the data lives. Started under the name `etcd` the default is `${name}.etcd`."),
    flag(Member, "listen-client-urls", Urls, "http://localhost:2379", Honoured, "Where clients are served: gRPC, and HTTP unless --listen-client-http-urls is given. http, https, unix, unixs; an IP address or localhost."),
    flag(Member, "listen-client-http-urls", Urls, "", Honoured, "HTTP (health, version) is served here only and leaves --listen-client-urls."),
    flag(Member, "listen-metrics-urls", Urls, "", Honoured, "Serves /metrics, /health, /livez, /readyz and nothing else, for Prometheus and probes."),
    flag(Member, "listen-peer-urls", Urls, "http://localhost:2380", Accepted, "nothing listens there: there are no peers yet"),
    flag(Member, "socket-reuse-port", Bool, "false", Honoured, "Sets SO_REUSEPORT on TCP listeners."),
    flag(Member, "socket-reuse-address", Bool, "false", Accepted, "SO_REUSEADDR is always set"),
    flag(Cluster, "advertise-client-urls", Urls, "http://localhost:2379", Honoured, "Client URLs told to clients. Required when --listen-client-urls is given."),
    flag(Cluster, "initial-advertise-peer-urls", Urls, "http://localhost:2380", Honoured, "Shown in the member list; nothing listens there yet."),
    flag(Cluster, "initial-cluster", List, "${name}=${initial-advertise-peer-urls}", Honoured, "This member and no other; more members are refused until clusters are served. Not looked at once there is data."),
    flag(Cluster, "initial-cluster-state", Choice(&["new", "existing"]), "new", Honoured, "`existing` is refused unless there is data already: joining a cluster is not served yet."),
    flag(Cluster, "initial-cluster-token", Text, "etcd-cluster", Honoured, "Goes into the cluster id."),
    flag(Cluster, "force-new-cluster", Bool, "false", Refused, "a member is alone already; start it without this flag"),
    flag(Cluster, "strict-reconfig-check", Bool, "true", Accepted, NO_PEERS),
    flag(Cluster, "max-learners", Count, "1", Accepted, NO_PEERS),
    flag(Cluster, "discovery-srv", Text, "", Refused, NO_DISCOVERY),
    flag(Cluster, "discovery-srv-name", Text, "", Refused, NO_DISCOVERY),
    flag(Cluster, "discovery-token", Text, "", Refused, NO_DISCOVERY),
    flag(Cluster, "discovery-endpoints", List, "", Refused, NO_DISCOVERY),
    flag(Cluster, "discovery-dial-timeout", Duration, "2s", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-request-timeout", Duration, "5s", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-keepalive-time", Duration, "2s", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-keepalive-timeout", Duration, "6s", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-insecure-transport", Bool, "true", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-insecure-skip-tls-verify", Bool, "false", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-cert", Text, "", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-key", Text, "", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-cacert", Text, "", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-user", Text, "", Accepted, NO_DISCOVERY),
    flag(Cluster, "discovery-password", Text, "", Accepted, NO_DISCOVERY),
    flag(Raft, "heartbeat-interval", Count, "100", Honoured, "Milliseconds. --media, or what was found out about the device, changes the default."),
    flag(Raft, "election-timeout", Count, "1000", Honoured, "Milliseconds; at least five heartbeats, at most 50000. --media, or what was found out about the device, changes the default."),
    flag(Raft, "initial-election-tick-advance", Bool, "true", Accepted, "a sole member elects itself at once"),
    flag(Raft, "pre-vote", Bool, "true", Accepted, NO_PEERS),
    flag(Raft, "raft-read-timeout", Duration, "5s", Accepted, NO_PEERS),
    flag(Raft, "raft-write-timeout", Duration, "5s", Accepted, NO_PEERS),
    flag(Raft, "max-txn-ops", Count, "128", Honoured, "Operations in one transaction."),
    flag(Raft, "max-request-bytes", Count, "1572864", Honoured, "Bytes in one request."),
    flag(Raft, "max-concurrent-streams", Count, "4294967295", Honoured, "HTTP/2 streams one connection may have open."),
    flag(Raft, "grpc-keepalive-min-time", Duration, "5s", Honoured, "How far apart a client's pings must be while it has a stream open (without one: 2 h); after two warnings GOAWAY `too_many_pings`. 0 = gRPC's own 5 m."),
    flag(Raft, "grpc-keepalive-interval", Duration, "2h", Honoured, "How often the server pings a connection; 0 = never."),
    flag(Raft, "grpc-keepalive-timeout", Duration, "20s", Honoured, "How long it waits for the answer before it closes."),
    flag(Raft, "watch-progress-notify-interval", Duration, "10m", Honoured, "How often an idle watcher that asked for it gets a progress mark."),
    flag(Raft, "warning-apply-duration", Duration, "100ms", Honoured, "Applying a group of writes longer than this is logged."),
    flag(Raft, "warning-unary-request-duration", Duration, "300ms", Honoured, "A unary request that takes longer is logged, with what it asked for and where its time went; 0 = never."),
    flag(Disk, "profile", Choice(&["default", "pi"]), "default", Honoured, "Bramble's own. Memory: `pi` has smaller memtables, one background job, and compacts history older than 1h unless told otherwise."),
    flag(Disk, "memory-max", Bytes, "", Honoured, "Bramble's own. The most memory that the member and its clients take, `80MiB` or more: memtables, caches, queues and what clients may take follow from it, within what the profile gives. Unset: three quarters of the memory limit that a cgroup sets, where that is less than the profile's."),
    flag(Disk, "media", Choice(&["auto", "ssd", "emmc", "sd-a1", "sd-basic"]), "auto", Honoured, "Bramble's own. The device under the data: frames and ring of the log, bounds of what waits to be written, rate of background work, heartbeat and election (ssd, emmc 100/1000 ms, sd-a1 250/2000, sd-basic 500/5000). `auto`: what the kernel says of the device, then what a probe in the background finds, from the next start on."),
    flag(Disk, "log-partition", Text, "", Honoured, "Bramble's own. A block device (or a file that is long enough) that the log lies on, bare, instead of in a file system: each write is then as many bytes and one flush, and no journal. It must be empty, or this member's already; a log that is in the data directory is moved there. See \"The log on a partition of its own\"."),
    flag(Disk, "auto-compaction-mode", Choice(&["periodic", "revision"]), "periodic", Honoured, "How --auto-compaction-retention is meant: a time, or a number of revisions."),
    flag(Disk, "auto-compaction-retention", Text, "0", Honoured, "History kept: `30m`, `1h` or plain hours; in mode `revision` a number of revisions. 0 = no automatic compaction."),
    flag(Disk, "compaction-batch-limit", Count, "1000", Honoured, "Revisions in one step of physical compaction."),
    flag(Disk, "compaction-sleep-interval", Duration, "10ms", Honoured, "Pause between two such steps."),
    flag(Disk, "scrub-interval", Duration, "168h0m0s", Honoured, "Bramble's own. All files of log and engine are read back this often, at 4 MiB/s, to see whether they are whole; the first time after an hour. 0 = never."),
    flag(Disk, "card-endurance", Bytes, "", Honoured, "Bramble's own. Bytes that may be written to the device in its life, by its data sheet (TBW): `10TB`, `117TB`, `64GiB`. From it and the pace of the last 30 days the wear report projects how long the device lasts; unset = a guess by kind and size, told as one."),
    flag(Disk, "quota-backend-bytes", Integer, "0", Honoured, "Bytes of data, the log not counted, after which the alarm NOSPACE is raised and puts are refused; 0 = 2 GiB, negative = never. The alarm clears itself once a twentieth of it is free again."),
    flag(Disk, "wal-dir", Text, "", Refused, "the log lives in the data directory; put --data-dir on the device you meant"),
    flag(Disk, "snapshot-count", Count, "10000", Accepted, "the log is a ring of fixed size and trims itself"),
    flag(Disk, "snapshot-catchup-entries", Count, "5000", Accepted, "the log is a ring of fixed size and trims itself"),
    flag(Disk, "max-snapshots", Count, "5", Accepted, "no snapshot files are kept"),
    flag(Disk, "max-wals", Count, "5", Accepted, "the log is a ring of fixed size"),
    flag(Disk, "backend-batch-interval", Duration, "", Accepted, "writes are grouped by what the disk can take"),
    flag(Disk, "backend-batch-limit", Count, "0", Accepted, "writes are grouped by what the disk can take"),
    flag(Disk, "backend-bbolt-freelist-type", Text, "map", Accepted, ONE_DISK_FORMAT),
    flag(Disk, "bootstrap-defrag-threshold-megabytes", Count, "0", Accepted, "there is nothing to defragment"),
    flag(Disk, "memory-mlock", Bool, "false", Accepted, ONE_DISK_FORMAT),
    flag(Disk, "corrupt-check-time", Duration, "0s", Accepted, NO_PEERS),
    flag(Disk, "compact-hash-check-time", Duration, "1m", Accepted, NO_PEERS),
    flag(Disk, "downgrade-check-time", Duration, "5s", Accepted, NO_PEERS),
    flag(Disk, "unsafe-no-fsync", Bool, "false", Refused, "every acknowledged write is flushed, and there is no switch to turn that off; for tests put the data on a tmpfs"),
    flag(Security, "cert-file", Text, "", Honoured, "Certificate chain of the client listeners, PEM. Read again when it changes."),
    flag(Security, "key-file", Text, "", Honoured, "Its private key, PEM."),
    flag(Security, "trusted-ca-file", Text, "", Honoured, "Authorities of client certificates, PEM. As in etcd, giving it makes a client certificate mandatory."),
    flag(Security, "client-cert-auth", Bool, "false", Honoured, "Clients must show a certificate signed by --trusted-ca-file. Once auth is on, its common name is the user of a call without a token."),
    flag(Security, "client-crl-file", Text, "", Honoured, "Revoked client certificates, PEM or DER."),
    flag(Security, "client-cert-allowed-hostname", List, "", Honoured, "Host names or addresses; a client certificate must be made out to one of them."),
    flag(Security, "client-cert-file", Text, "", Accepted, "the server never calls itself as a client"),
    flag(Security, "client-key-file", Text, "", Accepted, "the server never calls itself as a client"),
    flag(Security, "auto-tls", Bool, "false", Refused, "certificates are not made yet; give --cert-file and --key-file"),
    flag(Security, "peer-cert-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-key-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-trusted-ca-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-client-cert-auth", Bool, "false", Accepted, NO_PEERS),
    flag(Security, "peer-client-cert-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-client-key-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-crl-file", Text, "", Accepted, NO_PEERS),
    flag(Security, "peer-cert-allowed-cn", List, "", Accepted, NO_PEERS),
    flag(Security, "peer-cert-allowed-hostname", List, "", Accepted, NO_PEERS),
    flag(Security, "peer-skip-client-san-verification", Bool, "false", Accepted, NO_PEERS),
    flag(Security, "peer-auto-tls", Bool, "false", Accepted, NO_PEERS),
    flag(Security, "self-signed-cert-validity", Count, "1", Accepted, "certificates are not made yet"),
    flag(Security, "cipher-suites", List, "", Honoured, "Suites allowed under TLS 1.2, by their IANA names. Those that rustls leaves out (CBC, RSA key exchange) are skipped with a warning."),
    flag(Security, "tls-min-version", Choice(&["TLS1.2", "TLS1.3"]), "TLS1.2", Honoured, "Oldest TLS version."),
    flag(Security, "tls-max-version", Choice(&["", "TLS1.2", "TLS1.3"]), "", Honoured, "Newest TLS version; empty = 1.3."),
    flag(Security, "host-whitelist", List, "*", Honoured, "Names of this server that HTTP without TLS answers to; another gets 421. Empty or `*` = all. gRPC is not looked at, as in etcd."),
    flag(Security, "cors", List, "*", Honoured, "Origins of web pages that may read answers over HTTP, as browsers write them: `https://a.example`, the port where it is not the scheme's own. Empty or `*` = all."),
    flag(Security, "auth-token", Text, "simple", Honoured, "`simple`, or signed tokens: `jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=5m`. Methods: HS, RS, PS with 256, 384, 512; ES256, ES384, EdDSA. Empty = no tokens, users come with certificates."),
    flag(Security, "auth-token-ttl", Count, "300", Honoured, "Seconds a simple token lives without being used."),
    flag(Security, "bcrypt-cost", Count, "10", Honoured, "Cost of hashing a new password, 4 to 31; each step doubles the time."),
    flag(Log, "logger", Choice(&["zap"]), "zap", Honoured, "The names of the keys in JSON lines. There is no other."),
    flag(Log, "log-level", Choice(&["debug", "info", "warn", "error", "panic", "fatal"]), "info", Honoured, "Least important level written."),
    flag(Log, "log-format", Choice(&["json", "console"]), "", Honoured, "Form of the lines; unset: console on a terminal, json elsewhere."),
    flag(Log, "log-outputs", List, "default", Honoured, "`stderr`, `stdout` or files, which are appended to; `default` is stderr."),
    flag(Log, "enable-log-rotation", Bool, "false", Honoured, "The one file among --log-outputs is put aside when it has grown."),
    flag(Log, "log-rotation-config-json", Text, r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#, Honoured, "Size in MiB at which the file is put aside; days and number of such files that are kept (0 = no bound); local time in their names; whether they are compressed."),
    flag(Monitor, "metrics", Choice(&["basic", "extensive"]), "basic", Honoured, "Handling times of gRPC methods: `basic` tells those of methods that were called, `extensive` those of all from the start."),
    flag(Monitor, "enable-pprof", Bool, "false", Accepted, "there is no Go runtime to profile; use perf"),
    flag(Monitor, "enable-distributed-tracing", Bool, "false", Accepted, NO_TRACING),
    flag(Monitor, "distributed-tracing-address", Text, "localhost:4317", Accepted, NO_TRACING),
    flag(Monitor, "distributed-tracing-service-name", Text, "etcd", Accepted, NO_TRACING),
    flag(Monitor, "distributed-tracing-instance-id", Text, "", Accepted, NO_TRACING),
    flag(Monitor, "distributed-tracing-sampling-rate", Count, "0", Accepted, NO_TRACING),
    flag(Member, "enable-grpc-gateway", Bool, "true", Honoured, "Serves etcd's API as JSON under /v3 as well."),
    flag(Other, "config-file", Text, "", Honoured, "YAML or JSON. Environment and flags win over it, key by key (in etcd they would all be ignored)."),
    flag(Other, "feature-gates", List, "", Honoured, "`Name=true,Other=false`. LeaseCheckpoint: every 5m the leader writes down what is left of leases that have longer than that to live, so that a restart does not give them their whole time again. LeaseCheckpointPersist goes with it and adds nothing: checkpoints are always on the disk. Other gates of etcd change nothing here; unknown ones are warned of."),
    flag(Legacy, "experimental-initial-corrupt-check", Bool, "false", Accepted, "every block of the log is checked at every start"),
    flag(Legacy, "experimental-compact-hash-check-enabled", Bool, "false", Accepted, NO_PEERS),
    flag(Legacy, "experimental-enable-lease-checkpoint", Bool, "false", Honoured, "The same as --feature-gates=LeaseCheckpoint=true."),
    flag(Legacy, "experimental-enable-lease-checkpoint-persist", Bool, "false", Honoured, "The same as --feature-gates=LeaseCheckpointPersist=true."),
    flag(Legacy, "experimental-txn-mode-write-with-shared-buffer", Bool, "true", Accepted, ONE_DISK_FORMAT),
    flag(Legacy, "experimental-stop-grpc-service-on-defrag", Bool, "false", Accepted, "there is nothing to defragment"),
    flag(Legacy, "experimental-enable-v2v3", Text, "", Refused, NO_V2),
    flag(Legacy, "enable-v2", Bool, "false", Accepted, NO_V2),
    flag(Legacy, "v2-deprecation", Text, "", Accepted, NO_V2),
    flag(Legacy, "discovery", Text, "", Refused, NO_DISCOVERY),
    flag(Legacy, "discovery-proxy", Text, "", Refused, NO_DISCOVERY),
    flag(Legacy, "discovery-fallback", Text, "exit", Accepted, NO_DISCOVERY),
    flag(Legacy, "proxy", Choice(&["off", "readonly", "on"]), "off", Refused, "etcd's v2 proxy is gone; point clients at the member"),
    flag(Legacy, "proxy-failure-wait", Count, "5000", Accepted, NO_V2),
    flag(Legacy, "proxy-refresh-interval", Count, "30000", Accepted, NO_V2),
    flag(Legacy, "proxy-dial-timeout", Count, "1000", Accepted, NO_V2),
    flag(Legacy, "proxy-write-timeout", Count, "5000", Accepted, NO_V2),
    flag(Legacy, "proxy-read-timeout", Count, "0", Accepted, NO_V2),
    flag(Legacy, "cluster-active-size", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "cluster-remove-delay", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "cluster-sync-interval", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "config", Ignored, "", Accepted, "ignored since etcd 2; --config-file is the flag for a file"),
    flag(Legacy, "force", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "max-result-buffer", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "max-retry-attempts", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "peer-heartbeat-interval", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "peer-election-timeout", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "retry-interval", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "snapshot", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "v", Ignored, "", Accepted, "ignored since etcd 2"),
    flag(Legacy, "vv", Ignored, "", Accepted, "ignored since etcd 2"),
];

/// Names that etcd 3.5 used for flags that have another name today.
pub const ALIASES: &[(&str, &str)] = &[
    ("experimental-corrupt-check-time", "corrupt-check-time"),
    ("experimental-compact-hash-check-time", "compact-hash-check-time"),
    ("experimental-compaction-batch-limit", "compaction-batch-limit"),
    ("experimental-compaction-sleep-interval", "compaction-sleep-interval"),
    ("experimental-peer-skip-client-san-verification", "peer-skip-client-san-verification"),
    ("experimental-watch-progress-notify-interval", "watch-progress-notify-interval"),
    ("experimental-downgrade-check-time", "downgrade-check-time"),
    ("experimental-memory-mlock", "memory-mlock"),
    ("experimental-warning-apply-duration", "warning-apply-duration"),
    ("experimental-warning-unary-request-duration", "warning-unary-request-duration"),
    ("experimental-bootstrap-defrag-threshold-megabytes", "bootstrap-defrag-threshold-megabytes"),
    ("experimental-max-learners", "max-learners"),
    ("experimental-snapshot-catchup-entries", "snapshot-catchup-entries"),
    ("experimental-enable-distributed-tracing", "enable-distributed-tracing"),
    ("experimental-distributed-tracing-address", "distributed-tracing-address"),
    ("experimental-distributed-tracing-service-name", "distributed-tracing-service-name"),
    ("experimental-distributed-tracing-instance-id", "distributed-tracing-instance-id"),
    ("experimental-distributed-tracing-sampling-rate", "distributed-tracing-sampling-rate"),
];

/// The flag of a name, old names included.
pub fn find(name: &str) -> Option<&'static Flag> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The flag's environment variable.
pub fn env_name(name: &str) -> String {
    format!("ETCD_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// The flag whose environment variable this is.
pub fn find_env(variable: &str) -> Option<&'static Flag> {
    let name = variable.strip_prefix("ETCD_")?;
    let spelled_so =
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if spelled_so { find(&name.replace('_', "-").to_ascii_lowercase()) } else { None }
}

/// The known name nearest to a misspelt one, if one is near.
pub fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = 2.max(wrong.len() / 4);
    names.map(|name| (distance(wrong, name), name)).filter(|(d, _)| *d <= far).min().map(|(_, name)| name)
}

/// Levenshtein's distance: insertions, deletions and replacements from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
