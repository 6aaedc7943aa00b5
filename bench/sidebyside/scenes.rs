//! The scenes, in their order.
use std::time::Duration;

use bramble_bench::load::Work;
use bramble_bench::versus::{Rival, Scene, data, scene};

const STORES: &[Rival] = &[Rival::Sqlite];
const ALL: &[Rival] = &[Rival::Sqlite, Rival::Echo];

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
    /// How long this one is.
    pub fn of(self, scene: &Scene) -> Duration {
        if scene.rate.is_some() { self.paced } else { self.closed }
    }
}
