//! From text to `Config`: every value read, every contradiction found, before anything is opened.
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::gates;
use super::settings::{
    AutoCompaction, ClientTls, Config, MEMORY_MIN_BYTES, MetricsDetail, Profile, QUOTA_BYTES_DEFAULT,
    QUOTA_BYTES_SUGGESTED_MAX, TlsVersion,
};
use super::sources::{Given, Notice, Sources};
use super::table::{Kind, Policy};
use super::urls::{self, ListenUrl};
use super::{auth, cluster, log, values};
use crate::media::{Media, Timing};

/// etcd's bound on the election timeout.
const ELECTION_MAX: Duration = Duration::from_secs(50);
/// What `--profile pi` keeps of history unless told otherwise.
const PI_RETENTION: Duration = Duration::from_secs(3600);

/// Makes the settings of what was given. `called_etcd` chooses etcd's default for the data directory.
///
/// # Errors
/// The first value or contradiction that is no good.
pub fn settings(sources: &Sources, called_etcd: bool) -> Result<(Config, Vec<Notice>), ConfigError> {
    let mut notices = sources.notices.clone();
    for (flag, given) in sources.iter() {
        values::check(flag, given)?;
        apply_policy(flag.policy, flag.default, flag.note, flag.kind, given, &mut notices)?;
    }
    let mut config = Config::default();
    member(sources, called_etcd, &mut config)?;
    timing_and_limits(sources, &mut config)?;
    space(sources, &mut config, &mut notices)?;
    config.auth = auth::read(sources, &mut notices)?;
    http(sources, &mut config)?;
    config.client_tls = client_tls(sources, &config, &mut notices)?;
    config.log = log::settings(sources)?;
    config.lease_checkpoints = gates::read(sources, &mut notices)?.lease_checkpoint;
    cluster::check(sources, &mut config, &mut notices)?;
    Ok((config, notices))
}

/// A value other than the default is refused, or accepted with a line why it has no effect.
fn apply_policy(
    policy: Policy,
    default: &str,
    note: &'static str,
    kind: Kind,
    given: &Given,
    notices: &mut Vec<Notice>,
) -> Result<(), ConfigError> {
    let same = match kind {
        Kind::Bool => values::boolean(&given.text) == values::boolean(default),
        Kind::Duration => values::duration(&given.text) == values::duration(default),
        _ => given.text == default,
    };
    match policy {
        Policy::Honoured => {}
        _ if same || given.text.is_empty() => {}
        Policy::Accepted => notices.push(Notice::Info(format!("{} has no effect: {note}", given.origin))),
        Policy::Refused => return Err(ConfigError::Refused { origin: given.origin.clone(), hint: note }),
    }
    Ok(())
}

fn member(sources: &Sources, called_etcd: bool, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(name) = text(sources, "name") {
        config.name = name;
    }
    let suffix = if called_etcd { "etcd" } else { "bramble" };
    config.data_dir = match text(sources, "data-dir") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(format!("{}.{suffix}", config.name)),
    };
    if let Some(urls) = listen(sources, "listen-client-urls")? {
        config.listen_client = urls;
        if sources.get("advertise-client-urls").is_none() {
            let why = "--advertise-client-urls is required when --listen-client-urls is set explicitly";
            return Err(ConfigError::Contradiction(why.to_owned()));
        }
    }
    config.listen_client_http = listen(sources, "listen-client-http-urls")?.unwrap_or_default();
    config.listen_metrics = listen(sources, "listen-metrics-urls")?.unwrap_or_default();
    config.metrics = match text(sources, "metrics").as_deref() {
        Some("extensive") => MetricsDetail::Extensive,
        _ => MetricsDetail::Basic,
    };
    listen(sources, "listen-peer-urls")?;
    if let Some(urls) = advertised(sources, "advertise-client-urls")? {
        config.advertise_client = urls;
    }
    if let Some(urls) = advertised(sources, "initial-advertise-peer-urls")? {
        config.advertise_peer = urls;
    }
    config.reuse_port = claim(sources, "socket-reuse-port");
    Ok(())
}

fn http(sources: &Sources, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(given) = sources.get("enable-grpc-gateway") {
        config.gateway = values::boolean(&given.text).unwrap_or(true);
    }
    if let Some(given) = sources.get("cors") {
        let origins = values::list(&given.text).into_iter().map(|origin| match origin.as_str() {
            "*" => Ok(origin),
            _ => urls::origin(&origin),
        });
        let bad = |why| values::bad(given, format!("`*` or origins: {why}"));
        config.cors = origins.collect::<Result<_, _>>().map_err(bad)?;
    }
    if let Some(given) = sources.get("host-whitelist") {
        config.host_whitelist = values::list(&given.text);
    }
    Ok(())
}

fn timing_and_limits(sources: &Sources, config: &mut Config) -> Result<(), ConfigError> {
    config.media = text(sources, "media").as_deref().and_then(Media::named);
    let ms = |name| number(sources, name, 1, u64::from(u32::MAX)).map(|ms| ms.map(Duration::from_millis));
    config.heartbeat = ms("heartbeat-interval")?;
    config.election = ms("election-timeout")?;
    check_timing(config)?;
    if let Some(ops) = number(sources, "max-txn-ops", 1, 1 << 20)? {
        config.txn_ops_max = ops as usize;
    }
    if let Some(bytes) = number(sources, "max-request-bytes", 1, 1 << 30)? {
        config.request_bytes_max = bytes as usize;
    }
    if let Some(streams) = number(sources, "max-concurrent-streams", 1, u64::from(u32::MAX))? {
        config.streams_max = streams as u32;
    }
    set_duration(sources, "grpc-keepalive-min-time", &mut config.keepalive_min);
    set_duration(sources, "grpc-keepalive-interval", &mut config.keepalive_interval);
    set_duration(sources, "grpc-keepalive-timeout", &mut config.keepalive_timeout);
    set_duration(sources, "warning-apply-duration", &mut config.warn_apply);
    set_duration(sources, "warning-unary-request-duration", &mut config.warn_request);
    set_duration(sources, "watch-progress-notify-interval", &mut config.watch_progress);
    if config.watch_progress.is_zero() {
        let why = "--watch-progress-notify-interval must be longer than 0; leave it out for 10m";
        return Err(ConfigError::Contradiction(why.to_owned()));
    }
    Ok(())
}

fn check_timing(config: &Config) -> Result<(), ConfigError> {
    // Kinds that are found out agree with themselves, and with nothing else.
    let Timing { heartbeat, election } = config.timing(config.media.unwrap_or_default());
    let (heartbeat_ms, election_ms) = (heartbeat.as_millis(), election.as_millis());
    let why = if election_ms < 5 * heartbeat_ms {
        format!(
            "--election-timeout[{election_ms}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat_ms}ms]"
        )
    } else if election > ELECTION_MAX {
        format!(
            "--election-timeout[{election_ms}ms] is too long, and should be set less than {}ms",
            ELECTION_MAX.as_millis()
        )
    } else {
        return Ok(());
    };
    Err(ConfigError::Contradiction(why))
}

fn space(sources: &Sources, config: &mut Config, notices: &mut Vec<Notice>) -> Result<(), ConfigError> {
    config.profile = match text(sources, "profile").as_deref() {
        Some("pi") => Profile::Pi,
        _ => Profile::Default,
    };
    config.log_partition = text(sources, "log-partition").map(PathBuf::from);
    config.memory_max_bytes = memory_max(sources)?;
    config.auto_compaction = auto_compaction(sources, config.profile)?;
    if let Some(batch) = number(sources, "compaction-batch-limit", 1, 1 << 30)? {
        config.compaction_batch = batch as usize;
    }
    set_duration(sources, "compaction-sleep-interval", &mut config.compaction_pause);
    set_duration(sources, "scrub-interval", &mut config.scrub_interval);
    config.card_endurance_bytes = text(sources, "card-endurance").as_deref().and_then(values::bytes);
    quota(sources, config, notices);
    Ok(())
}

fn memory_max(sources: &Sources) -> Result<Option<u64>, ConfigError> {
    let given = sources.get("memory-max").filter(|given| !given.text.is_empty());
    let Some(given) = given else { return Ok(None) };
    match values::bytes(&given.text) {
        Some(bytes) if bytes >= MEMORY_MIN_BYTES => Ok(Some(bytes)),
        _ => Err(values::bad(
            given,
            format!(
                "{} MiB or more: with less there is no room for clients beside the member itself",
                MEMORY_MIN_BYTES >> 20
            ),
        )),
    }
}

fn quota(sources: &Sources, config: &mut Config, notices: &mut Vec<Notice>) {
    let given = sources.get("quota-backend-bytes").and_then(|given| values::integer(&given.text));
    config.quota_bytes = given.filter(|bytes| *bytes != 0).unwrap_or(QUOTA_BYTES_DEFAULT);
    if config.quota_bytes > QUOTA_BYTES_SUGGESTED_MAX {
        notices.push(Notice::Warn(format!(
            "--quota-backend-bytes is {}, more than the {QUOTA_BYTES_SUGGESTED_MAX} that etcd's tools expect",
            config.quota_bytes
        )));
    }
}

/// A plain number counts hours in mode `periodic`, revisions in mode `revision`.
fn auto_compaction(sources: &Sources, profile: Profile) -> Result<Option<AutoCompaction>, ConfigError> {
    let by_revision = text(sources, "auto-compaction-mode").as_deref() == Some("revision");
    let Some(given) = sources.get("auto-compaction-retention") else {
        let on_pi = profile == Profile::Pi;
        return Ok(on_pi.then_some(AutoCompaction::Periodic(PI_RETENTION)));
    };
    let kept = match (values::count(&given.text), by_revision) {
        (Some(0), _) => return Ok(None),
        (Some(revisions), true) => i64::try_from(revisions).ok().map(AutoCompaction::Revision),
        (Some(hours), false) => {
            hours.checked_mul(3600).map(|seconds| AutoCompaction::Periodic(Duration::from_secs(seconds)))
        }
        (None, true) => None,
        (None, false) => values::duration(&given.text).map(AutoCompaction::Periodic),
    };
    match kept {
        Some(AutoCompaction::Periodic(time)) if time.is_zero() => Ok(None),
        Some(kept) => Ok(Some(kept)),
        None if by_revision => {
            Err(values::bad(given, "a number of revisions (--auto-compaction-mode is revision)"))
        }
        None => Err(values::bad(given, "a time such as 30m or 1h, or a number of hours")),
    }
}

fn client_tls(
    sources: &Sources,
    config: &Config,
    notices: &mut Vec<Notice>,
) -> Result<Option<ClientTls>, ConfigError> {
    let path = |name| text(sources, name).map(PathBuf::from);
    let listeners = [&config.listen_client, &config.listen_client_http, &config.listen_metrics];
    let encrypted = listeners.into_iter().flatten().find(|url| url.tls);
    let (cert_file, key_file) = match (path("cert-file"), path("key-file"), encrypted) {
        (Some(cert), Some(key), _) => (cert, key),
        (None, None, None) => {
            if text(sources, "client-cert-allowed-hostname").is_some() {
                let why = "--client-cert-allowed-hostname has no effect: no listener speaks TLS";
                notices.push(Notice::Warn(why.to_owned()));
            }
            return Ok(None);
        }
        (_, _, Some(url)) => {
            let why =
                format!("{url} speaks TLS: give its certificate and key with --cert-file and --key-file");
            return Err(ConfigError::Contradiction(why));
        }
        (_, _, None) => {
            let why = "--cert-file and --key-file belong together: give both or neither";
            return Err(ConfigError::Contradiction(why.to_owned()));
        }
    };
    let trusted_ca_file = path("trusted-ca-file");
    let client_auth = trusted_ca_file.is_some() || claim(sources, "client-cert-auth");
    if client_auth && trusted_ca_file.is_none() {
        let why =
            "--client-cert-auth needs --trusted-ca-file: the authority that signed the clients' certificates";
        return Err(ConfigError::Contradiction(why.to_owned()));
    }
    let allowed_hostnames =
        text(sources, "client-cert-allowed-hostname").map(|names| values::list(&names)).unwrap_or_default();
    if !allowed_hostnames.is_empty() && !client_auth {
        let why = "--client-cert-allowed-hostname needs --trusted-ca-file: without it no client shows a certificate";
        return Err(ConfigError::Contradiction(why.to_owned()));
    }
    for url in config.listen_client.iter().filter(|url| !url.tls) {
        let what = if client_auth {
            "certificate, key and client authentication do"
        } else {
            "certificate and key do"
        };
        notices.push(Notice::Warn(format!("{url} is not encrypted: the {what} not apply to it")));
    }
    let version = |name| match text(sources, name).as_deref() {
        Some("TLS1.2") => Some(TlsVersion::V1_2),
        Some("TLS1.3") => Some(TlsVersion::V1_3),
        _ => None,
    };
    let tls = ClientTls {
        cert_file,
        key_file,
        trusted_ca_file,
        crl_file: path("client-crl-file"),
        client_auth,
        // Not by --trusted-ca-file alone, as in etcd.
        names_users: claim(sources, "client-cert-auth"),
        allowed_hostnames,
        cipher_suites: text(sources, "cipher-suites").map(|suites| values::list(&suites)).unwrap_or_default(),
        version_min: version("tls-min-version").unwrap_or(TlsVersion::V1_2),
        version_max: version("tls-max-version").unwrap_or(TlsVersion::V1_3),
    };
    if tls.version_min > tls.version_max {
        return Err(ConfigError::Contradiction("--tls-min-version is above --tls-max-version".to_owned()));
    }
    Ok(Some(tls))
}

/// The text of a flag, if it was set to something.
pub(super) fn text(sources: &Sources, name: &str) -> Option<String> {
    sources.get(name).map(|given| given.text.clone()).filter(|text| !text.is_empty())
}

pub(super) fn claim(sources: &Sources, name: &str) -> bool {
    sources.get(name).and_then(|given| values::boolean(&given.text)).unwrap_or(false)
}

fn number(sources: &Sources, name: &str, min: u64, max: u64) -> Result<Option<u64>, ConfigError> {
    let Some(given) = sources.get(name) else { return Ok(None) };
    match values::count(&given.text) {
        Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => Err(values::bad(given, format!("a whole number from {min} to {max}"))),
    }
}

fn set_duration(sources: &Sources, name: &str, setting: &mut Duration) {
    if let Some(duration) = sources.get(name).and_then(|given| values::duration(&given.text)) {
        *setting = duration;
    }
}

fn listen(sources: &Sources, name: &str) -> Result<Option<Vec<ListenUrl>>, ConfigError> {
    let Some(given) = sources.get(name) else { return Ok(None) };
    let parse = |url: String| {
        let parsed: Result<ListenUrl, String> = url.parse();
        parsed.map_err(|why| values::bad(given, format!("a list of addresses to listen on: {why}")))
    };
    let urls = values::list(&given.text).into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(urls).filter(|urls| !urls.is_empty()))
}

fn advertised(sources: &Sources, name: &str) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(given) = sources.get(name) else { return Ok(None) };
    let urls = values::list(&given.text);
    for url in &urls {
        urls::check_advertised(url).map_err(|why| values::bad(given, format!("a list of URLs: {why}")))?;
    }
    Ok(Some(urls).filter(|urls| !urls.is_empty()))
}
