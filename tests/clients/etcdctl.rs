//! Scripts of etcdctl commands (`etcdctl*.script`), run by each etcdctl against etcd and against Bramble.
//! Exit status, output and complaints must be equal once ids, ports and times are taken out.
//!
//! A line is a command; lines after it that begin with `| ` are its standard input. `@` stands for the
//! lease granted last, `MEMBER` for the member's id, `URL` for the server, `MIRROR` for another server.
//! A word before the command says how it is run:
//!
//! | word | |
//! |---|---|
//! | `watch N …` | a watch, until it has printed N lines |
//! | `start N …` … `finish M` | beside the commands that follow, as soon as it has printed N lines; the first that was started is interrupted when it has printed M lines |
//! | `await N …` | again and again, until it prints N lines |
//! | `mirror …` | on the other server |
//! | `shape …` | compares only exit status, lines and columns, for answers made of sizes and versions |
//! | `proto NAME …` | decodes the answer as that message |
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::mask::Mask;
use crate::messages;
use crate::ours;
use crate::script::{Step, steps, words};

/// How long a command may take to print what it must.
const PRINTS_WITHIN: Duration = Duration::from_secs(20);
/// What takes longer is named in the test's output.
const SLOW: Duration = Duration::from_secs(2);
/// How long something may print more than it should.
const TOO_MUCH: Duration = Duration::from_millis(100);

#[test]
fn debians_etcdctl_on_keys() {
    same_output(tools::etcdctl_debian(), "etcdctl.script");
}

#[test]
fn debians_etcdctl_on_users() {
    same_output(tools::etcdctl_debian(), "etcdctl_auth.script");
}

#[test]
fn debians_etcdctl_on_the_server() {
    same_output(tools::etcdctl_debian(), "etcdctl_server.script");
}

#[test]
fn newest_etcdctl_on_keys() {
    same_output(tools::etcdctl_newest(), "etcdctl.script");
}

#[test]
fn newest_etcdctl_on_users() {
    same_output(tools::etcdctl_newest(), "etcdctl_auth.script");
}

#[test]
fn newest_etcdctl_on_the_server() {
    same_output(tools::etcdctl_newest(), "etcdctl_server.script");
}

fn same_output(program: Option<PathBuf>, script: &str) {
    let (Some(program), Some(etcd)) = (program, Setup::etcd()) else { return };
    let path = tools::workspace().join("tests/clients").join(script);
    let steps = steps(&std::fs::read_to_string(path).expect("the script"));
    let ours = ours();
    // Each server has the commands in their order; the two servers do not wait for each other.
    let (expected, found) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| answers(&program, etcd, &steps));
        let found = answers(&program, ours, &steps);
        (theirs.join().expect("the commands run against etcd too"), found)
    });
    let mut different = Vec::new();
    for (step, (expected, found)) in steps.iter().zip(expected.iter().zip(&found)) {
        if expected != found {
            different.push(format!("{}\n--- etcd\n{expected}\n--- bramble\n{found}", step.line));
        }
    }
    println!("{} commands with {}, {} different", steps.len(), program.display(), different.len());
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

fn answers(program: &Path, setup: Setup, steps: &[Step]) -> Vec<String> {
    let setup = setup.arg("--bcrypt-cost=4");
    let mut session = Session::new(program, setup);
    let run = |step: &Step| {
        let started = Instant::now();
        let answer = session.run(&words(&step.line), &step.input);
        if started.elapsed() > SLOW {
            println!("{:?} took {:?}", step.line, started.elapsed());
        }
        answer
    };
    steps.iter().map(run).collect()
}

/// One etcdctl on one server.
struct Session {
    program: PathBuf,
    setup: Setup,
    server: Server,
    mirror: Option<Server>,
    mask: Mask,
    background: VecDeque<Background>,
}

/// A command that runs beside others.
struct Background {
    child: Child,
    printed: NamedTempFile,
    complaints: NamedTempFile,
}

impl Session {
    fn new(program: &Path, setup: Setup) -> Session {
        let server = setup.clone().start();
        let mask = Mask::new(&server);
        let mut session = Session {
            program: program.into(),
            setup,
            server,
            mirror: None,
            mask,
            background: VecDeque::new(),
        };
        let words = ["get", "nothing", "-w", "json"].map(str::to_string);
        let answer = session.etcdctl(&words, "");
        session.mask.learn_ids(&String::from_utf8_lossy(&answer.stdout));
        session
    }

    fn run(&mut self, words: &[String], input: &str) -> String {
        if words.iter().any(|word| word.contains("MIRROR")) {
            self.mirror();
        }
        let words: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
        let number = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        match words[0].as_str() {
            "watch" => {
                let mut command = vec!["watch".to_string()];
                command.extend_from_slice(&words[2..]);
                self.start(&command, input);
                self.finish(number, Signal::KILL)
            }
            "start" => {
                self.start(&words[2..], input);
                let last = self.background.back_mut().expect("it was just started");
                last.wait_for(number);
                String::new()
            }
            "finish" => self.finish(number, Signal::INT),
            "await" => self.wait_for(number, &words[2..]),
            "mirror" => self.on_the_mirror(&words[1..]),
            "shape" => shape(&self.etcdctl(&words[1..], input)),
            "proto" => {
                let output = self.etcdctl(&words[2..], input);
                let complaints = String::from_utf8_lossy(&output.stderr);
                format!(
                    "{}{}",
                    self.mask.take_out(&messages::show(&words[1], &output.stdout)),
                    said(&complaints)
                )
            }
            _ => {
                let output = self.etcdctl(&words, input);
                if words.starts_with(&["lease".to_string(), "grant".to_string()]) && output.status.success() {
                    self.mask.learn_lease(&String::from_utf8_lossy(&output.stdout));
                }
                self.plain(&output)
            }
        }
    }

    fn fill(&self, word: &str) -> String {
        let mirror = self.mirror.as_ref().map_or(String::new(), |mirror| mirror.address().to_string());
        let word = word.replace('@', &self.mask.lease).replace("URL", &self.server.url);
        word.replace("MIRROR", &mirror).replace("MEMBER", &format!("{:x}", self.mask.member))
    }

    fn mirror(&mut self) -> &Server {
        self.mirror.get_or_insert_with(|| self.setup.clone().start())
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("ETCDCTL_API", "3");
        if !arguments.iter().any(|argument| argument.starts_with("--endpoints")) {
            command.env("ETCDCTL_ENDPOINTS", &self.server.url);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn etcdctl(&self, arguments: &[String], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().expect("etcdctl runs");
        let mut stdin = child.stdin.take().expect("its input was asked for");
        // A command that refuses its arguments does not read.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        child.wait_with_output().expect("etcdctl ends")
    }

    fn start(&mut self, arguments: &[String], input: &str) {
        let files = [(); 2].map(|()| NamedTempFile::new().expect("a temporary file"));
        let [stdout, stderr] = files.each_ref().map(|file| file.reopen().expect("the file again"));
        let mut child = self.command(arguments).stdout(stdout).stderr(stderr).spawn().expect("etcdctl runs");
        let mut stdin = child.stdin.take().expect("its input was asked for");
        stdin.write_all(input.as_bytes()).ok();
        // An interactive watch ends with its input; the others do not read.
        if !input.is_empty() {
            child.stdin = Some(stdin);
        }
        let [printed, complaints] = files;
        self.background.push_back(Background { child, printed, complaints });
    }

    fn finish(&mut self, lines: usize, signal: Signal) -> String {
        let mut first = self.background.pop_front().expect("something was started");
        first.wait_for(lines);
        std::thread::sleep(TOO_MUCH);
        let id = i32::try_from(first.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        if first.child.try_wait().expect("our own child").is_none() {
            kill_process(id, signal).expect("a signal to our own child");
        }
        let status = first.child.wait().expect("our own child");
        let exit = if signal == Signal::INT { format!("exit {:?}\n", status.code()) } else { String::new() };
        let complaints = read(&first.complaints);
        format!("{exit}{}{}", self.mask.take_out(&first.printed()), self.mask.take_out(&said(&complaints)))
    }

    fn wait_for(&self, lines: usize, words: &[String]) -> String {
        let deadline = Instant::now() + PRINTS_WITHIN;
        loop {
            let output = self.etcdctl(words, "");
            if String::from_utf8_lossy(&output.stdout).lines().count() == lines || Instant::now() > deadline {
                return self.plain(&output);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same session on the other server: only its address changes.
    fn on_the_mirror(&mut self, words: &[String]) -> String {
        self.mirror();
        let mirror = self.mirror.as_mut().expect("it was just made");
        std::mem::swap(&mut self.server, mirror);
        let answer = self.run(words, "");
        let mirror = self.mirror.as_mut().expect("it was just made");
        std::mem::swap(&mut self.server, mirror);
        answer
    }

    fn plain(&self, output: &Output) -> String {
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        format!("exit {code:?}\n{}{}", self.mask.take_out(&printed), self.mask.take_out(&said(&complaints)))
    }
}

impl Background {
    fn printed(&self) -> String {
        read(&self.printed)
    }

    fn wait_for(&mut self, lines: usize) {
        let deadline = Instant::now() + PRINTS_WITHIN;
        while self.printed().lines().count() < lines && Instant::now() < deadline {
            if self.child.try_wait().expect("our own child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned()
}

/// etcdctl logs to standard error too, in JSON with times; those lines are its own business.
fn said(complaints: &str) -> String {
    let lines = complaints.lines().filter(|line| !line.starts_with('{'));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Exit status, number of lines, and of columns of each.
fn shape(output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    let columns: Vec<usize> = printed.lines().map(|line| line.split(", ").count()).collect();
    format!("exit {:?}, {columns:?}", output.status.code())
}
