//! The block device under the data directory, by the kernel's count: all that anybody has it do.
//!
//! `/sys/dev/block/MAJOR:MINOR` is found by the directory's device number; of a partition the whole
//! device is taken. Overlays, tmpfs and
//! network file systems have none, nor may a container see it: then nothing is told.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::families::{Kind, Scrape};

/// The kernel counts in sectors of this size, whatever the device's is.
const SECTOR_BYTES: u64 = 512;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    name: String,
    stat: PathBuf,
}

impl Device {
    /// The one that holds `path`.
    pub(crate) fn under(path: &Path) -> Option<Device> {
        let number = fs::metadata(path).ok()?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        // The link leads to a folder that is called as the device.
        let mut folder = fs::canonicalize(link).ok()?;
        if folder.join("partition").exists() {
            // What wears out is the whole device, and flushes are counted there only.
            folder.pop();
        }
        let name = folder.file_name()?.to_string_lossy().into_owned();
        let device = Device { name, stat: folder.join("stat") };
        device.counts().map(|_| device)
    }

    fn counts(&self) -> Option<Counts> {
        Counts::parse(&fs::read_to_string(&self.stat).ok()?)
    }

    /// Says what it has done since the system was started.
    pub(crate) fn tell(&self, scrape: &mut Scrape) {
        let Some(counts) = self.counts() else { return };
        let mut row = |name: &str, help: &str, value: Option<u64>| {
            let rows = value.map(|value| ([self.name.as_str()], value as f64));
            scrape.family(Kind::Counter, name, help, &["device"], rows);
        };
        row(
            "bramble_device_written_bytes_total",
            "Bytes written to the whole block device that holds the data, by everybody, since the system was started.",
            Some(counts.written_sectors * SECTOR_BYTES),
        );
        row(
            "bramble_device_read_bytes_total",
            "Bytes read from the whole block device that holds the data, by everybody, since the system was started.",
            Some(counts.read_sectors * SECTOR_BYTES),
        );
        row(
            "bramble_device_writes_total",
            "Write requests completed by the block device that holds the data.",
            Some(counts.writes),
        );
        row(
            "bramble_device_flushes_total",
            "Flush requests completed by the block device that holds the data.",
            counts.flushes,
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
        let device = Device { name: "mmcblk0".into(), stat: dir.path().join("stat") };
        let told = |device: &Device| {
            let mut scrape = Scrape::default();
            device.tell(&mut scrape);
            scrape.into_families()
        };
        assert!(told(&device).is_empty());
        fs::write(dir.path().join("stat"), "1 0 8 0 2 0 16 0 0 0 0 0 0 0 0 3 0").expect("written");
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
    fn a_file_system_without_a_device_has_none() {
        assert_eq!(Device::under(Path::new("/proc")), None);
    }
}
