//! Prometheus' text format, read strictly.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Labels of one sample.
pub type Labels = BTreeMap<String, String>;

/// One family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its description.
    pub help: String,
    /// counter, gauge or histogram.
    pub kind: String,
    /// Full names (with `_bucket` and so on), labels, values.
    pub samples: Vec<(String, Labels, f64)>,
}

impl Family {
    /// The names of labels that its samples have, `le` left out.
    pub fn labels(&self) -> BTreeSet<String> {
        let names = self.samples.iter().flat_map(|(_, labels, _)| labels.keys());
        names.filter(|name| *name != "le").cloned().collect()
    }

    /// The upper bounds of its buckets.
    pub fn bounds(&self) -> Vec<f64> {
        let bounds = self.samples.iter().filter_map(|(_, labels, _)| labels.get("le"));
        let mut bounds: Vec<f64> = bounds.map(|le| le.parse().expect("a bound is a number")).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    }
}

/// What one scrape said.
#[derive(Clone, Debug, Default)]
pub struct Scraped {
    /// By name.
    pub families: BTreeMap<String, Family>,
}

impl Scraped {
    /// Asks a server.
    pub fn of(address: SocketAddr) -> Scraped {
        Scraped::parse(&get(address, "/metrics"))
    }

    /// Reads a text; panics where it is not in the format.
    pub fn parse(text: &str) -> Scraped {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP has words");
                let family = Family { help: help.to_owned(), ..Family::default() };
                assert!(families.insert(name.to_owned(), family).is_none(), "{name} comes twice");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE has a type");
                assert_eq!(name, current, "TYPE follows its HELP");
                families.get_mut(name).expect("just made").kind = kind.to_owned();
            } else {
                let sample = sample(line);
                assert!(sample.0.starts_with(&current), "{line} is in the family {current}");
                families.get_mut(&current).expect("HELP comes first").samples.push(sample);
            }
        }
        Scraped { families }
    }

    /// The sum of the samples called exactly `name` whose labels hold all of `labels`; `None` when
    /// there are none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |found: &Labels| labels.iter().all(|(k, v)| found.get(*k).is_some_and(|value| value == v));
        let samples = self.families.values().flat_map(|family| &family.samples);
        let found: Vec<f64> = samples
            .filter(|(full, found, _)| full == name && has(found))
            .map(|(_, _, value)| *value)
            .collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// As [`Scraped::get`], for what must be there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("{name}{labels:?} is not told"))
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    let (head, value) = line.rsplit_once(' ').expect("a sample has a value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}: a number"));
    let Some((name, labels)) = head.split_once('{') else { return (head.to_owned(), Labels::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}: a closing brace"));
    let pair = |pair: &str| {
        let (label, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{line}: {pair}"));
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    };
    (name.to_owned(), labels.split("\",").map(pair).collect(), value)
}

/// The body of a plain GET that must be answered with 200.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    // HTTP/1.0: one body, as it is, until the end.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{path}: {head}");
    body.to_owned()
}
