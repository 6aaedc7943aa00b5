//! The block device under the data directory, by the kernel's count: all that anybody has it do.
//!
//! `/sys/dev/block/MAJOR:MINOR` is found by the directory's device number; of a partition the whole
//! device is taken. Overlays, tmpfs and
//! network file systems have none, nor may a container see it: then nothing is told.
//!
//! ```text
//! stat                   sectors, requests, flushes since the system was started
//! size                   sectors there are
//! device/type            MMC or SD, of an mmcblk
//! device/life_time       0x01 0x02: tenths of its life that eMMC has used, of each kind of its memory
//! device/pre_eol_info    0x01 good, 0x02 80 % of the spare blocks are used, 0x03 90 %
//! ```
use std::fs;
use std::path::{Path, PathBuf};

use super::families::{Kind, Scrape};
use crate::media::kernel::number;

/// The kernel counts in sectors of this size, whatever the device's is.
const SECTOR_BYTES: u64 = 512;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    name: String,
    folder: PathBuf,
}

/// What a device is, as far as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    /// An SD card.
    Card,
    /// Soldered flash behind the same bus.
    Emmc,
    /// Anything else.
    Other,
}

/// What eMMC (5.0 and later) says of its own wear; 0 = it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EmmcLife {
    /// Tenths of its life that are used of the first kind of memory (SLC), rounded up; 11 = all of it.
    pub(crate) life_a: u8,
    /// The same of the second kind (MLC).
    pub(crate) life_b: u8,
    /// 1 = good, 2 = 80 % of the spare blocks are used, 3 = 90 %.
    pub(crate) pre_eol: u8,
}

/// What is counted of its wear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceWork {
    /// Bytes written since the system was started.
    pub(crate) written_bytes: u64,
    /// Flushes since then; 0 where the kernel does not count them.
    pub(crate) flushes: u64,
}

impl Device {
    /// The one that holds `path`, or that `path` is.
    pub(crate) fn under(path: &Path) -> Option<Device> {
        let (major, minor) = number(path)?;
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let mut folder = fs::canonicalize(link).ok()?;
        if folder.join("partition").exists() {
            // What wears out is the whole device, and flushes are counted there only.
            folder.pop();
        }
        let device = Device::at(&folder);
        device.counts().map(|_| device)
    }

    /// The one that the kernel describes in `folder`, which is called as the device.
    pub(crate) fn at(folder: &Path) -> Device {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Device { name, folder: folder.to_owned() }
    }

    /// As the kernel calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its size.
    pub(crate) fn capacity_bytes(&self) -> Option<u64> {
        self.read("size")?.trim().parse::<u64>().ok()?.checked_mul(SECTOR_BYTES)
    }

    /// What it is.
    pub(crate) fn kind(&self) -> DeviceKind {
        match self.read("device/type").as_deref().map(str::trim) {
            Some("SD") => DeviceKind::Card,
            Some("MMC") => DeviceKind::Emmc,
            _ => DeviceKind::Other,
        }
    }

    /// What eMMC says of its own wear.
    pub(crate) fn emmc_life(&self) -> Option<EmmcLife> {
        let register = |text: &str| u8::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
        let (life, pre_eol) = (self.read("device/life_time")?, self.read("device/pre_eol_info")?);
        let (a, b) = life.trim().split_once(' ')?;
        Some(EmmcLife { life_a: register(a)?, life_b: register(b)?, pre_eol: register(&pre_eol)? })
    }

    /// What it has done so far.
    pub(crate) fn work(&self) -> Option<DeviceWork> {
        let counts = self.counts()?;
        let written_bytes = counts.written_sectors.saturating_mul(SECTOR_BYTES);
        Some(DeviceWork { written_bytes, flushes: counts.flushes.unwrap_or(0) })
    }

    fn counts(&self) -> Option<Counts> {
        Counts::parse(&self.read("stat")?)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    /// Says what devices have done since the system was started.
    pub(crate) fn tell(devices: &[Device], scrape: &mut Scrape) {
        let counted = devices.iter().filter_map(|device| Some((device.name(), device.counts()?)));
        let counted: Vec<_> = counted.collect();
        let mut row = |name: &str, help: &str, value: fn(&Counts) -> Option<u64>| {
            let rows = counted.iter().filter_map(|(name, counts)| Some(([*name], value(counts)? as f64)));
            scrape.family(Kind::Counter, name, help, &["device"], rows);
        };
        row(
            "bramble_device_written_bytes_total",
            "Bytes written to the whole block device that holds the data, by everybody, since the system was started.",
            |counts| Some(counts.written_sectors * SECTOR_BYTES),
        );
        row(
            "bramble_device_read_bytes_total",
            "Bytes read from the whole block device that holds the data, by everybody, since the system was started.",
            |counts| Some(counts.read_sectors * SECTOR_BYTES),
        );
        row(
            "bramble_device_writes_total",
            "Write requests completed by the block device that holds the data.",
            |counts| Some(counts.writes),
        );
        row(
            "bramble_device_flushes_total",
            "Flush requests completed by the block device that holds the data.",
            |counts| counts.flushes,
        );
    }
}

/// The fields of `stat` that are told.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    read_sectors: u64,
    writes: u64,
    written_sectors: u64,
    /// Since Linux 5.5.
    flushes: Option<u64>,
}

impl Counts {
    fn parse(text: &str) -> Option<Counts> {
        let fields: Vec<u64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
        Some(Counts {
            read_sectors: *fields.get(2)?,
            writes: *fields.get(4)?,
            written_sectors: *fields.get(6)?,
            flushes: fields.get(15).copied(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lengths_of_the_kernels_line_are_read() {
        let old = "     100 1 2000 3 400 5 6000 7 0 9 10";
        let counts = Counts { read_sectors: 2000, writes: 400, written_sectors: 6000, flushes: None };
        assert_eq!(Counts::parse(old), Some(counts));
        let new = Counts::parse(&format!("{old} 11 12 13 14 77 16\n")).expect("longer, and as good");
        assert_eq!(new.flushes, Some(77));
        assert_eq!(Counts::parse("1 2 3"), None);
    }

    #[test]
    fn a_device_says_four_things_and_no_device_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("mmcblk0");
        fs::create_dir(&folder).expect("made");
        let device = Device::at(&folder);
        let told = |device: &Device| {
            let mut scrape = Scrape::default();
            Device::tell(std::slice::from_ref(device), &mut scrape);
            scrape.into_families()
        };
        assert!(told(&device).is_empty());
        fs::write(folder.join("stat"), "1 0 8 0 2 0 16 0 0 0 0 0 0 0 0 3 0").expect("written");
        let families = told(&device);
        let rows: Vec<_> = families
            .iter()
            .map(|family| {
                let metric = &family.get_metric()[0];
                (family.name(), metric.get_label()[0].value(), metric.get_counter().get_value())
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("bramble_device_written_bytes_total", "mmcblk0", 8192.0),
                ("bramble_device_read_bytes_total", "mmcblk0", 4096.0),
                ("bramble_device_writes_total", "mmcblk0", 2.0),
                ("bramble_device_flushes_total", "mmcblk0", 3.0),
            ]
        );
    }

    #[test]
    fn what_emmc_says_of_its_life() {
        let dir = tempfile::tempdir().expect("a directory");
        let device = Device::at(dir.path());
        assert_eq!((device.emmc_life(), device.kind()), (None, DeviceKind::Other));
        assert_eq!(device.capacity_bytes(), None);
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).expect("written");
        fs::create_dir(dir.path().join("device")).expect("made");
        write("size", "30535680\n");
        write("device/type", "MMC\n");
        write("device/life_time", "0x01 0x0b\n");
        assert_eq!(device.emmc_life(), None, "half of it");
        write("device/pre_eol_info", "0x02\n");
        assert_eq!(device.emmc_life(), Some(EmmcLife { life_a: 1, life_b: 11, pre_eol: 2 }));
        assert_eq!((device.kind(), device.capacity_bytes()), (DeviceKind::Emmc, Some(15_634_268_160)));
        for damaged in ["", "0x01", "1 2", "0x01 0xzz", "0x01 0x100"] {
            write("device/life_time", damaged);
            assert_eq!(device.emmc_life(), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_file_system_without_a_device_has_none() {
        assert_eq!(Device::under(Path::new("/proc")), None);
    }
}
