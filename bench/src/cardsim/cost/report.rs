//! What a card went through, in words.
use std::fmt;

use super::{Model, Trace, Wear};

/// Years are of 365 days.
const YEAR_S: f64 = 365.0 * 24.0 * 3600.0;
/// Padding in a buffer of single-level cells wears it as a tenth of its bytes.
const PADDING_WEAR: f64 = 0.1;

/// Requests, bytes and times of one card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What clients wrote, counted by themselves; 0: unknown.
    pub puts: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes the system wrote.
    pub host_bytes: u64,
    /// What the flash went through for them.
    pub wear: Wear,
    /// How often a block of this card can be erased.
    pub cycles: u32,
    /// Seconds of each request, writes and flushes, in order.
    pub request_s: Vec<f64>,
}

impl Report {
    /// Of a card that nothing was written to.
    pub fn of(model: &Model) -> Report {
        Report { cycles: model.preset().cycles, ..Report::default() }
    }

    /// A trace written to a card, `times` over, each request when the one before is answered.
    pub fn replay(model: &mut Model, trace: &Trace, times: u64) -> Report {
        let mut report = Report::of(model);
        for request in (0..times).flat_map(|_| &trace.requests) {
            match request.length {
                0 => report.flushed(model.flush()),
                length => report.wrote(length, model.write(request.offset, length)),
            }
        }
        report.puts = trace.puts * times;
        report.wear = model.wear();
        report
    }

    /// A write was answered after so long.
    pub fn wrote(&mut self, bytes: u64, seconds: f64) {
        self.host_bytes += bytes;
        self.request_s.push(seconds);
    }

    /// A flush was.
    pub fn flushed(&mut self, seconds: f64) {
        self.flushes += 1;
        self.request_s.push(seconds);
    }

    /// Seconds in which the card was busy.
    pub fn busy_s(&self) -> f64 {
        self.request_s.iter().sum()
    }

    /// The time that the `part` of requests does not exceed, in seconds; 0.5 is the median.
    pub fn quantile_s(&self, part: f64) -> f64 {
        let mut sorted = self.request_s.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (part * sorted.len() as f64) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }

    /// Bytes programmed for each that the system wrote.
    pub fn amplification(&self) -> f64 {
        self.wear.nand_bytes as f64 / self.host_bytes.max(1) as f64
    }

    /// Bytes that wear the flash as programmed ones do.
    pub fn worn_bytes(&self) -> f64 {
        self.wear.nand_bytes as f64 + PADDING_WEAR * self.wear.padding_bytes as f64
    }

    /// How long a card of `capacity` bytes lasts when all this happens every `seconds`. An upper bound: its
    /// blocks must all be worn alike, as with static wear levelling.
    pub fn life_years(&self, capacity: f64, seconds: f64) -> f64 {
        capacity * f64::from(self.cycles) / (self.worn_bytes() / seconds * YEAR_S)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let ms = |seconds: f64| seconds * 1e3;
        writeln!(f, "requests      {} writes, {} flushes", self.writes(), self.flushes)?;
        writeln!(f, "host          {:.2} MB", mb(self.host_bytes))?;
        let Wear { nand_bytes, padding_bytes, erases } = self.wear;
        writeln!(
            f,
            "flash         {:.2} MB programmed, {:.2} MB padding, {erases} erases",
            mb(nand_bytes),
            mb(padding_bytes)
        )?;
        writeln!(f, "amplification {:.1}", self.amplification())?;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| ms(self.quantile_s(part)));
        write!(
            f,
            "busy          {:.2} s; a request p50 {p50:.2}, p99 {p99:.2}, max {max:.1} ms",
            self.busy_s()
        )
    }
}

impl Report {
    /// Writes among the requests.
    pub fn writes(&self) -> u64 {
        self.request_s.len() as u64 - self.flushes
    }
}
