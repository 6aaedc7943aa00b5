//! Whom HTTP answers: names under which the server may be asked, and web pages that may ask.
//!
//! A page on the open web can make its visitor's browser ask a server on the visitor's machine, by a
//! name that suddenly resolves to the loopback (DNS rebinding). TLS stops that by itself; without TLS
//! `--host-whitelist` does: a request for another name is answered 421. `--cors` says which pages may
//! read the answers. In both `*`, or nothing at all, means everybody. gRPC is not looked at, as in etcd.
//!
//! A name in a client's certificate counts for nothing at the gateway. Who shows one there while auth is on
//! seems to rely on it, and is refused, with a token or without.
use std::collections::HashSet;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use tracing::warn;

use crate::node::client::Client;
use crate::tls::PeerName;

/// What etcd says to those whom the gateway does not know by their certificate.
const NAME_IGNORED: &str =
    "CommonName of client sending a request against gateway will be ignored and not used as expected\n";

/// The two lists, and whose users the gateway serves.
#[derive(Clone, Default)]
pub struct Access {
    origins: Names,
    hosts: Names,
    /// `None` without a gateway.
    member: Option<Client>,
}

/// Everybody, or these exactly.
#[derive(Debug, Clone, Default)]
enum Names {
    #[default]
    All,
    These(HashSet<String>),
}

impl Names {
    fn of(names: &[String]) -> Names {
        if names.is_empty() || names.iter().any(|name| name == "*") {
            return Names::All;
        }
        Names::These(names.iter().cloned().collect())
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::These(names) => names.contains(name),
        }
    }
}

impl Access {
    /// By the flags `--cors` and `--host-whitelist`.
    pub fn new(origins: &[String], hosts: &[String]) -> Access {
        Access { origins: Names::of(origins), hosts: Names::of(hosts), member: None }
    }

    /// With the gateway of this member.
    pub(crate) fn with_gateway(self, member: Client) -> Access {
        Access { member: Some(member), ..self }
    }

    /// Looks at a request: its answer if it goes no further, else what its answer's headers shall say.
    pub(super) fn admit<B>(&self, request: &Request<B>, encrypted: bool) -> Result<Cors, Box<Response>> {
        let host = hostname(asked_host(request.uri(), request.headers()));
        if !encrypted && !self.hosts.has(host) {
            warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
            return Err(Box::new(super::text(StatusCode::MISDIRECTED_REQUEST, misdirected(host))));
        }
        if self.relies_on_a_name(request) {
            return Err(Box::new(super::text(StatusCode::BAD_REQUEST, NAME_IGNORED)));
        }
        let cors = Cors(self.origin(request.headers()));
        if request.method() != Method::OPTIONS {
            return Ok(cors);
        }
        let mut response = Response::new(Body::empty());
        cors.tell(&mut response);
        Err(Box::new(response))
    }

    fn relies_on_a_name<B>(&self, request: &Request<B>) -> bool {
        let Some(member) = &self.member else { return false };
        let named = request.extensions().get::<PeerName>().is_some();
        // A member that cannot tell has failed, and the gateway says so.
        named
            && super::gateway::rpc_of(request.uri().path()).is_some()
            && member.auth_is_on().unwrap_or(false)
    }

    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if matches!(self.origins, Names::All) {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(header::ORIGIN)?;
        origin.to_str().is_ok_and(|name| self.origins.has(name)).then(|| origin.clone())
    }
}

/// The page that may read an answer.
pub(super) struct Cors(Option<HeaderValue>);

impl Cors {
    /// Adds the headers that say so.
    pub fn tell(self, response: &mut Response) {
        let Some(origin) = self.0 else { return };
        let headers: [(HeaderName, HeaderValue); 3] = [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
            ),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("accept, content-type, authorization"),
            ),
        ];
        response.headers_mut().extend(headers);
    }
}

fn asked_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.or_else(host).unwrap_or_default()
}

/// The name without its port. What is not `name:port` stays as it is, as in etcd.
fn hostname(host: &str) -> &str {
    let clean = |part: &str| !part.contains([':', '[', ']']);
    let split = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(_, port)| port.strip_prefix(':').is_some_and(clean)),
        None => host.rsplit_once(':').filter(|(name, port)| clean(name) && clean(port)),
    };
    split.map_or(host, |(name, _)| name)
}

fn misdirected(host: &str) -> String {
    format!(
        "\nthe request has come here, and no server of the name in its Host header is here.\n\n\
         Either of these helps:\n\
         - use TLS: then every name will do\n\
         - add the name to those that are served: --host-whitelist {host:?}\n\n\
         This keeps web pages from reaching the server through the browser of somebody who reads them \
         (\"DNS rebinding\", CVE-2018-5702).\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn request(method: Method, host: &str, origin: Option<&str>) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/v3/kv/range").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn hosts_without_their_ports() {
        for (host, name) in [
            ("localhost:2379", "localhost"),
            ("localhost", "localhost"),
            ("127.0.0.1:2379", "127.0.0.1"),
            ("[::1]:2379", "::1"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("localhost:::", "localhost:::"),
            ("localhost:", "localhost"),
            (":2379", ""),
            ("", ""),
        ] {
            assert_eq!(hostname(host), name, "{host}");
        }
    }

    #[test]
    fn only_named_hosts_are_served_without_tls() {
        let access = Access::new(&list(&["*"]), &list(&["localhost", "db.example"]));
        let status = |host, encrypted| {
            access
                .admit(&request(Method::POST, host, None), encrypted)
                .map_or_else(|no| no.status().as_u16(), |_| 200)
        };
        assert_eq!(status("localhost:2379", false), 200);
        assert_eq!(status("db.example", false), 200);
        assert_eq!(status("evil.example:2379", false), 421);
        assert_eq!(status("LOCALHOST", false), 421);
        assert_eq!(status("evil.example:2379", true), 200);
        for hosts in [list(&[]), list(&["*"]), list(&["x", "*"])] {
            let open = Access::new(&[], &hosts);
            assert!(open.admit(&request(Method::POST, "evil.example", None), false).is_ok(), "{hosts:?}");
        }
        let by_uri =
            Request::post("http://localhost:1/").header("host", "evil.example").body(()).expect("one");
        assert!(access.admit(&by_uri, false).is_ok(), "the name in the request line counts");
    }

    #[test]
    fn pages_are_told_whether_they_may_read() {
        let told = |access: &Access, origin| {
            let answer =
                access.admit(&request(Method::OPTIONS, "h", origin), false).err().expect("answered at once");
            assert_eq!(answer.status(), 200);
            answer
                .headers()
                .get("access-control-allow-origin")
                .map(|origin| origin.to_str().expect("text").to_owned())
        };
        let some = Access::new(&list(&["http://a.example:80", "https://b.example:443"]), &[]);
        assert_eq!(told(&some, Some("http://a.example:80")).as_deref(), Some("http://a.example:80"));
        assert_eq!(told(&some, Some("http://c.example:80")), None);
        assert_eq!(told(&some, None), None);
        for all in [Access::new(&[], &[]), Access::new(&list(&["*"]), &[])] {
            assert_eq!(told(&all, None).as_deref(), Some("*"));
            assert_eq!(told(&all, Some("http://c.example")).as_deref(), Some("*"));
        }
    }
}
