//! The memory limit of the cgroup that this process is in: a container's, or a systemd unit's `MemoryMax=`.
//!
//! Whoever goes beyond it is killed, so the member keeps below it by itself. Version 2 has `memory.max` in
//! each folder from the process's own up to the root, version 1 the lowest of them in `memory.stat`. A
//! container sees its own folder as the root, whatever `/proc/self/cgroup` says.
use std::path::{Path, PathBuf};

use bramble_server::config::{Config, MEMORY_MIN_BYTES, Notice};
use bramble_server::node::memory::resident_max;

/// Of this limit the member and its clients take this part; the rest is for what the kernel counts too: buffers
/// of connections, page tables, files that are being written.
const PART: (u64, u64) = (3, 4);

/// Sets the ceiling that follows from the limit, unless one was given or the profile stays below it.
pub fn apply(config: &mut Config) -> Option<Notice> {
    apply_limit(config, limit(Path::new("/")))
}

fn apply_limit(config: &mut Config, limit: Option<u64>) -> Option<Notice> {
    let limit = limit.filter(|_| config.memory_max_bytes.is_none())?;
    let ceiling = (u128::from(limit) * u128::from(PART.0) / u128::from(PART.1)) as u64;
    if ceiling >= resident_max(config.profile) as u64 {
        return None;
    }
    config.memory_max_bytes = Some(ceiling.max(MEMORY_MIN_BYTES));
    let mib = |bytes: u64| bytes >> 20;
    Some(if ceiling < MEMORY_MIN_BYTES {
        Notice::Warn(format!(
            "the cgroup allows {} MiB of memory, and the member needs {} MiB beside what the kernel takes: it may be \
             killed; raise the limit to {} MiB or more",
            mib(limit),
            mib(MEMORY_MIN_BYTES),
            mib(MEMORY_MIN_BYTES * PART.1).div_ceil(PART.0)
        ))
    } else {
        Notice::Info(format!(
            "the cgroup allows {} MiB of memory: --memory-max is {} MiB",
            mib(limit),
            mib(ceiling)
        ))
    })
}

/// The lowest limit above this process; `None`: there is none, or it cannot be seen.
fn limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| limit_of(&root.join("sys/fs/cgroup"), line)).min()
}

/// Of a line `4:memory:/path` (version 1) or `0::/path` (version 2).
fn limit_of(mount: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    let version_1 = controllers.split(',').any(|controller| controller == "memory");
    match controllers {
        "" => folders(mount, path).into_iter().filter_map(|folder| max(&folder)).min(),
        _ if version_1 => {
            folders(&mount.join("memory"), path).into_iter().filter_map(|folder| stat(&folder)).min()
        }
        _ => None,
    }
}

/// From the process's own folder up to the mount.
fn folders(mount: &Path, path: &str) -> Vec<PathBuf> {
    let own = mount.join(path);
    own.ancestors().take_while(|folder| folder.starts_with(mount)).map(Path::to_owned).collect()
}

/// Version 2. The text `max` is none.
fn max(folder: &Path) -> Option<u64> {
    std::fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()
}

/// Version 1.
fn stat(folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join("memory.stat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use bramble_server::config::Profile;

    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        root
    }

    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        limit(machine(files).path())
    }

    #[test]
    fn the_lowest_limit_of_all_folders_counts() {
        let unit = [
            ("proc/self/cgroup", "0::/system.slice/bramble.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "134217728\n"),
            ("sys/fs/cgroup/system.slice/bramble.service/memory.max", "max\n"),
        ];
        assert_eq!(limit_with(&unit), Some(128 << 20));
        let container = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1000\n")];
        assert_eq!(limit_with(&container), Some(1000));
        let elsewhere = [("proc/self/cgroup", "0::/kubepods/pod1\n"), ("sys/fs/cgroup/memory.max", "7\n")];
        assert_eq!(limit_with(&elsewhere), Some(7), "a container that is told the host's path");
    }

    #[test]
    fn version_1_is_read_too() {
        let stat = ("sys/fs/cgroup/memory/pi/memory.stat", "cache 5\nhierarchical_memory_limit 4096\n");
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/pi\n4:memory:/pi\n0::/\n");
        assert_eq!(limit_with(&[groups, stat]), Some(4096));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        assert_eq!(limit_with(&[]), None);
        assert_eq!(limit_with(&[("proc/self/cgroup", "0::/\nnoise\n")]), None);
        let unlimited = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(limit_with(&unlimited), None);
    }

    #[test]
    fn a_limit_sets_a_ceiling_below_it() {
        let of = |limit: u64, profile| {
            let mut config = Config { profile, ..Config::default() };
            let notice = apply_limit(&mut config, Some(limit << 20));
            (config.memory_max_bytes.map(|bytes| bytes >> 20), notice)
        };
        assert_eq!(of(1024, Profile::Pi), (None, None), "the profile stays below it");
        assert_eq!(of(u64::MAX >> 20, Profile::Default).0, None);
        assert_eq!(of(1024, Profile::Default).0, Some(768));
        assert!(matches!(of(128, Profile::Pi), (Some(96), Some(Notice::Info(_)))));
        let (ceiling, notice) = of(64, Profile::Pi);
        assert_eq!(ceiling, Some(80));
        assert!(matches!(notice, Some(Notice::Warn(text)) if text.contains("107 MiB or more")));
    }

    #[test]
    fn a_ceiling_that_was_given_stays() {
        let mut config = Config { memory_max_bytes: Some(200 << 20), ..Config::default() };
        assert_eq!(apply_limit(&mut config, Some(128 << 20)), None);
        assert_eq!(config.memory_max_bytes, Some(200 << 20));
    }
}
