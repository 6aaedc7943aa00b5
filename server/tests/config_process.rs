//! The program itself: start, readiness, signals, exit status, what a person sees.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn bramble() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bramble"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
        command.env_remove(name);
    }
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// A member on a free port, with its log so far.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    ready: serde_json::Value,
}

impl Running {
    fn start(mut command: Command, dir: &Path) -> Running {
        command.arg(format!("--data-dir={}", dir.join("data").display()));
        command
            .args(["--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut running = Running { child, log, ready: serde_json::Value::Null };
        loop {
            let mut line = String::new();
            let length = running.log.read_line(&mut line).expect("a line");
            assert!(length > 0, "ended before it was ready");
            let fields: serde_json::Value = serde_json::from_str(&line).expect(&line);
            for key in ["level", "ts", "caller", "msg"] {
                assert!(fields[key].is_string(), "{key} in {line}");
            }
            if fields["msg"] == "ready to serve client requests" {
                running.ready = fields;
                return running;
            }
        }
    }

    fn addr(&self) -> SocketAddr {
        let listed = self.ready["addresses"].as_str().expect("addresses");
        listed.trim_matches(['[', ']']).parse().expect("an address")
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().expect("kill");
        assert!(killed.success());
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child);
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("the rest of the log");
        (status, rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("its status") {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("still running after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("connected");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn it_tells_systemd_and_ends_by_the_signal() {
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("bound");
        systemd.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut command = bramble();
        command.env("NOTIFY_SOCKET", &path);
        let running = Running::start(command, dir.path());
        let told = || {
            let mut buffer = [0; 256];
            let length = systemd.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
        };
        assert_eq!(told(), "READY=1");
        assert!(get(running.addr(), "/health").contains(r#"{"health":"true","reason":""}"#));
        // A connection that stays open: stopping must not wait for it.
        let _idle = TcpStream::connect(running.addr()).expect("connected");
        let begun = Instant::now();
        running.signal(signal);
        assert_eq!(told(), "STOPPING=1");
        let (status, _) = running.end();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(status.signal(), Some(number), "{status}");
    }
}

#[test]
fn a_second_member_on_the_same_data_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = Running::start(bramble(), dir.path());
    let mut second = bramble();
    second.arg(format!("--data-dir={}", dir.path().join("data").display()));
    second.args(["--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:0"]);
    let output = second.output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last: serde_json::Value = serde_json::from_str(said.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().expect("text").contains(&dir.path().display().to_string()), "{last}");
    first.signal("-TERM");
    first.end();
}

#[test]
fn an_address_in_use_leaves_no_data_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", taken.local_addr().expect("bound"));
    let mut command = bramble();
    command.arg(format!("--data-dir={}", dir.path().join("data").display()));
    command.args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")]);
    let output = command.output().expect("run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&url) && said.contains("another process listens there"), "{said}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn wrong_settings_are_one_line() {
    for (argv, code, part) in [
        (&["--data-dri=/x"][..], 2, "bramble: unknown flag --data-dri; did you mean --data-dir?\n"),
        (&["--listen-client-urls=http://127.0.0.1:1"], 1, "--advertise-client-urls is required"),
        (&["--log-outputs=/nonexistent/x.log"], 1, "cannot open the log file /nonexistent/x.log"),
    ] {
        let output = bramble().args(argv).output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn the_name_etcd() {
    let dir = tempfile::tempdir().expect("a directory");
    let etcd = dir.path().join("etcd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bramble"), &etcd).expect("linked");
    let output = Command::new(&etcd).arg("--version").output().expect("run");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("etcd Version: 3.6.11\n"));
    let output = bramble().arg("-version").output().expect("run");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("bramble 0.1.0\n"));
}

#[test]
fn the_log_can_go_to_a_file_as_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bramble.log");
    let mut command = bramble();
    command.arg(format!("--log-outputs=stderr,{}", path.display()));
    let running = Running::start(command, dir.path());
    running.signal("-TERM");
    running.end();
    let text = std::fs::read_to_string(&path).expect("a log");
    assert!(
        text.contains("ready to serve client requests") && text.contains("\"msg\":\"stopped\""),
        "{text}"
    );
}
