//! The table of flags: sound in itself, and the same in code and README.
use std::collections::HashSet;

use bramble_server::config::{help, table};

#[test]
fn names_are_unique_and_have_variables() {
    let mut seen = HashSet::new();
    for name in table::FLAGS.iter().map(|flag| flag.name).chain(table::ALIASES.iter().map(|(old, _)| *old)) {
        assert!(seen.insert(name), "{name} stands twice");
        let flag = table::find(name).expect("found by its own name");
        let by_variable = table::find_env(&table::env_name(name)).expect("found by its variable");
        assert_eq!(flag.name, by_variable.name);
        assert!(!flag.note.is_empty(), "{name} has no note");
    }
}

#[test]
fn every_flag_of_etcds_help_is_known() {
    // Names only, from `etcd --help` of 3.5.30 and etcd's documentation of 3.6.
    let names = include_str!("etcd_flags.txt");
    let unknown: Vec<_> =
        names.lines().filter(|name| !name.is_empty() && table::find(name).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_readme_has_this_very_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("server/README.md");
    let (begin, end) = ("<!-- flags: begin -->\n", "<!-- flags: end -->");
    let (head, rest) = readme.split_once(begin).expect("the table's begin mark");
    let (table, tail) = rest.split_once(end).expect("the table's end mark");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{head}{begin}{}{end}{tail}", help::markdown())).expect("written");
    } else {
        assert!(
            table == help::markdown(),
            "run UPDATE_README=1 cargo test --release -p bramble-server --test config_table"
        );
    }
}
