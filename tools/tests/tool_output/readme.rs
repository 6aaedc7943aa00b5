//! Samples that the README shows, as a terminal shows them.
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs `bramblectl`.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bramblectl")).args(arguments).output().expect("it runs")
}

/// What a terminal shows of it, with `dir` at the place that the README names.
pub fn session(arguments: &[&str], code: i32, (dir, shown_as): (&str, &str)) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let told = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    let text = format!("$ bramblectl {}\n{told}$ echo $?\n{code}\n", arguments.join(" "));
    format!("```console\n{}```\n", text.replace(dir, shown_as))
}

/// The README has exactly this at its mark; with `UPDATE_README` it will.
pub fn in_the_readme(name: &str, sample: &str) {
    let path: PathBuf = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md").into();
    let readme = std::fs::read_to_string(&path).expect("tools/README.md");
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = readme.split_once(&begin).unwrap_or_else(|| panic!("no mark for {name}"));
    let (there, tail) = rest.split_once(&end).expect("the end mark");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{head}{begin}{sample}{end}{tail}")).expect("written");
    } else {
        assert!(
            there == sample,
            "run UPDATE_README=1 cargo test --release --workspace --test tool_output\n{sample}"
        );
    }
}
