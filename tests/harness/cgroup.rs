//! A group of processes that the kernel allows only so much memory, as a container or a systemd unit has it.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MOUNT: &str = "/sys/fs/cgroup";
/// Processes that were just ended may be counted for a moment.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// A cgroup with a limit; gone when dropped, after all that was started in it.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// One of so much memory.
    ///
    /// # Errors
    /// What this machine does not let us do.
    pub fn with_memory(bytes: u64) -> Result<Cgroup, String> {
        let name = format!("bramble-test-{}", std::process::id());
        let controllers = std::fs::read_to_string(Path::new(MOUNT).join("cgroup.controllers"));
        let two = controllers.is_ok_and(|names| names.split_whitespace().any(|name| name == "memory"));
        let (parent, version, limit) = match two {
            true => (PathBuf::from(MOUNT), Version::Two, "memory.max"),
            false => (Path::new(MOUNT).join("memory"), Version::One, "memory.limit_in_bytes"),
        };
        if two {
            // It may be on for the children already; whether it is, the limit tells.
            std::fs::write(parent.join("cgroup.subtree_control"), "+memory").ok();
        }
        let folder = parent.join(name);
        let why = |what: &Path, error| format!("{} cannot be made: {error}", what.display());
        std::fs::create_dir(&folder).map_err(|error| why(&folder, error))?;
        let cgroup = Cgroup { folder, version };
        let limit = cgroup.folder.join(limit);
        std::fs::write(&limit, bytes.to_string()).map_err(|error| why(&limit, error))?;
        Ok(cgroup)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How often the kernel has killed one of its processes.
    pub fn kills(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = self.read(file);
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).expect("Linux counts them")
    }

    /// The most that was taken, pages of files included: those the kernel takes back when it is short.
    pub fn peak_bytes(&self) -> u64 {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        self.read(file).trim().parse().expect("a number of bytes")
    }

    fn read(&self, file: &str) -> String {
        let path = self.folder.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WITHIN;
        while std::fs::remove_dir(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
