//! What is said of wear: as JSON with stable keys (`/debug/wear`), and as metrics.
use serde_json::{Value, json};

use super::Medium;
use super::calendar::date;
use super::days::{CAUSES, Count, Counts, Days};
use super::life::{Endurance, Life, to_device};
use super::prefixes::Prefixes;
use crate::metrics::{Device, EmmcLife, Kind, Latency, Scrape};

/// Prefixes that are told.
const PREFIXES_MAX: usize = 10;
/// Days of each window, and its name in JSON.
const WINDOWS: [(u32, &str); 3] = [(1, "today"), (7, "7d"), (30, "30d")];

/// The account at one moment.
pub(crate) struct Report {
    /// Days since 1970.
    day: u32,
    windows: [Counts; WINDOWS.len()],
    total: Counts,
    latency: Latency,
    device: Option<(String, Option<u64>)>,
    endurance: Option<Endurance>,
    life: Option<Life>,
    emmc: Option<EmmcLife>,
    prefixes: Vec<(String, u64)>,
}

impl Report {
    pub(super) fn new(
        days: &Days,
        prefixes: &Prefixes,
        latency: Latency,
        device: Option<&Device>,
        medium: Medium,
    ) -> Report {
        let windows = WINDOWS.map(|(length, _)| days.last(length));
        let endurance = Endurance::of(medium.endurance_bytes, medium.media, device);
        let life = endurance.as_ref().and_then(|endurance| Life::project(endurance, &windows[2]));
        let name = |(prefix, bytes): (&[u8], u64)| (String::from_utf8_lossy(prefix).into_owned(), bytes);
        Report {
            day: days.today().unwrap_or_default(),
            windows,
            total: *days.total(),
            latency,
            device: device.map(|device| (device.name().to_owned(), device.capacity_bytes())),
            endurance,
            life,
            emmc: device.and_then(Device::emmc_life),
            prefixes: prefixes.top(PREFIXES_MAX).into_iter().map(name).collect(),
        }
    }

    /// With stable keys. What is not known is `null`.
    pub(crate) fn json(&self) -> Value {
        let has_device = self.device.is_some();
        let mut windows = serde_json::Map::new();
        for ((_, name), counts) in WINDOWS.iter().zip(&self.windows) {
            windows.insert((*name).to_owned(), window_json(counts, has_device));
        }
        windows.insert("all".to_owned(), window_json(&self.total, has_device));
        json!({
            "date": date(self.day),
            "windows": windows,
            "flush_latency": latency_json(&self.latency),
            "device": self.device.as_ref().map(|(name, bytes)| json!({ "name": name, "capacity_bytes": bytes })),
            "endurance": self.endurance.as_ref().map(|endurance| json!({
                "bytes": endurance.bytes,
                "estimate": endurance.estimate,
                "basis": endurance.basis,
                "used_ratio": self.used_ratio(endurance),
            })),
            "projected_life": self.life.as_ref().map(|life| json!({
                "years": life.years,
                "estimate": self.endurance.as_ref().is_none_or(|endurance| endurance.estimate),
                "bytes_per_day": life.bytes_per_day,
                "of": life.of,
                "window": "30d",
            })),
            "emmc": self.emmc.as_ref().map(|emmc| json!({
                "life_time_a": emmc.life_a,
                "life_time_b": emmc.life_b,
                "pre_eol": emmc.pre_eol,
                "pre_eol_meaning": pre_eol_meaning(emmc.pre_eol),
            })),
            "top_prefixes": self.prefixes.iter().map(|(prefix, bytes)| json!({ "prefix": prefix, "bytes": bytes }))
                .collect::<Vec<_>>(),
        })
    }

    /// The part of a device's life that was written since the account began.
    fn used_ratio(&self, endurance: &Endurance) -> f64 {
        to_device(&self.total).1 as f64 / endurance.bytes as f64
    }

    /// As metrics.
    pub(crate) fn tell(&self, scrape: &mut Scrape) {
        self.tell_windows(scrape);
        let causes = CAUSES.map(|(count, cause)| ([cause], self.total.get(count) as f64));
        scrape.family(
            Kind::Counter,
            "bramble_wear_written_bytes_total",
            "Bytes written to files since the data directory was made, by cause; kept over restarts.",
            &["cause"],
            causes,
        );
        self.tell_life(scrape);
        scrape.family(
            Kind::Gauge,
            "bramble_wear_prefix_bytes",
            "Bytes of keys and values that clients have written under the ten prefixes (up to the third slash) that most was written under; never too small, too large by a 64th of all at most.",
            &["prefix"],
            self.prefixes.iter().map(|(prefix, bytes)| ([prefix.clone()], *bytes as f64)),
        );
    }

    fn tell_windows(&self, scrape: &mut Scrape) {
        let days = || WINDOWS.iter().map(|(days, _)| days.to_string()).zip(&self.windows);
        let by_cause = days().flat_map(|(days, counts)| {
            CAUSES.map(|(count, cause)| ([cause.to_owned(), days.clone()], counts.get(count) as f64))
        });
        scrape.family(
            Kind::Gauge,
            "bramble_wear_written_bytes",
            "Bytes written to files today (days=\"1\") and in the last 7 and 30 days, by cause; kept over restarts.",
            &["cause", "days"],
            by_cause,
        );
        let mut row = |name: &str, help: &str, value: &dyn Fn(&Counts) -> Option<f64>| {
            let rows = days().filter_map(|(days, counts)| Some(([days], value(counts)?)));
            scrape.family(Kind::Gauge, name, help, &["days"], rows);
        };
        let of = |count: Count| move |counts: &Counts| Some(counts.get(count) as f64);
        row(
            "bramble_wear_user_bytes",
            "Bytes of keys and values that clients have written in so many days.",
            &of(Count::User),
        );
        row("bramble_wear_writes", "Revisions that clients have made in so many days.", &of(Count::Writes));
        row(
            "bramble_wear_flushes",
            "Times that data was made durable in so many days, by log and engine.",
            &of(Count::Flushes),
        );
        row(
            "bramble_wear_flushes_per_write",
            "Flushes for each revision in so many days.",
            &flushes_per_write,
        );
        row(
            "bramble_wear_running_seconds",
            "How long the member has run in so many days.",
            &of(Count::RunningSeconds),
        );
        let device = |counts: &Counts| self.device.is_some().then_some(counts.get(Count::Device) as f64);
        row(
            "bramble_wear_device_bytes",
            "Bytes written to the whole block device by everybody in so many days, while the member ran.",
            &device,
        );
        let amplification = days().flat_map(|(days, counts)| {
            let has_device = self.device.is_some();
            let rows =
                [("own", amplification_own(counts)), ("device", amplification_device(counts, has_device))];
            rows.into_iter().filter_map(move |(of, value)| Some(([days.clone(), of.to_owned()], value?)))
        });
        scrape.family(
            Kind::Gauge,
            "bramble_wear_write_amplification",
            "Bytes written for each byte that clients have written in so many days: to files (of=\"own\"), to the whole device by everybody (of=\"device\").",
            &["days", "of"],
            amplification,
        );
    }

    fn tell_life(&self, scrape: &mut Scrape) {
        if let Some(endurance) = &self.endurance {
            let source = if endurance.estimate { "estimate" } else { "card-endurance" };
            let mut row = |name: &str, help: &str, value: f64| {
                scrape.family(Kind::Gauge, name, help, &["source"], [([source], value)]);
            };
            row(
                "bramble_wear_endurance_bytes",
                "Bytes that may be written to the device in its life: by --card-endurance, or guessed by kind and size (source=\"estimate\").",
                endurance.bytes as f64,
            );
            row(
                "bramble_wear_endurance_used_ratio",
                "The part of that which was written since the data directory was made, while the member ran.",
                self.used_ratio(endurance),
            );
            if let Some(life) = &self.life {
                row(
                    "bramble_wear_projected_life_years",
                    "How long a new device would last at the pace of the last 30 days.",
                    life.years,
                );
            }
        }
        if let Some(emmc) = &self.emmc {
            let lives =
                [("a", emmc.life_a), ("b", emmc.life_b)].map(|(kind, life)| ([kind], f64::from(life)));
            scrape.family(
                Kind::Gauge,
                "bramble_wear_emmc_life_tenths",
                "Tenths of its life that eMMC says it has used, rounded up, by its kind of memory; 11 = all of it, 0 = it does not say.",
                &["memory"],
                lives,
            );
            scrape.gauge(
                "bramble_wear_emmc_pre_eol",
                "eMMC's spare blocks: 1 = good, 2 = 80 % are used, 3 = 90 %, 0 = it does not say.",
                f64::from(emmc.pre_eol),
            );
        }
    }
}

fn window_json(counts: &Counts, has_device: bool) -> Value {
    let causes: serde_json::Map<_, _> =
        CAUSES.iter().map(|(count, cause)| ((*cause).to_owned(), json!(counts.get(*count)))).collect();
    json!({
        "running_seconds": counts.get(Count::RunningSeconds),
        "own_bytes": counts.own(),
        "own_bytes_by_cause": causes,
        "user_bytes": counts.get(Count::User),
        "writes": counts.get(Count::Writes),
        "flushes": counts.get(Count::Flushes),
        "flushes_per_write": flushes_per_write(counts),
        "device_bytes": has_device.then(|| counts.get(Count::Device)),
        "device_flushes": has_device.then(|| counts.get(Count::DeviceFlushes)),
        "write_amplification": {
            "own": amplification_own(counts),
            "device": amplification_device(counts, has_device),
        },
    })
}

fn latency_json(latency: &Latency) -> Value {
    let bucket = |(bound, count): &(f64, u64)| json!({ "le_seconds": bound, "count": count });
    json!({
        "count": latency.count,
        "sum_seconds": latency.sum_seconds,
        "p50_seconds": latency.within(0.5),
        "p99_seconds": latency.within(0.99),
        "p999_seconds": latency.within(0.999),
        "buckets": latency.buckets.iter().map(bucket).collect::<Vec<_>>(),
    })
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

fn flushes_per_write(counts: &Counts) -> Option<f64> {
    ratio(counts.get(Count::Flushes), counts.get(Count::Writes))
}

fn amplification_own(counts: &Counts) -> Option<f64> {
    ratio(counts.own(), counts.get(Count::User))
}

fn amplification_device(counts: &Counts, has_device: bool) -> Option<f64> {
    ratio(counts.get(Count::Device), counts.get(Count::User)).filter(|_| has_device)
}

fn pre_eol_meaning(register: u8) -> &'static str {
    match register {
        1 => "good",
        2 => "80 % of the spare blocks are used",
        3 => "90 % of the spare blocks are used: replace it",
        _ => "not told",
    }
}
