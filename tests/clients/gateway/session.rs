//! A script's steps, and one server on which they are run.
use std::collections::BTreeMap;
use std::fmt;

use bramble_tests::certs::{Certs, NAMELESS};
use bramble_tests::process::Server;
use bramble_tests::wire::Wire;
use serde_json::Value;

use super::curl::{Answer, Curl, Request, Stream};

/// What gRPC's own answer said.
const OF_GRPC: &str = "grpc-metadata-content-type";
/// Headers that clients look at.
const HEADERS: [&str; 9] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "allow",
    "content-type",
    OF_GRPC,
    "location",
    "transfer-encoding",
    "x-content-type-options",
];

/// Fields whose values are each server's own, wherever they stand.
const OWN: [&str; 5] = ["token", "raft_term", "raftTerm", "raftIndex", "raftAppliedIndex"];

/// A line of a script, with what stands before it.
#[derive(Debug)]
pub enum Step {
    Flags(String),
    Tls,
    Show { certificate: String },
    Ask { compare: Compare, headers: Vec<String>, request: Line, own: Option<String> },
    Keep { name: String, field: String },
    Open { name: String, request: Line, more: bool },
    Read { name: String, lines: usize },
    Send { name: String, body: String },
    Close { name: String },
}

/// How two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    All,
    ButWords,
    Keys,
    Some,
}

/// `POST /v3/kv/range {"key":"Zm9v"}`.
#[derive(Clone, Debug)]
pub struct Line {
    method: String,
    path: String,
    body: Option<String>,
}

impl Line {
    fn parse(text: &str) -> Line {
        let mut words = text.splitn(3, ' ').map(str::to_string);
        let (method, path) = (words.next().unwrap_or_default(), words.next().expect("a method and a path"));
        Line { method, path, body: words.next() }
    }
}

impl Step {
    /// Whether a server is asked something.
    pub fn is_request(&self) -> bool {
        matches!(self, Step::Ask { .. } | Step::Open { .. } | Step::Send { .. })
    }

    /// Whether Bramble may have less to say than etcd.
    pub fn wants_some(&self) -> bool {
        matches!(self, Step::Ask { compare: Compare::Some, .. })
    }

    /// What Bramble answers here, and etcd does not.
    pub fn own_answer(&self) -> Option<&str> {
        match self {
            Step::Ask { own, .. } => own.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Ask { request, .. } | Step::Open { request, .. } => {
                write!(
                    f,
                    "{} {} {}",
                    request.method,
                    request.path,
                    request.body.as_deref().unwrap_or_default()
                )
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// The steps of a script.
pub fn steps(script: &str) -> Vec<Step> {
    let (mut steps, mut headers, mut own) = (Vec::new(), Vec::new(), None);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let named = || rest.split_once(' ').map(|(name, rest)| (name.to_string(), rest.to_string()));
        let mut ask = |compare, text: &str| Step::Ask {
            compare,
            headers: std::mem::take(&mut headers),
            request: Line::parse(text),
            own: own.take(),
        };
        steps.push(match word {
            "with" => {
                headers.push(rest.to_string());
                continue;
            }
            "differs" => {
                own = Some(rest.replacen(' ', "\n", 1));
                continue;
            }
            "flags" => Step::Flags(rest.to_string()),
            "tls" => Step::Tls,
            "show" => Step::Show { certificate: rest.to_string() },
            "words" => ask(Compare::ButWords, rest),
            "keys" => ask(Compare::Keys, rest),
            "some" => ask(Compare::Some, rest),
            "keep" => {
                let (name, field) = named().expect("keep NAME FIELD");
                Step::Keep { name, field }
            }
            "open" => {
                let (name, rest) = named().expect("open NAME REQUEST");
                let more = rest.ends_with(" +");
                Step::Open { name, request: Line::parse(rest.trim_end_matches(" +")), more }
            }
            "read" => {
                let (name, lines) = named().expect("read NAME LINES");
                Step::Read { name, lines: lines.parse().expect("a number of lines") }
            }
            "send" => {
                let (name, body) = named().expect("send NAME BODY");
                Step::Send { name, body }
            }
            "close" => Step::Close { name: rest.to_string() },
            _ => ask(Compare::All, line),
        });
    }
    steps
}

/// Whether each field of `some`, at every depth, is one of `all`. Both are JSON as text.
pub fn holds(all: &str, some: &str) -> bool {
    fn within(all: &Value, some: &Value) -> bool {
        match (all, some) {
            (Value::Object(all), Value::Object(some)) => {
                some.iter().all(|(name, value)| all.get(name).is_some_and(|own| within(own, value)))
            }
            _ => all == some,
        }
    }
    let parsed = [all, some].map(|text| serde_json::from_str(text).unwrap_or(Value::Null));
    parsed[1].is_object() && within(&parsed[0], &parsed[1])
}

/// One server and what a script has learnt of it.
pub struct Session {
    curl: Curl,
    server: Server,
    /// With TLS: the files, and whose certificate is shown.
    tls: Option<(Certs, String)>,
    /// This server's ids and what they are called.
    ids: BTreeMap<String, &'static str>,
    kept: BTreeMap<String, String>,
    streams: BTreeMap<String, Stream>,
    last: Value,
}

impl Session {
    pub fn new(curl: Curl, server: Server, certs: Option<Certs>) -> Session {
        let mut session = Session {
            curl,
            server,
            tls: certs.map(|certs| (certs, NAMELESS.to_string())),
            ids: BTreeMap::new(),
            kept: BTreeMap::new(),
            streams: BTreeMap::new(),
            last: Value::Null,
        };
        session.learn_ids();
        session
    }

    /// By gRPC's own port: the gateway may be off.
    fn learn_ids(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let url = self.server.url.clone();
        let header = runtime.block_on(async {
            let wire = match &self.tls {
                Some((certs, client)) => Wire::connect_as(&url, certs, client).await,
                None => Wire::connect(&url).await,
            };
            let request = bramble_proto::etcdserverpb::MemberListRequest::default();
            wire.cluster().member_list(request).await.expect("a member list").into_inner().header
        });
        let header = header.expect("a header");
        for (id, name) in [(header.cluster_id, "CLUSTER"), (header.member_id, "MEMBER")] {
            self.ids.insert(id.to_string(), name);
            self.ids.insert(format!("{id:x}"), name);
        }
    }

    /// Runs one step; what is to be compared.
    pub fn run(&mut self, step: &Step) -> String {
        match step {
            Step::Flags(_) | Step::Tls => String::new(),
            Step::Show { certificate } => {
                self.tls.as_mut().expect("a script with `tls`").1.clone_from(certificate);
                String::new()
            }
            Step::Ask { compare, headers, request, own } => {
                let answer = self.curl.ask(&self.request(request, headers));
                self.last = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
                match own {
                    Some(_) => format!("{}\n{}", answer.status, self.body(&answer.body, *compare)),
                    None => self.plain(&answer, *compare),
                }
            }
            Step::Keep { name, field } => {
                let value = field.split('.').fold(&self.last, |value, key| &value[key]);
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
                self.kept.insert(name.clone(), value);
                String::new()
            }
            Step::Open { name, request, more } => {
                let stream = self.curl.stream(&self.request(request, &[]), *more);
                self.streams.insert(name.clone(), stream);
                String::new()
            }
            Step::Read { name, lines } => self.read(name, *lines),
            Step::Send { name, body } => {
                let body = self.fill(body);
                self.streams.get_mut(name).expect("an open stream").send(&body);
                String::new()
            }
            Step::Close { name } => {
                self.streams.remove(name).expect("an open stream");
                String::new()
            }
        }
    }

    fn read(&mut self, name: &str, lines: usize) -> String {
        let mut stream = self.streams.remove(name).expect("an open stream");
        let first = stream.head().is_none();
        let texts: Vec<String> = (0..lines).map(|_| stream.line()).collect();
        let mut said = match stream.head() {
            Some(head) if first => self.plain(head, Compare::All),
            _ => String::new(),
        };
        for text in texts {
            said += &format!("{}\n", self.body(&text, Compare::All));
        }
        self.streams.insert(name.to_string(), stream);
        said
    }

    fn request(&self, line: &Line, headers: &[String]) -> Request {
        Request {
            method: line.method.clone(),
            url: format!("{}{}", self.server.url, self.fill(&line.path)),
            headers: headers.iter().map(|header| self.fill(header)).collect(),
            body: line.body.as_ref().map(|body| self.fill(body)),
            tls: self.tls.as_ref().map(|(certs, name)| {
                let (cert, key) = certs.client(name);
                [certs.authority.clone(), cert, key]
            }),
        }
    }

    /// Puts in what was kept, and text too long for a script: `LONG(3000000)`.
    fn fill(&self, text: &str) -> String {
        let mut filled = text.to_string();
        for (name, value) in &self.kept {
            filled = filled.replace(&format!("${name}"), value);
        }
        while let Some((before, rest)) = filled.split_once("LONG(") {
            let (count, after) = rest.split_once(')').expect("LONG(count)");
            let count = count.parse().expect("a count");
            filled = format!("{before}{}{after}", "A".repeat(count));
        }
        filled
    }

    fn plain(&self, answer: &Answer, compare: Compare) -> String {
        if compare == Compare::Some {
            return self.body(&answer.body, compare);
        }
        let mut text = format!("{}\n", answer.status);
        // Over TLS etcd's gateway adds it to refusals too.
        let told = |name: &str| HEADERS.contains(&name) && !(self.tls.is_some() && name == OF_GRPC);
        for (name, value) in answer.headers.iter().filter(|(name, _)| told(name)) {
            text += &format!("{name}: {value}\n");
        }
        text + &self.body(&answer.body, compare)
    }

    /// The body without what is each server's own. What is no JSON stays as it is.
    fn body(&self, body: &str, compare: Compare) -> String {
        let several =
            body.contains('\n') && body.lines().all(|line| serde_json::from_str::<Value>(line).is_ok());
        if several {
            return body.lines().map(|line| self.body(line, compare) + "\n").collect();
        }
        match serde_json::from_str::<Value>(body) {
            Ok(value) => self.masked(value, compare).to_string(),
            Err(_) if compare == Compare::ButWords => "some words".to_string(),
            Err(_) => self.mask_text(body),
        }
    }

    fn masked(&self, value: Value, compare: Compare) -> Value {
        let values_are_own = matches!(compare, Compare::Keys | Compare::Some);
        match value {
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| {
                    let own = OWN.contains(&name.as_str());
                    let words = compare == Compare::ButWords && (name == "error" || name == "message");
                    let value = match value {
                        Value::String(_) if own || words => Value::from("#"),
                        value => self.masked(value, compare),
                    };
                    (self.mask_text(&name), value)
                })
                .collect(),
            Value::Array(items) if values_are_own => {
                items.into_iter().take(1).map(|item| self.masked(item, compare)).collect()
            }
            Value::Array(items) => items.into_iter().map(|item| self.masked(item, compare)).collect(),
            _ if values_are_own => Value::from("#"),
            Value::String(text) => Value::from(self.mask_text(&text)),
            other => other,
        }
    }

    fn mask_text(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (id, name) in &self.ids {
            text = text.replace(id, name);
        }
        for (name, value) in self.kept.iter().filter(|(_, value)| value.len() > 5) {
            text = text.replace(value, name);
        }
        let (client, peer) = self.server.ports;
        text.replace(&format!("127.0.0.1:{client}"), "SERVER").replace(&format!("127.0.0.1:{peer}"), "PEER")
    }
}
