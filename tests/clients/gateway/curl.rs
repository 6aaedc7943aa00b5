//! curl as a program: one request, or a stream that is read line by line.
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bramble_tests::tools;

/// How long a line of a stream may take.
const LINE_WITHIN: Duration = Duration::from_secs(20);
/// How long a whole request may take, seconds.
const REQUEST_WITHIN_S: &str = "20";

/// The program.
#[derive(Clone)]
pub struct Curl {
    program: PathBuf,
}

/// What curl is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<String>,
    pub body: Option<String>,
    /// Over TLS: the authority, and the client's own certificate and key.
    pub tls: Option<[PathBuf; 3]>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: String,
    /// In lower case, in the order of their names.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Curl {
    pub fn find() -> Option<Curl> {
        tools::curl().map(|program| Curl { program })
    }

    fn command(&self, request: &Request) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--silent", "--show-error", "--http1.1", "--no-buffer", "--include", "--path-as-is"]);
        // No "100 Continue" between us, and no default content type that a script does not name.
        command.args(["--header", "Expect:", "--header", "Content-Type: application/json"]);
        if let Some([authority, cert, key]) = &request.tls {
            command.arg("--cacert").arg(authority).arg("--cert").arg(cert).arg("--key").arg(key);
        }
        command.args(request.headers.iter().flat_map(|header| ["--header", header]));
        match request.method.as_str() {
            "HEAD" => command.arg("--head"),
            method => command.args(["--request", method]),
        };
        command.arg(&request.url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// One request; the whole answer.
    pub fn ask(&self, request: &Request) -> Answer {
        let mut command = self.command(request);
        command.args(["--max-time", REQUEST_WITHIN_S]);
        if request.body.is_some() {
            command.args(["--data-binary", "@-"]).stdin(Stdio::piped());
        }
        let mut child = command.spawn().expect("curl runs");
        if let (Some(body), Some(mut stdin)) = (&request.body, child.stdin.take()) {
            stdin.write_all(body.as_bytes()).expect("curl reads its input");
        }
        let output = child.wait_with_output().expect("curl ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {request:?}: {complaint}");
        Answer::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Begins a stream. `open` keeps the request's body open for more.
    pub fn stream(&self, request: &Request, open: bool) -> Stream {
        let mut command = self.command(request);
        match open {
            true => command.args(["--upload-file", "-"]).stdin(Stdio::piped()),
            false => command.args(["--data-binary", request.body.as_deref().unwrap_or_default()]),
        };
        let mut child = command.spawn().expect("curl runs");
        let mut input = child.stdin.take();
        if let (Some(input), Some(body)) = (&mut input, &request.body) {
            writeln!(input, "{body}").expect("curl reads its input");
        }
        let output = BufReader::new(child.stdout.take().expect("asked for"));
        let (sender, lines) = channel();
        // It ends with curl's output.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Stream { child, input, lines, head: None }
    }
}

impl Answer {
    fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut answer = Answer::of_head(head.lines());
        answer.body = body.to_string();
        answer
    }

    fn of_head<'a>(mut lines: impl Iterator<Item = &'a str>) -> Answer {
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("no status");
        let mut headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
            .collect();
        headers.sort();
        Answer { status: status.to_string(), headers, body: String::new() }
    }
}

/// A stream that is being read. Dropping it hangs up.
pub struct Stream {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    head: Option<Answer>,
}

impl Stream {
    /// The next line of the body; before the first, the answer's head is read.
    pub fn line(&mut self) -> String {
        if self.head.is_none() {
            let mut head = Vec::new();
            loop {
                match self.next() {
                    Some(line) if line.trim().is_empty() => break,
                    Some(line) => head.push(line),
                    None => return "nothing came".to_string(),
                }
            }
            self.head = Some(Answer::of_head(head.iter().map(|line| line.trim_end())));
        }
        self.next().unwrap_or_else(|| "the end".to_string())
    }

    /// Status and headers; known once a line has been read.
    pub fn head(&self) -> Option<&Answer> {
        self.head.as_ref()
    }

    fn next(&mut self) -> Option<String> {
        self.lines.recv_timeout(LINE_WITHIN).ok()
    }

    /// Sends one more request.
    pub fn send(&mut self, body: &str) {
        let input = self.input.as_mut().expect("a stream opened with `+`");
        writeln!(input, "{body}").expect("curl reads its input");
        input.flush().expect("a pipe");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
