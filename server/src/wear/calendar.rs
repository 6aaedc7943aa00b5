//! The day, by a wall clock that may be wrong and jump: nothing but the account of wear goes by it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 86_400;

/// The last second of the year 9999: no date is written behind it.
const LAST_SECOND: u64 = 253_402_300_799;

/// Says which day it is.
pub trait Calendar: Send + Sync + 'static {
    /// Days since 1970-01-01, UTC.
    fn today(&self) -> u32;
}

/// The system's wall clock.
pub struct SystemCalendar;

impl Calendar for SystemCalendar {
    fn today(&self) -> u32 {
        // A clock before 1970 is as good as one that was never set.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(now.as_secs() / DAY_SECONDS).unwrap_or(u32::MAX)
    }
}

/// A day as `2026-11-22`.
pub(super) fn date(day: u32) -> String {
    let seconds = (u64::from(day) * DAY_SECONDS).min(LAST_SECOND);
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    // The first ten letters of `2026-11-22T00:00:00Z`.
    time.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (day, written) in [(0, "1970-01-01"), (20_454, "2026-01-01"), (u32::MAX, "9999-12-31")] {
            assert_eq!(date(day), written);
        }
        assert!(SystemCalendar.today() > 20_000, "the clock of this machine is not set");
    }
}
