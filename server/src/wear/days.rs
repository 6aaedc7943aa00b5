//! What was written, day by day: a ring of days, and the sum of all time.
//!
//! The day comes in, and may be wrong: a board without a battery wakes up in 1970 until somebody tells it
//! the time. Nothing counted is ever lost for that:
//! - a clock that was never set and says less than the newest day adds to the newest day;
//! - one that is set and goes back says that the newest days were misnamed: they become one with today.
use std::collections::VecDeque;

/// Days that are kept; the longest window asked for is 30.
pub(super) const DAYS_MAX: usize = 32;
/// 2026-01-01 in days since 1970. A clock that says less was never set.
const CLOCK_SET: u32 = 20_454;

/// What is counted. New ones go to the end: notes have them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Bytes written while the member starts.
    Start,
    /// Bytes of the log's frames.
    Log,
    /// Zeros ahead of the log.
    LogFill,
    /// Bytes of files that the engine's flushes wrote.
    EngineFlush,
    /// Bytes of files that compaction wrote.
    Compaction,
    /// Bytes of keys and values that clients wrote.
    User,
    /// Revisions that clients made.
    Writes,
    /// Times that data was made durable, by the log and by the engine.
    Flushes,
    /// Bytes written to the whole device by everybody while the member ran.
    Device,
    /// Flushes that the whole device was asked for while the member ran.
    DeviceFlushes,
    /// How long the member ran.
    RunningSeconds,
}

/// How many kinds there are.
pub(super) const COUNTS: usize = Count::RunningSeconds as usize + 1;

/// Own bytes are those of these causes, by their names in metrics.
pub(crate) const CAUSES: [(Count, &str); 5] = [
    (Count::Start, "start"),
    (Count::Log, "log"),
    (Count::LogFill, "log_fill"),
    (Count::EngineFlush, "engine_flush"),
    (Count::Compaction, "compaction"),
];

/// One number of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(super) [u64; COUNTS]);

impl Counts {
    /// The number of a kind.
    pub(crate) fn get(&self, count: Count) -> u64 {
        self.0[count as usize]
    }

    pub(super) fn set(&mut self, count: Count, value: u64) {
        self.0[count as usize] = value;
    }

    /// Bytes of all causes.
    pub(crate) fn own(&self) -> u64 {
        CAUSES.iter().fold(0, |sum, (count, _)| sum.saturating_add(self.get(*count)))
    }

    pub(super) fn add(&mut self, other: &Counts) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
    }

    /// What was counted since `before`. A counter that has begun anew counts from 0.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let mut grown = *self;
        for (now, before) in grown.0.iter_mut().zip(before.0) {
            *now = now.checked_sub(before).unwrap_or(*now);
        }
        grown
    }
}

/// The newest days that something was counted on, and all time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Days {
    total: Counts,
    /// By ascending day, [`DAYS_MAX`] at most.
    days: VecDeque<(u32, Counts)>,
}

impl Days {
    /// Those of a note. `None`: no ring ever said this.
    pub(super) fn restore(total: Counts, days: VecDeque<(u32, Counts)>) -> Option<Days> {
        let ascending = days.iter().zip(days.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        (ascending && days.len() <= DAYS_MAX).then_some(Days { total, days })
    }

    /// Counts on `today`.
    pub(super) fn add(&mut self, today: u32, counts: &Counts) {
        self.total.add(counts);
        let mut counts = *counts;
        if today >= CLOCK_SET {
            while let Some((_, misnamed)) = self.days.back().filter(|(day, _)| *day > today) {
                counts.add(misnamed);
                self.days.pop_back();
            }
        }
        match self.days.back_mut() {
            Some((newest, there)) if *newest >= today => there.add(&counts),
            _ => self.days.push_back((today, counts)),
        }
        if self.days.len() > DAYS_MAX {
            self.days.pop_front();
        }
    }

    /// Everything that was ever counted.
    pub(super) fn total(&self) -> &Counts {
        &self.total
    }

    /// The newest day.
    pub(super) fn today(&self) -> Option<u32> {
        self.days.back().map(|(day, _)| *day)
    }

    /// The sum of the newest `days` days of the calendar.
    pub(super) fn last(&self, days: u32) -> Counts {
        let today = self.today().unwrap_or_default();
        let mut sum = Counts::default();
        for (_, counts) in self.days.iter().filter(|(day, _)| today - day < days) {
            sum.add(counts);
        }
        sum
    }

    /// Newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &(u32, Counts)> {
        self.days.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(bytes: u64) -> Counts {
        let mut counts = Counts::default();
        counts.set(Count::Log, bytes);
        counts
    }

    fn windows(days: &Days) -> [u64; 4] {
        [days.last(1), days.last(7), days.last(30), *days.total()].map(|counts| counts.get(Count::Log))
    }

    #[test]
    fn windows_are_days_of_the_calendar() {
        let mut days = Days::default();
        for day in 0..40 {
            days.add(CLOCK_SET + day, &log(1));
        }
        assert_eq!(windows(&days), [1, 7, 30, 40]);
        days.add(CLOCK_SET + 45, &log(1));
        assert_eq!(windows(&days), [1, 2, 25, 41], "days that nothing was counted on count too");
        days.add(u32::MAX, &log(1));
        assert_eq!(windows(&days), [1, 1, 1, 42]);
    }

    #[test]
    fn a_clock_that_was_never_set_adds_to_the_newest_day() {
        let mut days = Days::default();
        days.add(0, &log(1));
        days.add(CLOCK_SET + 100, &log(2));
        assert_eq!(windows(&days), [2, 2, 2, 3], "a new board: then somebody told it the time");
        days.add(0, &log(4));
        days.add(1, &log(8));
        assert_eq!(windows(&days), [14, 14, 14, 15]);
        days.add(CLOCK_SET + 101, &log(16));
        assert_eq!(windows(&days), [16, 30, 30, 31]);
    }

    #[test]
    fn a_clock_that_goes_back_puts_the_future_into_today() {
        let mut days = Days::default();
        days.add(CLOCK_SET + 10, &log(1));
        days.add(CLOCK_SET + 9000, &log(2));
        days.add(CLOCK_SET + 9001, &log(4));
        days.add(CLOCK_SET + 11, &log(8));
        assert_eq!(windows(&days), [14, 15, 15, 15]);
        days.add(CLOCK_SET + 10, &log(16));
        assert_eq!(windows(&days), [31, 31, 31, 31], "into a day that is there already");
        days.add(CLOCK_SET + 11, &log(32));
        assert_eq!(windows(&days), [32, 63, 63, 63], "and time goes on");
    }

    #[test]
    fn any_walk_of_the_clock_keeps_the_total_and_the_bound() {
        let seed = 0x5eed_u64;
        let (mut days, mut state) = (Days::default(), seed);
        for step in 1..=5_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let day = match state >> 62 {
                0 => (state >> 40) as u32 % 50,
                1 => CLOCK_SET + (state >> 40) as u32 % 60,
                2 => CLOCK_SET + step as u32 / 100,
                _ => u32::MAX - (state >> 40) as u32 % 3,
            };
            days.add(day, &log(1));
            let newest = days.today().expect("a day");
            assert!(day < CLOCK_SET || newest == day, "seed {seed}, step {step}: {newest} on {day}");
            assert_eq!(days.total().get(Count::Log), step, "seed {seed}, step {step}");
            let [one, week, month, all] = windows(&days);
            assert!(1 <= one && one <= week && week <= month && month <= all, "seed {seed}, step {step}");
            assert!(Days::restore(days.total, days.days.clone()).is_some(), "seed {seed}, step {step}");
        }
    }

    #[test]
    fn a_counter_that_begins_anew_counts_from_nothing() {
        assert_eq!(log(7).since(&log(3)), log(4));
        assert_eq!(log(2).since(&log(3)), log(2), "the machine was started again");
    }
}
