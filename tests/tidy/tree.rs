//! The repository's files, and reading code without its comments and tests.
use std::path::Path;

use bramble_tests::tools::workspace;

/// One text file.
pub struct Source {
    /// From the root of the repository, with slashes.
    pub path: String,
    pub text: String,
}

/// Folders that hold no source.
const NOT_OURS: &[&str] = &["target", ".git"];
/// Kinds of files that are read.
const KINDS: &[&str] = &["rs", "toml", "md", "proto", "go", "script", "txt", "sh", "mod", ""];

/// Every source file of the repository.
pub fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    walk(workspace(), &mut found);
    found
}

fn walk(dir: &Path, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(dir).expect("a folder of the repository");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if ignored(&name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if KINDS.contains(&path.extension().map_or("", |kind| kind.to_str().unwrap_or("?"))) {
            // Golden bytes have such names too, and are no text.
            if let Ok(text) = std::fs::read_to_string(&path) {
                let path =
                    path.strip_prefix(workspace()).expect("below the root").to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
}

/// What git ignores: build products and a server's data.
fn ignored(name: &str) -> bool {
    NOT_OURS.contains(&name) || name.ends_with(".bramble")
}

/// Entries of the top level that are too many or missing.
pub fn top_level_breaches(wanted: &[&str]) -> Vec<String> {
    let entries = std::fs::read_dir(workspace()).expect("the root");
    let mut found: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !ignored(name))
        .collect();
    found.sort();
    let extra = found.iter().filter(|name| !wanted.contains(&name.as_str()));
    let missing = wanted.iter().filter(|name| !found.iter().any(|one| one == *name));
    let extra = extra.map(|name| format!("{name}: not part of the top level"));
    extra.chain(missing.map(|name| format!("{name}: missing from the top level"))).collect()
}

/// The names under `[dependencies]`.
pub fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once('=') {
            names.push(name.trim().to_string());
        }
    }
    names
}

impl Source {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether a program wrote it.
    pub fn is_generated(&self) -> bool {
        self.path.contains("/generated/") || self.path.ends_with("bindgen/bindings.rs")
    }

    /// Whether a line of code, comments aside, holds this.
    pub fn code_holds(&self, word: &str) -> bool {
        !self.is_generated() && self.code().any(|line| line.contains(word))
    }

    /// Whether code names this path. `crate::watch` is also found in `use crate::{codec, watch::Hub}`.
    pub fn code_names(&self, path: &str) -> bool {
        let (parent, child) = path.rsplit_once("::").unwrap_or(("", path));
        let grouped = format!("{parent}::{{");
        let mut in_group = false;
        self.code().any(|line| {
            in_group |= !parent.is_empty() && line.contains(&grouped);
            let found = names_whole(line, path) || (in_group && names_whole(line, child));
            in_group &= !line.trim_end().ends_with(';');
            found
        })
    }

    fn code(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.map(|line| line.split(" // ").next().unwrap_or(line))
    }
}

/// Whether `word` stands in `line` as a whole name: not as a part of a longer one, nor as a string's.
fn names_whole(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let part = |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let quoted = line[..at].matches('"').count() % 2 == 1;
        !part(before) && !part(after) && !quoted
    })
}
