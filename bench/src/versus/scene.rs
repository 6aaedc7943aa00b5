//! One kind of work on one server, and what it took.
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::transport::Channel;

use super::rival::{Rival, Running};
use crate::disk::{Asked, Device};
use crate::load::{self, Data, Plan, Work};

/// Clients that share a connection.
const CLIENTS_A_CONNECTION: u32 = 16;
/// Worked before each scene.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// One scene.
pub struct Scene {
    /// What it is called.
    pub name: &'static str,
    /// The requests.
    pub work: Work,
    /// The keys and values.
    pub data: Data,
    /// How many ask at a time.
    pub clients: u32,
    /// Requests a second of all clients together; `None`: each asks when it is answered.
    pub rate: Option<f64>,
    /// Whether each key is put before.
    pub fill: bool,
    /// Who takes part beside etcd and Bramble.
    pub also: &'static [Rival],
}

/// Keys, and values of which half is noise.
pub const fn data(keys: u64, value_bytes: usize) -> Data {
    Data { keys, value_bytes, noise_percent: 50 }
}

/// A closed loop on keys that need not be there.
pub const fn scene(
    name: &'static str,
    work: Work,
    data: Data,
    clients: u32,
    also: &'static [Rival],
) -> Scene {
    Scene { name, work, data, clients, rate: None, fill: false, also }
}

/// Figures of a scene, by their names.
pub type Figures = BTreeMap<&'static str, f64>;

/// Which part of the requests took no longer than so many microseconds.
pub type Curve = Vec<(f64, u64)>;

/// What a scene took.
pub struct Measured {
    /// By their names.
    pub figures: Figures,
    /// How long requests took.
    pub curve: Curve,
}

fn told(why: impl Display) -> String {
    why.to_string()
}

impl Scene {
    /// Whether this one takes part.
    pub fn is_for(&self, rival: Rival) -> bool {
        matches!(rival, Rival::Bramble | Rival::Etcd) || self.also.contains(&rival)
    }

    /// Connections to a server, which has all keys then if the scene needs them.
    ///
    /// # Errors
    /// What the server said.
    pub async fn connect(&self, server: &Running) -> Result<Vec<Channel>, String> {
        let mut channels = Vec::new();
        for _ in 0..self.clients.div_ceil(CLIENTS_A_CONNECTION) {
            channels.push(server.connect().await?);
        }
        if self.fill {
            load::fill(&channels, &self.data, 1).await.map_err(told)?;
        }
        Ok(channels)
    }

    /// Works a second, and then `length`, of which it tells.
    ///
    /// # Errors
    /// What the server or the kernel said; a request that failed.
    pub async fn measure(
        &self,
        server: &Running,
        channels: &[Channel],
        device: Option<&Device>,
        length: Duration,
    ) -> Result<Measured, String> {
        let plan = |measured, seed| Plan {
            work: self.work,
            data: self.data.clone(),
            clients: self.clients,
            rate: self.rate,
            measured,
            warm_up: Duration::ZERO,
            seed,
        };
        load::run(channels, &plan(WARM_UP, 1)).await.map_err(told)?;
        let before = seen(server, device)?;
        let summary = load::run(channels, &plan(length, 2)).await.map_err(told)?;
        let after = seen(server, device)?;
        if !summary.failed.is_empty() {
            return Err(format!("{} on {}: {summary}", self.name, server.rival.name()));
        }
        let mut figures = after.since(&before, summary.requests.count as f64);
        figures.extend([
            ("per s", summary.requests.per_s),
            ("p50 µs", summary.requests.quantiles_us[0] as f64),
            ("p99 µs", summary.requests.quantiles_us[2] as f64),
            ("p99.9 µs", summary.requests.quantiles_us[3] as f64),
            ("max µs", summary.requests.max_us as f64),
        ]);
        if let Some(events) = &summary.events {
            figures.extend([("events/s", events.per_s), ("event p99 µs", events.quantiles_us[2] as f64)]);
        }
        Ok(Measured { figures, curve: summary.requests.curve })
    }
}

/// What Bramble counts itself: the name of the figure, the metric, a label.
const OWN: [(&str, &str, &str); 5] = [
    ("log B/op", "bramble_disk_written_bytes_total", "cause=\"log\""),
    ("log fill B/op", "bramble_disk_written_bytes_total", "cause=\"log_fill\""),
    ("flush B/op", "bramble_disk_written_bytes_total", "cause=\"engine_flush\""),
    ("compaction B/op", "bramble_disk_written_bytes_total", "cause=\"compaction\""),
    ("log syncs/op", "bramble_flushes_total", ""),
];

/// What was counted up to a moment.
struct Seen {
    rival: Rival,
    cpu_s: f64,
    resident_bytes: u64,
    asked: Option<Asked>,
    own: [f64; OWN.len()],
}

fn seen(server: &Running, device: Option<&Device>) -> Result<Seen, String> {
    let taken = server.taken().map_err(told)?;
    let asked = device.map(Device::asked).transpose().map_err(told)?;
    let mut own = [0.0; OWN.len()];
    if server.rival == Rival::Bramble {
        for (sum, (_, name, labels)) in own.iter_mut().zip(OWN) {
            *sum = server.counter(name, labels).map_err(told)?;
        }
    }
    Ok(Seen { cpu_s: taken.cpu_s, resident_bytes: taken.resident_bytes, asked, own, rival: server.rival })
}

impl Seen {
    fn since(&self, before: &Seen, operations: f64) -> Figures {
        let mut figures = Figures::from([
            ("CPU µs/op", (self.cpu_s - before.cpu_s) * 1e6 / operations),
            ("RSS MB", self.resident_bytes as f64 / 1e6),
        ]);
        if let (Some(now), Some(then)) = (self.asked, before.asked) {
            figures.extend((now - then).figures(operations));
        }
        if self.rival == Rival::Bramble {
            let own = OWN.iter().zip(self.own.iter().zip(before.own));
            figures.extend(own.map(|((name, ..), (now, then))| (*name, (now - then) / operations)));
        }
        figures
    }
}
