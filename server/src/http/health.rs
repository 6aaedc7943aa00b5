//! `/health`, `/livez`, `/readyz` and `/version`, byte for byte as etcd answers them.
//!
//! ```text
//! /health   no alarm, a leader, a linearizable read     {"health":"true","reason":""}
//! /livez    serializable_read                           ok
//! /readyz   data_corruption serializable_read linearizable_read non_learner
//! ```
//! Installers' probes read the status code; people add `?verbose`.
use std::convert::Infallible;

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use bramble_store::types::{Detail, KeyRange, RangeRequest};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use tracing::warn;

use super::text;
use crate::node::client::{Caller, Client, Consistency};
use crate::node::error::Error;
use crate::rpc::status;
use crate::version;

/// The HTTP endpoints of the client listeners.
pub fn routes(client: Client) -> Router {
    probes(client)
        .route("/version", any(|method: Method| async move { get_only(&method).unwrap_or_else(versions) }))
}

/// The endpoints of the listeners for probes: health alone.
pub fn probes(client: Client) -> Router {
    let mut router = Router::new();
    for probe in [Probe::Live, Probe::Ready] {
        router = router.route(probe.path(), answering(&client, probe, probe.checks()));
        for check in probe.checks() {
            let path = format!("{}/{}", probe.path(), check.name());
            router = router.route(&path, answering(&client, probe, std::slice::from_ref(check)));
        }
    }
    let health = any(move |method: Method, uri: Uri| {
        let client = client.clone();
        async move {
            match get_only(&method) {
                Some(refusal) => refusal,
                None => health(&client, &Query::of(&uri)).await,
            }
        }
    });
    router.route("/health", health).fallback(|| async { text(StatusCode::NOT_FOUND, "404 page not found\n") })
}

fn answering(
    client: &Client,
    probe: Probe,
    checks: &'static [Check],
) -> axum::routing::MethodRouter<(), Infallible> {
    let client = client.clone();
    any(move |method: Method, uri: Uri| {
        let client = client.clone();
        async move {
            match get_only(&method) {
                Some(refusal) => refusal,
                None => run(&client, probe, checks, &Query::of(&uri)).await,
            }
        }
    })
}

/// The refusal of anything but GET, HEAD included.
pub(super) fn get_only(method: &Method) -> Option<Response> {
    if method == Method::GET {
        return None;
    }
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    Some(refusal)
}

fn versions() -> Response {
    let body = format!(
        r#"{{"etcdserver":"{}","etcdcluster":"{}","storage":"{}"}}"#,
        version::ETCD_SERVER,
        version::ETCD_CLUSTER,
        version::ETCD_STORAGE
    );
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// One of the two probes made of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Live,
    Ready,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Probe::Live => "/livez",
            Probe::Ready => "/readyz",
        }
    }

    fn checks(self) -> &'static [Check] {
        match self {
            Probe::Live => &[Check::SerializableRead],
            Probe::Ready => {
                &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner]
            }
        }
    }
}

/// One thing that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn ask(self, client: &Client) -> Result<(), String> {
        match self {
            Check::SerializableRead => read(client, Consistency::Serializable).await,
            Check::LinearizableRead => read(client, Consistency::Linearizable).await,
            Check::DataCorruption if alarms(client).await?.iter().any(|alarm| alarm == "CORRUPT") => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::NonLearner if own_status(client).await?.learner => {
                Err("not supported for learner".to_owned())
            }
            Check::DataCorruption | Check::NonLearner => Ok(()),
        }
    }
}

async fn run(client: &Client, probe: Probe, checks: &[Check], query: &Query) -> Response {
    let mut lines = String::new();
    let mut healthy = true;
    for check in checks.iter().filter(|check| checks.len() == 1 || !query.excludes(check.name())) {
        let asked = check.ask(client).await;
        client.metrics().health.checked(&probe.path()[1..], check.name(), asked.is_ok());
        match asked {
            Ok(()) => lines += &format!("[+]{} ok\n", check.name()),
            Err(why) => {
                healthy = false;
                lines += &format!("[-]{} failed: {why}\n", check.name());
            }
        }
    }
    let unknown: Vec<_> = query
        .exclude
        .iter()
        .filter(|name| !checks.iter().any(|check| check.name() == name.as_str()))
        .collect();
    if checks.len() > 1 && !unknown.is_empty() {
        warn!(path = probe.path(), ?unknown, "some health checks cannot be excluded");
    }
    if !healthy {
        warn!(path = probe.path(), reason = lines.trim_end(), "health check failed");
        return text(StatusCode::SERVICE_UNAVAILABLE, lines + "\n");
    }
    text(StatusCode::OK, if query.verbose { lines + "ok\n" } else { "ok\n".to_owned() })
}

async fn health(client: &Client, query: &Query) -> Response {
    let illness = find_illness(client, query).await;
    client.metrics().health.answered(illness.is_none());
    match illness {
        None => {
            let mut response = text(StatusCode::OK, r#"{"health":"true","reason":""}"#);
            response.headers_mut().remove(header::X_CONTENT_TYPE_OPTIONS);
            response
        }
        Some(reason) => {
            warn!(reason, "health check failed");
            let body = serde_json::json!({ "health": "false", "reason": reason }).to_string();
            text(StatusCode::SERVICE_UNAVAILABLE, body + "\n")
        }
    }
}

/// The first thing that `/health` finds wrong, in etcd's words.
async fn find_illness(client: &Client, query: &Query) -> Option<String> {
    let status = match own_status(client).await {
        Ok(status) => status,
        Err(why) => return Some(format!("RANGE ERROR:{why}")),
    };
    if let Some(alarm) = alarms_of(&status.errors).find(|alarm| !query.excludes(alarm)) {
        return Some(format!("ALARM {alarm}"));
    }
    if !query.serializable && status.leader == 0 {
        return Some("RAFT NO LEADER".to_owned());
    }
    let consistency = if query.serializable { Consistency::Serializable } else { Consistency::Linearizable };
    read(client, consistency).await.err().map(|why| format!("RANGE ERROR:{why}"))
}

async fn read(client: &Client, consistency: Consistency) -> Result<(), String> {
    let mut request = RangeRequest::new(KeyRange::single("health"));
    request.detail = Detail::KeysOnly;
    request.limit = 1;
    client.range(&Caller::member(), request, consistency).await.map(drop).map_err(in_etcds_words)
}

async fn own_status(client: &Client) -> Result<crate::node::client::Status, String> {
    client.status(&Caller::member()).await.map(|answer| answer.body).map_err(in_etcds_words)
}

async fn alarms(client: &Client) -> Result<Vec<String>, String> {
    Ok(alarms_of(&own_status(client).await?.errors).map(str::to_owned).collect())
}

/// Alarms this member knows of: the status names each as `memberID:1 alarm:NOSPACE `. The list of
/// alarms itself is a linearizable read, which a probe must not wait for.
fn alarms_of(errors: &[String]) -> impl Iterator<Item = &str> {
    errors.iter().flat_map(|line| line.split_whitespace()).filter_map(|word| word.strip_prefix("alarm:"))
}

fn in_etcds_words(error: Error) -> String {
    status::of(error).message().to_owned()
}

/// What a probe's query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    exclude: Vec<String>,
    serializable: bool,
    verbose: bool,
}

impl Query {
    fn of(uri: &Uri) -> Query {
        let pairs =
            uri.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut query = Query::default();
        for (name, value) in pairs {
            match name {
                "exclude" if !value.is_empty() => query.exclude.push(value.to_owned()),
                "serializable" => query.serializable = value == "true",
                "verbose" => query.verbose = true,
                _ => {}
            }
        }
        query
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|excluded| excluded == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = |text: &str| Query::of(&text.parse().expect("a URI"));
        assert_eq!(query("/health"), Query::default());
        let all = query("/health?exclude=NOSPACE&exclude=&exclude=CORRUPT&serializable=true&verbose&x=y");
        assert!(all.excludes("NOSPACE") && all.excludes("CORRUPT") && !all.excludes(""));
        assert!(all.serializable && all.verbose);
        assert!(!query("/health?serializable=1").serializable);
        assert!(query("/livez?verbose=").verbose);
    }

    #[test]
    fn alarms_are_read_from_the_status() {
        let errors =
            ["etcdserver: no leader".to_owned(), "memberID:10276657743932975437 alarm:NOSPACE ".to_owned()];
        assert_eq!(alarms_of(&errors).collect::<Vec<_>>(), ["NOSPACE"]);
    }
}
