//! From measured times to a kind.
//!
//! Poor cards map whole allocation units: a page that is not written where the one before ended has a unit of
//! 4 MiB copied, 190 to 440 ms whatever its size. Cards of class A1 and better, and eMMC, map pages: no write
//! is much slower than another, and each byte comes in at 18 to 100 MB/s. Beyond that speed is no card.
//!
//! eMMC and a good card are alike in all that can be measured here; which of them it is the kernel knows, and
//! where it does not the card's longer timing harms neither.
use std::time::Duration;

use super::Media;
use super::device::Hint;

/// Middle times of synced overwrites in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// 4 KiB, each where the one before ended.
    pub small_in_row: Duration,
    /// 4 KiB, each before the one before.
    pub small_scattered: Duration,
    /// 16 KiB, each where the one before ended.
    pub page_in_row: Duration,
    /// 16 KiB, each before the one before, from the place in a page where that takes longest.
    pub page_scattered: Duration,
    /// 64 KiB, each where the one before ended.
    pub large_in_row: Duration,
    /// A flush with nothing to flush: near nothing without a volatile cache.
    pub flush: Duration,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "4 KiB {:.2} ms (scattered {:.2}), 16 KiB {:.2} (scattered {:.2}), 64 KiB {:.2}, a flush {:.2}",
            ms(self.small_in_row),
            ms(self.small_scattered),
            ms(self.page_in_row),
            ms(self.page_scattered),
            ms(self.large_in_row),
            ms(self.flush)
        )
    }
}

/// A scattered page that takes so long has had an allocation unit copied.
const UNIT_COPIED: Duration = Duration::from_millis(20);
/// 60 KiB more in one write take at least so long on any card: its bus moves 150 MB/s at most.
const CARD_MOVES_60_KIB: Duration = Duration::from_micros(400);

/// The kind of a device with such times, of which the kernel says this.
pub fn judge(measured: &Measured, hint: Option<Hint>) -> Media {
    let moved = measured.large_in_row.saturating_sub(measured.small_in_row);
    match hint {
        _ if measured.page_scattered >= UNIT_COPIED => Media::SdBasic,
        Some(Hint::Mmc) => Media::Emmc,
        Some(Hint::Sd) => Media::SdA1,
        Some(Hint::Ssd) => Media::Ssd,
        None if moved < CARD_MOVES_60_KIB => Media::Ssd,
        None => Media::SdA1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(page_scattered: f64, small_in_row: f64, large_in_row: f64) -> Measured {
        let time = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        Measured {
            page_scattered: time(page_scattered),
            small_in_row: time(small_in_row),
            large_in_row: time(large_in_row),
            ..Measured::default()
        }
    }

    #[test]
    fn a_copied_unit_gives_a_poor_card_away_whatever_it_is_called() {
        for hint in [None, Some(Hint::Sd), Some(Hint::Mmc)] {
            assert_eq!(judge(&ms(190.0, 1.9, 6.6), hint), Media::SdBasic);
            assert_ne!(judge(&ms(19.9, 1.9, 6.6), hint), Media::SdBasic);
        }
    }

    #[test]
    fn times_are_told_in_milliseconds() {
        let told = ms(403.011, 3.32, 8.8).to_string();
        assert_eq!(
            told,
            "4 KiB 3.32 ms (scattered 0.00), 16 KiB 0.00 (scattered 403.01), 64 KiB 8.80, a flush 0.00"
        );
    }

    #[test]
    fn the_kernel_tells_cards_from_emmc_and_speed_tells_either_from_an_ssd() {
        let good_card = ms(1.3, 1.1, 2.1);
        assert_eq!(judge(&good_card, Some(Hint::Sd)), Media::SdA1);
        assert_eq!(judge(&good_card, Some(Hint::Mmc)), Media::Emmc);
        assert_eq!(judge(&good_card, None), Media::SdA1);
        // Flushes may be slow, bytes are not.
        assert_eq!(judge(&ms(4.1, 4.0, 4.2), None), Media::Ssd);
        assert_eq!(judge(&ms(4.1, 4.0, 4.2), Some(Hint::Sd)), Media::SdA1);
        // Less for more bytes: noise of a fast device.
        assert_eq!(judge(&ms(0.1, 0.2, 0.1), None), Media::Ssd);
    }
}
