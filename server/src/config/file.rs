//! etcd's config file: YAML (or JSON) whose keys are the flags' names, with three nested blocks.
//!
//! ```yaml
//! name: pi
//! listen-client-urls: https://127.0.0.1:2379,https://10.0.0.7:2379
//! advertise-client-urls: https://10.0.0.7:2379
//! client-transport-security:
//!   cert-file: /etc/bramble/server.crt
//!   key-file: /etc/bramble/server.key
//! ```
//! Scalars are taken as the text that stands in the file, so `name: 007` stays `007`. A key that no
//! flag has is an error, never ignored: a misspelt `cert-fil` must not open a port without TLS.
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{ConfigError, Origin};
use super::sources::{Source, Sources};
use super::table::{self, FLAGS, Flag, Kind};
use super::values;

/// Blocks of the file: name, then (key inside, flag).
const BLOCKS: &[(&str, &[(&str, &str)])] = &[
    (
        "client-transport-security",
        &[
            ("cert-file", "cert-file"),
            ("key-file", "key-file"),
            ("client-cert-file", "client-cert-file"),
            ("client-key-file", "client-key-file"),
            ("client-cert-auth", "client-cert-auth"),
            ("trusted-ca-file", "trusted-ca-file"),
            ("auto-tls", "auto-tls"),
            ("allowed-hostname", "client-cert-allowed-hostname"),
            ("crl-file", "client-crl-file"),
        ],
    ),
    (
        "peer-transport-security",
        &[
            ("cert-file", "peer-cert-file"),
            ("key-file", "peer-key-file"),
            ("client-cert-file", "peer-client-cert-file"),
            ("client-key-file", "peer-client-key-file"),
            ("client-cert-auth", "peer-client-cert-auth"),
            ("trusted-ca-file", "peer-trusted-ca-file"),
            ("auto-tls", "peer-auto-tls"),
            ("allowed-cn", "peer-cert-allowed-cn"),
            ("allowed-hostname", "peer-cert-allowed-hostname"),
            ("skip-client-san-verification", "peer-skip-client-san-verification"),
            ("crl-file", "peer-crl-file"),
        ],
    ),
    ("socket-options", &[("reuse-port", "socket-reuse-port"), ("reuse-address", "socket-reuse-address")]),
];

/// Reads a file's settings under those of stronger sources.
///
/// # Errors
/// The file cannot be read, is no YAML map, or has a key that no flag has.
pub fn read(path: &str, sources: &mut Sources) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::FileUnreadable { path: path.to_owned(), why: error.to_string() })?;
    for (key, node) in parse(path, &text)? {
        match BLOCKS.iter().find(|(block, _)| *block == key) {
            Some((_, keys)) => read_block(path, &key, keys, node, sources)?,
            None => {
                let flag = table::find(&key).ok_or_else(|| unknown_key(path, &key, key_names()))?;
                set(path, flag, key, node, sources)?;
            }
        }
    }
    Ok(())
}

fn parse(path: &str, text: &str) -> Result<Vec<(String, Node)>, ConfigError> {
    let malformed = |why: String| ConfigError::FileMalformed { path: path.to_owned(), why };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    match serde_saphyr::from_str(text).map_err(|error| malformed(first_line(&error.to_string())))? {
        Node::Map(entries) => Ok(entries),
        Node::Unset => Ok(Vec::new()),
        _ => Err(malformed("expected `flag: value` lines".to_owned())),
    }
}

/// The parser's errors show the place over several lines; the first says line and column.
fn first_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // A hint for programmers.
    line.split(", set DuplicateKeyPolicy").next().unwrap_or(line).to_owned()
}

fn read_block(
    path: &str,
    block: &str,
    keys: &[(&'static str, &'static str)],
    node: Node,
    sources: &mut Sources,
) -> Result<(), ConfigError> {
    let entries = match node {
        Node::Map(entries) => entries,
        Node::Unset => return Ok(()),
        _ => return Err(malformed(path, format!("{block} must hold `key: value` lines"))),
    };
    for (key, node) in entries {
        let spelt = format!("{block}.{key}");
        let known = keys.iter().find(|(inside, _)| *inside == key);
        let Some(flag) = known.and_then(|(_, name)| table::find(name)) else {
            let nearest = table::nearest(&key, keys.iter().map(|(inside, _)| *inside));
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: spelt, nearest });
        };
        set(path, flag, spelt, node, sources)?;
    }
    Ok(())
}

fn set(
    path: &str,
    flag: &'static Flag,
    name: String,
    node: Node,
    sources: &mut Sources,
) -> Result<(), ConfigError> {
    let origin = Origin { name: name.clone(), source: Source::File(path.to_owned()) };
    let text = match node {
        Node::Unset => return Ok(()),
        Node::Scalar(text) => text,
        Node::List(items) if matches!(flag.kind, Kind::Urls | Kind::List) => items.join(","),
        Node::List(_) => return Err(malformed(path, format!("{name} takes one value, not a list"))),
        Node::Map(_) => return Err(malformed(path, format!("{name} takes a value, not a block"))),
    };
    let text = if flag.kind == Kind::Duration { values::nanoseconds_as_go(&text) } else { text };
    if text.is_empty() {
        return Ok(());
    }
    sources.lay_over(flag, text, origin);
    Ok(())
}

fn malformed(path: &str, why: String) -> ConfigError {
    ConfigError::FileMalformed { path: path.to_owned(), why }
}

fn key_names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|flag| flag.name).chain(BLOCKS.iter().map(|(block, _)| *block))
}

fn unknown_key(path: &str, key: &str, names: impl Iterator<Item = &'static str>) -> ConfigError {
    ConfigError::UnknownKey {
        path: path.to_owned(),
        key: key.to_owned(),
        nearest: table::nearest(key, names),
    }
}

/// A piece of the file, scalars as written.
#[derive(Debug, PartialEq)]
enum Node {
    Unset,
    Scalar(String),
    List(Vec<String>),
    Map(Vec<(String, Node)>),
}

impl<'de> de::Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a block")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Unset)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Unset)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<String>()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let takes_list =
                table::find(&key).is_none_or(|flag| matches!(flag.kind, Kind::Urls | Kind::List));
            // Asked for text, the parser gives a scalar as written: `007` and not 7.
            let value = if takes_list {
                entries.next_value()?
            } else {
                entries.next_value::<Option<String>>()?.map_or(Node::Unset, Node::Scalar)
            };
            map.push((key, value));
        }
        Ok(Node::Map(map))
    }
}
