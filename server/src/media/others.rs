//! Others who write to the same card: they wear it, and what they write goes before our next flush.
use std::time::Duration;

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Less than this in a minute is not worth a word: 6 GB a day.
const MINUTE_BYTES: u64 = 4 << 20;
/// Nor is what is not so many times our own, of which some is the file system's journal for us.
const TIMES_OWN: u64 = 2;
/// Between two warnings.
const SAY_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Bytes written so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// To the device, by everybody.
    pub device: u64,
    /// By this process.
    pub own: u64,
}

/// Looks once a minute.
#[derive(Debug, Default)]
pub struct Others {
    last: Option<(Duration, Counts)>,
    said_at: Option<Duration>,
}

impl Others {
    /// A look at time `now` of a monotonic clock. What there is to say, if it is time to say it: at most once
    /// a day.
    pub fn look(&mut self, now: Duration, counts: Counts) -> Option<String> {
        let (then, before) = self.last.replace((now, counts))?;
        let seconds = now.saturating_sub(then).as_secs().max(1);
        let own = counts.own.saturating_sub(before.own);
        // A device that was counted anew (taken out and put in) has written nothing that is known.
        let others = counts.device.saturating_sub(before.device).saturating_sub(own);
        let a_minute = others / seconds * 60;
        let quiet = self.said_at.is_some_and(|said| now.saturating_sub(said) < SAY_EVERY);
        if quiet || a_minute < MINUTE_BYTES || others <= TIMES_OWN * own {
            return None;
        }
        self.said_at = Some(now);
        Some(format!(
            "other programs wrote {:.1} MB to this card in the last {seconds} s, bramble {:.1} MB: they wear it, and \
             every write waits for theirs; find them with `iotop -aoP`, then put journald into memory \
             (Storage=volatile), swap into zram, and limit the logs of containers",
            others as f64 / 1e6,
            own as f64 / 1e6,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// What is said of a minute in which so much was written.
    fn minute(others: &mut Others, at_s: u64, device: u64, own: u64) -> Option<String> {
        others.look(Duration::from_secs(at_s), Counts { device, own })
    }

    #[test]
    fn others_are_told_with_figures_and_at_most_once_a_day() {
        let mut others = Others::default();
        assert_eq!(minute(&mut others, 60, 500 * MB, 0), None, "what was before is nobody's");
        let said = minute(&mut others, 120, 520 * MB, 2 * MB).expect("18 MB of others");
        assert!(
            said.contains("18.0 MB") && said.contains("bramble 2.0 MB") && said.contains("60 s"),
            "{said}"
        );
        assert_eq!(minute(&mut others, 180, 620 * MB, 2 * MB), None, "said already");
        let next_day = 120 + 24 * 3600;
        assert_eq!(minute(&mut others, next_day - 60, 10_000_000 * MB, 2 * MB), None);
        assert!(minute(&mut others, next_day, 10_000_100 * MB, 2 * MB).is_some());
    }

    #[test]
    fn little_is_not_told_nor_what_goes_with_our_own() {
        let mut others = Others::default();
        minute(&mut others, 60, 0, 0);
        assert_eq!(minute(&mut others, 120, 3 * MB, 0), None, "little");
        assert_eq!(minute(&mut others, 180, 33 * MB, 10 * MB), None, "twice our own, and no more");
        assert_eq!(minute(&mut others, 240, MB, 10 * MB), None, "the card was taken out");
        assert!(minute(&mut others, 300, 32 * MB, 20 * MB).is_some());
    }
}
