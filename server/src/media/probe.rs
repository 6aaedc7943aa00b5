//! Measures a device by writing to it: at most [`WRITTEN_BYTES_MAX`] into one file, which is removed again.
//!
//! ```text
//! file       │ 256 KiB of zeros, written and synced first: what follows are overwrites, as in the log
//! in a row   │ ─64─►─64─►─64─►─64─►      ─16─►─16─► …      ─4─►─4─► …
//! scattered  │                        ◄─16 . ◄─16 . ◄─16    ◄─4 . ◄─4 . …    from the end, every second place
//! ```
//! A series is eight writes at most, and ends after its third when it has taken a second: a poor card takes 0.4 s
//! for each of one kind. The middle one counts, so that a stall that strikes one does not.
//!
//! A poor card takes pages that do not begin where its own do for small writes, and hides them in a log of such.
//! Where on the card the file lies nobody knows, so scattered pages are tried from each of the four places in a
//! page at which a block of a file may begin, and the slowest counts.
use std::io;
use std::path::Path;
use std::time::Duration;

use bramble_store::disk::{AlignedBuf, Disk, File, Open};
use bramble_store::seams::Clock;

use super::judge::Measured;

/// Its file, in the data directory.
pub const FILE: &str = "MEDIA.probe";
/// What it writes at most.
pub const WRITTEN_BYTES_MAX: u64 = 1 << 20;

const FILE_BYTES: u64 = 256 << 10;
const SMALL: u64 = 4 << 10;
const PAGE: u64 = 16 << 10;
const LARGE: u64 = 64 << 10;
/// Writes of one series.
const SERIES_MAX: usize = 8;
/// After so many it may end early.
const SERIES_MIN: usize = 3;
const SERIES_TIME: Duration = Duration::from_secs(1);

/// Measures the device under `dir`.
///
/// # Errors
/// The first call that failed, with the file's name; the file is removed all the same.
pub fn run(disk: &dyn Disk, clock: &dyn Clock, dir: &Path) -> io::Result<Measured> {
    clear(disk, dir)?;
    let path = dir.join(FILE);
    let measured = measure(disk, clock, &path);
    let cleared = clear(disk, dir);
    let measured =
        measured.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    cleared.map(|()| measured)
}

/// Removes what a probe that was cut short has left.
///
/// # Errors
/// What the system says.
pub fn clear(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.unlink(&dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn measure(disk: &dyn Disk, clock: &dyn Clock, path: &Path) -> io::Result<Measured> {
    let file = disk.open(path, Open::CreateNew)?;
    let scratch = Scratch { file: &*file, clock, bytes: AlignedBuf::zeroed(LARGE as usize) };
    for offset in (0..FILE_BYTES).step_by(LARGE as usize) {
        scratch.write(offset, LARGE)?;
    }
    Ok(Measured {
        large_in_row: scratch.series(in_row(LARGE), LARGE)?,
        page_in_row: scratch.series(in_row(PAGE), PAGE)?,
        page_scattered: scratch.scattered_pages()?,
        small_in_row: scratch.series(in_row(SMALL), SMALL)?,
        small_scattered: scratch.series(scattered(SMALL), SMALL)?,
        flush: scratch.flushes()?,
    })
}

/// From the beginning, one after the other.
fn in_row(length: u64) -> impl Iterator<Item = u64> {
    (0..FILE_BYTES / length).map(move |nth| nth * length)
}

/// From the end to the beginning, every second one.
fn scattered(length: u64) -> impl Iterator<Item = u64> {
    (0..FILE_BYTES / length).rev().step_by(2).map(move |nth| nth * length)
}

struct Scratch<'a> {
    file: &'a dyn File,
    clock: &'a dyn Clock,
    bytes: AlignedBuf,
}

impl Scratch<'_> {
    fn write(&self, offset: u64, length: u64) -> io::Result<()> {
        self.file.write_at(offset, self.bytes.slice(0, length as usize))?;
        self.file.sync()
    }

    fn series(&self, offsets: impl Iterator<Item = u64>, length: u64) -> io::Result<Duration> {
        self.middle_of(offsets.map(|offset| move || self.write(offset, length)))
    }

    fn scattered_pages(&self) -> io::Result<Duration> {
        let mut slowest = Duration::ZERO;
        for shift in (0..PAGE).step_by(SMALL as usize) {
            // The last page of the file would end behind it.
            let offsets = scattered(PAGE).skip(1).take(SERIES_MIN).map(|offset| offset + shift);
            slowest = slowest.max(self.series(offsets, PAGE)?);
        }
        Ok(slowest)
    }

    fn flushes(&self) -> io::Result<Duration> {
        self.middle_of(std::iter::repeat_with(|| || self.file.settle()))
    }

    fn middle_of<F: FnOnce() -> io::Result<()>>(
        &self,
        calls: impl Iterator<Item = F>,
    ) -> io::Result<Duration> {
        let begun = self.clock.now();
        let mut took = Vec::with_capacity(SERIES_MAX);
        for call in calls.take(SERIES_MAX) {
            let called = self.clock.now();
            call()?;
            let now = self.clock.now();
            took.push(now.saturating_sub(called));
            if took.len() >= SERIES_MIN && now.saturating_sub(begun) >= SERIES_TIME {
                break;
            }
        }
        took.sort_unstable();
        // The lower one of two: a stall makes a write longer, and nothing makes it shorter.
        Ok(took[(took.len() - 1) / 2])
    }
}
