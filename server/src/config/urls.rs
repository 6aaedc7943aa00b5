//! Where to listen: `http://127.0.0.1:2379`, `https://[::1]:2379`, `unix:///run/bramble.sock`.
//!
//! As in etcd a listener names an IP address or `localhost`, never another host: a name could
//! resolve to anything. Unix sockets take etcd's clients' odd form with a port behind the path
//! (`unix:///run/kine.sock:12379`): the suffix is part of the name of the file, on both sides.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenUrl {
    /// Where.
    pub addr: ListenAddr,
    /// Whether TLS is spoken (`https`, `unixs`).
    pub tls: bool,
}

/// A place to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// One IP address and port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// `localhost`: the IPv4 loopback, and the IPv6 one too where there is one.
    Localhost(u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenUrl {
    /// `http://localhost:<port>`.
    pub fn localhost(port: u16) -> ListenUrl {
        ListenUrl { addr: ListenAddr::Localhost(port), tls: false }
    }

    /// `http://<addr>`.
    pub fn tcp(addr: SocketAddr) -> ListenUrl {
        ListenUrl { addr: ListenAddr::Tcp(addr), tls: false }
    }
}

impl FromStr for ListenUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<ListenUrl, String> {
        let (scheme, rest) = split(url)?;
        let tls = matches!(scheme, "https" | "unixs");
        if scheme.starts_with("unix") {
            return Ok(ListenUrl { addr: ListenAddr::Unix(PathBuf::from(rest)), tls });
        }
        let (host, port) = host_and_port(url, rest)?;
        let addr = match host {
            "localhost" => ListenAddr::Localhost(port),
            "" => return Err(format!("{url} names no address; 0.0.0.0 stands for all")),
            _ => ListenAddr::Tcp(SocketAddr::new(
                host.parse().map_err(|_| format!("expected IP in URL for binding ({url})"))?,
                port,
            )),
        };
        Ok(ListenUrl { addr, tls })
    }
}

/// Checks a URL that is told to others: a scheme, a host of any kind, and a port.
///
/// # Errors
/// What is wrong with it.
pub fn check_advertised(url: &str) -> Result<(), String> {
    let (scheme, rest) = split(url)?;
    if scheme.starts_with("unix") {
        return Ok(());
    }
    match host_and_port(url, rest)? {
        ("", _) => Err(format!("unexpected empty host ({url})")),
        _ => Ok(()),
    }
}

/// An origin as a browser names it: a scheme, a host, and the port unless it is the scheme's own. A slash
/// at the end, which people write and browsers do not, is left out.
///
/// # Errors
/// What is wrong with it.
pub fn origin(text: &str) -> Result<String, String> {
    let (scheme, rest) = split(text)?;
    match rest {
        _ if rest.contains('/') => Err(format!("an origin has no path: {text}")),
        _ => Ok(format!("{scheme}://{rest}")),
    }
}

/// Scheme and what follows `://`.
fn split(url: &str) -> Result<(&str, &str), String> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| format!("{url} has no scheme; write http://{url}"))?;
    if !matches!(scheme, "http" | "https" | "unix" | "unixs") {
        return Err(format!("URL scheme must be http, https, unix, or unixs: {url}"));
    }
    let rest = if scheme.starts_with("unix") { rest } else { rest.strip_suffix('/').unwrap_or(rest) };
    if rest.is_empty() { Err(format!("{url} names no address")) } else { Ok((scheme, rest)) }
}

fn host_and_port<'a>(url: &str, rest: &'a str) -> Result<(&'a str, u16), String> {
    if rest.contains('/') {
        return Err(format!("URL must not contain a path: {url}"));
    }
    let (host, port) = rest
        .rsplit_once(':')
        .ok_or_else(|| format!("URL address does not have the form \"host:port\": {url}"))?;
    let port = port.parse().map_err(|_| format!("{url} has no port between 0 and 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err(format!("write the IPv6 address of {url} in brackets"));
    }
    Ok((bare.unwrap_or(host), port))
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.addr, self.tls) {
            (ListenAddr::Tcp(addr), false) => write!(f, "http://{addr}"),
            (ListenAddr::Tcp(addr), true) => write!(f, "https://{addr}"),
            (ListenAddr::Localhost(port), false) => write!(f, "http://localhost:{port}"),
            (ListenAddr::Localhost(port), true) => write!(f, "https://localhost:{port}"),
            (ListenAddr::Unix(path), false) => write!(f, "unix://{}", path.display()),
            (ListenAddr::Unix(path), true) => write!(f, "unixs://{}", path.display()),
        }
    }
}
