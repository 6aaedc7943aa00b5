//! Nine kinds of cards.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MS: f64 = 1e-3;
const MB: f64 = 1e6;

/// How a card finds its pages again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ftl {
    /// Whole blocks are mapped; what is smaller than a page, or not aligned to one, goes to a log of pages.
    Hybrid {
        /** Blocks that may be written to at once. */
        open_max: usize,
        /** Pages of the log; when all are used, a block is merged with its pages of the log. */
        log_pages: u64,
        /** What a write to the log takes besides. */
        small_s: f64,
    },
    /// Each page is mapped; blocks with the fewest valid pages are cleaned for new ones.
    Paged {
        /** Spare space, as a part of the whole. */
        spare: f64,
        /** How much of the card is in use, as a part of the whole. */
        filled: f64,
        /** Whether a buffer of single-level cells takes small writes. */
        slc: bool,
        /** Bytes of small writes after which the buffer is emptied. */
        fold_bytes: u64,
        /** How long that takes. */
        fold_s: f64,
    },
}

/// A kind of card. Seconds, bytes and bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// Its name on command lines.
    pub name: &'static str,
    /// What it stands for.
    pub like: &'static str,
    /// How pages are found.
    pub ftl: Ftl,
    /// Bytes erased at once, the allocation unit.
    pub block_bytes: u64,
    /// Bytes programmed at once.
    pub page_bytes: u64,
    /// What each request takes.
    pub request_s: f64,
    /// How fast bytes come in.
    pub bytes_per_s: f64,
    /// How fast the card copies its own.
    pub copied_per_s: f64,
    /// An erase.
    pub erase_s: f64,
    /// A flush; `None`: there is no cache, a write is durable when it is answered.
    pub flush_s: Option<f64>,
    /// How often a block can be erased.
    pub cycles: u32,
}

const fn hybrid(open_max: usize, log_pages: u64, small_s: f64) -> Ftl {
    Ftl::Hybrid { open_max, log_pages, small_s }
}

const fn paged(spare: f64, slc: bool, fold_bytes: u64, fold_s: f64) -> Ftl {
    Ftl::Paged { spare, filled: 0.5, slc, fold_bytes, fold_s }
}

const USUAL: Preset = Preset {
    name: "",
    like: "",
    ftl: paged(0.07, true, 32 * MIB, 0.015),
    block_bytes: 4 * MIB,
    page_bytes: 16 * KIB,
    request_s: 1.05 * MS,
    bytes_per_s: 60.0 * MB,
    copied_per_s: 40.0 * MB,
    erase_s: 5.0 * MS,
    flush_s: None,
    cycles: 1000,
};

/// All of them, the cheapest first.
pub const PRESETS: [Preset; 9] = [
    Preset {
        name: "cheap",
        like: "a card without a class, 4 GB",
        ftl: hybrid(2, 192, 1.5 * MS),
        request_s: 1.2 * MS,
        bytes_per_s: 10.5 * MB,
        copied_per_s: 10.5 * MB,
        cycles: 500,
        ..USUAL
    },
    Preset {
        name: "ultra8",
        like: "an older card of a known make, 8 GB",
        ftl: hybrid(2, 512, 0.4 * MS),
        request_s: 1.2 * MS,
        bytes_per_s: 12.0 * MB,
        copied_per_s: 22.6 * MB,
        ..USUAL
    },
    Preset { name: "a1", like: "a good A1 card", ..USUAL },
    Preset {
        name: "a1_ultra",
        like: "a cheap A1 card",
        ftl: paged(0.07, true, 32 * MIB, 0.2),
        bytes_per_s: 18.0 * MB,
        copied_per_s: 18.0 * MB,
        ..USUAL
    },
    Preset {
        name: "a2",
        like: "an A2 card on a board that does not queue commands",
        ftl: paged(0.07, true, 32 * MIB, 0.05),
        block_bytes: 8 * MIB,
        request_s: 1.9 * MS,
        bytes_per_s: 51.0 * MB,
        ..USUAL
    },
    Preset {
        name: "a2_cq",
        like: "an A2 card on a Raspberry Pi 5, which queues commands",
        ftl: paged(0.07, true, 32 * MIB, 0.05),
        block_bytes: 8 * MIB,
        request_s: 0.45 * MS,
        bytes_per_s: 70.0 * MB,
        flush_s: Some(1.5 * MS),
        ..USUAL
    },
    Preset {
        name: "industrial",
        like: "an industrial card, 8 GB",
        ftl: paged(0.10, false, 32 * MIB, 0.1),
        request_s: 1.45 * MS,
        bytes_per_s: 30.0 * MB,
        copied_per_s: 25.0 * MB,
        cycles: 3000,
        ..USUAL
    },
    Preset {
        name: "emmc",
        like: "eMMC, 8 GB",
        ftl: paged(0.07, true, 32 * MIB, 0.03),
        request_s: 0.35 * MS,
        bytes_per_s: 46.0 * MB,
        copied_per_s: 60.0 * MB,
        erase_s: 3.0 * MS,
        flush_s: Some(1.0 * MS),
        cycles: 3000,
        ..USUAL
    },
    Preset {
        name: "usb_ssd",
        like: "an SSD at a USB port",
        ftl: paged(0.10, true, 64 * MIB, 0.02),
        block_bytes: 16 * MIB,
        request_s: 0.10 * MS,
        bytes_per_s: 350.0 * MB,
        copied_per_s: 400.0 * MB,
        erase_s: 3.0 * MS,
        flush_s: Some(2.0 * MS),
        ..USUAL
    },
];

impl Preset {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Preset> {
        PRESETS.into_iter().find(|preset| preset.name == name)
    }
}
