//! A server on a disk, and what it takes of the machine.
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bramble_proto::etcdserverpb::RangeRequest;
use bramble_proto::etcdserverpb::kv_client::KvClient;
use bramble_tools::client::Connection;
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

/// How long a server may take to serve.
const START_WITHIN: Duration = Duration::from_secs(180);
/// What the kernel counts processors' time in.
const TICKS_PER_S: f64 = 100.0;

/// This machine, as Go calls it.
const GO_ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"aarch64" => "arm64",
    b"x86_64" => "amd64",
    _ => std::env::consts::ARCH,
};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Rival {
    /// The server `bramble`
    Bramble,
    /// The server `etcd`
    Etcd,
    /// kine's table, each commit synced
    Sqlite,
    /// Answers without looking
    Echo,
    /// A block written over in place, and no server
    #[value(skip)]
    Bare,
}

/// How to start them.
pub struct Programs {
    /// The server `bramble`.
    pub bramble: PathBuf,
    /// The server `etcd`.
    pub etcd: PathBuf,
    /// More flags for Bramble.
    pub bramble_flags: Vec<String>,
    /// What runs our programs, with its arguments: an emulator. Nothing: the machine does.
    pub through: Vec<String>,
}

impl Programs {
    /// One of ours.
    fn command(&self, program: &Path) -> Command {
        let mut words = self.through.iter();
        let Some(first) = words.next() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(words).arg(program);
        command
    }
}

impl Rival {
    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Bramble => "Bramble",
            Rival::Etcd => "etcd",
            Rival::Sqlite => "SQLite",
            Rival::Echo => "echo",
            Rival::Bare => "bare",
        }
    }

    fn command(self, programs: &Programs, data: &Path, port: u16) -> io::Result<Command> {
        let url = |port| format!("http://127.0.0.1:{port}");
        let (client, peer) = (url(port), url(free_port()?));
        let v3 = |mut command: Command| {
            command.arg("--data-dir").arg(data).args([
                "--name=bench",
                &format!("--listen-client-urls={client}"),
                &format!("--advertise-client-urls={client}"),
                &format!("--listen-peer-urls={peer}"),
                &format!("--initial-advertise-peer-urls={peer}"),
                &format!("--initial-cluster=bench={peer}"),
                "--log-level=error",
            ]);
            command
        };
        let ours = |kind: &str| {
            let mut command = programs.command(&std::env::current_exe()?);
            command.arg(kind).arg(format!("127.0.0.1:{port}"));
            Ok::<_, io::Error>(command)
        };
        Ok(match self {
            Rival::Bramble => {
                let mut command = v3(programs.command(&programs.bramble));
                command.args(&programs.bramble_flags);
                command
            }
            Rival::Etcd => {
                let mut command = v3(Command::new(&programs.etcd));
                // Versions that were not tested there want to be told that one knows.
                command.env("ETCD_UNSUPPORTED_ARCH", GO_ARCH);
                command
            }
            Rival::Sqlite => {
                let mut command = ours("serve-sqlite")?;
                command.arg(data);
                command
            }
            Rival::Echo => ours("serve-echo")?,
            Rival::Bare => return Err(io::Error::other("no server")),
        })
    }
}

/// A running server.
pub struct Running {
    /// Whose it is.
    pub rival: Rival,
    child: Child,
    data: PathBuf,
    port: u16,
    /// From the beginning of the process to its first answer.
    pub started_in: Duration,
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Seconds of a processor.
    pub cpu_s: f64,
    /// Memory that it holds.
    pub resident_bytes: u64,
}

/// What process `id` has taken so far.
///
/// # Errors
/// It is gone.
pub fn taken(id: u32) -> io::Result<Taken> {
    let proc = PathBuf::from(format!("/proc/{id}"));
    let wrong = || io::Error::other("a process that /proc does not tell of");
    let stat = std::fs::read_to_string(proc.join("stat"))?;
    // Behind the name, which may have spaces, the 12th and 13th word are the times of user and system.
    let words: Vec<&str> = stat.rsplit_once(')').ok_or_else(wrong)?.1.split_whitespace().collect();
    let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).ok_or_else(wrong);
    let cpu_s = (ticks(11)? + ticks(12)?) / TICKS_PER_S;
    let status = std::fs::read_to_string(proc.join("status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(wrong)?;
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().map_err(|_| wrong())?;
    Ok(Taken { cpu_s, resident_bytes: kib * 1024 })
}

impl Running {
    /// Starts it in folder `data`, which is there, and waits for its first answer to a get.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or does not answer.
    pub async fn start(rival: Rival, programs: &Programs, data: &Path) -> io::Result<Running> {
        let port = free_port()?;
        let mut command = rival.command(programs, data, port)?;
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut running = Running { rival, child, data: data.to_owned(), port, started_in: Duration::ZERO };
        while !running.answers().await {
            if let Some(ended) = running.child.try_wait()? {
                return Err(io::Error::other(format!("{} ended: {ended} ({command:?})", rival.name())));
            }
            if begun.elapsed() > START_WITHIN {
                let what = format!("{} does not serve within {START_WITHIN:?}", rival.name());
                return Err(io::Error::other(what));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.started_in = begun.elapsed();
        Ok(running)
    }

    async fn answers(&self) -> bool {
        let Ok(channel) = self.connect().await else { return false };
        let get = RangeRequest { key: "first".into(), ..Default::default() };
        KvClient::new(channel).range(get).await.is_ok()
    }

    /// A connection to it.
    ///
    /// # Errors
    /// It is gone.
    pub async fn connect(&self) -> Result<Channel, String> {
        let connection = Connection {
            endpoints: Vec::new(),
            cacert: None,
            cert: None,
            key: None,
            dial_timeout_s: 5,
            command_timeout_s: 120,
        };
        let url = format!("http://127.0.0.1:{}", self.port);
        connection.connect(&url).await.map_err(|why| why.to_string())
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has taken so far.
    ///
    /// # Errors
    /// It is gone.
    pub fn taken(&self) -> io::Result<Taken> {
        taken(self.id())
    }

    /// A counter of its `/metrics`, all its labels together; `labels` must be among them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn counter(&self, name: &str, labels: &str) -> io::Result<f64> {
        use io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let ours = lines.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels));
        Ok(ours.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// Stops it in good order and starts it again on its data.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub async fn restart(mut self, programs: &Programs) -> io::Result<Running> {
        self.stop()?;
        let (rival, data) = (self.rival, self.data.clone());
        Running::start(rival, programs, &data).await
    }

    fn stop(&mut self) -> io::Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a server was not stopped: {error}");
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
