//! Health checks that were asked for.
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::register::Register;

/// What the health endpoints count.
pub(crate) struct HealthMeter {
    success: IntCounter,
    failures: IntCounter,
    latest: IntGaugeVec,
    checks: IntCounterVec,
}

impl HealthMeter {
    pub(super) fn new(register: &Register<'_>) -> HealthMeter {
        HealthMeter {
            success: register.counter("etcd_server_health_success", "Answers of /health that were good."),
            failures: register.counter("etcd_server_health_failures", "Answers of /health that were bad."),
            latest: register.gauges(
                "etcd_server_healthcheck",
                "The latest result of each check of /livez and /readyz: 1 good, 0 bad.",
                &["type", "name"],
            ),
            checks: register.counters(
                "etcd_server_healthchecks_total",
                "Checks made for /livez and /readyz.",
                &["type", "name", "status"],
            ),
        }
    }

    /// `/health` was answered.
    pub(crate) fn answered(&self, good: bool) {
        if good { &self.success } else { &self.failures }.inc();
    }

    /// One check of a probe (`livez`, `readyz`) was made.
    pub(crate) fn checked(&self, probe: &str, check: &str, good: bool) {
        self.latest.with_label_values(&[probe, check]).set(i64::from(good));
        let status = if good { "success" } else { "error" };
        self.checks.with_label_values(&[probe, check, status]).inc();
    }
}
