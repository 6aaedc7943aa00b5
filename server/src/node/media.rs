//! The device under a running node: which kind it is taken for, the probe that finds out for the next start,
//! and the look once a minute at who else writes to a card.
//!
//! The probe waits until the node serves and has little to do, for as long as that takes; what it measures
//! beside other writes it does not believe. A node on somebody else's disk (a simulation's) has no device.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bramble_store::disk::Disk;
use tokio::time::sleep;

use super::builder::{Builder, Storage};
use super::core::Core;
use super::space::RESERVE_BYTES;
use crate::media::judge::judge;
use crate::media::others::{self, Others};
use crate::media::{BlockDevice, Choice, Kernel, Media, Remembered, Source, choose, probe, warnings};
use crate::threads::away;

/// A node that has written little for so long is calm.
const CALM_FOR: Duration = Duration::from_secs(5);
/// What is little: of the log and of the engine, a dozen frames a second of the largest; of everybody on the device.
const OWN_BYTES_MAX: u64 = 1 << 20;
const DEVICE_BYTES_MAX: u64 = 4 << 20;
/// After a measurement beside other writes.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What is known of the device before anything is opened on it.
pub(super) struct Found {
    pub(super) choice: Choice,
    device: Option<BlockDevice>,
    kernel: Kernel,
}

impl Found {
    /// Whether there is something to do while the node runs.
    pub(super) fn has_work(&self) -> bool {
        self.choice.probe || self.watched().is_some()
    }

    /// The device, if others who write to it are worth a word: cards wear.
    fn watched(&self) -> Option<&BlockDevice> {
        self.device.as_ref().filter(|_| self.choice.kind != Media::Ssd)
    }
}

/// Looks what an earlier start has found and what the kernel says, and says what is wrong with the device.
pub(super) fn find(builder: &Builder, disk: &dyn Disk) -> Found {
    let (flag, dir, kernel) = (builder.config.media, &builder.config.data_dir, builder.kernel.clone());
    if let Storage::Given { .. } = builder.storage {
        let source = if flag.is_some() { Source::Flag } else { Source::Default };
        let choice = Choice { kind: flag.unwrap_or_default(), source, probe: false };
        return Found { choice, device: None, kernel };
    }
    if let Err(error) = probe::clear(disk, dir) {
        tracing::warn!(%error, "what a probe of the device has left cannot be removed");
    }
    let device = kernel.device(dir);
    let remembered = if flag.is_none() { remembered(disk, dir) } else { None };
    let choice = choose(flag, remembered.as_ref(), device.as_ref());
    let name = device.as_ref().map_or("unknown", |device| &device.name);
    let (kind, source) = (choice.kind.word(), choice.source.word());
    tracing::info!(kind, source, device = name, "this start reckons with this kind of device");
    for warning in warnings::warnings(choice.kind, device.as_ref(), kernel.mount(dir).as_ref()) {
        tracing::warn!("{warning}");
    }
    look_at_log_partition(builder, choice.kind, device.as_ref());
    Found { choice, device, kernel }
}

/// Says what is wrong with the device under the log, if it has a partition of its own.
fn look_at_log_partition(builder: &Builder, kind: Media, data: Option<&BlockDevice>) {
    let Some(partition) = &builder.config.log_partition else { return };
    let Some(device) = builder.kernel.device(partition) else { return };
    if data.is_some_and(|data| data.identity != device.identity) {
        let (log, kind) = (&device.name, kind.word());
        tracing::info!(
            log,
            kind,
            "the log lies on another device; its frames, too, are for the kind of the data's"
        );
    }
    for warning in warnings::warnings(kind, Some(&device), None) {
        tracing::warn!("{warning}");
    }
}

/// What an earlier start has found. Damaged, only what was measured is lost, and that can be measured again.
fn remembered(disk: &dyn Disk, dir: &Path) -> Option<Remembered> {
    Remembered::read(disk, dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "what was found about the device is not believed; it is measured again");
        None
    })
}

/// Measures once, when it may, and looks at who else writes, for as long as the node runs.
pub(super) async fn keep(core: Arc<Core>, found: Found, disk: Arc<dyn Disk>) {
    let found = Arc::new(found);
    let measured = async {
        if found.choice.probe {
            measure(&core, &found, disk).await;
        }
    };
    tokio::join!(measured, look_at_others(&core, &found));
}

async fn measure(core: &Arc<Core>, found: &Arc<Found>, disk: Arc<dyn Disk>) {
    loop {
        let Some(before) = calm(core, found).await else { return };
        let (probing, probed_disk) = (core.clone(), disk.clone());
        let probed = away(&*core.threads, move || {
            probe::run(&*probed_disk, &*probing.clock, &probing.config.data_dir)
        });
        let measured = match probed.await {
            Some(Ok(measured)) => measured,
            Some(Err(error)) => {
                tracing::warn!(%error, "the device could not be measured; the next start tries again");
                return;
            }
            None => return,
        };
        let Some(after) = written(core, found).await else { return };
        if after.is_calm_since(before, probe::WRITTEN_BYTES_MAX) {
            let media = judge(&measured, found.device.as_ref().and_then(BlockDevice::hint));
            let device = found.device.as_ref().map_or(String::new(), |device| device.identity.clone());
            return remember(core, disk, Remembered { media, device, measured }).await;
        }
        tracing::info!("the device was measured beside other writes; this is done again");
        sleep(AGAIN_AFTER).await;
    }
}

/// Waits until the node serves and is calm, and there is room. `None` when it stops.
async fn calm(core: &Arc<Core>, found: &Arc<Found>) -> Option<Written> {
    let mut before = written(core, found).await?;
    loop {
        sleep(CALM_FOR).await;
        let after = written(core, found).await?;
        let serves = core.raft.standing().leader.is_some();
        if serves && after.has_room && after.is_calm_since(before, 0) {
            return Some(after);
        }
        before = after;
    }
}

async fn remember(core: &Arc<Core>, disk: Arc<dyn Disk>, found: Remembered) {
    let (kind, used, measured) = (found.media.word(), core.media.kind.word(), found.measured);
    let dir = core.config.data_dir.clone();
    let written = away(&*core.threads, move || found.write(&*disk, &dir)).await;
    match written {
        Some(Ok(())) => tracing::info!(
            kind,
            used,
            %measured,
            "the device was measured; the next start reckons with its kind"
        ),
        Some(Err(error)) => {
            tracing::warn!(%error, kind, "what was found about the device cannot be kept; the next start measures again");
        }
        None => {}
    }
}

/// What was written so far.
#[derive(Clone, Copy)]
struct Written {
    /// By the log and the engine; the probe is not among it.
    own: u64,
    /// To the whole device; 0 when nobody can tell.
    device: u64,
    /// The file system has more left than its reserve.
    has_room: bool,
}

impl Written {
    /// Whether little was written since, beside what a probe wrote itself.
    fn is_calm_since(&self, before: Written, probed: u64) -> bool {
        self.own.saturating_sub(before.own) <= OWN_BYTES_MAX
            && self.device.saturating_sub(before.device) <= DEVICE_BYTES_MAX + probed
    }
}

/// `None` when the node has stopped.
async fn written(core: &Arc<Core>, found: &Arc<Found>) -> Option<Written> {
    let (asked, found) = (core.clone(), found.clone());
    let looked = away(&*core.threads, move || {
        let (_, engine) = asked.size_and_work().ok()?;
        let log: u64 = asked.metrics.disk.written().iter().map(|(_, bytes)| bytes).sum();
        Some(Written {
            own: log + engine.flush_bytes + engine.compaction_written_bytes,
            device: found.device.as_ref().and_then(BlockDevice::written_bytes).unwrap_or(0),
            has_room: asked.space.free_bytes() > RESERVE_BYTES + probe::WRITTEN_BYTES_MAX,
        })
    });
    looked.await.flatten()
}

async fn look_at_others(core: &Arc<Core>, found: &Arc<Found>) {
    if found.watched().is_none() {
        return;
    }
    let mut others = Others::default();
    loop {
        let looking = found.clone();
        let counts = away(&*core.threads, move || {
            let device = looking.device.as_ref()?.written_bytes()?;
            Some(others::Counts { device, own: looking.kernel.own_written_bytes()? })
        });
        let Some(counts) = counts.await.flatten() else { return };
        if let Some(warning) = others.look(core.clock.now(), counts) {
            tracing::warn!("{warning}");
        }
        sleep(others::LOOK_EVERY).await;
    }
}
