//! Real server processes: Bramble, and etcd as the oracle, each on free loopback ports and a directory
//! of its own. A server is ready when it has said so on its log and answers on its port. Dropping a
//! [`Server`] kills that process, by its id, and removes the directory.
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::tools;

/// How long a server may take to become ready on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The file system in memory that Linux offers.
const MEMORY: &str = "/dev/shm";
/// Servers reserve space for their logs; with less than this they go to the disk.
const MEMORY_FREE_MIN_BYTES: u64 = 512 << 20;

/// Ports for servers.
const PORTS: std::ops::Range<u32> = 12_000..32_000;

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one under test, built from this workspace.
    Bramble,
    /// The oracle.
    Etcd,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    kind: Kind,
    program: PathBuf,
    scheme: &'static str,
    data_dir: Option<PathBuf>,
    scratch_in: Option<&'static str>,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    cgroup: Option<PathBuf>,
}

impl Setup {
    /// This workspace's server.
    pub fn bramble() -> Self {
        Setup::of(Kind::Bramble, tools::bramble())
    }

    /// The oracle, if this machine has it.
    pub fn etcd() -> Option<Self> {
        tools::etcd().map(|program| Setup::of(Kind::Etcd, program))
    }

    fn of(kind: Kind, program: PathBuf) -> Self {
        let (arguments, environment) = (Vec::new(), Vec::new());
        Setup {
            kind,
            program,
            scheme: "http",
            data_dir: None,
            scratch_in: None,
            arguments,
            environment,
            cgroup: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more environment variable.
    pub fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Listens with TLS (the arguments must name the certificates).
    pub fn https(mut self) -> Self {
        self.scheme = "https";
        self
    }

    /// Uses this directory instead of a fresh one, and leaves it there.
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = Some(dir.to_path_buf());
        self
    }

    /// Starts it in this cgroup, so that it finds itself there.
    pub fn in_cgroup(mut self, folder: &Path) -> Self {
        self.cgroup = Some(folder.to_path_buf());
        self
    }

    /// The program, by way of a shell that goes into the cgroup and then becomes it.
    fn command(&self) -> Command {
        let Some(folder) = &self.cgroup else { return Command::new(&self.program) };
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo 0 > "$0/cgroup.procs" && exec "$@""#]).arg(folder).arg(&self.program);
        command
    }

    /// Keeps its fresh directory in memory, where this machine has room: a comparison of answers waits for
    /// no disk.
    pub fn in_memory(mut self) -> Self {
        let free = rustix::fs::statvfs(MEMORY).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        self.scratch_in = (free >= MEMORY_FREE_MIN_BYTES).then_some(MEMORY);
        self
    }

    /// Starts it on fresh ports and waits until it answers. Panics with the log if it does not.
    pub fn start(self) -> Server {
        let ports = (free_port(), free_port());
        self.start_on(ports)
    }

    /// Starts it on these ports (client, peer): a restart that clients can find again.
    pub fn start_on(self, ports: (u16, u16)) -> Server {
        let mut server = self.spawn_on(ports);
        server.wait_ready();
        server
    }

    /// Starts it without waiting, for servers that are to fail.
    pub fn spawn(self) -> Server {
        let ports = (free_port(), free_port());
        self.spawn_on(ports)
    }

    fn spawn_on(self, (client, peer): (u16, u16)) -> Server {
        let scratch = match self.scratch_in {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        let scratch = scratch.expect("a temporary directory");
        let data_dir = self.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let log = scratch.path().join("log");
        let url = format!("{}://127.0.0.1:{client}", self.scheme);
        let peer_url = format!("http://127.0.0.1:{peer}");
        let output = File::create(&log).expect("a log file");
        let alone = NO_PORT_IS_TRIED.lock().unwrap_or_else(PoisonError::into_inner);
        let child = self
            .command()
            .args(["--name", "n1", "--data-dir"])
            .arg(&data_dir)
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("n1={peer_url}")])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle on the log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.program.display()));
        drop(alone);
        let started = Instant::now();
        Server {
            kind: self.kind,
            child,
            url,
            data_dir,
            log,
            ports: (client, peer),
            started,
            _scratch: scratch,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Whose it is.
    pub kind: Kind,
    /// Where clients reach it.
    pub url: String,
    /// Its data.
    pub data_dir: PathBuf,
    /// Its client and peer ports.
    pub ports: (u16, u16),
    /// When it was started.
    pub started: Instant,
    child: Child,
    log: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Server {
    /// Host and port of the client listener.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.0))
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop (SIGTERM) and waits. `None` when it is still there after `within`.
    pub fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        let id = i32::try_from(self.child.id()).expect("a process id fits an i32");
        let pid = rustix::process::Pid::from_raw(id).expect("a process id is not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal to our own child");
        self.wait_exit(within)
    }

    /// Kills it (SIGKILL) and waits.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Waits for its end. `None` when it is still there after `within`.
    pub fn wait_exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().expect("our own child can be waited for").is_none()
    }

    fn wait_ready(&mut self) {
        let deadline = self.started + READY_WITHIN;
        loop {
            let said = self.log().contains("ready to serve client requests");
            if said && TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_ok() {
                return;
            }
            let gone = !self.alive();
            if gone || Instant::now() >= deadline {
                let what = if gone { "ended" } else { "is not ready" };
                panic!("{:?} {what}; its log:\n{}", self.kind, self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            let mut stderr = std::io::stderr().lock();
            writeln!(stderr, "--- end of the {:?} log", self.kind).ok();
            for line in tail.iter().rev() {
                writeln!(stderr, "{line}").ok();
            }
        }
    }
}

/// Held while a port is tried and while a process starts: the new process has every listener of this one
/// until it has become another program, and so could keep a tried port for itself.
static NO_PORT_IS_TRIED: Mutex<()> = Mutex::new(());

/// A port nobody listens on at the moment, and that nobody is given by chance: below the range from which
/// connections take theirs, counted up from a place that depends on the process.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (std::process::id().wrapping_mul(97) + next) % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("the range holds ports");
        let _alone = NO_PORT_IS_TRIED.lock().unwrap_or_else(PoisonError::into_inner);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("every port is taken")
}
