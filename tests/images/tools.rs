//! etcd's and Bramble's command lines, as people call them.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bramble_tests::chance::Chance;
use bramble_tests::process::Server;
use bramble_tests::tools;

use crate::picture::Picture;

/// The programs.
pub struct Tools {
    etcdctls: [PathBuf; 2],
    etcdutl: PathBuf,
}

impl Tools {
    /// All of them, or none.
    pub fn found() -> Option<Tools> {
        tools::etcd()?;
        let etcdctls = [tools::etcdctl_debian()?, tools::etcdctl_newest()?];
        Some(Tools { etcdctls, etcdutl: tools::etcdutl()? })
    }

    /// `etcdctl snapshot save`, of one version or the other.
    pub fn save(&self, chance: &mut Chance, server: &Server, file: &Path) {
        let program = chance.pick(&self.etcdctls);
        let mut command = Command::new(program);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &server.url, "snapshot", "save"]).arg(file);
        done(&mut command);
    }

    /// `etcdutl snapshot status` checks every page of the file.
    pub fn status(&self, file: &Path, picture: &Picture) {
        let mut command = Command::new(&self.etcdutl);
        command.args(["snapshot", "status", "-w", "json"]).arg(file);
        let told: serde_json::Value = serde_json::from_slice(&done(&mut command).stdout).expect("JSON");
        assert!(told["totalKey"].as_u64().is_some_and(|keys| keys >= picture.keys.len() as u64), "{told}");
        assert!(told["revision"].as_i64().is_some_and(|revision| revision <= picture.revision), "{told}");
        // Of the database, without the hash behind it.
        let bytes = std::fs::metadata(file).expect("it was saved").len();
        assert_eq!(told["totalSize"].as_u64().map(|bytes| bytes + 32), Some(bytes), "{told}");
    }

    /// `etcdutl snapshot restore` for a member with this peer port.
    pub fn restore(&self, file: &Path, dir: &Path, peer: u16) {
        let url = format!("http://127.0.0.1:{peer}");
        let mut command = Command::new(&self.etcdutl);
        command.args(["snapshot", "restore"]).arg(file).arg("--data-dir").arg(dir);
        command.args(["--name", "n1", "--initial-cluster", &format!("n1={url}")]);
        command.args(["--initial-advertise-peer-urls", &url]);
        done(&mut command);
    }

    /// `bramblectl import`.
    pub fn import(&self, file: &Path, dir: &Path, arguments: &[&str]) {
        done(&mut import(file, dir, arguments));
    }
}

/// `bramblectl import`, not run yet.
pub fn import(file: &Path, dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::bramblectl());
    command.arg("import").arg(file).arg("--data-dir").arg(dir).args(arguments);
    command
}

/// Runs it to its good end.
pub fn done(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
    output
}
