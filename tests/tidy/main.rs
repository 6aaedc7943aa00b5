//! The house rules as a test: where lines may live, who may name whom, how long a file may be.
//!
//! Each rule is a row in [`rules`]; each kind of rule has its planted breach below, so that the test is
//! known to see.

mod rules;
mod tree;

use crate::rules::{
    FILE_LINES_MAX, NAMES, NEVER_ANYWHERE, PRIVATE_PATHS, STORE_ASKS_NOBODY, STORE_DEPENDENCIES, TOP_LEVEL,
};
use crate::tree::Source;

#[test]
fn the_house_is_tidy() {
    let sources = tree::sources();
    assert!(sources.len() > 100, "only {} files found: the walk is broken", sources.len());
    let mut breaches = tree::top_level_breaches(TOP_LEVEL);
    breaches.extend(breaches_in(&sources));
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

fn breaches_in(sources: &[Source]) -> Vec<String> {
    let per_file = sources.iter().flat_map(|source| {
        let mut found = names(source);
        found.extend(anywhere(source));
        found.extend(length(source));
        found.extend(private_paths(source));
        found.extend(dependencies(source));
        found
    });
    per_file.collect()
}

/// Who may name whom.
fn names(source: &Source) -> Vec<String> {
    let rules = NAMES.iter().chain(std::iter::once(&STORE_ASKS_NOBODY));
    let here = rules.filter(|rule| rule.applies(&source.path));
    let found = here.flat_map(|rule| {
        let words = rule.never.iter().filter(|word| source.code_names(word));
        words.map(|word| format!("{}: names {word}: {}", source.path, rule.because))
    });
    found.collect()
}

/// What no Rust file may hold.
fn anywhere(source: &Source) -> Vec<String> {
    if !source.is_rust() || source.path.starts_with("tests/tidy/") {
        return Vec::new();
    }
    let found = NEVER_ANYWHERE.iter().filter(|(word, _)| source.code_holds(word));
    found.map(|(word, because)| format!("{}: {word}: {because}", source.path)).collect()
}

fn length(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    let long = source.is_rust() && !source.is_generated() && lines > FILE_LINES_MAX;
    long.then(|| format!("{}: {lines} lines; a file holds one idea, {FILE_LINES_MAX} at most", source.path))
}

/// What the repository says holds on every machine.
fn private_paths(source: &Source) -> Vec<String> {
    if source.path.starts_with("tests/tidy/") {
        return Vec::new();
    }
    let text = source.text.to_lowercase();
    let found = PRIVATE_PATHS.iter().filter(|word| text.contains(**word));
    found.map(|word| format!("{}: names {word:?}", source.path)).collect()
}

/// The store can be embedded without a runtime or a wire.
fn dependencies(source: &Source) -> Vec<String> {
    if source.path != "store/Cargo.toml" {
        return Vec::new();
    }
    let names = tree::dependencies(&source.text);
    let found = names.iter().filter(|name| STORE_DEPENDENCIES.iter().any(|never| name.starts_with(never)));
    found.map(|name| format!("store/Cargo.toml: depends on {name}")).collect()
}

/// Breaches planted one by one; each must be seen.
#[test]
fn planted_breaches_are_seen() {
    let planted = [
        ("store/src/mvcc/range.rs", "use crate::lease::Lease;"),
        ("store/src/mvcc/range.rs", "use crate::{codec, watch::Hub};"),
        ("store/src/lease/mod.rs", "use crate::mvcc::Txn;"),
        ("store/src/state.rs", "let now = std::time::Instant::now();"),
        ("store/src/state.rs", "std::thread::spawn(|| ());"),
        ("store/src/store.rs", "use rocksdb::DB;"),
        ("store/src/state.rs", "use tokio::sync::mpsc;"),
        ("server/src/node/apply.rs", "use openraft::Raft;"),
        ("server/src/rpc/kv.rs", "use bramble_store::state::State;"),
        ("server/src/rpc/kv.rs", "use crate::raft::Inbox;"),
        ("server/src/node/leases.rs", "let now = std::time::SystemTime::now();"),
        ("tools/src/main.rs", "use bramble_server::Node;"),
        ("server/src/lib.rs", "pub fn range() { todo!() }"),
        ("server/src/lib.rs", "#[ignore]"),
        ("server/src/lib.rs", "let x = y.unwrap();"),
        ("server/src/lib.rs", "pub struct WatchManager;"),
        ("README.md", "see /home/me/bramble"),
        ("store/Cargo.toml", "[dependencies]\ntokio = \"1\""),
    ];
    for (path, text) in planted {
        let source = Source { path: path.to_string(), text: text.to_string() };
        assert!(!breaches_in(&[source]).is_empty(), "not seen: {text:?} in {path}");
    }
    let long = Source { path: "store/src/state.rs".to_string(), text: "//\n".repeat(FILE_LINES_MAX + 1) };
    assert!(!breaches_in(&[long]).is_empty(), "a long file is not seen");
    let comment =
        Source { path: "store/src/state.rs".to_string(), text: "// as openraft does\n".to_string() };
    assert_eq!(breaches_in(&[comment]), Vec::<String>::new(), "comments may name anything");
}
