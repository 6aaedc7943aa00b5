//! What a probe has found out, kept in the data directory for the next start.
//!
//! ```text
//! kind sd-basic
//! device mmcblk0 1b534d45423151543012345678901234
//! small-in-row-us 3090                   the figures are for people; the kind was judged when they were new
//! …
//! crc32 0a1b2c3d
//! ```
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use bramble_store::data_dir::{DataDirError, note};
use bramble_store::disk::Disk;

use super::{Measured, Media};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The kind.
    pub media: Media,
    /// Which device it was; empty when the kernel did not say.
    pub device: String,
    /// What the kind was judged by.
    pub measured: Measured,
}

impl Remembered {
    /// Reads what the directory has; `None` when there is nothing.
    ///
    /// # Errors
    /// The note is damaged, or cannot be read.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Remembered>, DataDirError> {
        let Some(text) = note::read(disk, dir, note::MEDIA)? else { return Ok(None) };
        let found = Remembered::parse(&text);
        found.map(Some).ok_or_else(|| DataDirError::Damaged {
            path: dir.join(note::MEDIA),
            what: "it names no kind of device that this version knows".to_owned(),
        })
    }

    /// Writes it, in place of what was there.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
        note::write(disk, dir, note::MEDIA, &self.text())
    }

    fn text(&self) -> String {
        let mut text = format!("kind {}\ndevice {}\n", self.media.word(), self.device);
        for (name, time) in figures(&self.measured) {
            let _ = writeln!(text, "{name}-us {}", time.as_micros());
        }
        text
    }

    fn parse(text: &str) -> Option<Remembered> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let time = |name: &str| value(name)?.parse().ok().map(Duration::from_micros);
        Some(Remembered {
            media: Media::named(value("kind")?)?,
            device: value("device")?.to_owned(),
            measured: Measured {
                small_in_row: time("small-in-row-us")?,
                small_scattered: time("small-scattered-us")?,
                page_in_row: time("page-in-row-us")?,
                page_scattered: time("page-scattered-us")?,
                large_in_row: time("large-in-row-us")?,
                flush: time("flush-us")?,
            },
        })
    }
}

fn figures(measured: &Measured) -> [(&'static str, Duration); 6] {
    [
        ("small-in-row", measured.small_in_row),
        ("small-scattered", measured.small_scattered),
        ("page-in-row", measured.page_in_row),
        ("page-scattered", measured.page_scattered),
        ("large-in-row", measured.large_in_row),
        ("flush", measured.flush),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_store::disk::sim::SimDisk;

    #[test]
    fn it_is_read_as_it_was_written_and_damage_is_called_so() {
        let us = Duration::from_micros;
        let measured = Measured {
            small_in_row: us(1),
            small_scattered: us(2),
            page_in_row: us(3),
            page_scattered: us(4),
            large_in_row: us(5),
            flush: us(6),
        };
        let (disk, dir) = (SimDisk::new(1), Path::new("/data"));
        disk.create_dir(dir).expect("a directory");
        assert_eq!(Remembered::read(&disk, dir).expect("nothing there"), None);
        for media in Media::ALL {
            let found = Remembered { media, device: "mmcblk0 1b534d".into(), measured };
            found.write(&disk, dir).expect("written");
            assert_eq!(Remembered::read(&disk, dir).expect("whole"), Some(found));
        }
        note::write(&disk, dir, note::MEDIA, "kind floppy\n").expect("written");
        let error = Remembered::read(&disk, dir).expect_err("unknown").to_string();
        assert!(error.contains("/data/MEDIA") && error.contains("no kind"), "{error}");
    }
}
