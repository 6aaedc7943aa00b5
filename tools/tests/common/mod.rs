//! Samples in the README.

/// Holds the README's sample of this name to `sample`, or writes it there.
pub fn in_the_readme(name: &str, sample: &str) {
    let path: std::path::PathBuf = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md").into();
    let readme = std::fs::read_to_string(&path).expect("tools/README.md");
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("no mark for {name}"));
    let (there, tail) = rest.split_once(&end).expect("the end mark");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{head}{begin}{sample}{end}{tail}")).expect("written");
    } else {
        assert!(
            there == sample,
            "run UPDATE_README=1 cargo test --release --workspace --test repair_output --test status_output\n{sample}"
        );
    }
}
