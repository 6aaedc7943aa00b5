//! A script of etcdctl commands (`etcdctl.script`), run by each etcdctl against etcd and against Bramble.
//! Exit status, output and complaints must be equal once ids, ports and times are taken out.
//!
//! A line is a command; lines after it that begin with `| ` are its standard input. `@` stands for the
//! lease granted last, `URL` for the server. `watch N …` runs a watch until it has printed N lines.
//! `shape …` compares only the exit status and the number of lines and columns, for answers made of
//! sizes and versions.
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bramble_tests::process::{Server, Setup};
use bramble_tests::tools;

/// How long a watch may take to print what it must.
const WATCH_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn the_etcdctl_that_debian_ships() {
    if let Some(program) = tools::etcdctl_debian() {
        same_output(&program);
    }
}

#[test]
fn the_newest_etcdctl() {
    if let Some(program) = tools::etcdctl_newest() {
        same_output(&program);
    }
}

fn same_output(program: &Path) {
    let Some(etcd) = Setup::etcd() else { return };
    let path = tools::workspace().join("tests/clients/etcdctl.script");
    let script = std::fs::read_to_string(path).expect("the script");
    let mut theirs = Session::new(program, etcd.start());
    let mut ours = Session::new(program, Setup::bramble().start());
    let mut different = Vec::new();
    let commands = commands(&script);
    for command in &commands {
        let (expected, found) = (theirs.run(command), ours.run(command));
        if expected != found {
            different.push(format!("{}\n--- etcd\n{expected}\n--- bramble\n{found}", command.line));
        }
    }
    println!("{} commands with {}, {} different", commands.len(), program.display(), different.len());
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// One command of the script.
struct Step {
    line: String,
    input: String,
}

fn commands(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('|') {
            Some(input) => {
                let step = steps.last_mut().expect("input follows a command");
                step.input.push_str(input.strip_prefix(' ').unwrap_or(input));
                step.input.push('\n');
            }
            None => steps.push(Step { line: line.to_string(), input: String::new() }),
        }
    }
    steps
}

/// One etcdctl on one server.
struct Session {
    program: PathBuf,
    server: Server,
    cluster: u64,
    member: u64,
    /// The lease granted last, as printed.
    lease: String,
}

impl Session {
    fn new(program: &Path, server: Server) -> Session {
        let mut session =
            Session { program: program.into(), server, cluster: 0, member: 0, lease: String::new() };
        let answer = session.etcdctl(&["get".into(), "nothing".into(), "-w".into(), "json".into()], "");
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        session.cluster = number_after(&text, "\"cluster_id\":");
        session.member = number_after(&text, "\"member_id\":");
        session
    }

    fn run(&mut self, step: &Step) -> String {
        let words: Vec<String> = words(&step.line).iter().map(|word| self.fill(word)).collect();
        match words[0].as_str() {
            "watch" => self.watch(&words),
            "shape" => shape(&self.etcdctl(&words[1..], &step.input)),
            _ => {
                let output = self.etcdctl(&words, &step.input);
                if words.starts_with(&["lease".to_string(), "grant".to_string()]) && output.status.success() {
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    self.lease = said.split(' ').nth(1).expect("lease ID granted …").to_string();
                }
                self.plain(&output)
            }
        }
    }

    fn fill(&self, word: &str) -> String {
        word.replace('@', &self.lease).replace("URL", &self.server.url)
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", &self.server.url);
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

    /// `watch N …`: until N lines are there, then a little for one too many.
    fn watch(&self, words: &[String]) -> String {
        let wanted: usize = words[1].parse().expect("a number of lines");
        let arguments: Vec<String> =
            std::iter::once("watch".to_string()).chain(words[2..].iter().cloned()).collect();
        let output = tempfile::NamedTempFile::new().expect("a temporary file");
        let file = output.reopen().expect("the file again");
        let mut child =
            self.command(&arguments).stdout(file).stdin(Stdio::null()).spawn().expect("etcdctl runs");
        let deadline = Instant::now() + WATCH_WITHIN;
        let printed = || std::fs::read_to_string(output.path()).unwrap_or_default();
        while printed().lines().count() < wanted && Instant::now() < deadline {
            if child.try_wait().expect("our own child").is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(100));
        child.kill().ok();
        child.wait().ok();
        let mut complaints = String::new();
        child.stderr.take().expect("asked for").read_to_string(&mut complaints).ok();
        format!("{}{}", self.mask(&printed()), self.mask(&said(&complaints)))
    }

    fn plain(&self, output: &Output) -> String {
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        format!("exit {code:?}\n{}{}", self.mask(&printed), self.mask(&said(&complaints)))
    }

    /// Takes out what is each server's own: ids, ports, terms, times, picked leases.
    fn mask(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (id, name) in [(self.cluster, "CLUSTER"), (self.member, "MEMBER")] {
            text = text.replace(&id.to_string(), name).replace(&format!("{id:x}"), name);
        }
        let port = format!("127.0.0.1:{}", self.server.ports.0);
        text = text.replace(&port, "SERVER").replace(&format!("127.0.0.1:{}", self.server.ports.1), "PEER");
        if !self.lease.is_empty() {
            let decimal = i64::from_str_radix(&self.lease, 16).unwrap_or_default().to_string();
            text = text.replace(&self.lease, "LEASE").replace(&decimal, "LEASE");
        }
        // etcd 3.5 does not say which revision it hashed.
        text = mask_after(&text, "\"HashRevision\" : ");
        for before in [
            "\"raft_term\":",
            "\"RaftTerm\" : ",
            "took = ",
            "\"took\":",
            "remaining(",
            "\"ttl\":",
            "\"TTL\" : ",
        ] {
            text = mask_after(&text, before);
        }
        // Columns are as wide as the ids in them.
        let squeezed = text.lines().map(|line| {
            // Plain lines until etcdctl 3.6, drawn ones from 3.7 on.
            let table = line.starts_with(['|', '+', '│', '┌', '├', '└']);
            if table {
                line.replace(['-', '─'], "").split_whitespace().collect::<Vec<_>>().join(" ")
            } else {
                line.to_string()
            }
        });
        squeezed.map(|line| line + "\n").collect()
    }
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

fn mask_after(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let mut masked = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find([',', '}', ')', '\n']).unwrap_or(part.len());
        masked.push_str(before);
        masked.push('#');
        masked.push_str(&part[end..]);
    }
    masked
}

fn number_after(text: &str, before: &str) -> u64 {
    let from = text.find(before).expect("a header in the answer") + before.len();
    let digits: String = text[from..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("an id")
}

/// Words of a line; double quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut any) = (false, false);
    for letter in line.chars() {
        match letter {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any {
                    words.push(String::new());
                }
                any = false;
            }
            _ => {
                words.last_mut().expect("there is always one").push(letter);
                any = true;
            }
        }
    }
    words
}
