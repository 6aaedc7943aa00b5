//! How long requests took, and how many there were.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tonic::Code;

/// Longer than this is counted as this.
const LONGEST: Duration = Duration::from_secs(600);

/// Counts of one client, or of many.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Microseconds, to three digits.
    took_us: Histogram<u64>,
    bytes: u64,
    failed: BTreeMap<i32, u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        let took_us = Histogram::new_with_max(LONGEST.as_micros() as u64, 3).expect("bounds that fit");
        Tally { took_us, bytes: 0, failed: BTreeMap::new() }
    }
}

impl Tally {
    /// A request was answered, or an event came.
    pub fn answered(&mut self, took: Duration, bytes: u64) {
        self.took_us.saturating_record((took.as_nanos().div_ceil(1000) as u64).max(1));
        self.bytes += bytes;
    }

    /// A request was refused or lost.
    pub fn failed(&mut self, code: Code) {
        *self.failed.entry(code as i32).or_default() += 1;
    }

    /// Counts of another client.
    pub fn add(&mut self, other: &Tally) {
        self.took_us.add(&other.took_us).expect("made with the same bounds");
        self.bytes += other.bytes;
        for (code, times) in &other.failed {
            *self.failed.entry(*code).or_default() += times;
        }
    }
}

/// Times of one kind, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// In a second.
    pub per_s: f64,
    /// Bytes of values in a second.
    pub bytes_per_s: f64,
    /// 50, 90, 99 and 99.9 percent took no longer.
    pub quantiles_us: [u64; 4],
    /// The mean.
    pub mean_us: f64,
    /// The longest.
    pub max_us: u64,
    /// Which part took no longer than so many microseconds, for a plot; empty when there was none.
    pub curve: Vec<(f64, u64)>,
}

/// The parts of [`Times::quantiles_us`].
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// The parts of [`Times::curve`], closer together where it gets steep.
const CURVE: [f64; 18] =
    [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0];

impl Times {
    /// Of what was counted in so long.
    pub fn of(tally: &Tally, measured: Duration) -> Times {
        let (took, seconds) = (&tally.took_us, measured.as_secs_f64());
        let at = |part| (part, took.value_at_quantile(part));
        Times {
            count: took.len(),
            per_s: took.len() as f64 / seconds,
            bytes_per_s: tally.bytes as f64 / seconds,
            quantiles_us: QUANTILES.map(|part| took.value_at_quantile(part)),
            mean_us: took.mean(),
            max_us: took.max(),
            curve: if took.is_empty() { Vec::new() } else { CURVE.map(at).to_vec() },
        }
    }

    /// As JSON, without the curve.
    pub fn json(&self) -> Value {
        let [p50, p90, p99, p999] = self.quantiles_us;
        json!({
            "count": self.count, "per_s": self.per_s, "bytes_per_s": self.bytes_per_s, "p50_us": p50,
            "p90_us": p90, "p99_us": p99, "p999_us": p999, "mean_us": self.mean_us, "max_us": self.max_us,
        })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1e3;
        let [p50, p90, p99, p999] = self.quantiles_us.map(ms);
        write!(
            f,
            "{} in all, {:.1}/s, {:.2} MB/s; p50 {p50:.3}, p90 {p90:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {:.3} ms",
            self.count,
            self.per_s,
            self.bytes_per_s / 1e6,
            ms(self.max_us)
        )
    }
}

/// What came of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Requests that were answered.
    pub requests: Times,
    /// Events that watchers were told; the times are from the put's beginning. `None`: nobody watched.
    pub events: Option<Times>,
    /// How many requests failed, by the number of their gRPC code.
    pub failed: BTreeMap<i32, u64>,
}

impl Summary {
    pub(super) fn of(asked: &Tally, told: &Tally, measured: Duration) -> Summary {
        let mut both = asked.clone();
        both.add(told);
        let events = (!told.took_us.is_empty()).then(|| Times::of(told, measured));
        Summary { requests: Times::of(asked, measured), events, failed: both.failed }
    }

    /// As JSON; times in microseconds.
    pub fn json(&self) -> Value {
        let failed: BTreeMap<_, _> = self.failed.iter().map(|(code, times)| (name(*code), times)).collect();
        json!({
            "requests": self.requests.json(),
            "events": self.events.as_ref().map(Times::json),
            "failed": failed,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "requests  {}", self.requests)?;
        if let Some(events) = &self.events {
            write!(f, "\nevents    {events}")?;
        }
        for (code, times) in &self.failed {
            write!(f, "\nfailed    {times} with {}", name(*code))?;
        }
        Ok(())
    }
}

fn name(code: i32) -> String {
    format!("{:?}", Code::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_counted_is_told_together() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        (1..=99).for_each(|ms| one.answered(Duration::from_millis(ms), 10));
        other.answered(Duration::from_secs(2), 10);
        other.failed(Code::Unavailable);
        one.add(&other);
        let summary = Summary::of(&one, &Tally::default(), Duration::from_secs(10));
        assert_eq!((summary.requests.count, summary.requests.per_s), (100, 10.0));
        assert_eq!(summary.requests.bytes_per_s, 100.0);
        let [p50, _, p99, p999] = summary.requests.quantiles_us;
        assert!((49_900..=50_100).contains(&p50) && (98_900..=99_100).contains(&p99), "{p50} {p99}");
        assert!(p999 >= 2_000_000 && summary.requests.max_us >= 2_000_000);
        assert_eq!(summary.json()["failed"]["Unavailable"], 1);
        assert!(summary.events.is_none() && summary.to_string().contains("1 with Unavailable"));
    }
}
