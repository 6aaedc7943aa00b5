//! Patroni, as Debian ships it, keeps two PostgreSQL servers on Bramble through its `etcd3` section (the
//! JSON gateway). They elect, replicate and fail over when the leader and its database are killed.
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bramble_tests::process::{Server, free_port};
use bramble_tests::tools;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::ours;

/// Making a database, following a leader, or the 20 s after which a dead leader's key ends.
const WITHIN: Duration = Duration::from_secs(90);
/// Rows before the leader dies.
const ROWS: usize = 1000;

#[test]
fn patroni_fails_over() {
    let Some(programs) = Programs::find() else { return };
    let server = ours().start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut one = Node::new("one", &programs, &server, dir.path());
    let mut two = Node::new("two", &programs, &server, dir.path());
    one.start();
    one.wait("leads", |node| node.is("primary"));
    two.start();
    two.wait("follows", |node| node.is("synchronous"));
    one.sql(&format!("create table rows as select generate_series(1, {ROWS}) as i"))
        .expect("a leader writes");
    two.wait("has the rows", |node| node.rows() == Some(ROWS));
    assert!(two.sql("insert into rows values (0)").is_err(), "a follower writes");

    one.kill();
    two.wait("leads", |node| node.is("primary"));
    two.wait("has the rows", |node| node.rows() == Some(ROWS));
    two.wait("writes", |node| node.sql("insert into rows values (0)").is_ok());
    one.start();
    one.wait("follows", |node| node.is("synchronous"));
    one.wait("has the new row", |node| node.rows() == Some(ROWS + 1));
}

/// Patroni, and PostgreSQL's own programs.
#[derive(Clone)]
struct Programs {
    patroni: PathBuf,
    postgresql: PathBuf,
    /// PostgreSQL refuses to run as root; this is Debian's user for it.
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Option<Programs> {
        let patroni = PathBuf::from("/usr/bin/patroni");
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
        let postgresql =
            versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
        let user = if tools::root() { Some(postgres_user()) } else { None };
        match (patroni.exists(), postgresql, user) {
            (true, Some(postgresql), None) => Some(Programs { patroni, postgresql, user: None }),
            (true, Some(postgresql), Some(Some(user))) => {
                Some(Programs { patroni, postgresql, user: Some(user) })
            }
            _ => {
                tools::skip("Patroni or PostgreSQL is missing (Debian: apt install patroni postgresql)");
                None
            }
        }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// The user `postgres` and its group.
fn postgres_user() -> Option<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// A Patroni with its PostgreSQL.
struct Node {
    name: &'static str,
    programs: Programs,
    dir: PathBuf,
    rest: u16,
    postgresql: u16,
    child: Option<Child>,
}

impl Node {
    fn new(name: &'static str, programs: &Programs, server: &Server, base: &Path) -> Node {
        let dir = base.join(name);
        std::fs::create_dir(&dir).expect("a folder of the test");
        if let Some((user, group)) = programs.user {
            chown(base, Some(user), Some(group)).expect("root gives away");
            chown(&dir, Some(user), Some(group)).expect("root gives away");
        }
        let node = Node {
            name,
            programs: programs.clone(),
            dir,
            rest: free_port(),
            postgresql: free_port(),
            child: None,
        };
        std::fs::write(node.dir.join("patroni.yml"), node.settings(server)).expect("a file of the test");
        node
    }

    fn settings(&self, server: &Server) -> String {
        let Node { name, rest, postgresql, .. } = self;
        let (dir, programs) = (self.dir.display(), self.programs.postgresql.display());
        let address = server.address();
        format!(
            "scope: trial
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: '{address}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      use_slots: false
      parameters: {{fsync: 'off', shared_buffers: 16MB, max_connections: 20}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, {{auth-local: trust}}, {{auth-host: trust}}]
  pg_hba: ['host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
postgresql:
  listen: '127.0.0.1:{postgresql}'
  connect_address: '127.0.0.1:{postgresql}'
  data_dir: '{dir}/data'
  bin_dir: '{programs}'
  pgpass: '{dir}/pgpass'
  authentication: {{superuser: {{username: postgres}}, replication: {{username: follower}}}}
  parameters: {{unix_socket_directories: '{dir}'}}
watchdog: {{mode: 'off'}}
"
        )
    }

    fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        let patroni = self.programs.patroni.clone();
        let mut command = self.programs.command(&patroni);
        command
            .arg(self.dir.join("patroni.yml"))
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("Patroni runs"));
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Whether Patroni says that its database is this.
    fn is(&self, role: &str) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.rest))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET /{role} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    fn sql(&self, statement: &str) -> Result<String, String> {
        let port = self.postgresql.to_string();
        let mut command = self.programs.command(&self.programs.postgresql.join("psql"));
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-At", "-c", statement]);
        let output = command.current_dir(&self.dir).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn rows(&self) -> Option<usize> {
        self.sql("select count(*) from rows").ok()?.parse().ok()
    }

    fn wait(&mut self, what: &str, claim: impl Fn(&Node) -> bool) {
        let started = Instant::now();
        while !claim(self) {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_some());
            if ended || started.elapsed() > WITHIN {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                panic!("{} never {what}; its Patroni's log:\n{log}", self.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{} {what} after {:?}", self.name, started.elapsed());
    }

    /// Kills Patroni and its PostgreSQL, as a machine without power would.
    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(group) = pid(child.id()) {
            kill_process_group(group, Signal::KILL).ok();
        }
        child.wait().ok();
        if let Some(postmaster) = self.postmaster() {
            kill_process(postmaster, Signal::KILL).ok();
        }
    }

    /// PostgreSQL's first process, which its data directory names, and which lives in there: a number that
    /// was left behind may be somebody else's by now.
    fn postmaster(&self) -> Option<Pid> {
        let data = self.dir.join("data");
        let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let id = text.lines().next()?;
        let home = std::fs::read_link(format!("/proc/{id}/cwd")).ok()?;
        if home == data { pid(id.parse().ok()?) } else { None }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}
