//! A card that maps pages: it writes where there is room, and cleans blocks of which little is valid.
use std::collections::{BTreeSet, HashMap};

use super::{Ftl, Preset, Wear};

/// What is mapped: 4 KiB.
const UNIT: u64 = 4 << 10;
/// The part of the card that is modelled. Offsets beyond it wrap around.
const MODELLED_BYTES: u64 = 256 << 20;
/// Cleaning begins when fewer blocks are free, and ends at one more.
const FREE_MIN: usize = 2;
/// Writes below this go to the buffer of single-level cells.
const SMALL: u64 = 64 << 10;

/// Where it stands.
#[derive(Clone, Debug)]
pub(super) struct Paged {
    units_per_block: u64,
    units: u64,
    /// Unit → block that has it.
    map: HashMap<u64, usize>,
    /// For each block: how many of its units are valid, and all that were written to it.
    valid: Vec<u64>,
    held: Vec<Vec<u64>>,
    free: Vec<usize>,
    current: usize,
    /// Units written to the current block.
    position: u64,
    /// Small writes since the buffer was emptied.
    buffered_bytes: u64,
}

impl Paged {
    /// A card of which a part is in use. What filling it took goes to `wear`.
    pub fn new(preset: &Preset, spare: f64, filled: f64, wear: &mut Wear) -> Paged {
        let units = MODELLED_BYTES / UNIT;
        let blocks = (MODELLED_BYTES as f64 * (1.0 + spare) / preset.block_bytes as f64) as usize + 3;
        let mut paged = Paged {
            units_per_block: preset.block_bytes / UNIT,
            units,
            map: HashMap::new(),
            valid: vec![0; blocks],
            held: vec![Vec::new(); blocks],
            free: (0..blocks - 1).collect(),
            current: blocks - 1,
            position: 0,
            buffered_bytes: 0,
        };
        for unit in 0..(units as f64 * filled) as u64 {
            paged.place(preset, wear, Some(unit));
        }
        paged
    }

    /// What a write takes beside the request and the moving of its bytes.
    pub fn write(&mut self, preset: &Preset, wear: &mut Wear, offset: u64, length: u64) -> f64 {
        let Ftl::Paged { slc, fold_bytes, fold_s, .. } = preset.ftl else {
            unreachable!("made for this kind only")
        };
        let mut seconds = 0.0;
        let touched = offset / UNIT..(offset + length - 1) / UNIT + 1;
        let count = touched.end - touched.start;
        for unit in touched {
            seconds += self.place(preset, wear, Some(unit % self.units));
        }
        // Without a cache the write must be on the flash when it is answered: the rest of the page is lost.
        let page = preset.page_bytes / UNIT;
        let padding = if preset.flush_s.is_some() { 0 } else { (page - count % page) % page };
        if slc {
            wear.padding_bytes += padding * UNIT;
        } else {
            for _ in 0..padding {
                seconds += self.place(preset, wear, None);
            }
        }
        if length < SMALL {
            self.buffered_bytes += (count + padding) * UNIT;
        }
        if self.buffered_bytes >= fold_bytes {
            self.buffered_bytes -= fold_bytes;
            seconds += fold_s;
        }
        seconds
    }

    /// Writes a unit, or padding, to the current block; the seconds that cleaning took.
    fn place(&mut self, preset: &Preset, wear: &mut Wear, unit: Option<u64>) -> f64 {
        let mut seconds = 0.0;
        if self.position >= self.units_per_block {
            self.current = self.free.pop().expect("cleaning keeps blocks free");
            self.position = 0;
            self.held[self.current].clear();
            if self.free.len() < FREE_MIN {
                seconds += self.clean(preset, wear);
            }
        }
        if let Some(unit) = unit {
            if let Some(before) = self.map.insert(unit, self.current) {
                self.valid[before] -= 1;
            }
            self.valid[self.current] += 1;
            self.held[self.current].push(unit);
        }
        self.position += 1;
        wear.nand_bytes += UNIT;
        seconds
    }

    /// Moves what is valid out of the blocks that have the least of it.
    fn clean(&mut self, preset: &Preset, wear: &mut Wear) -> f64 {
        let mut seconds = 0.0;
        while self.free.len() <= FREE_MIN {
            let candidates =
                (0..self.valid.len()).filter(|block| *block != self.current && !self.free.contains(block));
            let block = candidates.min_by_key(|block| self.valid[*block]).expect("there are many blocks");
            let held = std::mem::take(&mut self.held[block]);
            let live: BTreeSet<u64> =
                held.into_iter().filter(|unit| self.map.get(unit) == Some(&block)).collect();
            for unit in &live {
                self.map.remove(unit);
            }
            self.valid[block] = 0;
            self.free.insert(0, block);
            wear.erases += 1;
            for unit in &live {
                seconds += self.place(preset, wear, Some(*unit));
            }
            seconds += live.len() as f64 * UNIT as f64 / preset.copied_per_s + preset.erase_s;
        }
        seconds
    }
}
