//! What a killed run left mounted is taken down by the next one.
//!
//! Everything of a card lies in a folder `cardsim-PID-…`; a process that was killed could not clean up, and
//! its id says that it is gone.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the folders of cards are called.
pub(super) const FOLDER: &str = "cardsim-";

/// Takes down and removes what belongs to processes that are gone.
pub(super) fn clear() {
    let points = mount_points();
    let folders: BTreeSet<PathBuf> = points.iter().filter_map(|point| abandoned(point)).collect();
    for folder in folders {
        unmount(&folder.join("files"));
        for device in loop_devices_on(&folder) {
            Command::new("losetup").arg("--detach").arg(device).output().ok();
        }
        unmount(&folder.join("fuse"));
        // With something still mounted in it, it is left for the next one.
        if !mount_points().iter().any(|point| point.starts_with(&folder)) {
            std::fs::remove_dir_all(&folder).ok();
        }
    }
}

fn unmount(point: &Path) {
    if mount_points().iter().any(|mounted| mounted == point) {
        Command::new("umount").arg("--lazy").arg(point).output().ok();
    }
}

fn mount_points() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1).map(PathBuf::from)).collect()
}

/// The loop devices whose file lies in this folder.
fn loop_devices_on(folder: &Path) -> Vec<PathBuf> {
    let Ok(blocks) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    let ours = blocks.flatten().filter(|block| {
        let file = std::fs::read_to_string(block.path().join("loop/backing_file")).unwrap_or_default();
        Path::new(file.trim_end()).starts_with(folder)
    });
    ours.map(|block| Path::new("/dev").join(block.file_name())).collect()
}

/// The folder of a card whose process is gone, if `point` lies in one.
fn abandoned(point: &Path) -> Option<PathBuf> {
    let folder = point.parent()?;
    let name = folder.file_name()?.to_str()?;
    let pid: u32 = name.strip_prefix(FOLDER)?.split('-').next()?.parse().ok()?;
    (!Path::new(&format!("/proc/{pid}")).exists()).then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_abandoned() {
        let ours = format!("/tmp/cardsim-{}-x/files", std::process::id());
        assert_eq!(abandoned(Path::new(&ours)), None);
        assert_eq!(abandoned(Path::new("/mnt/data")), None);
        assert_eq!(abandoned(Path::new("/")), None);
        // No process has an id beyond 2^22.
        let gone = abandoned(Path::new("/tmp/cardsim-99999999-x/files"));
        assert_eq!(gone.as_deref(), Some(Path::new("/tmp/cardsim-99999999-x")));
    }
}
