//! Where a folder lies: its mount, its file system, the device under it, and which card that is.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bramble_bench::disk::Device;
use bramble_store::disk::Disk as _;
use bramble_store::disk::real::RealDisk;

use crate::board::{Facts, word};

/// What a card says of itself, below `/sys/block/NAME`. Others than cards have some of them.
const OF_A_DISK: [(&str, &str); 22] = [
    ("card type", "device/type"),
    ("card name", "device/name"),
    ("manufacturer", "device/manfid"),
    ("oem", "device/oemid"),
    ("date of manufacture", "device/date"),
    ("hardware revision", "device/hwrev"),
    ("firmware revision", "device/fwrev"),
    ("cid", "device/cid"),
    ("csd", "device/csd"),
    ("erase unit", "device/preferred_erase_size"),
    ("command queue", "device/cmdq_en"),
    ("life used (eMMC)", "device/life_time"),
    ("end of life (eMMC)", "device/pre_eol_info"),
    ("vendor", "device/vendor"),
    ("model", "device/model"),
    ("write cache", "queue/write_cache"),
    ("scheduler", "queue/scheduler"),
    ("logical block", "queue/logical_block_size"),
    ("physical block", "queue/physical_block_size"),
    ("rotational", "queue/rotational"),
    ("sectors of 512 B", "size"),
    ("file behind it", "loop/backing_file"),
];

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of what is mounted; major 0 has no device of its own.
    number: String,
    point: PathBuf,
    /// The file system.
    kind: String,
    /// The options of the mount and of the file system.
    options: String,
    source: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (mount, system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let system: Vec<&str> = system.split(' ').collect();
        Some(Mount {
            number: (*mount.get(2)?).to_owned(),
            point: PathBuf::from(plain(mount.get(4)?)),
            kind: (*system.first()?).to_owned(),
            options: format!("{};{}", mount.get(5)?, system.get(2)?),
            source: plain(system.get(1)?),
        })
    }

    /// The one that `path` lies on: the deepest, and of two in one place the later.
    fn of(mountinfo: &str, path: &Path) -> Option<Mount> {
        let mounts = mountinfo.lines().filter_map(Mount::parse);
        mounts
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }
}

/// Without the kernel's `\040` for spaces and the like.
fn plain(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// A folder's place.
pub struct Place {
    /// The folder.
    pub dir: PathBuf,
    /// Who counts what the device is asked; `None`: memory, a network, or layers that hide it.
    pub device: Option<Device>,
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// What there is to know.
    pub facts: Facts,
}

impl Place {
    /// Looks at `dir`, which is there.
    ///
    /// # Errors
    /// It is not there, or the kernel does not tell.
    pub fn find(dir: &Path) -> io::Result<Place> {
        let dir = dir.canonicalize()?;
        let mount = Mount::of(&fs::read_to_string("/proc/self/mountinfo")?, &dir)
            .ok_or_else(|| io::Error::other("no mount in /proc/self/mountinfo has the folder"))?;
        let free_bytes = RealDisk.free_bytes(&dir)?;
        let mut facts = Facts::from([
            ("folder".to_owned(), dir.display().to_string()),
            ("file system".to_owned(), mount.kind.clone()),
            ("mount options".to_owned(), mount.options.clone()),
            ("mounted from".to_owned(), mount.source.clone()),
            ("free MiB".to_owned(), (free_bytes >> 20).to_string()),
        ]);
        let block = block_of(&mount);
        if let Some(start) = block.as_deref().and_then(|block| word(&block.join("start"))) {
            facts.insert("first sector of the partition".to_owned(), start);
        }
        let disk = block.map(whole);
        if let Some(disk) = &disk {
            facts.extend(facts_of(disk));
        }
        let device = disk.and_then(|disk| Some(Device::named(disk.file_name()?.to_str()?)));
        Ok(Place { dir, device, free_bytes, facts })
    }
}

/// The folder in `/sys` of what is mounted.
fn block_of(mount: &Mount) -> Option<PathBuf> {
    if !mount.number.starts_with("0:") {
        return Path::new("/sys/dev/block").join(&mount.number).canonicalize().ok();
    }
    // btrfs has numbers of its own; its source is a device all the same.
    let source = Path::new(&mount.source).canonicalize().ok()?;
    Path::new("/sys/class/block").join(source.strip_prefix("/dev").ok()?).canonicalize().ok()
}

/// The whole device: of a partition, and of what was mapped onto one device.
fn whole(block: PathBuf) -> PathBuf {
    if block.join("partition").exists() {
        return block.parent().map_or(block.clone(), Path::to_path_buf);
    }
    let below = fs::read_dir(block.join("slaves")).into_iter().flatten().flatten();
    let below: Vec<PathBuf> = below.filter_map(|slave| slave.path().canonicalize().ok()).collect();
    match &below[..] {
        [one] => whole(one.clone()),
        _ => block,
    }
}

fn facts_of(disk: &Path) -> Facts {
    let told = OF_A_DISK
        .iter()
        .filter_map(|(name, file)| Some(((*name).to_owned(), word(&disk.join(file))?)))
        .collect::<Facts>();
    let name = disk.file_name().map(|name| ("device".to_owned(), name.to_string_lossy().into_owned()));
    told.into_iter().chain(name).chain(bus(disk)).collect()
}

/// How a card is spoken to; only root may know.
fn bus(disk: &Path) -> Option<(String, String)> {
    let host = disk.ancestors().find_map(|folder| {
        let name = folder.file_name()?.to_str()?;
        let digits = name.strip_prefix("mmc")?;
        digits.chars().all(|c| c.is_ascii_digit()).then(|| name.to_owned())
    })?;
    let ios = fs::read_to_string(format!("/sys/kernel/debug/{host}/ios")).ok()?;
    let lines = ios.lines().filter(|line| line.starts_with("clock") || line.starts_with("timing"));
    Some(("bus".to_owned(), lines.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,commit=30
30 22 179:1 / /boot/firmware rw,relatime - vfat /dev/mmcblk0p1 rw,fmask=0022
31 22 0:30 / /tmp rw - tmpfs tmpfs rw,size=100k
40 22 8:1 / /media/my\\040stick rw,relatime shared:7 master:2 - ext4 /dev/sda1 rw
41 22 0:41 / /media/my\\040stick rw - btrfs /dev/sdb rw,ssd
";

    #[test]
    fn the_deepest_and_latest_mount_is_the_one() {
        let of = |path| Mount::of(MOUNTS, Path::new(path)).expect("a mount");
        let root = of("/var/lib");
        assert_eq!((&root.kind[..], &root.options[..]), ("ext4", "rw,noatime;rw,commit=30"));
        assert_eq!((&root.number[..], &root.source[..]), ("179:2", "/dev/root"));
        assert_eq!(of("/boot/firmware/x").number, "179:1");
        assert_eq!(of("/tmp").kind, "tmpfs");
        assert_eq!(of("/tmpfoo").kind, "ext4");
        assert_eq!(of("/media/my stick/data").kind, "btrfs");
    }

    #[test]
    fn a_folder_here_has_a_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place::find(dir.path()).expect("its place");
        assert!(place.free_bytes > 0 && !place.facts["file system"].is_empty());
        assert!(Place::find(&dir.path().join("missing")).is_err());
    }
}
