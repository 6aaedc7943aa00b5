//! The disk: sectors on an image, younger ones in a cache that forgets.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bramble_store::disk::sim::Rng;

use super::cache::{Cache, Cut, Grain, SECTOR_BYTES, Sector};

/// What the cache holds at most; beyond it the oldest writes go to the medium. Only a disk that lies about
/// flushes comes near.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// Calls to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sectors are read.
    Read,
    /// Sectors are written into the cache.
    Write,
    /// The cache is emptied onto the medium.
    Flush,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// Input/output error.
    Eio,
    /// No space left on device.
    Enospc,
    /// Read-only file system.
    Erofs,
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(match errno {
            Errno::Eio => 5,
            Errno::Enospc => 28,
            Errno::Erofs => 30,
        })
    }
}

/// One call fails, or all of its kind from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of call.
    pub call: Call,
    /// How many calls of the kind go well before it.
    pub after: u64,
    /// How it fails.
    pub errno: Errno,
    /// Whether all later ones fail, too.
    pub for_ever: bool,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediumCounts {
    /// Calls that read.
    pub reads: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Bytes written by them.
    pub written_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Power cuts that found something in the cache.
    pub dirty_cuts: u64,
    /// Sectors that cuts found in the cache.
    pub dirty_sectors: u64,
    /// Those of them that cuts wrote, in some state.
    pub kept_sectors: u64,
    /// Calls that a [`Fault`] let fail.
    pub faults: u64,
}

/// A cut that waits for its moment.
#[derive(Clone, Copy, Debug)]
struct Doom {
    /// Writes and flushes that go well before it.
    after: u64,
    cut: Cut,
    seed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Medium {
    image: File,
    bytes: u64,
    cache: Cache,
    grain: Grain,
    powered: bool,
    lies: bool,
    writes_through: bool,
    fault: Option<Fault>,
    doom: Option<Doom>,
    counts: MediumCounts,
}

impl Medium {
    /// A disk of `bytes` (whole sectors) on `image`, which keeps what was flushed.
    ///
    /// # Errors
    /// The image cannot be made so long.
    pub fn new(image: File, bytes: u64) -> io::Result<Medium> {
        image.set_len(bytes)?;
        let (cache, counts) = (Cache::default(), MediumCounts::default());
        let (grain, powered, lies, writes_through) = (Grain::Sector, true, false, false);
        let (fault, doom) = (None, None);
        Ok(Medium { image, bytes, cache, grain, powered, lies, writes_through, fault, doom, counts })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What was done so far.
    pub fn counts(&self) -> MediumCounts {
        self.counts
    }

    /// Whether it answers.
    pub fn powered(&self) -> bool {
        self.powered
    }

    /// The smallest piece for cuts from now on; a sector when nothing is said.
    pub fn set_grain(&mut self, grain: Grain) {
        self.grain = grain;
    }

    /// From now on a flush is answered and not done, or done again.
    pub fn lie(&mut self, lies: bool) {
        self.lies = lies;
    }

    /// From now on what is written is on the medium when it is answered, as on a disk without a cache, or is
    /// not.
    pub fn write_through(&mut self, writes_through: bool) {
        self.writes_through = writes_through;
    }

    /// Lets calls fail; `None`: they go well again.
    pub fn fail(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// The power will go in place of the next write or flush but `after`, as by [`Medium::cut`].
    pub fn cut_at(&mut self, after: u64, cut: Cut, seed: u64) {
        self.doom = Some(Doom { after, cut, seed });
    }

    /// Fills `into` from `offset` on; short at the end of the disk.
    ///
    /// # Errors
    /// Without power, by a [`Fault`], or the image's.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.admit(Call::Read)?;
        self.counts.reads += 1;
        let length = into.len().min(usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX));
        let into = &mut into[..length];
        self.image.read_exact_at(into, offset)?;
        self.cache.overlay(offset, into);
        Ok(length)
    }

    /// Takes whole sectors into the cache.
    ///
    /// # Errors
    /// Parts of sectors, beyond the end; without power, by a [`Fault`].
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.admit(Call::Write)?;
        let (sectors, rest) = bytes.as_chunks::<SECTOR_BYTES>();
        let whole = offset.is_multiple_of(SECTOR_BYTES as u64) && rest.is_empty();
        if !whole || offset + bytes.len() as u64 > self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.counts.writes += 1;
        self.counts.written_bytes += bytes.len() as u64;
        self.cache.write(offset / SECTOR_BYTES as u64, sectors);
        if self.writes_through {
            let all = self.cache.take_all();
            return self.settle(all);
        }
        while self.cache.bytes() > CACHE_BYTES_MAX {
            let oldest = self.cache.take_oldest();
            self.settle(oldest)?;
        }
        Ok(())
    }

    /// Empties the cache onto the image.
    ///
    /// # Errors
    /// Without power, by a [`Fault`], or the image's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.admit(Call::Flush)?;
        self.counts.flushes += 1;
        if self.lies {
            return Ok(());
        }
        let all = self.cache.take_all();
        self.settle(all)
    }

    /// The power goes: of the cache is kept what `cut` says, and every call fails until [`Medium::power_on`].
    ///
    /// # Errors
    /// The image's.
    pub fn cut(&mut self, cut: Cut, seed: u64) -> io::Result<()> {
        (self.powered, self.doom) = (false, None);
        self.counts.cuts += 1;
        self.counts.dirty_cuts += u64::from(self.cache.dirty() > 0);
        self.counts.dirty_sectors += self.cache.dirty();
        let survivors = self.cache.survivors(cut, self.grain, &mut Rng::new(seed));
        self.counts.kept_sectors += survivors.len() as u64;
        self.settle(survivors)
    }

    /// The power comes back; the cache is empty, and nothing fails any more.
    pub fn power_on(&mut self) {
        self.powered = true;
        self.fault = None;
    }

    /// Damages one bit of what is on the medium.
    ///
    /// # Errors
    /// The image's.
    pub fn flip(&mut self, offset: u64, bit: u8) -> io::Result<()> {
        let mut byte = [0];
        self.image.read_exact_at(&mut byte, offset)?;
        byte[0] ^= 1 << (bit % 8);
        self.image.write_all_at(&byte, offset)
    }

    /// Whether this call goes through.
    fn admit(&mut self, call: Call) -> io::Result<()> {
        if self.powered
            && call != Call::Read
            && let Some(doom) = &mut self.doom
        {
            match doom.after.checked_sub(1) {
                Some(left) => doom.after = left,
                None => {
                    let Doom { cut, seed, .. } = *doom;
                    self.cut(cut, seed)?;
                }
            }
        }
        if !self.powered {
            return Err(Errno::Eio.into());
        }
        self.struck(call).map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// How this call fails, if it is the one.
    fn struck(&mut self, call: Call) -> Option<Errno> {
        let fault = self.fault.as_mut().filter(|fault| fault.call == call)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let Fault { errno, for_ever, .. } = *fault;
        if !for_ever {
            self.fault = None;
        }
        self.counts.faults += 1;
        Some(errno)
    }

    /// Writes sectors onto the image, neighbours at once.
    fn settle(&mut self, sectors: Vec<(u64, Box<Sector>)>) -> io::Result<()> {
        for run in sectors.chunk_by(|(one, _), (next, _)| one + 1 == *next) {
            let bytes: Vec<u8> = run.iter().flat_map(|(_, sector)| **sector).collect();
            let first = run.first().map_or(0, |(number, _)| *number);
            self.image.write_all_at(&bytes, first * SECTOR_BYTES as u64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: u64 = 16;

    fn medium() -> Medium {
        Medium::new(tempfile::tempfile().expect("a file"), SECTORS * SECTOR_BYTES as u64).expect("a disk")
    }

    fn write(medium: &mut Medium, first: u64, count: usize, fill: u8) {
        medium.write(first * SECTOR_BYTES as u64, &vec![fill; count * SECTOR_BYTES]).expect("written");
    }

    /// The first byte of each sector, after checking that the rest of it is the same.
    fn sectors(medium: &mut Medium) -> Vec<u8> {
        let mut bytes = vec![0; (SECTORS as usize) * SECTOR_BYTES];
        assert_eq!(medium.read(0, &mut bytes).expect("read"), bytes.len());
        let (sectors, _) = bytes.as_chunks::<SECTOR_BYTES>();
        sectors
            .iter()
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
                sector[0]
            })
            .collect()
    }

    fn after(cut: Cut, seed: u64) -> Vec<u8> {
        let mut medium = medium();
        write(&mut medium, 0, 16, 1);
        medium.flush().expect("flushed");
        write(&mut medium, 0, 4, 2);
        write(&mut medium, 2, 8, 3);
        write(&mut medium, 0, 2, 4);
        medium.cut(cut, seed).expect("cut");
        assert!(medium.read(0, &mut [0; 512]).is_err() && medium.write(0, &[0; 512]).is_err());
        assert!(medium.flush().is_err());
        medium.power_on();
        sectors(&mut medium)
    }

    #[test]
    fn what_a_disk_without_a_cache_was_sent_stays() {
        let mut medium = medium();
        medium.write_through(true);
        write(&mut medium, 3, 2, 7);
        medium.cut(Cut::Drop, 1).expect("cut");
        medium.power_on();
        assert_eq!(sectors(&mut medium)[2..6], [0, 7, 7, 0]);
    }

    #[test]
    fn what_is_flushed_stays_and_what_is_not_is_what_the_cut_says() {
        assert_eq!(after(Cut::Drop, 1), [1; 16]);
        let newest = [4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1];
        assert_eq!(after(Cut::Keep, 1), newest);
        let (mut reached, mut torn) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..300 {
            let subset = after(Cut::Subset, seed);
            assert!(subset.iter().zip(newest).all(|(is, newest)| *is == newest || *is == 1), "{subset:?}");
            let old = after(Cut::Old, seed);
            let had = |sector: usize| -> &[u8] {
                match sector {
                    0..2 => &[1, 2, 4],
                    2..4 => &[1, 2, 3],
                    4..10 => &[1, 3],
                    _ => &[1],
                }
            };
            assert!(old.iter().enumerate().all(|(sector, is)| had(sector).contains(is)), "{old:?}");
            let prefix = after(Cut::Prefix, seed);
            // No sector of a write without all of those before it.
            assert!(!prefix[2..10].contains(&3) || prefix[..2].iter().all(|is| *is != 1), "{prefix:?}");
            assert!(!prefix[..2].contains(&4) || prefix[2..10].iter().all(|is| *is == 3), "{prefix:?}");
            let tear = after(Cut::Tear, seed);
            assert!(tear[..2] == newest[..2] || tear[2..10] == newest[2..10], "one write: {tear:?}");
            torn += usize::from(tear != newest);
            reached.extend([subset, old, prefix, tear]);
        }
        assert!(reached.len() > 100 && torn > 50, "{} ends, {torn} torn", reached.len());
    }

    #[test]
    fn a_read_sees_what_is_not_flushed_also_across_sectors() {
        let mut medium = medium();
        write(&mut medium, 1, 1, 7);
        let mut bytes = [0; 600];
        assert_eq!(medium.read(300, &mut bytes).expect("read"), 600);
        assert!(bytes[..212].iter().all(|byte| *byte == 0) && bytes[212..].iter().all(|byte| *byte == 7));
        let end = medium.bytes();
        assert_eq!(medium.read(end - 100, &mut bytes).expect("short"), 100);
    }

    #[test]
    fn a_lying_flush_loses_what_it_promised() {
        let mut medium = medium();
        medium.lie(true);
        write(&mut medium, 0, 1, 9);
        medium.flush().expect("it says so");
        medium.cut(Cut::Drop, 1).expect("cut");
        medium.power_on();
        assert_eq!(sectors(&mut medium)[0], 0);
    }

    #[test]
    fn pages_stay_whole_where_they_are_the_smallest_piece() {
        let mut torn = 0;
        for seed in 0..100 {
            for cut in [Cut::Prefix, Cut::Subset, Cut::Old, Cut::Tear] {
                let mut medium = medium();
                medium.set_grain(Grain::Page);
                for fill in 1..4 {
                    write(&mut medium, 0, 16, fill);
                }
                medium.cut(cut, seed).expect("cut");
                medium.power_on();
                let sectors = sectors(&mut medium);
                let whole = |page: &[u8]| page.iter().all(|sector| *sector == page[0]);
                assert!(whole(&sectors[..8]) && whole(&sectors[8..]), "{cut:?}: {sectors:?}");
                torn += usize::from(sectors[0] != sectors[8]);
            }
        }
        assert!(torn > 50, "only {torn} cuts came between the pages");
    }

    #[test]
    fn a_cache_that_is_full_writes_its_oldest() {
        let mut medium = medium();
        let all = vec![5; SECTORS as usize * SECTOR_BYTES];
        for _ in 0..=CACHE_BYTES_MAX / all.len() {
            medium.write(0, &all).expect("written");
        }
        write(&mut medium, 3, 1, 6);
        medium.cut(Cut::Drop, 1).expect("cut");
        medium.power_on();
        assert_eq!(sectors(&mut medium), [5; SECTORS as usize]);
    }

    #[test]
    fn the_power_goes_at_the_call_that_was_named() {
        let mut medium = medium();
        medium.cut_at(2, Cut::Keep, 1);
        write(&mut medium, 0, 1, 1);
        medium.read(0, &mut [0; 512]).expect("a read does not count");
        medium.flush().expect("flushed");
        assert!(medium.powered() && medium.write(0, &[2; 512]).is_err() && !medium.powered());
        medium.power_on();
        assert_eq!(sectors(&mut medium)[0], 1);
        write(&mut medium, 0, 1, 3);
        medium.flush().expect("it goes once");
    }

    #[test]
    fn calls_fail_when_they_are_told_to() {
        let mut medium = medium();
        let fault = Fault { call: Call::Write, after: 1, errno: Errno::Enospc, for_ever: false };
        medium.fail(Some(fault));
        write(&mut medium, 0, 1, 1);
        medium.flush().expect("only writes fail");
        let failed = medium.write(0, &[2; 512]).expect_err("the second write");
        assert_eq!(failed.raw_os_error(), Some(28));
        write(&mut medium, 0, 1, 3);
        medium.fail(Some(Fault { call: Call::Flush, after: 0, errno: Errno::Eio, for_ever: true }));
        assert!(medium.flush().is_err() && medium.flush().is_err());
        medium.flip(0, 1).expect("flipped");
        medium.cut(Cut::Drop, 1).expect("cut");
        medium.power_on();
        let mut first = [0];
        medium.read(0, &mut first).expect("read");
        assert_eq!(first, [3], "1 with a bit flipped");
    }
}
