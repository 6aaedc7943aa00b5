//! A loop device, with an ext4 on it or bare, and what the kernel counts of it.
use std::fs::File;
use std::io;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::cardsim::{CardError, doing, run};

/// What a disk was asked since it was attached, by `/sys/block/*/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Write requests. Flushes without data are counted here, too, by some kernels.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Flushes.
    pub flushes: u64,
}

impl Sub for Asked {
    type Output = Asked;

    fn sub(self, before: Asked) -> Asked {
        Asked {
            writes: self.writes - before.writes,
            bytes: self.bytes - before.bytes,
            flushes: self.flushes - before.flushes,
        }
    }
}

impl Asked {
    /// For each of so many operations, as [`crate::versus::Figures`].
    pub fn figures(self, operations: f64) -> [(&'static str, f64); 3] {
        [
            ("device B/op", self.bytes as f64 / operations),
            ("writes/op", self.writes as f64 / operations),
            ("flushes/op", self.flushes as f64 / operations),
        ]
    }

    /// Reads the words of a `stat` file: the 5th counts writes, the 7th sectors written, the 16th flushes.
    fn parse(text: &str) -> Option<Asked> {
        let words: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
        Some(Asked { writes: *words.get(4)?, bytes: words.get(6)? * 512, flushes: *words.get(15)? })
    }
}

/// A block device whose requests the kernel counts.
#[derive(Clone, Debug)]
pub struct Device {
    stat: PathBuf,
}

impl Device {
    /// The one of this name in `/sys/block`: a whole device, since flushes are not counted for partitions.
    pub fn named(name: &str) -> Device {
        Device { stat: Path::new("/sys/block").join(name).join("stat") }
    }

    /// What it was asked so far.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn asked(&self) -> io::Result<Asked> {
        let text = std::fs::read_to_string(&self.stat)?;
        Asked::parse(&text).ok_or_else(|| io::Error::other(format!("a stat file of another kind: {text}")))
    }
}

/// A fresh loop device, with an ext4 on it or bare. Dropping it takes it down again.
pub struct Disk {
    device: String,
    dir: TempDir,
    mounted: bool,
}

impl Disk {
    /// Makes one of `bytes` in `within`, whose own disk it is as slow as, with an ext4.
    ///
    /// # Errors
    /// What the system refused.
    pub fn make(bytes: u64, within: &Path, mount_options: &str) -> Result<Disk, CardError> {
        let mut disk = Disk::bare(bytes, within)?;
        std::fs::create_dir(disk.files()).map_err(doing("files"))?;
        run("mkfs.ext4", ["-q", "-F", "-b", "4096", "-E", "nodiscard,lazy_itable_init=0", &disk.device])?;
        let files = disk.files();
        let options = if mount_options.is_empty() { "defaults" } else { mount_options };
        run("mount", ["-o", options, &disk.device, &files.to_string_lossy()])?;
        disk.mounted = true;
        Ok(disk)
    }

    /// Makes one of `bytes` in `within` with nothing on it but zeros.
    ///
    /// # Errors
    /// What the system refused.
    pub fn bare(bytes: u64, within: &Path) -> Result<Disk, CardError> {
        let dir =
            tempfile::Builder::new().prefix("bramble-disk-").tempdir_in(within).map_err(doing("a folder"))?;
        let image = dir.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(doing("the image"))?;
        let arguments = ["--find", "--show", "--direct-io=on"].map(Into::into);
        let device = run("losetup", arguments.into_iter().chain([image.into_os_string()]))?;
        let disk = Disk { device, dir, mounted: false };
        let name = disk.device.trim_start_matches("/dev/");
        let setting = format!("/sys/block/{name}/queue/write_cache");
        std::fs::write(&setting, "write back").map_err(doing(setting))?;
        Ok(disk)
    }

    /// The device's file.
    pub fn path(&self) -> &Path {
        Path::new(&self.device)
    }

    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        self.dir.path().join("files")
    }

    /// Who counts what it is asked.
    pub fn device(&self) -> Device {
        Device::named(self.device.trim_start_matches("/dev/"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Processes that were just ended may hold it for a moment.
        for _ in 0..200 {
            if !self.mounted || run("umount", [self.files()]).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        if let Err(error) = run("losetup", ["--detach", &self.device]) {
            eprintln!("{} was not taken down: {error}", self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        let text = "   1 2 3 4 50 6 70 8 9 10 11 12 13 14 15 160 17\n";
        let asked = Asked { writes: 50, bytes: 70 * 512, flushes: 160 };
        assert_eq!(Asked::parse(text), Some(asked));
        assert_eq!(Asked::parse("1 2 3 4 5"), None);
        assert_eq!((asked - Asked { writes: 20, bytes: 512, flushes: 100 }).flushes, 60);
    }
}
