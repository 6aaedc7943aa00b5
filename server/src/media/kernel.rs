//! Where the kernel tells of devices, of mounts and of this process.
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::device::BlockDevice;
use super::mounts::Mount;

/// What the kernel shows below `/sys` and `/proc`, or a folder that looks like it.
#[derive(Clone, Debug)]
pub struct Kernel {
    root: PathBuf,
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::at("/")
    }
}

impl Kernel {
    /// With `sys` and `proc` in the folder `root`.
    pub fn at(root: impl Into<PathBuf>) -> Kernel {
        Kernel { root: root.into() }
    }

    /// The block device that holds `path`.
    pub fn device(&self, path: &Path) -> Option<BlockDevice> {
        BlockDevice::find(&self.root.join("sys"), number(path)?)
    }

    /// The mount that `path` lies in.
    pub fn mount(&self, path: &Path) -> Option<Mount> {
        Mount::find(&self.process("mountinfo")?, number(path)?)
    }

    /// Bytes that this process has had written to devices.
    pub fn own_written_bytes(&self) -> Option<u64> {
        let io = self.process("io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        written.and_then(|bytes| bytes.parse().ok())
    }

    fn process(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.root.join("proc/self").join(file)).ok()
    }
}

/// The number of the device under `path`, or of the one that `path` is: major and minor.
pub(crate) fn number(path: &Path) -> Option<(u32, u32)> {
    let found = fs::metadata(path).ok()?;
    let number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    Some((rustix::fs::major(number), rustix::fs::minor(number)))
}
