//! What goes to the device through the disk seam, counted at the seam: every byte of the log and of
//! the data directory's small files, by why it was written. What the engine writes goes around the
//! seam; the engine counts that itself.
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bramble_store::disk::{AlignedSlice, Disk, File, LockError, LockGuard, Open};
use prometheus::Histogram;

use super::seconds;

/// Why something is written. The log's thread is the only writer once the member runs; which of its writes
/// are zeros is told by the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Opening: identity, lock, the first zeros of a new log.
    Start = 0,
    /// Frames of the log.
    Log = 1,
    /// Zeros ahead of the log's write position, those that a frame waits for too.
    LogFill = 2,
}

const CAUSES: [(Cause, &str); 3] =
    [(Cause::Start, "start"), (Cause::Log, "log"), (Cause::LogFill, "log_fill")];

/// Counts of one member's disk seam.
pub(crate) struct DiskMeter {
    /// The member runs: what is written from now on is the log's.
    running: AtomicBool,
    written_bytes: [AtomicU64; CAUSES.len()],
    read_bytes: AtomicU64,
    /// Each write of frames.
    log_write: Histogram,
}

impl DiskMeter {
    pub(super) fn new(log_write: Histogram) -> DiskMeter {
        DiskMeter {
            running: AtomicBool::new(false),
            written_bytes: Default::default(),
            read_bytes: AtomicU64::new(0),
            log_write,
        }
    }

    /// The log's thread has taken over.
    pub(super) fn begin_running(&self) {
        self.running.store(true, Ordering::Relaxed);
    }

    /// Bytes written for each cause, by its name.
    pub(crate) fn written(&self) -> [(&'static str, u64); CAUSES.len()] {
        CAUSES.map(|(cause, name)| (name, self.written_bytes[cause as usize].load(Ordering::Relaxed)))
    }

    /// Bytes read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// `cause`: why, if the member runs.
    fn wrote(&self, cause: Cause, bytes: usize) -> Cause {
        let cause = if self.running.load(Ordering::Relaxed) { cause } else { Cause::Start };
        self.written_bytes[cause as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        cause
    }

    fn wrote_frames(&self, bytes: usize, begun: Instant) {
        if self.wrote(Cause::Log, bytes) == Cause::Log {
            self.log_write.observe(seconds(begun.elapsed()));
        }
    }
}

/// A disk whose files are counted.
pub(crate) struct MeteredDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) meter: Arc<DiskMeter>,
}

impl Disk for MeteredDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, how)?;
        Ok(Arc::new(MeteredFile { file, meter: self.meter.clone() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn LockGuard>, LockError> {
        self.disk.lock(path)
    }
}

struct MeteredFile {
    file: Arc<dyn File>,
    meter: Arc<DiskMeter>,
}

impl File for MeteredFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.meter.read_bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.file.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, data: AlignedSlice<'_>) -> io::Result<()> {
        let (begun, bytes) = (Instant::now(), data.len());
        let written = self.file.write_at(offset, data);
        self.meter.wrote_frames(bytes, begun);
        written
    }

    fn fill_at(&self, offset: u64, zeros: AlignedSlice<'_>) -> io::Result<()> {
        let bytes = zeros.len();
        let written = self.file.fill_at(offset, zeros);
        self.meter.wrote(Cause::LogFill, bytes);
        written
    }

    fn write_small(&self, data: &[u8]) -> io::Result<()> {
        let begun = Instant::now();
        let written = self.file.write_small(data);
        self.meter.wrote_frames(data.len(), begun);
        written
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn settle(&self) -> io::Result<()> {
        self.file.settle()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bramble_store::disk::sim::SimDisk;
    use bramble_store::log::{Log, LogOptions, Vote};

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn zeros_that_a_frame_waits_for_are_no_frames() {
        let (metrics, _) = Metrics::new(Duration::from_secs(1));
        let disk = MeteredDisk { disk: Arc::new(SimDisk::new(1)), meter: metrics.disk.clone() };
        // One block of zeros: every frame has to write its own.
        let options = LogOptions { first_fill_bytes: 4096, segment_bytes: 1 << 20, ..LogOptions::default() };
        let (mut log, _) = Log::open(Arc::new(disk), Path::new("/log"), options).expect("an empty disk");
        let written = || metrics.disk.written().map(|(_, bytes)| bytes);
        let [start, ..] = written();
        assert!(start > 0, "{:?}", written());
        assert_eq!(written()[1..], [0, 0]);
        metrics.log.begin();
        let frames_written = |log: &mut Log, term| {
            log.save_vote(Vote { term, ..Vote::default() });
            log.flush().expect("the disk works").bytes
        };
        let bytes: u64 = (1..=100).map(|term| frames_written(&mut log, term)).sum();
        let [started, frames, zeros] = written();
        assert_eq!((started, frames), (start, bytes));
        assert!((256 << 10..1 << 20).contains(&zeros), "{zeros} bytes of zeros for {frames} of frames");
        assert_eq!(metrics.disk.log_write.get_sample_count(), 100);
    }
}
