//! The device under the data: which kind it is, who says so, and what follows.
//!
//! ```text
//!   --media ───────────────────────────────────► the kind, by the flag; nothing is measured
//!   auto ─ note of an earlier life (MEDIA) ────► the kind that was measured
//!        └ the kernel (/sys): SD, eMMC, SSD ───► a kind for this life; a probe says it for the next
//!        └ nobody knows ───────────────────────► ssd for this life, the same
//! ```
//! Invariants:
//! - an explicit flag wins: over the kind, and over what follows from the kind;
//! - a life is lived with one kind: what the probe finds counts from the next start on;
//! - while nobody has measured an SD card, it is taken for the poorest: large frames cost a good card bytes,
//!   small ones cost a poor card 0.4 s for a write now and then. What nobody knows anything of is taken for
//!   an SSD, whose settings are etcd's.
use std::time::Duration;

pub mod device;
pub mod judge;
pub mod kernel;
pub mod mounts;
pub mod others;
pub mod probe;
pub mod remembered;
pub mod warnings;

pub use device::BlockDevice;
pub use judge::Measured;
pub use kernel::Kernel;
pub use remembered::Remembered;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the data directory lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// Solid-state disk, or unknown.
    #[default]
    Ssd,
    /// Soldered flash.
    Emmc,
    /// SD card of application class A1 or A2, or as good.
    SdA1,
    /// Any other SD card.
    SdBasic,
}

/// How often a leader is heard of, and how long its silence lasts before there is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Election timeout, at least five heartbeats.
    pub election: Duration,
}

/// What follows from a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Frames of the log begin at multiples of this: what the device programs at once, or 4 KiB.
    pub frame_align: u32,
    /// Size of a segment of the log: whole allocation units.
    pub segment_bytes: u64,
    /// Segments of the log's ring.
    pub ring_segments: u32,
    /// Proposals under way: what the device writes within a request's time, with another writer beside it.
    pub in_flight_bytes: u64,
    /// Flushes and compactions together, bytes a second; `None` = as fast as they go.
    pub background_bytes_per_s: Option<u64>,
    /// A partition begins at a multiple of this, or each unit of the device is touched for its neighbour.
    pub partition_align: u64,
    /// Heartbeat and election timeout, longer than the device's usual stalls.
    pub timing: Timing,
}

const fn timing(heartbeat_ms: u64, election_ms: u64) -> Timing {
    Timing { heartbeat: Duration::from_millis(heartbeat_ms), election: Duration::from_millis(election_ms) }
}

/// etcd's.
const SSD: Settings = Settings {
    frame_align: 4096,
    segment_bytes: 16 * MIB,
    ring_segments: 4,
    in_flight_bytes: 32 * MIB,
    background_bytes_per_s: None,
    partition_align: 4 * KIB,
    timing: timing(100, 1000),
};

const EMMC: Settings = Settings { partition_align: 4 * MIB, ..SSD };

/// An A1 card takes 10 MB/s in a row at least, and stalls for 15 to 200 ms now and then.
const SD_A1: Settings = Settings {
    in_flight_bytes: 16 * MIB,
    background_bytes_per_s: Some(8 * MIB),
    timing: timing(250, 2000),
    ..EMMC
};

/// Poor cards program pages of 16 KiB: smaller frames would be written again inside. A second stream makes
/// 1.5 MB/s of 10, and one write in the wrong place takes 0.4 s.
const SD_BASIC: Settings = Settings {
    frame_align: 16 << 10,
    segment_bytes: 64 * MIB,
    in_flight_bytes: 8 * MIB,
    background_bytes_per_s: Some(4 * MIB),
    timing: timing(500, 5000),
    ..SD_A1
};

impl Media {
    /// All kinds, the best first.
    pub const ALL: [Media; 4] = [Media::Ssd, Media::Emmc, Media::SdA1, Media::SdBasic];

    /// What follows from it.
    pub fn settings(self) -> &'static Settings {
        match self {
            Media::Ssd => &SSD,
            Media::Emmc => &EMMC,
            Media::SdA1 => &SD_A1,
            Media::SdBasic => &SD_BASIC,
        }
    }

    /// As `--media` has it.
    pub fn word(self) -> &'static str {
        match self {
            Media::Ssd => "ssd",
            Media::Emmc => "emmc",
            Media::SdA1 => "sd-a1",
            Media::SdBasic => "sd-basic",
        }
    }

    /// The kind of this word.
    pub fn named(word: &str) -> Option<Media> {
        Media::ALL.into_iter().find(|media| media.word() == word)
    }
}

/// Who says which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--media`.
    Flag,
    /// A probe of an earlier life.
    Probe,
    /// The kernel's description of the device.
    Kernel,
    /// Nobody.
    Default,
}

impl Source {
    /// As metrics and logs have it.
    pub fn word(self) -> &'static str {
        match self {
            Source::Flag => "flag",
            Source::Probe => "probe",
            Source::Kernel => "kernel",
            Source::Default => "default",
        }
    }
}

/// The kind a life is lived with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The kind.
    pub kind: Media,
    /// Who said so.
    pub source: Source,
    /// Whether a probe is to find out for the next life.
    pub probe: bool,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let says = match self.source {
            Source::Flag => "by --media",
            Source::Probe => "as measured",
            Source::Kernel => "as the kernel has it",
            Source::Default => "not known yet",
        };
        write!(f, "{}, {says}", self.kind.word())
    }
}

/// Chooses the kind for this life, by the flag (`None` = `auto`), what an earlier probe found, and what the
/// kernel says of the device.
pub fn choose(flag: Option<Media>, remembered: Option<&Remembered>, device: Option<&BlockDevice>) -> Choice {
    if let Some(media) = flag {
        return Choice { kind: media, source: Source::Flag, probe: false };
    }
    // A directory that was copied to another card has another card's note in it.
    let identity = device.map_or("", |device| &device.identity);
    if let Some(remembered) = remembered.filter(|remembered| remembered.device == identity) {
        return Choice { kind: remembered.media, source: Source::Probe, probe: false };
    }
    match device.and_then(BlockDevice::hint) {
        Some(device::Hint::Ssd) => Choice { kind: Media::Ssd, source: Source::Kernel, probe: false },
        Some(device::Hint::Mmc) => Choice { kind: Media::Emmc, source: Source::Kernel, probe: true },
        Some(device::Hint::Sd) => Choice { kind: Media::SdBasic, source: Source::Kernel, probe: true },
        None => Choice { kind: Media::Ssd, source: Source::Default, probe: true },
    }
}

#[cfg(test)]
mod tests {
    use super::device::{Hint, tests::hinting};
    use super::*;

    fn remembered(media: Media, device: &str) -> Remembered {
        Remembered { media, device: device.into(), measured: Measured::default() }
    }

    #[test]
    fn the_flag_wins_then_the_probe_then_the_kernel() {
        let card = hinting(Hint::Sd);
        let note = remembered(Media::SdA1, &card.identity);
        let choice = |kind, source, probe| Choice { kind, source, probe };
        let cases = [
            (Some(Media::Ssd), Some(&note), Some(&card), choice(Media::Ssd, Source::Flag, false)),
            (None, Some(&note), Some(&card), choice(Media::SdA1, Source::Probe, false)),
            (None, None, Some(&card), choice(Media::SdBasic, Source::Kernel, true)),
            (None, None, Some(&hinting(Hint::Mmc)), choice(Media::Emmc, Source::Kernel, true)),
            (None, None, Some(&hinting(Hint::Ssd)), choice(Media::Ssd, Source::Kernel, false)),
            (None, None, None, choice(Media::Ssd, Source::Default, true)),
            (None, Some(&remembered(Media::SdBasic, "")), None, choice(Media::SdBasic, Source::Probe, false)),
        ];
        for (flag, note, device, expected) in cases {
            assert_eq!(choose(flag, note, device), expected);
        }
    }

    #[test]
    fn what_was_found_of_another_card_is_not_believed() {
        let note = remembered(Media::SdA1, "mmcblk0 another card");
        let choice = choose(None, Some(&note), Some(&hinting(Hint::Sd)));
        assert_eq!(choice, Choice { kind: Media::SdBasic, source: Source::Kernel, probe: true });
    }

    #[test]
    fn every_kind_has_a_word_and_settings_that_hang_together() {
        for media in Media::ALL {
            assert_eq!(Media::named(media.word()), Some(media));
            let settings = media.settings();
            let Timing { heartbeat, election } = settings.timing;
            assert!(election >= 5 * heartbeat && election <= Duration::from_secs(50), "{media:?}");
            assert!(settings.segment_bytes.is_multiple_of(u64::from(settings.frame_align)), "{media:?}");
            // The largest request that the defaults allow finds a place.
            assert!(settings.in_flight_bytes >= 2 * 1_572_864, "{media:?}");
        }
        assert_eq!(Media::named("auto"), None);
    }
}
