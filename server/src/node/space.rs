//! The quota: what the engine may take, asked before anything is proposed, acted on through the alarm
//! that all members know.
//!
//! ```text
//!   size + cost ≥ quota ─► NOSPACE, by this member's quota ─► puts and grants are refused everywhere
//!                                │ what is erased is given back, once now and after each compaction
//!   size < 95 % of it   ◄────────┘ ─► this member clears the alarm
//! ```
//! The same alarm is raised when the file system that holds the data has less than [`RESERVE_BYTES`] left,
//! whoever filled it: what is left is for flushes, for the log, and for what makes room.
//!
//! The size is the one that the status shows: files and what is still in memory, not the log, whose ring
//! has a size of its own. It is a few locks away, so it is looked at again only when what was admitted
//! since could have filled the quota.
//!
//! Only the alarm that a quota raised is cleared here ([`AlarmChange::UnderQuota`]). One that somebody
//! asked for, before or after, stays until somebody clears it.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bramble_store::command::{Action, AlarmChange};
use bramble_store::disk::Disk;
use bramble_store::types::AlarmKind;
use tokio::sync::{Mutex, MutexGuard, Notify};

use super::core::Core;
use super::error::{Error, Refusal};

/// What must be free before writes come back, as a part of the quota. Without it each erased key would
/// clear the alarm and the next put raise it.
const MARGIN: u64 = 20;
/// Time between two looks while the alarm is raised, and while it is not.
const LOOK_OFTEN: Duration = Duration::from_secs(1);
const LOOK_SELDOM: Duration = Duration::from_secs(10);

/// What is left of the file system for flushing what was accepted, for the log and for compactions.
pub(super) const RESERVE_BYTES: u64 = 64 << 20;
/// What must be free beyond it before writes come back.
const RESERVE_MARGIN_BYTES: u64 = 16 << 20;
/// What is written at most before the file system is asked again.
const ASK_EVERY_BYTES: u64 = 4 << 20;

/// The space that the file system has left.
struct Device {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    /// Bytes that may be admitted before it is asked again.
    known_bytes: AtomicU64,
}

impl Device {
    /// A file system that does not say what it has left has no bound.
    fn free_bytes(&self) -> u64 {
        self.disk.free_bytes(&self.data_dir).unwrap_or(u64::MAX)
    }

    /// Whether there is room for `cost` more, in the log and in the engine.
    fn admits(&self, cost: u64) -> bool {
        let cost = cost.saturating_mul(2);
        let take = |known: u64| known.checked_sub(cost);
        if self.known_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return true;
        }
        let room = self.free_bytes().saturating_sub(RESERVE_BYTES);
        let Some(left) = room.checked_sub(cost) else { return false };
        self.known_bytes.store(left.min(ASK_EVERY_BYTES), Ordering::Relaxed);
        true
    }

    fn has_room(&self) -> bool {
        self.free_bytes() >= RESERVE_BYTES + RESERVE_MARGIN_BYTES
    }
}

pub(super) struct Space {
    device: Device,
    /// `None`: there is no bound.
    quota_bytes: Option<u64>,
    /// The size when it was last looked at, and the cost of what was admitted since.
    estimate: AtomicU64,
    /// One raises the alarm; the others are refused at once.
    raising: Mutex<()>,
    raised: Notify,
}

impl Space {
    /// With a quota as the flag gives it: negative is none.
    pub(super) fn new(quota_bytes: i64, disk: Arc<dyn Disk>, data_dir: &Path) -> Space {
        Space {
            device: Device { disk, data_dir: data_dir.to_owned(), known_bytes: AtomicU64::new(0) },
            quota_bytes: u64::try_from(quota_bytes).ok(),
            // Looks at the first write.
            estimate: AtomicU64::new(u64::MAX),
            raising: Mutex::new(()),
            raised: Notify::new(),
        }
    }

    /// Bytes that the file system has left.
    pub(super) fn free_bytes(&self) -> u64 {
        self.device.free_bytes()
    }

    /// Whether there is room for `cost` more. `size` is asked when what is known does not tell.
    fn admits(&self, cost: u64, size: impl FnOnce() -> u64) -> bool {
        if !self.device.admits(cost) {
            return false;
        }
        let Some(quota) = self.quota_bytes else { return true };
        let before = self.estimate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |estimate| {
            Some(estimate.saturating_add(cost))
        });
        let estimate = before.map_or(u64::MAX, |before| before.saturating_add(cost));
        if estimate < quota {
            return true;
        }
        let size = size().saturating_add(cost);
        self.estimate.store(size, Ordering::Relaxed);
        size < quota
    }

    /// Begins to raise the alarm, unless somebody does already.
    fn raise(&self) -> Option<MutexGuard<'_, ()>> {
        self.raising.try_lock().ok()
    }

    /// Whether writes may come back.
    fn has_room(&self, size: u64) -> bool {
        self.is_within_quota(size) && self.device.has_room()
    }

    /// Whether the quota would let them come back.
    fn is_within_quota(&self, size: u64) -> bool {
        self.quota_bytes.is_none_or(|quota| size < quota - quota / MARGIN)
    }
}

impl Core {
    /// Refuses what takes `cost` bytes while there is no space, and raises the alarm when this is when it ends.
    pub(super) async fn admit_space(&self, cost: u64) -> Result<(), Error> {
        if cost == 0 {
            return Ok(());
        }
        if self.view()?.alarms().iter().any(|(_, kind)| *kind == AlarmKind::NoSpace) {
            return Err(Refusal::NoSpace.into());
        }
        if !self.space.admits(cost, || self.db_bytes()) {
            self.raise_alarm().await;
            return Err(Refusal::NoSpace.into());
        }
        Ok(())
    }

    /// Bytes of data, as the status shows them: with what is still in memory, for it will be on disk.
    pub(super) fn db_bytes(&self) -> u64 {
        // A node that has stopped takes nothing any more.
        self.size().map_or(0, |size| size.total_bytes + size.unflushed_bytes)
    }

    async fn raise_alarm(&self) {
        let Some(_raising) = self.space.raise() else { return };
        if self.view().is_ok_and(|view| view.over_quota(self.ids.member)) {
            return;
        }
        let (size, quota, free) = (self.db_bytes(), self.config.quota_bytes, self.space.device.free_bytes());
        match free < RESERVE_BYTES + ASK_EVERY_BYTES {
            true => tracing::warn!(free, "the disk is nearly full: writes are refused until there is space"),
            false => {
                tracing::warn!(
                    size,
                    quota,
                    "the space quota is used up: writes are refused until there is space"
                );
            }
        }
        let change = AlarmChange::OverQuota { member: self.ids.member };
        match self.propose_own(Action::Alarm(change)).await {
            Ok(_) => self.space.raised.notify_one(),
            // The next write tries again.
            Err(error) => tracing::warn!(%error, "the alarm NOSPACE could not be raised"),
        }
    }
}

/// Gives back space and clears the alarm, for as long as the node runs.
pub(super) async fn keep(core: Arc<Core>) {
    let mut scrubbed = core.scrubbed.clone();
    let mut reclaim = Reclaim::new();
    loop {
        tokio::select! {
            () = core.space.raised.notified() => reclaim.erased = true,
            changed = scrubbed.changed() => match changed {
                Ok(()) => reclaim.erased = true,
                Err(_) => return,
            },
            () = tokio::time::sleep(reclaim.pause()) => {}
        }
        let Ok(view) = core.view() else { return };
        let over = view.over_quota(core.ids.member);
        // Not pinned while space is given back: what it sees would stay.
        drop(view);
        reclaim.look(over);
        if !over {
            continue;
        }
        // Not for the disk's sake: giving back takes space before it gives any.
        if reclaim.erased && !core.space.is_within_quota(core.db_bytes()) {
            // One that found no place in the queue is asked for again at the next look.
            reclaim.erased = !give_back(&core).await;
        }
        if core.space.has_room(core.db_bytes()) {
            clear_alarm(&core).await;
        }
    }
}

/// What is known of the space that could be given back.
struct Reclaim {
    /// The alarm was raised when it was last looked at.
    over: bool,
    /// There may be something to give back: never looked for under this alarm, or erased since.
    erased: bool,
}

impl Reclaim {
    /// The alarm may have been raised in an earlier life: the first look comes soon.
    fn new() -> Reclaim {
        Reclaim { over: true, erased: true }
    }

    /// The alarm is raised, or is not. Who raised it may not be there to tell: its client may have gone.
    fn look(&mut self, over: bool) {
        self.erased |= over && !self.over;
        self.over = over;
    }

    /// Until the next look.
    fn pause(&self) -> Duration {
        if self.over { LOOK_OFTEN } else { LOOK_SELDOM }
    }
}

/// False when it was not begun: too many wait for one.
async fn give_back(core: &Core) -> bool {
    let (begun, before) = (Instant::now(), core.db_bytes());
    let Some(done) = core.chores.defragment() else { return false };
    if done.await.is_ok() {
        let (after, took_ms) = (core.db_bytes(), begun.elapsed().as_millis());
        tracing::info!(before, after, took_ms, "space was given back because the quota is used up");
    }
    true
}

async fn clear_alarm(core: &Core) {
    let change = AlarmChange::UnderQuota { member: core.ids.member };
    match core.propose_own(Action::Alarm(change)).await {
        Ok(_) => tracing::info!(size = core.db_bytes(), "there is space again: writes are accepted"),
        Err(error) => tracing::warn!(%error, "the alarm NOSPACE could not be cleared, it is tried again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bramble_store::disk::sim::SimDisk;

    fn on(disk: &SimDisk, quota_bytes: i64) -> Space {
        Space::new(quota_bytes, Arc::new(disk.clone()), "/data".as_ref())
    }

    fn with_quota(quota_bytes: i64) -> Space {
        on(&SimDisk::new(1), quota_bytes)
    }

    #[test]
    fn the_disk_keeps_a_reserve() {
        let disk = SimDisk::new(1);
        let space = on(&disk, -1);
        let admits = |cost| space.admits(cost, || 0);
        disk.set_free_bytes(RESERVE_BYTES + 100);
        assert!(admits(10) && admits(40) && !admits(51), "twice what is written");
        disk.set_free_bytes(1 << 40);
        assert!(admits(51), "it is asked again");
        disk.set_free_bytes(0);
        let more = (0..).take_while(|_| admits(100_000)).count() as u64 * 200_000;
        assert!(more <= ASK_EVERY_BYTES, "{more} bytes more than there is room for");
        disk.set_free_bytes(RESERVE_BYTES + RESERVE_MARGIN_BYTES - 1);
        assert!(admits(100) && !space.has_room(0), "not at the first byte");
        disk.set_free_bytes(RESERVE_BYTES + RESERVE_MARGIN_BYTES);
        assert!(space.has_room(0));
    }

    #[test]
    fn the_size_is_looked_at_when_the_quota_could_be_used_up() {
        let space = with_quota(1000);
        let looks = std::cell::Cell::new(0);
        let admits = |cost, size| {
            space.admits(cost, || {
                looks.set(looks.get() + 1);
                size
            })
        };
        assert!(admits(300, 100));
        assert_eq!(looks.get(), 1, "nothing was known");
        assert!(admits(300, 0) && admits(299, 0));
        assert_eq!(looks.get(), 1);
        assert!(admits(1, 500), "it is less than it could have been");
        assert_eq!(looks.get(), 2);
        assert!(!admits(500, 500), "exactly the quota is too much, as in etcd");
        assert!(admits(499, 500));
        assert!(!admits(1 << 40, u64::MAX));
        assert!(!admits(1, 999) && admits(1, 998));
    }

    #[test]
    fn space_is_looked_for_whenever_the_alarm_is_raised_whoever_is_there_to_tell() {
        let mut reclaim = Reclaim::new();
        assert_eq!(reclaim.pause(), LOOK_OFTEN, "it may have been raised in an earlier life");
        reclaim.look(true);
        assert!(reclaim.erased, "also at the start");
        reclaim.erased = false;
        reclaim.look(true);
        assert!(!reclaim.erased && reclaim.pause() == LOOK_OFTEN, "the same alarm");
        reclaim.look(false);
        assert!(!reclaim.erased && reclaim.pause() == LOOK_SELDOM);
        reclaim.look(true);
        assert!(reclaim.erased, "another alarm");
    }

    #[test]
    fn one_raises_the_alarm_and_nobody_waits_for_it() {
        let space = with_quota(1000);
        let raising = space.raise();
        assert!(raising.is_some() && space.raise().is_none());
        drop(raising);
        assert!(space.raise().is_some(), "it failed, perhaps: the next one tries");
    }

    #[test]
    fn a_negative_quota_is_none() {
        let space = with_quota(-1);
        assert!(space.admits(1 << 40, || u64::MAX) && space.has_room(u64::MAX));
    }

    #[test]
    fn writes_come_back_at_95_percent() {
        let space = with_quota(2000);
        assert!(space.has_room(1899) && !space.has_room(1900));
    }
}
