//! A copy of the workspace in which bugs are planted, so that the product itself is never touched.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bramble_tests::tools;

use crate::patch::Patch;

/// How long a test may take to find a bug.
const FIND_WITHIN: Duration = Duration::from_secs(240);
/// How long the product may take to build.
const BUILD_WITHIN: Duration = Duration::from_secs(900);
/// The exit code of `timeout` when it ended what it ran.
const TIME_IS_UP: i32 = 124;
/// What of the workspace is copied.
const TREE: [&str; 8] = ["Cargo.toml", "Cargo.lock", "store", "server", "proto", "bench", "tests", "tools"];
/// Ours are built with little optimization: they are built for every bug, and run for seconds.
const OPTIMIZATION: [(&str, u8); 5] = [("store", 1), ("server", 0), ("proto", 0), ("tests", 0), ("bench", 0)];

/// A bug was found.
pub struct Found {
    pub built: Duration,
    pub ran: Duration,
}

/// The copy.
pub struct Plot {
    git: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

impl Plot {
    /// Copies the workspace and what cargo has compiled of other people's crates, into the target folder.
    pub fn lay_out(git: PathBuf) -> Plot {
        let compiled = tools::profile_folder();
        let root = compiled.parent().expect("a profile lies in the target folder").join("planted");
        if root.exists() {
            fs::remove_dir_all(&root).expect("the last copy can be removed");
        }
        let (tree, target) = (root.join("tree"), root.join("target"));
        let profile = target.join("release");
        fs::create_dir_all(&tree).expect("a folder for the copy");
        fs::create_dir_all(&profile).expect("a folder for what is compiled");
        for name in TREE {
            copy(&["-a"], &tools::workspace().join(name), &tree);
        }
        for name in [".fingerprint", "build"] {
            copy(&["-a"], &compiled.join(name), &profile);
        }
        // Libraries are never written to, only replaced: links are enough.
        copy(&["-al"], &compiled.join("deps"), &profile);
        Plot { git, tree, target }
    }

    /// Plants a bug, builds the product, and has the test look for it.
    ///
    /// # Errors
    /// The patch does not apply, the product with it does not build, or the test does not find it.
    pub fn grow(&self, patch: &Patch) -> Result<Found, String> {
        patch.plant(&self.git, &self.tree)?;
        let found = self.look_for(patch);
        patch.pull_out(&self.git, &self.tree)?;
        found
    }

    fn look_for(&self, patch: &Patch) -> Result<Found, String> {
        let begun = Instant::now();
        let split = patch.test.iter().position(|word| word == "--").unwrap_or(patch.test.len());
        let (cargo, run) = patch.test.split_at(split);
        let mut build = self.cargo(BUILD_WITHIN, cargo);
        build.arg("--no-run");
        let (built, said) = finish(build)?;
        if built != Some(0) {
            return Err(format!("it does not build:\n{said}"));
        }
        let built = begun.elapsed();
        let mut test = self.cargo(FIND_WITHIN, cargo);
        test.args(run).envs(patch.env.iter().cloned());
        let (ended, said) = finish(test)?;
        let ran = begun.elapsed() - built;
        match ended {
            None | Some(TIME_IS_UP) => Err(format!("the test does not end within {FIND_WITHIN:?}:\n{said}")),
            Some(0) => Err(format!("the test passes:\n{said}")),
            Some(_) if !said.contains(&patch.says) => {
                Err(format!("the test fails, but does not say \"{}\":\n{said}", patch.says))
            }
            Some(_) => Ok(Found { built, ran }),
        }
    }

    fn cargo(&self, within: Duration, words: &[String]) -> Command {
        let mut command = Command::new("timeout");
        command.arg(within.as_secs().to_string());
        command.arg(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target).env_remove("BRAMBLE_BIN");
        if std::env::var_os("ROCKSDB_LIB_DIR").is_none() {
            // The copy's path would make cargo compile RocksDB once more, for ten minutes.
            command.env("ROCKSDB_LIB_DIR", archive(&self.target)).env("ROCKSDB_STATIC", "1");
        }
        command.args(["test", "--release", "--workspace", "--locked", "--offline"]);
        for (name, level) in OPTIMIZATION {
            let package = format!("profile.release.package.bramble-{name}");
            command.arg("--config").arg(format!("{package}.opt-level={level}"));
            command.arg("--config").arg(format!("{package}.debug=0"));
        }
        command.args(words);
        command
    }
}

/// The folder of RocksDB's archive among what was compiled.
fn archive(target: &Path) -> PathBuf {
    let built = fs::read_dir(target.join("release").join("build")).expect("what build scripts made");
    let folders = built.map(|entry| entry.expect("an entry").path().join("out"));
    folders.filter(|out| out.join("librocksdb.a").exists()).max().expect("RocksDB was compiled")
}

fn copy(how: &[&str], from: &Path, to: &Path) {
    let status = Command::new("cp").args(how).arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{} cannot be copied to {}", from.display(), to.display());
}

/// Its exit code and all it said. `timeout` ends all that it started, and says so with `TIME_IS_UP`.
fn finish(mut command: Command) -> Result<(Option<i32>, String), String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|why| format!("timeout does not run: {why}"))?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}
