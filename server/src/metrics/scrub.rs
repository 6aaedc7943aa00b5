//! Reading back what lies on the device.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bramble_store::seams::Clock;
use prometheus::{IntCounter, IntGauge};

use super::Scrape;
use super::register::Register;

/// What scrubbing counts.
#[derive(Clone)]
pub(crate) struct ScrubMeter {
    bytes: IntCounter,
    passes: IntCounter,
    inflight: IntGauge,
    /// On the node's own clock.
    finished_at: Arc<Mutex<Option<Duration>>>,
}

impl ScrubMeter {
    pub(super) fn new(register: &Register<'_>) -> ScrubMeter {
        ScrubMeter {
            bytes: register.counter(
                "bramble_scrub_read_bytes_total",
                "Bytes of rows and entries read back from the device to see whether they are whole.",
            ),
            passes: register.counter(
                "bramble_scrubs_total",
                "Times that all of log and engine was read back, and was whole.",
            ),
            inflight: register
                .gauge("bramble_scrub_inflight", "Whether log and engine are being read back: 1, or 0."),
            finished_at: Arc::default(),
        }
    }

    pub(crate) fn begun(&self) {
        self.inflight.set(1);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    pub(crate) fn finished(&self, now: Duration) {
        self.inflight.set(0);
        self.passes.inc();
        *self.finished_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    pub(crate) fn given_up(&self) {
        self.inflight.set(0);
    }

    /// Says how long ago the last pass ended; before the first one nothing.
    pub(crate) fn tell(&self, clock: &dyn Clock, scrape: &mut Scrape) {
        let finished_at = *self.finished_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(finished_at) = finished_at {
            scrape.gauge(
                "bramble_scrub_age_seconds",
                "Seconds since all of log and engine had been read back.",
                clock.now().saturating_sub(finished_at).as_secs_f64(),
            );
        }
    }
}
