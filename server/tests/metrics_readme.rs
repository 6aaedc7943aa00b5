//! The README's tables of metrics are those that a member serves: names, types, labels, words.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bramble_server::node::Node;

/// A family as the README or the member describes it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    help: String,
}

/// The README's rows, and whether they say that there may be nothing to see.
fn documented() -> BTreeMap<String, (Family, bool)> {
    let readme = include_str!("../README.md");
    let from = readme.find("<!-- metrics: begin -->").expect("the tables begin");
    let to = readme.find("<!-- metrics: end -->").expect("the tables end");
    let rows = readme[from..to].lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, help] = cells[..] else { panic!("four cells: {line}") };
        let (name, rest) = name[1..].split_once('`').expect("a name in back-ticks");
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (name.to_owned(), (Family { kind: kind.into(), labels, help: help.into() }, rest.contains('†')))
    };
    rows.map(row).collect()
}

/// What a member tells, in the text format.
fn told(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (family, help) = help.split_once(' ').expect("a name and words");
            name = family.to_owned();
            let described = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.clone(), described).is_none(), "{name} is told twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (family, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(family, name);
            families.get_mut(family).expect("HELP comes first").kind = kind.to_owned();
        } else if let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')) {
            let family = families.get_mut(&name).expect("HELP comes first");
            let names = labels.split("\",").map(|pair| pair.split_once('=').expect("a pair").0);
            family.labels.extend(names.filter(|label| *label != "le").map(str::to_owned));
        }
    }
    families
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_has_all_metrics_and_no_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::builder().data_dir(dir.path().join("data")).in_process_only();
    let node = node.build().await.expect("the node starts");
    node.ready(Duration::from_secs(20)).await.expect("the node gets ready");
    let told = told(&node.metrics_text());
    node.shutdown().await;
    let documented = documented();
    for (name, family) in &told {
        let (described, _) = documented.get(name).unwrap_or_else(|| panic!("README: no row for {name}"));
        assert_eq!(described, family, "{name}");
    }
    for (name, (_, may_be_empty)) in &documented {
        assert!(*may_be_empty || told.contains_key(name), "README: {name} is not told");
    }
}
