//! One planted bug: a header that says what it is and who finds it, and a diff.
use std::path::{Path, PathBuf};
use std::process::Command;

use bramble_tests::tools;

/// A file of this folder.
#[derive(Clone, Debug)]
pub struct Patch {
    pub name: String,
    pub path: PathBuf,
    /// What the product does wrong with it.
    pub bug: String,
    /// What `cargo test` is told, before and behind `--`.
    pub test: Vec<String>,
    /// What the environment of the test has besides.
    pub env: Vec<(String, String)>,
    /// What the test says when it finds this, and not something else.
    pub says: String,
}

impl Patch {
    /// All of them, by name.
    pub fn all() -> Vec<Patch> {
        let folder = tools::workspace().join("tests/planted");
        let entries = std::fs::read_dir(folder).expect("the folder of the patches");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut patches: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|kind| kind == "patch"))
            .map(Patch::read)
            .collect();
        patches.sort_by(|a, b| a.name.cmp(&b.name));
        patches
    }

    fn read(path: PathBuf) -> Patch {
        let text = std::fs::read_to_string(&path).expect("a patch is text");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let head = text.split("\ndiff --git ").next().expect("something");
        let lines = |of: &str| -> Vec<String> {
            let of = format!("{of}: ");
            head.lines().filter_map(|line| Some(line.strip_prefix(&of)?.trim().to_owned())).collect()
        };
        let one = |of: &str| match lines(of).as_slice() {
            [line] => line.clone(),
            found => panic!("{name}: one line \"{of}: \" is wanted, there are {}", found.len()),
        };
        let env = lines("Env").into_iter().map(|pair| {
            let (key, value) =
                pair.split_once('=').unwrap_or_else(|| panic!("{name}: KEY=VALUE, not {pair}"));
            (key.to_owned(), value.to_owned())
        });
        Patch {
            bug: one("Bug"),
            test: one("Test").split_whitespace().map(str::to_owned).collect(),
            env: env.collect(),
            says: one("Says"),
            name,
            path,
        }
    }

    /// Whether it would apply to the tree at `root`.
    pub fn applies(&self, git: &Path, root: &Path) -> Result<(), String> {
        self.git(git, root, &["apply", "--check"])
    }

    /// Plants it.
    pub fn plant(&self, git: &Path, root: &Path) -> Result<(), String> {
        self.git(git, root, &["apply"])
    }

    /// Takes it out.
    pub fn pull_out(&self, git: &Path, root: &Path) -> Result<(), String> {
        self.git(git, root, &["apply", "--reverse"])
    }

    fn git(&self, git: &Path, root: &Path, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new(git);
        // The tree is taken as files: whatever repository it lies in has no say.
        command.env("GIT_CEILING_DIRECTORIES", root.parent().expect("a tree lies somewhere"));
        command.env("GIT_DIR", root.join("no-repository")).current_dir(root).args(words).arg(&self.path);
        let output = command.output().map_err(|why| format!("git does not run: {why}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    }
}
