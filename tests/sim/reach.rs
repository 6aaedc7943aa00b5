//! Rare things that must have happened somewhere in a run: one in which none of a kind happened has not
//! tried it, and counts as failed.
use std::collections::BTreeMap;

/// Every rare thing, in the words in which it is counted.
pub const ALL: &[&str] = &[
    "power cut while idle",
    "power cut at a disk call",
    "power cut during a start",
    "process killed",
    "stopped and started",
    "failed write or sync ended the member",
    "disk stalled",
    "thread preempted",
    "whole machine paused",
    "clock too fast",
    "clock too slow",
    "torn tail cut off",
    "restart replayed entries",
    "restart replayed more than 20 entries",
    "restart with nothing to replay",
    "log sealed by a stop",
    "log sealed when idle",
    "log purged",
    "ring came round",
    "ring grew beyond its size",
    "engine flushed",
    "engine flushed by itself",
    "several entries in one flush",
    "write timed out or was lost",
    "lost write happened",
    "lost write did not happen",
    "client lost patience",
    "write refused while the log was full",
    "write refused for want of room",
    "writes came back",
    "deleted where there was no room",
    "compacted where there was no room",
    "started where there was no room",
    "read at an older revision",
    "read below the floor refused",
    "lull",
    "compaction",
    "physical compaction",
    "transaction took the other branch",
    "watcher fell behind",
    "watcher caught up",
    "watcher resumed after its stream ended",
    "watcher cancelled by compaction",
    "watcher began in the past",
    "progress mark",
    "lease found ended",
    "lease expired with keys",
    "lease kept alive",
    "lease revoked",
    "lease lived through a restart",
    "lease gone when its key was written",
    "acknowledged write found on a copy of the disk",
];

/// How often each happened.
#[derive(Clone, Default)]
pub struct Reach(BTreeMap<&'static str, u64>);

impl Reach {
    /// It happened.
    pub fn hit(&mut self, what: &'static str) {
        assert!(ALL.contains(&what), "{what:?} is not in the list");
        *self.0.entry(what).or_default() += 1;
    }

    /// One line for each that happened, for the process that started this one.
    pub fn lines(&self) -> String {
        self.0.iter().map(|(what, times)| format!("reached {times} {what}\n")).collect()
    }
}
