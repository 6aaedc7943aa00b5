//! What servers keep their files on: a loop device as fast as the disk below it, or a modelled card.
use std::path::PathBuf;
use std::time::Duration;

use bramble_bench::cardsim::Card;
use bramble_bench::disk::{Asked, Device, Disk};
use bramble_bench::versus::Figures;

/// A fresh file system.
pub enum Ground {
    /// On a loop device.
    Loop(Disk),
    /// On a card, which counts for itself.
    Card(Box<Card>),
}

impl Ground {
    /// Where its files are.
    pub fn files(&self) -> PathBuf {
        match self {
            Ground::Loop(disk) => disk.files(),
            Ground::Card(card) => card.files(),
        }
    }

    /// The device of which the kernel tells what a scene asked.
    pub fn device(&self) -> Option<Device> {
        match self {
            Ground::Loop(disk) => Some(disk.device()),
            Ground::Card(_) => None,
        }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Result<Asked, String> {
        match self {
            Ground::Loop(disk) => disk.device().asked().map_err(|why| why.to_string()),
            Ground::Card(card) => {
                let counts = card.counts();
                Ok(Asked { writes: counts.writes, bytes: counts.written_bytes, flushes: counts.flushes })
            }
        }
    }

    /// A scene begins.
    pub fn open_account(&self) {
        if let Ground::Card(card) = self {
            card.open_account(None);
        }
    }

    /// What a card, by its model, went through since then, for each of `per_s` operations in each second.
    pub fn account(&self, per_s: f64, seconds: Duration) -> Result<Figures, String> {
        let Ground::Card(card) = self else { return Ok(Figures::new()) };
        let report = card.account().map_err(|why| why.to_string())?;
        let report = report.ok_or("a card of no kind has no account")?;
        let each = 1.0 / (per_s * seconds.as_secs_f64());
        Ok(Figures::from([
            ("device B/op", report.host_bytes as f64 * each),
            ("writes/op", report.writes() as f64 * each),
            ("NAND B/op", report.wear.nand_bytes as f64 * each),
            ("erases/1000 ops", report.wear.erases as f64 * each * 1e3),
            ("card busy ms/op", report.busy_s() * 1e3 * each),
        ]))
    }
}
