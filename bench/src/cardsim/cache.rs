//! What a disk was given and has not made durable: the states of each sector, in the order of the writes.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bramble_store::disk::sim::Rng;

/// The smallest piece that a disk writes or loses.
pub const SECTOR_BYTES: usize = 512;

pub(super) type Sector = [u8; SECTOR_BYTES];

/// What a power cut leaves of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Nothing.
    Drop,
    /// All of it: the cache was written out in the last moment.
    Keep,
    /// The first writes, in their order; the next one is torn.
    Prefix,
    /// Each piece or not, by chance.
    Subset,
    /// Of each piece any state that it had since the last flush.
    Old,
    /// All but the end of one write.
    Tear,
}

/// The smallest piece that a cut keeps, loses or tears off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// 512 bytes: all that disks promise.
    Sector,
    /// 4 KiB, aligned: what flash has at least. File systems need it in places: ext4's superblock and the
    /// directories of xfs have a checksum over several sectors, and are lost when a cut comes between these.
    Page,
}

impl Grain {
    fn sectors(self) -> u64 {
        match self {
            Grain::Sector => 1,
            Grain::Page => 8,
        }
    }
}

/// All kinds of cuts.
pub const CUTS: [Cut; 6] = [Cut::Drop, Cut::Keep, Cut::Prefix, Cut::Subset, Cut::Old, Cut::Tear];

/// One state of a sector.
#[derive(Debug)]
struct State {
    /// The write that made it, counted since the disk was made.
    write: u64,
    sector: Box<Sector>,
}

#[derive(Debug)]
struct Extent {
    first: u64,
    sectors: u64,
}

/// See the module. Every state that a sector had is kept, for any of them may be what the power leaves.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Oldest first.
    writes: VecDeque<Extent>,
    /// The number of the oldest of them.
    oldest: u64,
    /// Of each sector, oldest first.
    sectors: BTreeMap<u64, VecDeque<State>>,
    bytes: usize,
}

impl Cache {
    /// Bytes of all writes in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sectors that are younger here than on the medium.
    pub(super) fn dirty(&self) -> u64 {
        self.sectors.len() as u64
    }

    /// Takes a write of whole sectors from sector `first` on.
    pub(super) fn write(&mut self, first: u64, sectors: &[Sector]) {
        let write = self.oldest + self.writes.len() as u64;
        self.writes.push_back(Extent { first, sectors: sectors.len() as u64 });
        self.bytes += size_of_val(sectors);
        for (number, sector) in (first..).zip(sectors) {
            let state = State { write, sector: Box::new(*sector) };
            self.sectors.entry(number).or_default().push_back(state);
        }
    }

    /// Puts what is in it over `into`, which was read from the medium at `offset`.
    pub(super) fn overlay(&self, offset: u64, into: &mut [u8]) {
        let unit = SECTOR_BYTES as u64;
        let end = offset + into.len() as u64;
        for (number, states) in self.sectors.range(offset / unit..end.div_ceil(unit)) {
            let Some(newest) = states.back() else { continue };
            let begins = number * unit;
            let (from, to) = (begins.max(offset), (begins + unit).min(end));
            let piece = &newest.sector[(from - begins) as usize..(to - begins) as usize];
            into[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
        }
    }

    /// Takes the oldest write out, as a disk does that runs out of cache.
    pub(super) fn take_oldest(&mut self) -> Vec<(u64, Box<Sector>)> {
        let Some(extent) = self.writes.pop_front() else { return Vec::new() };
        let write = self.oldest;
        self.oldest += 1;
        self.bytes -= extent.sectors as usize * SECTOR_BYTES;
        let take = |number| {
            let states = self.sectors.get_mut(&number)?;
            states.front().filter(|state| state.write == write)?;
            let state = states.pop_front()?;
            if states.is_empty() {
                self.sectors.remove(&number);
            }
            Some((number, state.sector))
        };
        (extent.first..extent.first + extent.sectors).filter_map(take).collect()
    }

    /// Takes all out: the newest state of each sector.
    pub(super) fn take_all(&mut self) -> Vec<(u64, Box<Sector>)> {
        self.survivors(Cut::Keep, Grain::Sector, &mut Rng::new(0))
    }

    /// Takes all out, and keeps what `cut` leaves.
    pub(super) fn survivors(&mut self, cut: Cut, grain: Grain, rng: &mut Rng) -> Vec<(u64, Box<Sector>)> {
        let torn = self.torn(grain, rng);
        let sectors: Vec<_> = std::mem::take(&mut self.sectors).into_iter().collect();
        self.oldest += self.writes.len() as u64;
        self.writes.clear();
        self.bytes = 0;
        let mut survivors = Vec::new();
        for piece in sectors.chunk_by(|(one, _), (next, _)| one / grain.sectors() == next / grain.sectors()) {
            let last = last_write(piece, cut, &torn, rng);
            for (number, states) in piece {
                let wrote = |state: &&State| {
                    let whole = state.write != torn.write || *number < torn.before;
                    last.is_some_and(|last| state.write <= last) && (whole || !torn.applies_to(cut))
                };
                survivors.extend(states.iter().rfind(wrote).map(|state| (*number, state.sector.clone())));
            }
        }
        survivors
    }

    /// A write by chance, and a place within it.
    fn torn(&self, grain: Grain, rng: &mut Rng) -> Torn {
        let nth = rng.below(self.writes.len() as u64);
        let Some(extent) = self.writes.get(nth as usize) else { return Torn { write: 0, before: 0 } };
        let unit = grain.sectors();
        let before = (extent.first / unit + rng.below(extent.sectors.div_ceil(unit))) * unit;
        Torn { write: self.oldest + nth, before }
    }
}

/// The last write that reached a piece of the medium; `None`: none did.
fn last_write(piece: &[(u64, VecDeque<State>)], cut: Cut, torn: &Torn, rng: &mut Rng) -> Option<u64> {
    match cut {
        Cut::Drop => None,
        Cut::Keep | Cut::Tear => Some(u64::MAX),
        Cut::Prefix => Some(torn.write),
        Cut::Subset => rng.chance(50).then_some(u64::MAX),
        Cut::Old => {
            let writes = piece.iter().flat_map(|(_, states)| states).map(|state| state.write);
            let writes: Vec<u64> = writes.collect::<BTreeSet<u64>>().into_iter().collect();
            let chosen = rng.below(writes.len() as u64 + 1) as usize;
            chosen.checked_sub(1).map(|index| writes[index])
        }
    }
}

/// Of this write only the sectors before `before` were written.
struct Torn {
    write: u64,
    before: u64,
}

impl Torn {
    fn applies_to(&self, cut: Cut) -> bool {
        matches!(cut, Cut::Prefix | Cut::Tear)
    }
}
