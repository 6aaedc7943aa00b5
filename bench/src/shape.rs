//! What a durable write costs, by the shape of the log that makes it. Nothing but the file and its flush.
//!
//! | shape | file | write |
//! |---|---|---|
//! | append | grows | 1,100 B, `fdatasync` |
//! | fallocate | room reserved before | 1,100 B, `fdatasync` |
//! | overwrite tail | zeros written before | 1,100 B, `fdatasync` |
//! | overwrite 4 KiB, 16 KiB | zeros written before | one aligned block around the cache, durable when it returns |
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bramble_store::disk::real::RealDisk;
use bramble_store::disk::{AlignedBuf, Disk as _, Open};

use crate::load::{Tally, Times};

/// A record of a log: a value of 1 KiB, its key and a header.
const RECORD: usize = 1100;
/// The file; writes begin again at its start.
const FILE_BYTES: u64 = 4 << 20;

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each record makes the file longer.
    Append,
    /// The file has its length, but its blocks were never written.
    Fallocate,
    /// The file was written once; records go over it without regard for blocks.
    OverwriteTail,
    /// Blocks of 4 KiB are written over.
    Overwrite4k,
    /// Blocks of 16 KiB are written over.
    Overwrite16k,
}

impl Shape {
    /// All.
    pub const ALL: [Shape; 5] =
        [Shape::Append, Shape::Fallocate, Shape::OverwriteTail, Shape::Overwrite4k, Shape::Overwrite16k];

    /// As it is told.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Append => "append",
            Shape::Fallocate => "fallocate",
            Shape::OverwriteTail => "overwrite tail",
            Shape::Overwrite4k => "overwrite 4 KiB",
            Shape::Overwrite16k => "overwrite 16 KiB",
        }
    }
}

/// A file of one shape, ready to be written.
pub struct Log {
    file: Kind,
    /// How long a write is.
    step: usize,
    at: u64,
    end: u64,
}

enum Kind {
    /// Through the cache, then `fdatasync`.
    Cached(File),
    /// Around it.
    Direct(Arc<dyn bramble_store::disk::File>),
}

impl Log {
    /// Makes it in `dir`, durable.
    ///
    /// # Errors
    /// What the system says, as for all below.
    pub fn make(shape: Shape, dir: &Path) -> io::Result<Log> {
        let path = dir.join("log");
        let end = if shape == Shape::Append { u64::MAX } else { FILE_BYTES };
        let (file, step) = match shape {
            Shape::Overwrite4k => (Kind::Direct(written(&path)?), 4096),
            Shape::Overwrite16k => (Kind::Direct(written(&path)?), 16384),
            Shape::OverwriteTail => {
                written(&path)?;
                (Kind::Cached(OpenOptions::new().write(true).open(&path)?), RECORD)
            }
            Shape::Append | Shape::Fallocate => (Kind::Cached(File::create_new(&path)?), RECORD),
        };
        if let (Shape::Fallocate, Kind::Cached(file)) = (shape, &file) {
            rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES)?;
            file.sync_all()?;
        }
        RealDisk.sync_dir(dir)?;
        Ok(Log { file, step, at: 0, end })
    }

    /// Writes on, durably.
    fn write(&mut self) -> io::Result<()> {
        if self.at + self.step as u64 > self.end {
            self.at = 0;
        }
        match &self.file {
            Kind::Cached(file) => {
                file.write_all_at(&[b'x'; RECORD], self.at)?;
                file.sync_data()?;
            }
            Kind::Direct(file) => {
                file.write_at(self.at, AlignedBuf::zeroed(self.step).slice(0, self.step))?;
                file.sync()?;
            }
        }
        self.at += self.step as u64;
        Ok(())
    }

    /// Writes for so long, at so many writes a second or one after the other; how long they took.
    pub fn run(&mut self, rate: Option<f64>, measured: Duration) -> io::Result<Times> {
        let (begun, mut tally) = (Instant::now(), Tally::default());
        let mut due = Duration::ZERO;
        while due < measured {
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let before = begun.elapsed();
            self.write()?;
            tally.answered(begun.elapsed() - before, self.step as u64);
            due = rate.map_or_else(|| begun.elapsed(), |rate| due + Duration::from_secs_f64(1.0 / rate));
        }
        Ok(Times::of(&tally, measured))
    }
}

/// A file of zeros that are on the device.
fn written(path: &Path) -> io::Result<Arc<dyn bramble_store::disk::File>> {
    const CHUNK: usize = 1 << 20;
    let file = RealDisk.open(path, Open::CreateNew)?;
    for at in (0..FILE_BYTES).step_by(CHUNK) {
        file.write_at(at, AlignedBuf::zeroed(CHUNK).slice(0, CHUNK))?;
    }
    file.sync()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_writes_in_its_place() {
        for shape in Shape::ALL {
            let dir = tempfile::tempdir().expect("a folder");
            let mut log = Log::make(shape, dir.path()).expect("a log");
            let times = log.run(Some(100.0), Duration::from_millis(100)).expect("writes");
            assert_eq!(times.count, 10, "{shape:?}");
            let bytes = std::fs::metadata(dir.path().join("log")).expect("the file").len();
            let wanted = if shape == Shape::Append { 10 * RECORD as u64 } else { FILE_BYTES };
            assert_eq!(bytes, wanted, "{shape:?}");
            log.at = log.end - 1;
            if shape != Shape::Append {
                log.write().expect("a write at the start again");
                assert_eq!(log.at, log.step as u64, "{shape:?}");
            }
        }
    }
}
