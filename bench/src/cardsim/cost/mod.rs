//! What a card makes of writes: time for each, bytes that its flash programs, blocks that it erases.
//!
//! ```text
//! write, flush ─► Model ─ Hybrid: blocks mapped whole, few open at once, a log for small writes   (cheap, old)
//!                       └ Paged:  pages mapped one by one, cleaned in the background             (A1, A2, eMMC, USB)
//! ```
//! The numbers of [`Preset`] were fitted to published measurements; `tests/cost.rs` holds the model to them and to
//! traces that were recorded under ext4. What it leaves out: the cost of reading, of looking up a wide map, of
//! static wear levelling; stalls come at regular distances instead of by chance.
use std::ops::Sub;

mod hybrid;
mod paged;
mod preset;
mod report;
mod trace;

pub use preset::{Ftl, PRESETS, Preset};
pub use report::Report;
pub use trace::{Request, Trace, TraceError};

use hybrid::Hybrid;
use paged::Paged;

/// What a card's flash went through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wear {
    /// Bytes programmed, those of copies and rewritten pages included.
    pub nand_bytes: u64,
    /// Bytes that only fill up pages in a buffer of single-level cells, which lasts about ten times as long.
    pub padding_bytes: u64,
    /// Blocks erased.
    pub erases: u64,
}

impl Sub for Wear {
    type Output = Wear;

    fn sub(self, before: Wear) -> Wear {
        Wear {
            nand_bytes: self.nand_bytes - before.nand_bytes,
            padding_bytes: self.padding_bytes - before.padding_bytes,
            erases: self.erases - before.erases,
        }
    }
}

#[derive(Clone, Debug)]
enum Translation {
    Hybrid(Hybrid),
    Paged(Box<Paged>),
}

/// A card; times are in seconds.
#[derive(Clone, Debug)]
pub struct Model {
    preset: Preset,
    translation: Translation,
    wear: Wear,
}

impl Model {
    /// A card of this kind, half full of other things if its kind minds.
    pub fn new(preset: Preset) -> Model {
        let mut wear = Wear::default();
        let translation = match preset.ftl {
            Ftl::Hybrid { .. } => Translation::Hybrid(Hybrid::default()),
            Ftl::Paged { spare, filled, .. } => {
                Translation::Paged(Box::new(Paged::new(&preset, spare, filled, &mut wear)))
            }
        };
        Model { preset, translation, wear: Wear::default() }
    }

    /// What kind it is.
    pub fn preset(&self) -> &Preset {
        &self.preset
    }

    /// A write of `length` bytes at `offset`: how long it keeps the card busy.
    pub fn write(&mut self, offset: u64, length: u64) -> f64 {
        if length == 0 {
            return 0.0;
        }
        let moved = length as f64 / self.preset.bytes_per_s;
        let more = match &mut self.translation {
            Translation::Hybrid(hybrid) => hybrid.write(&self.preset, &mut self.wear, offset, length),
            Translation::Paged(paged) => paged.write(&self.preset, &mut self.wear, offset, length),
        };
        self.preset.request_s + moved + more
    }

    /// A flush of the card's cache: how long it takes.
    pub fn flush(&mut self) -> f64 {
        self.preset.flush_s.unwrap_or(0.0)
    }

    /// What its flash went through so far.
    pub fn wear(&self) -> Wear {
        self.wear
    }
}
