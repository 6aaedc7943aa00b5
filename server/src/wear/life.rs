//! How much a device may be written to, and how long that lasts.
//!
//! A card says nothing about itself. `--card-endurance` is what its data sheet promises; without it there is a
//! guess by kind and size, which is told as a guess wherever it is shown.
use std::borrow::Cow;

use super::days::{Count, Counts};
use crate::config::Media;
use crate::metrics::{Device, DeviceKind};

const DAY_SECONDS: f64 = 86_400.0;
const YEAR_DAYS: f64 = 365.25;
/// Nothing is projected from less running time than this.
const RUNNING_SECONDS_MIN: u64 = 3600;

/// How many bytes may be written to a device in its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endurance {
    pub(crate) bytes: u64,
    /// Nobody has told it: it is a guess.
    pub(crate) estimate: bool,
    /// Where it comes from.
    pub(crate) basis: Cow<'static, str>,
}

impl Endurance {
    /// What was told; else the guess for a device of which the size can be seen.
    pub(super) fn of(told: Option<u64>, media: Media, device: Option<&Device>) -> Option<Endurance> {
        if let Some(bytes) = told {
            return Some(Endurance { bytes, estimate: false, basis: "--card-endurance".into() });
        }
        let device = device?;
        let (times, what) = times_written(media, device.kind());
        let bytes = device.capacity_bytes()?.checked_mul(times).filter(|bytes| *bytes > 0)?;
        let basis = format!(
            "estimate: {times} times the size of the device, a guess for {what}; \
             give the data sheet's number with --card-endurance"
        );
        Some(Endurance { bytes, estimate: true, basis: basis.into() })
    }
}

/// How often a device may be written over by the small writes of a store. Low ends of what is published: program
/// cycles (100 to 1,000 for cheap cards, 3,000 for eMMC) over what the device writes inside for each byte, or
/// the warranty (SSDs: 150 to 600 times).
fn times_written(media: Media, kind: DeviceKind) -> (u64, &'static str) {
    match (media, kind) {
        (Media::SdBasic, _) => (100, "a basic SD card"),
        (Media::SdA1, _) => (300, "an A1 or A2 SD card"),
        (Media::Emmc, _) | (Media::Ssd, DeviceKind::Emmc) => (1000, "eMMC"),
        (Media::Ssd, DeviceKind::Card) => (100, "an SD card of which --media says nothing"),
        (Media::Ssd, DeviceKind::Other) => (300, "an SSD"),
    }
}

/// How long a device lasts at the pace of some days.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Life {
    pub(crate) years: f64,
    /// By which pace, while the member runs.
    pub(crate) bytes_per_day: f64,
    /// Whose bytes these are: `device`, or `own` where the device cannot be seen.
    pub(crate) of: &'static str,
}

impl Life {
    /// At the pace of `counts`; the log's zeros are written once in a life. `None`: there is not enough to tell.
    pub(super) fn project(endurance: &Endurance, counts: &Counts) -> Option<Life> {
        let running_s = counts.get(Count::RunningSeconds);
        let (of, bytes) = to_device(counts);
        let bytes = bytes.saturating_sub(counts.get(Count::LogFill));
        if running_s < RUNNING_SECONDS_MIN || bytes == 0 {
            return None;
        }
        let bytes_per_day = bytes as f64 * DAY_SECONDS / running_s as f64;
        Some(Life { years: endurance.bytes as f64 / bytes_per_day / YEAR_DAYS, bytes_per_day, of })
    }
}

/// What went to the device: by its own count, unless that saw less than was written to files.
pub(super) fn to_device(counts: &Counts) -> (&'static str, u64) {
    let (own, device) = (counts.own(), counts.get(Count::Device));
    if device >= own && device > 0 { ("device", device) } else { ("own", own) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(own: u64, device: u64, running_s: u64) -> Counts {
        let mut counts = Counts::default();
        counts.set(Count::Log, own);
        counts.set(Count::Device, device);
        counts.set(Count::RunningSeconds, running_s);
        counts
    }

    #[test]
    fn years_at_a_pace() {
        let endurance = Endurance { bytes: 10_000_000_000_000, estimate: false, basis: "".into() };
        let life = Life::project(&endurance, &counts(1_000_000_000, 0, 86_400)).expect("a day is enough");
        assert_eq!((life.of, life.bytes_per_day), ("own", 1e9));
        assert!((life.years - 10_000.0 / 365.25).abs() < 1e-9, "{}", life.years);
        let life = Life::project(&endurance, &counts(1_000_000_000, 2_000_000_000, 43_200)).expect("as well");
        assert_eq!((life.of, life.bytes_per_day), ("device", 4e9));
        let mut first_day = counts(1_000_000_000, 0, 86_400);
        first_day.set(Count::LogFill, 64_000_000);
        let life = Life::project(&endurance, &first_day).expect("as well");
        assert_eq!(life.bytes_per_day, 1e9, "zeros come once");
        assert_eq!(Life::project(&endurance, &counts(1, 1, RUNNING_SECONDS_MIN - 1)), None);
        assert_eq!(Life::project(&endurance, &counts(0, 0, 86_400)), None);
    }

    #[test]
    fn a_guess_is_called_one() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("size"), "62500000\n").expect("written");
        let device = Device::at(dir.path());
        let guess = Endurance::of(None, Media::SdA1, Some(&device)).expect("its size is known");
        assert_eq!((guess.bytes, guess.estimate), (32_000_000_000 * 300, true));
        assert!(guess.basis.starts_with("estimate: 300 times"), "{}", guess.basis);
        let told = Endurance::of(Some(5), Media::SdA1, Some(&device)).expect("told");
        assert_eq!((told.bytes, told.estimate), (5, false));
        assert_eq!(Endurance::of(None, Media::SdA1, None), None);
    }
}
