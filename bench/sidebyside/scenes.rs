//! The scenes, in their order, and what is told of each.
use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use bramble_bench::disk::{Asked, Disk};
use bramble_bench::load::{self, Data, Plan, Work};
use tonic::transport::Channel;

use crate::rival::{Rival, Running};

/// Clients that share a connection.
const CLIENTS_A_CONNECTION: u32 = 16;
/// Worked before each scene.
const WARM_UP: Duration = Duration::from_secs(1);

/// One scene.
pub struct Scene {
    pub name: &'static str,
    work: Work,
    data: Data,
    clients: u32,
    pub rate: Option<f64>,
    /// Whether each key is put before.
    fill: bool,
    /// Who takes part beside etcd and Bramble.
    pub also: &'static [Rival],
}

const fn data(keys: u64, value_bytes: usize) -> Data {
    Data { keys, value_bytes, noise_percent: 50 }
}

const STORES: &[Rival] = &[Rival::Sqlite];
const ALL: &[Rival] = &[Rival::Sqlite, Rival::Echo];

const fn scene(name: &'static str, work: Work, data: Data, clients: u32, also: &'static [Rival]) -> Scene {
    Scene { name, work, data, clients, rate: None, fill: false, also }
}

/// Paced ones first: what they write is told by itself.
pub const SCENES: [Scene; 9] = [
    Scene { rate: Some(5.0), ..scene("put 1 KiB, 5/s", Work::Put, data(1000, 1024), 4, STORES) },
    Scene { rate: Some(10.0), ..scene("put 512 B, 10/s, 20 keys", Work::Put, data(20, 512), 4, STORES) },
    scene("put 1 KiB, 1 client", Work::Put, data(10_000, 1024), 1, ALL),
    scene("put 1 KiB, 64 clients", Work::Put, data(10_000, 1024), 64, ALL),
    Scene { fill: true, ..scene("get 1 KiB, 64 clients", Work::Get, data(10_000, 1024), 64, ALL) },
    scene("list of 500 × 1 KiB", Work::List { limit: 500 }, data(10_000, 1024), 1, STORES),
    scene("update 1 KiB, 16 clients", Work::Update, data(10_000, 1024), 16, &[]),
    scene("put 1 KiB, 100 watchers", Work::Watch { watchers: 100 }, data(1000, 1024), 1, &[]),
    scene("lease, 16 clients", Work::Lease, data(1, 1024), 16, &[]),
];

/// How long scenes are.
#[derive(Clone, Copy)]
pub struct Lengths {
    pub paced: Duration,
    pub closed: Duration,
}

impl Lengths {
    fn of(self, scene: &Scene) -> Duration {
        if scene.rate.is_some() { self.paced } else { self.closed }
    }
}

/// Figures of a scene, by their names.
pub type Figures = BTreeMap<&'static str, f64>;

fn told(why: impl Display) -> String {
    why.to_string()
}

impl Scene {
    /// Whether this one takes part.
    pub fn is_for(&self, rival: Rival) -> bool {
        matches!(rival, Rival::Bramble | Rival::Etcd) || self.also.contains(&rival)
    }

    /// Plays it on a server.
    pub async fn play(&self, server: &Running, disk: &Disk, lengths: Lengths) -> Result<Figures, String> {
        let mut channels: Vec<Channel> = Vec::new();
        for _ in 0..self.clients.div_ceil(CLIENTS_A_CONNECTION) {
            channels.push(server.connect().await?);
        }
        if self.fill {
            load::fill(&channels, &self.data, 1).await.map_err(told)?;
        }
        let plan = |measured, seed| Plan {
            work: self.work,
            data: self.data.clone(),
            clients: self.clients,
            rate: self.rate,
            measured,
            warm_up: Duration::ZERO,
            seed,
        };
        load::run(&channels, &plan(WARM_UP, 1)).await.map_err(told)?;
        let before = self.seen(server, disk)?;
        let summary = load::run(&channels, &plan(lengths.of(self), 2)).await.map_err(told)?;
        let after = self.seen(server, disk)?;
        if !summary.failed.is_empty() {
            return Err(format!("{} on {}: {summary}", self.name, server.rival.name()));
        }
        let mut figures = after.since(&before, summary.requests.count as f64);
        figures.extend([
            ("per s", summary.requests.per_s),
            ("p50 µs", summary.requests.quantiles_us[0] as f64),
            ("p99 µs", summary.requests.quantiles_us[2] as f64),
            ("max µs", summary.requests.max_us as f64),
        ]);
        if let Some(events) = &summary.events {
            figures.extend([("events/s", events.per_s), ("event p99 µs", events.quantiles_us[2] as f64)]);
        }
        Ok(figures)
    }

    fn seen(&self, server: &Running, disk: &Disk) -> Result<Seen, String> {
        let taken = server.taken().map_err(told)?;
        let asked = disk.asked().map_err(told)?;
        let mut own = [0.0; OWN.len()];
        if server.rival == Rival::Bramble {
            for (sum, (_, name, labels)) in own.iter_mut().zip(OWN) {
                *sum = server.counter(name, labels).map_err(told)?;
            }
        }
        Ok(Seen { cpu_s: taken.cpu_s, resident_bytes: taken.resident_bytes, asked, own, rival: server.rival })
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
    asked: Asked,
    own: [f64; OWN.len()],
}

impl Seen {
    fn since(&self, before: &Seen, operations: f64) -> Figures {
        let asked = self.asked - before.asked;
        let mut figures = Figures::from([
            ("CPU µs/op", (self.cpu_s - before.cpu_s) * 1e6 / operations),
            ("device B/op", asked.bytes as f64 / operations),
            ("writes/op", asked.writes as f64 / operations),
            ("flushes/op", asked.flushes as f64 / operations),
            ("RSS MB", self.resident_bytes as f64 / 1e6),
        ]);
        if self.rival == Rival::Bramble {
            let own = OWN.iter().zip(self.own.iter().zip(before.own));
            figures.extend(own.map(|((name, ..), (now, then))| (*name, (now - then) / operations)));
        }
        figures
    }
}
