//! Client programs in their own languages (`go/`, `python/`, `rust/`, `java/`). Each is run against etcd and
//! against Bramble, at the same time, and must print the same and end well on both.
//!
//! A program finds the server in `BRAMBLE_ENDPOINT`. A line `RESTART` or `KILL` asks for just that; the server
//! comes back on its ports and its data, and the program is answered with a line.
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bramble_tests::process::{Server, Setup};

use crate::ours;

/// A server that was asked to stop must be gone by then.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// A program with its arguments, and the flags of the servers that it is run against.
pub struct Program {
    command: Command,
    flags: &'static [&'static str],
}

impl Program {
    /// This program, on servers that do not spend half a second on each password.
    pub fn new(program: &Path) -> Program {
        Program { command: Command::new(program), flags: &["--bcrypt-cost=4"] }
    }

    /// On servers with these flags instead.
    pub fn flags(mut self, flags: &'static [&'static str]) -> Program {
        self.flags = flags;
        self
    }

    /// With this argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.command.arg(argument);
        self
    }

    /// Runs it against both servers; what it prints must be equal.
    pub fn same_on_both(mut self) {
        let Some(etcd) = Setup::etcd() else { return };
        let dirs = [tempfile::tempdir(), tempfile::tempdir()].map(|dir| dir.expect("a temporary directory"));
        let setups = [(etcd, &dirs[0]), (ours(), &dirs[1])].map(|(setup, dir)| {
            let setup = setup.data_dir(&dir.path().join("data"));
            self.flags.iter().fold(setup, |setup, flag| setup.arg(*flag))
        });
        let runs = setups.map(|setup| {
            let server = setup.clone().start();
            let client = self.spawn(&server);
            Run { setup, server, client, printed: String::new() }
        });
        let [theirs, ours] = std::thread::scope(|scope| {
            let threads = runs.map(|run| scope.spawn(move || run.finish()));
            threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        println!("{theirs}");
        assert_eq!(theirs, ours, "etcd's answers on the left, Bramble's on the right");
    }

    fn spawn(&mut self, server: &Server) -> Child {
        let command = self.command.env("BRAMBLE_ENDPOINT", &server.url);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        piped.spawn().unwrap_or_else(|error| panic!("{:?} does not start: {error}", self.command))
    }
}

/// A program at work on a server.
struct Run {
    setup: Setup,
    server: Server,
    client: Child,
    printed: String,
}

impl Run {
    fn finish(mut self) -> String {
        let started = Instant::now();
        let mut input = self.client.stdin.take().expect("its input was asked for");
        let output = BufReader::new(self.client.stdout.take().expect("its output was asked for"));
        for line in output.lines() {
            let line = line.expect("text");
            self.printed.push_str(&line);
            self.printed.push('\n');
            if line == "RESTART" || line == "KILL" {
                self.again(&line);
                writeln!(input, "done").expect("the program waits for this line");
            }
        }
        let status = self.client.wait().expect("our own child");
        let kind = self.server.kind;
        assert!(status.success(), "the program failed on {kind:?} ({status}); it printed\n{}", self.printed);
        println!("{kind:?}: {:?}", started.elapsed());
        std::mem::take(&mut self.printed)
    }

    fn again(&mut self, how: &str) {
        if how == "KILL" {
            self.server.kill();
        } else {
            assert!(self.server.terminate(STOPS_WITHIN).is_some(), "the server does not stop");
        }
        self.server = self.setup.clone().start_on(self.server.ports);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.client.kill().ok();
        self.client.wait().ok();
    }
}
