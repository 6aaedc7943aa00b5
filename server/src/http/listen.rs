//! Listeners: every address of the configuration, bound before the member serves.
//!
//! Binding and serving are two steps, so that an address in use is told before any data is
//! touched, and connections wait in the system's queue until the member can answer.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::hall::Hall;
use super::serve::{self, App, Door, Inside, Limits};
use super::workers::Workers;
use crate::config::{Config, ListenAddr, ListenUrl, Profile};
use crate::node::budget::Budget;
use crate::node::memory::Memory;
use crate::tls::{Identity, TlsError};

/// Connections that the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {url}: {source}{}", hint(.source))]
    Bind {
        /** As configured. */
        url: String,
        /** What the system said. */
        source: io::Error,
    },
    /// TLS is asked for and its files are no good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An `https` or `unixs` address without certificate files.
    #[error("{url} speaks TLS, and there is no certificate for it")]
    NoCertificate {
        /** As configured. */
        url: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there: stop it or choose another port",
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 or a directory that is yours",
        io::ErrorKind::AddrNotAvailable => "; no network interface has this address",
        _ => "",
    }
}

/// What is served where.
#[derive(Clone)]
pub struct Apps {
    /// gRPC.
    pub rpc: axum::Router,
    /// What is not gRPC on the client listeners.
    pub http: axum::Router,
    /// The listeners for probes.
    pub metrics: axum::Router,
    /// What clients may take of the member's memory.
    pub budget: Arc<Budget>,
    /// Who may ask for HTTP, probes aside.
    pub access: Access,
}

/// Which of the apps a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    ClientHttp,
    Metrics,
}

/// Bound sockets, not served yet.
pub struct Listeners {
    bound: Vec<Bound>,
    identity: Option<Arc<Identity>>,
    limits: Limits,
    http_apart: bool,
}

struct Bound {
    socket: Socket,
    tls: bool,
    role: Role,
}

/// A listening socket of either kind. A unix socket's file goes away with it.
pub(super) enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// Unix, with the path of its file.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when dropped.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a file that somebody else has removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listeners {
    /// Binds every listener of the configuration and reads the TLS files.
    ///
    /// # Errors
    /// An address in use or forbidden; unreadable or mismatched TLS files.
    pub fn bind(config: &Config) -> Result<Listeners, ListenError> {
        let identity = config.client_tls.as_ref().map(Identity::open).transpose()?.map(Arc::new);
        let roles = [
            (Role::Client, &config.listen_client),
            (Role::ClientHttp, &config.listen_client_http),
            (Role::Metrics, &config.listen_metrics),
        ];
        let mut bound = Vec::new();
        for (role, url) in roles.into_iter().flat_map(|(role, urls)| urls.iter().map(move |url| (role, url)))
        {
            if url.tls && identity.is_none() {
                return Err(ListenError::NoCertificate { url: url.to_string() });
            }
            let sockets = open(url, config.reuse_port)
                .map_err(|source| ListenError::Bind { url: url.to_string(), source })?;
            bound.extend(sockets.into_iter().map(|socket| Bound { socket, tls: url.tls, role }));
        }
        let limits = Limits {
            streams_max: config.streams_max,
            ping_every: config.keepalive_interval,
            pong_within: config.keepalive_timeout,
            pings_apart_min: config.keepalive_min,
            connection_window: Memory::within(config.profile, config.memory_max_bytes).connection_window,
        };
        Ok(Listeners { bound, identity, limits, http_apart: !config.listen_client_http.is_empty() })
    }

    /// Addresses of the client listeners on TCP, with the ports the system chose.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.tcp(Role::Client)
    }

    /// Addresses of the HTTP-only client listeners on TCP.
    pub fn http_addrs(&self) -> Vec<SocketAddr> {
        self.tcp(Role::ClientHttp)
    }

    /// Addresses of the listeners for probes on TCP.
    pub fn metrics_addrs(&self) -> Vec<SocketAddr> {
        self.tcp(Role::Metrics)
    }

    fn tcp(&self, role: Role) -> Vec<SocketAddr> {
        let of_role = self.bound.iter().filter(|bound| bound.role == role);
        let addr = |bound: &Bound| match &bound.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        };
        of_role.filter_map(addr).collect()
    }

    /// Serves until `stop`; then finishes open requests and closes what is left (watches) after
    /// [`serve::GRACE`]. Must be called inside a tokio runtime; await the handle after `stop`.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn serve(self, apps: Apps, stop: CancellationToken) -> io::Result<tokio::task::JoinHandle<()>> {
        let workers = Workers::start(!self.bound.is_empty())?;
        let clients = Hall::new(apps.budget);
        // Whatever clients do, probes are answered.
        let probes = Hall::new(Budget::new(Memory::of(Profile::Pi).clients));
        let mut doors = Vec::new();
        let access = Arc::new(apps.access);
        for bound in self.bound {
            let (rpc, http) = match bound.role {
                Role::Client if self.http_apart => (Some(apps.rpc.clone()), serve::not_found()),
                Role::Client => (Some(apps.rpc.clone()), apps.http.clone()),
                Role::ClientHttp => (None, apps.http.clone()),
                Role::Metrics => (None, apps.metrics.clone()),
            };
            let hall = if bound.role == Role::Metrics { probes.clone() } else { clients.clone() };
            let access = (bound.role != Role::Metrics).then(|| access.clone());
            let app = App { rpc, http, remote: None, access, encrypted: bound.tls };
            let identity = self.identity.clone().filter(|_| bound.tls);
            doors.push(Door { socket: bound.socket, inside: Inside { app, hall, identity } });
        }
        Ok(tokio::spawn(serve::run(doors, self.limits, workers, stop)))
    }
}

fn open(url: &ListenUrl, reuse_port: bool) -> io::Result<Vec<Socket>> {
    match &url.addr {
        ListenAddr::Tcp(addr) => Ok(vec![Socket::Tcp(open_tcp(*addr, reuse_port)?)]),
        ListenAddr::Localhost(port) => open_localhost(*port, reuse_port),
        ListenAddr::Unix(path) => Ok(vec![open_unix(path)?]),
    }
}

/// Both loopbacks under one port, as clients that look up `localhost` try either first. A machine
/// without IPv6 has one only.
fn open_localhost(port: u16, reuse_port: bool) -> io::Result<Vec<Socket>> {
    let v4 = open_tcp(SocketAddr::from(([127, 0, 0, 1], port)), reuse_port)?;
    let chosen = v4.local_addr()?.port();
    match open_tcp(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], chosen)), reuse_port) {
        Ok(v6) => Ok(vec![Socket::Tcp(v4), Socket::Tcp(v6)]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && port != 0 => Err(error),
        Err(_) => Ok(vec![Socket::Tcp(v4)]),
    }
}

/// Options set on the listener are inherited by what it accepts.
fn open_tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // A client that vanished without a word is noticed after a minute, not after two hours.
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, std::time::Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&socket, std::time::Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&socket, 3)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A socket file that a crashed process left behind is removed; one that somebody answers on is not.
fn open_unix(path: &Path) -> io::Result<Socket> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::other("the file is there and is no socket"));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Socket::Unix(listener, SocketFile(path.to_owned())))
}
