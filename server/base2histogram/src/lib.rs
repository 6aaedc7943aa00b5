//! Stands in for base2histogram: openraft counts batch sizes and stages in its histograms, for displays that
//! nothing here asks for. The real one makes tables for sixteen precisions, of which one is used: 25 MB that
//! stay in memory as long as the process lives, half of what an idle server took.
//!
//! Nothing is kept here; what is asked is answered as of a histogram that is empty.
use std::marker::PhantomData;

/// An empty histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "openraft asks for no default")]
    pub fn new() -> Histogram<T> {
        Histogram(PhantomData)
    }

    /// Forgets `value`.
    pub fn record(&mut self, _value: u64) {}

    /// Forgets `value`, `count` times.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// Of no samples.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// What openraft displays of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it, and all are zero")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl std::fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not kept")
    }
}

/// A drawing of histograms.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty one.
    pub fn new() -> AsciiChart {
        AsciiChart
    }

    /// As empty as before.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "openraft calls it so")]
    pub fn add(self, _name: &str, _histogram: Histogram) -> AsciiChart {
        self
    }
}

impl std::fmt::Display for AsciiChart {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
