//! Who else writes. The kernel counts for each process what it has written to files on disks.
use std::collections::BTreeMap;
use std::fs;

/// What may be written by others in a second, and at once: a tenth of what the slowest workload writes.
const ALLOWED_BYTES_PER_S: f64 = 1024.0;
const ALLOWED_BYTES: f64 = 65_536.0;

/// How much others may write in so many seconds.
pub fn allowed_bytes(seconds: f64) -> u64 {
    (ALLOWED_BYTES + ALLOWED_BYTES_PER_S * seconds) as u64
}

/// The processes that may write: this one, the server that is measured, and a `cardsim` that started us, since what
/// it writes is the card.
pub fn ours(server: Option<u32>) -> Vec<u32> {
    let parent = rustix::process::getppid().and_then(|id| u32::try_from(id.as_raw_nonzero().get()).ok());
    let is_card =
        |id: &u32| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "cardsim");
    std::iter::once(std::process::id()).chain(server).chain(parent.filter(is_card)).collect()
}

/// What processes have written since they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// By their ids: name and bytes.
    written: BTreeMap<u32, (String, u64)>,
    /// How many would not tell.
    pub silent: usize,
}

impl Writers {
    /// Looks at all processes but the kernel's own and these. The kernel's write for others.
    pub fn look(ours: &[u32]) -> Writers {
        let mut writers = Writers::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            if ours.contains(&id) {
                continue;
            }
            let file = |name| fs::read(format!("/proc/{id}/{name}"));
            match (file("cmdline"), file("io")) {
                (Ok(line), _) if line.is_empty() => {}
                (Ok(_), Ok(io)) => {
                    let name = String::from_utf8_lossy(&file("comm").unwrap_or_default()).trim().to_owned();
                    let bytes = write_bytes(&String::from_utf8_lossy(&io)).unwrap_or(0);
                    writers.written.insert(id, (name, bytes));
                }
                (Ok(_), Err(why)) if why.kind() == std::io::ErrorKind::PermissionDenied => {
                    writers.silent += 1
                }
                // It has ended.
                _ => {}
            }
        }
        writers
    }

    /// What was written between a look and a later one, by name; most first. One that is new has written all it has.
    pub fn until(&self, later: &Writers) -> Vec<(String, u64)> {
        let mut grown: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, (name, now)) in &later.written {
            let before = self.written.get(id).filter(|(was, _)| was == name).map_or(0, |(_, bytes)| *bytes);
            *grown.entry(name).or_default() += now.saturating_sub(before);
        }
        let mut grown: Vec<(String, u64)> = grown
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| (name.into(), bytes))
            .collect();
        grown.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        grown
    }
}

/// What a process has written, by `/proc/PID/io`; `None` when it is gone or does not tell.
pub fn written_by(id: u32) -> Option<u64> {
    write_bytes(&fs::read_to_string(format!("/proc/{id}/io")).ok()?)
}

fn write_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.trim().parse().ok())
}

/// The reason when others wrote too much in so many seconds.
pub fn too_much(written: &[(String, u64)], seconds: f64) -> Option<String> {
    let all: u64 = written.iter().map(|(_, bytes)| bytes).sum();
    let names: Vec<&str> = written.iter().take(3).map(|(name, _)| name.as_str()).collect();
    (all > allowed_bytes(seconds))
        .then(|| format!("others wrote {} KiB in {seconds:.1} s: {}", all >> 10, names.join(", ")))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process whose child wrote 4 MiB to a disk and has ended: what it wrote is its parent's then.
    pub(crate) struct Other {
        shell: Child,
        _dir: tempfile::TempDir,
    }

    impl Other {
        /// It has written.
        pub(crate) fn begin() -> Other {
            let beside = std::env::current_exe().expect("this test").with_file_name("");
            let dir = tempfile::tempdir_in(beside).expect("a folder on a disk");
            let script = "dd if=/dev/zero of=file bs=1M count=4 status=none; echo done; read end";
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).current_dir(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut shell = shell.spawn().expect("a shell");
            let mut done = [0; 5];
            shell.stdout.as_mut().expect("a pipe").read_exact(&mut done).expect("it is done");
            Other { shell, _dir: dir }
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            drop(self.shell.stdin.take());
            self.shell.wait().expect("it ends with its input");
        }
    }

    #[test]
    fn what_a_child_wrote_that_has_ended_is_its_parents() {
        let before = Writers::look(&[]);
        let other = Other::begin();
        let grown = before.until(&Writers::look(&[]));
        let id = other.shell.id();
        assert!(grown.iter().any(|(name, bytes)| name == "sh" && *bytes >= 4 << 20), "{grown:?}");
        assert!(!Writers::look(&[id]).written.contains_key(&id));
    }

    fn writers(written: &[(u32, &str, u64)]) -> Writers {
        let written = written.iter().map(|(id, name, bytes)| (*id, ((*name).to_owned(), *bytes))).collect();
        Writers { written, silent: 0 }
    }

    #[test]
    fn what_others_wrote_is_told_by_name() {
        let io = "rchar: 9\nwchar: 8\nsyscr: 1\nsyscw: 1\nread_bytes: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 3\n";
        assert_eq!(write_bytes(io), Some(4096));
        let before = writers(&[(1, "init", 500), (2, "apt", 1000), (3, "gone", 9), (4, "old", 100)]);
        let later = writers(&[(1, "init", 500), (2, "apt", 5000), (4, "new", 50), (7, "apt", 100)]);
        assert_eq!(before.until(&later), [("apt".to_owned(), 4100), ("new".to_owned(), 50)]);
    }

    #[test]
    fn little_is_allowed_and_more_is_a_reason() {
        let wrote = |bytes| [("apt".to_owned(), bytes), ("cron".to_owned(), 1)];
        assert_eq!(too_much(&wrote(60_000), 0.0), None);
        assert_eq!(too_much(&wrote(600_000), 600.0), None);
        let reason = too_much(&wrote(700_000), 600.0).expect("a reason");
        assert_eq!(reason, "others wrote 683 KiB in 600.0 s: apt, cron");
    }

    #[test]
    fn this_process_is_seen_unless_it_is_ours() {
        let id = std::process::id();
        assert!(Writers::look(&[]).written.contains_key(&id) && written_by(id).is_some());
        assert!(!Writers::look(&[id]).written.contains_key(&id));
    }
}
