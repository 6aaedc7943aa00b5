//! The least that a durable write can be: 4 KiB written over, in place, at a pace.
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bramble_store::disk::real::RealDisk;
use bramble_store::disk::{AlignedBuf, Disk as _, File, Open};

const BLOCK: usize = 4096;
/// Blocks that are gone through.
const BLOCKS: u64 = 256;

/// A file whose blocks are on the device.
pub struct Bare(std::sync::Arc<dyn File>);

impl Bare {
    /// Makes it.
    pub fn make(dir: &Path) -> io::Result<Bare> {
        let bare = Bare(RealDisk.open(&dir.join("bare"), Open::CreateNew)?);
        (0..BLOCKS).try_for_each(|number| bare.overwrite(number))?;
        Ok(bare)
    }

    fn overwrite(&self, number: u64) -> io::Result<()> {
        self.0.write_at(number % BLOCKS * BLOCK as u64, AlignedBuf::zeroed(BLOCK).slice(0, BLOCK))?;
        self.0.sync()
    }

    /// Overwrites one block after the other for so long, each made durable. How many there were.
    pub fn run(&self, rate: f64, measured: Duration) -> io::Result<u64> {
        let begun = Instant::now();
        let count = (rate * measured.as_secs_f64()) as u64;
        for number in 0..count {
            let due = Duration::from_secs_f64(number as f64 / rate);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            self.overwrite(number)?;
        }
        Ok(count)
    }
}
