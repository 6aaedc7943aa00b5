//! What the kernel says of the block device under a folder, read below `/sys`.
//!
//! ```text
//! dev/block/179:2 ─► …/mmc0:aaaa/block/mmcblk0/mmcblk0p2    the partition: start
//!                                          └── mmcblk0      the device: stat, removable, queue/…, device/type
//! dev/block/253:0 ─► …/virtual/block/dm-0/slaves/mmcblk0p2  what a mapping lies on, when it is one
//! ```
//! Overlays, tmpfs and network file systems have no device, nor may a container see it: then nothing is known.
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel counts in sectors of this size, whatever the device's is.
const SECTOR_BYTES: u64 = 512;
/// Mappings upon mappings that are followed.
const DEPTH_MAX: usize = 8;

/// What the kernel knows of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// An SD card in a slot of the board's; good or poor it does not know.
    Sd,
    /// eMMC.
    Mmc,
    /// NVMe, or a disk without moving parts that is neither removable nor at a USB port.
    Ssd,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// Its name, such as `mmcblk0`.
    pub name: String,
    /// Tells it from others: the card's id, the disk's, or name and size.
    pub identity: String,
    /// The partition that holds the folder, and where it begins, in bytes; `None` = the whole device does.
    pub partition: Option<(String, u64)>,
    /// `device/type` of cards: `SD` or `MMC`.
    pub card_type: Option<String>,
    /// Whether it has moving parts, as far as the kernel knows; virtual disks say so, too.
    pub rotational: bool,
    /// Whether it can be taken out.
    pub removable: bool,
    /// Whether it is at a USB port.
    pub usb: bool,
    /// Whether it has a volatile cache.
    pub cached: bool,
    pub(super) stat: PathBuf,
}

impl BlockDevice {
    /// The device with this number, of a kernel that shows itself at `sys`.
    pub fn find(sys: &Path, (major, minor): (u32, u32)) -> Option<BlockDevice> {
        let link = sys.join(format!("dev/block/{major}:{minor}"));
        let mut folder = fs::canonicalize(link).ok()?;
        for _ in 0..DEPTH_MAX {
            match below(&folder) {
                Some(lower) => folder = lower,
                None => break,
            }
        }
        let partition = text(&folder, "partition").and_then(|_| {
            let start = text(&folder, "start")?.parse::<u64>().ok()?;
            Some((name(&folder)?, start * SECTOR_BYTES))
        });
        if partition.is_some() {
            folder.pop();
        }
        let claim = |file: &str| text(&folder, file).as_deref() == Some("1");
        Some(BlockDevice {
            name: name(&folder)?,
            identity: identity(&folder)?,
            partition,
            card_type: text(&folder, "device/type").filter(|kind| kind == "SD" || kind == "MMC"),
            rotational: claim("queue/rotational"),
            removable: claim("removable"),
            usb: folder.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb")),
            cached: text(&folder, "queue/write_cache").as_deref() == Some("write back"),
            stat: folder.join("stat"),
        })
    }

    /// Which kind it is, as far as the kernel knows.
    pub fn hint(&self) -> Option<Hint> {
        match self.card_type.as_deref() {
            Some("SD") => Some(Hint::Sd),
            Some(_) => Some(Hint::Mmc),
            None if self.name.starts_with("nvme") => Some(Hint::Ssd),
            // At a USB port there may be a reader with a card in it.
            None if self.name.starts_with("sd") && !(self.rotational || self.removable || self.usb) => {
                Some(Hint::Ssd)
            }
            None => None,
        }
    }

    /// Bytes written to the whole device by everybody since the system was started.
    pub fn written_bytes(&self) -> Option<u64> {
        let stat = fs::read_to_string(&self.stat).ok()?;
        let sectors: u64 = stat.split_ascii_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}

/// What a mapping lies on, when that is one device.
fn below(folder: &Path) -> Option<PathBuf> {
    let mut slaves = fs::read_dir(folder.join("slaves")).ok()?.flatten();
    match (slaves.next(), slaves.next()) {
        (Some(only), None) => fs::canonicalize(only.path()).ok(),
        _ => None,
    }
}

fn name(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_string_lossy().into_owned())
}

fn identity(folder: &Path) -> Option<String> {
    let of_its_own = ["device/cid", "wwid", "device/wwid"].into_iter().find_map(|file| text(folder, file));
    match of_its_own {
        Some(id) => Some(id),
        None => Some(format!("{} {}", name(folder)?, text(folder, "size").unwrap_or_default())),
    }
}

/// A file's words, with one space between.
fn text(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(words.join(" ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A device of which the kernel says this.
    pub(in crate::media) fn hinting(hint: Hint) -> BlockDevice {
        let (name, card_type) = match hint {
            Hint::Sd => ("mmcblk0", Some("SD")),
            Hint::Mmc => ("mmcblk0", Some("MMC")),
            Hint::Ssd => ("nvme0n1", None),
        };
        let card_type = card_type.map(str::to_owned);
        BlockDevice {
            name: name.into(),
            identity: format!("id of {name}"),
            card_type,
            ..BlockDevice::default()
        }
    }

    /// Files of a kernel: the last words of each path are the text.
    fn kernel(files: &[(&str, &str)], number: &str, folder: &str) -> tempfile::TempDir {
        let sys = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("made");
            fs::write(path, format!("{text}\n")).expect("written");
        }
        fs::create_dir_all(sys.path().join("dev/block")).expect("made");
        symlink(sys.path().join(folder), sys.path().join("dev/block").join(number)).expect("linked");
        sys
    }

    const DISK: &str = "devices/soc/mmc0/mmc0:aaaa/block/mmcblk0";

    fn card() -> tempfile::TempDir {
        let at = |file: &str| format!("{DISK}/{file}");
        let files = [
            (at("device/type"), "SD"),
            (at("device/cid"), "1b534d4542"),
            (at("queue/rotational"), "0"),
            (at("queue/write_cache"), "write through"),
            (at("removable"), "0"),
            (at("stat"), "1 0 8 0 2 0 4000 0 0 0 0"),
            (at("mmcblk0p2/partition"), "2"),
            (at("mmcblk0p2/start"), "532480"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        kernel(&files, "179:2", &at("mmcblk0p2"))
    }

    #[test]
    fn a_card_is_found_from_its_partition() {
        let sys = card();
        let found = BlockDevice::find(sys.path(), (179, 2)).expect("found");
        assert_eq!((found.name.as_str(), found.identity.as_str()), ("mmcblk0", "1b534d4542"));
        assert_eq!(found.partition, Some(("mmcblk0p2".into(), 532_480 * 512)));
        assert_eq!((found.hint(), found.cached), (Some(Hint::Sd), false));
        assert_eq!(found.written_bytes(), Some(4000 * 512));
        assert_eq!(BlockDevice::find(sys.path(), (0, 27)), None);
    }

    #[test]
    fn a_mapping_is_followed_to_the_one_device_it_lies_on() {
        let sys = card();
        let mapping = sys.path().join("devices/virtual/block/dm-0");
        fs::create_dir_all(mapping.join("slaves")).expect("made");
        symlink(sys.path().join(DISK).join("mmcblk0p2"), mapping.join("slaves/mmcblk0p2")).expect("linked");
        symlink(&mapping, sys.path().join("dev/block/253:0")).expect("linked");
        let found = BlockDevice::find(sys.path(), (253, 0));
        assert_eq!(found, BlockDevice::find(sys.path(), (179, 2)));
    }

    #[test]
    fn an_ssd_is_known_unless_it_may_be_a_card_in_a_reader() {
        let hint = |folder: &str, files: &[(&str, &str)]| {
            let name = folder.rsplit('/').next().expect("a name");
            let files: Vec<_> =
                files.iter().map(|(file, text)| (format!("{folder}/{file}"), *text)).collect();
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            let sys = kernel(&files, "8:0", folder);
            BlockDevice::find(sys.path(), (8, 0)).unwrap_or_else(|| panic!("{name} is there")).hint()
        };
        let still = [("queue/rotational", "0"), ("removable", "0"), ("size", "8")];
        assert_eq!(hint("devices/pci/ata1/block/sda", &still), Some(Hint::Ssd));
        assert_eq!(hint("devices/pci/nvme0/nvme0n1", &still), Some(Hint::Ssd));
        assert_eq!(hint("devices/pci/usb1/1-1/block/sda", &still), None);
        assert_eq!(hint("devices/virtio/block/vda", &still), None);
        assert_eq!(hint("devices/pci/ata1/block/sda", &[("queue/rotational", "1"), ("size", "8")]), None);
        assert_eq!(hint("devices/pci/ata1/block/sda", &[("removable", "1"), ("size", "8")]), None);
        assert_eq!(hint("devices/soc/mmc1/block/mmcblk1", &[("device/type", "MMC")]), Some(Hint::Mmc));
    }
}
