//! Histograms by operation and outcome.
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use super::seconds;

/// The values of the labels, for an operation and whether it succeeded.
type Labels = fn(&'static str, &'static str) -> Vec<&'static str>;

/// A row for each operation that was seen: few, made when first needed, and found by a scan.
pub(super) struct ByOp {
    all: HistogramVec,
    labels: Labels,
    /// Of each operation: failed, succeeded.
    rows: RwLock<Vec<(&'static str, [Histogram; 2])>>,
}

impl ByOp {
    pub(super) fn new(all: HistogramVec, labels: Labels) -> ByOp {
        ByOp { all, labels, rows: RwLock::default() }
    }

    pub(super) fn observe(&self, op: &'static str, succeeded: bool, took: Duration) {
        let found = |rows: &[(&'static str, [Histogram; 2])]| {
            let row = rows.iter().find(|(known, _)| *known == op)?;
            row.1[usize::from(succeeded)].observe(seconds(took));
            Some(())
        };
        if found(&self.rows.read().unwrap_or_else(PoisonError::into_inner)).is_some() {
            return;
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if rows.iter().all(|(known, _)| *known != op) {
            let both =
                ["false", "true"].map(|success| self.all.with_label_values(&(self.labels)(op, success)));
            rows.push((op, both));
        }
        found(&rows);
    }
}
