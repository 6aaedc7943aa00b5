//! The model: a log as a list, and what the runs have met.
use bramble_store::command::Entry;
use bramble_store::log::Vote;
use bramble_store::types::LogId;

/// What a run must have met at least once.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Times the log was opened again after a cut.
    pub reopens: u64,
    /// Cuts that left a frame torn inside.
    pub torn: u64,
    /// Cuts while zeros were being written.
    pub cut_in_fill: u64,
    /// Cuts during the very first start.
    pub cut_in_first_start: u64,
    /// Cuts during an open after that.
    pub cut_in_open: u64,
    /// Segments opened.
    pub rotations: u64,
    /// Most times a segment was used again in one run.
    pub wraps: u64,
    /// Times the ring had to grow.
    pub grown: u64,
    /// Purges that dropped entries.
    pub purges: u64,
    /// Truncations that dropped entries.
    pub truncations: u64,
    /// Logs restarted at a given position.
    pub resets: u64,
    /// Seals.
    pub seals: u64,
    /// Batches that needed more than one frame.
    pub split: u64,
    /// Processes that ended without a cut.
    pub kills: u64,
    /// Starts at which the engine was ahead of the log.
    pub engine_ahead: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Entries read back and compared.
    pub compared: u64,
}

impl Reached {
    /// Adds what another run met.
    pub fn add(&mut self, other: &Reached) {
        self.reopens += other.reopens;
        self.torn += other.torn;
        self.cut_in_fill += other.cut_in_fill;
        self.cut_in_first_start += other.cut_in_first_start;
        self.cut_in_open += other.cut_in_open;
        self.rotations += other.rotations;
        self.grown += other.grown;
        self.purges += other.purges;
        self.truncations += other.truncations;
        self.resets += other.resets;
        self.seals += other.seals;
        self.split += other.split;
        self.kills += other.kills;
        self.engine_ahead += other.engine_ahead;
        self.faults += other.faults;
        self.compared += other.compared;
        self.wraps = self.wraps.max(other.wraps);
    }

    /// Fails when something was never met: then the runs prove less than they say.
    pub fn check(&self) {
        assert!(self.wraps >= 2, "the ring never wrapped twice: {self:?}");
        let counters = [
            ("torn frames", self.torn),
            ("cuts during zero-fill", self.cut_in_fill),
            ("cuts during the first start", self.cut_in_first_start),
            ("cuts during an open", self.cut_in_open),
            ("rotations", self.rotations),
            ("growth", self.grown),
            ("purges", self.purges),
            ("truncations", self.truncations),
            ("resets", self.resets),
            ("seals", self.seals),
            ("split batches", self.split),
            ("kills", self.kills),
            ("an engine ahead of the log", self.engine_ahead),
        ];
        for (what, count) in counters {
            assert!(count > 0, "the runs never met: {what}");
        }
    }
}

/// The state of a log, as a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub entries: Vec<Entry>,
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
}

impl State {
    pub fn last(&self) -> Option<LogId> {
        self.entries.last().map(|e| e.id).or(self.purged)
    }

    pub fn next(&self) -> u64 {
        self.last().map_or(0, |id| id.index + 1)
    }

    /// Committed as recovery says it: never beyond the last entry.
    pub fn committed_in_log(&self) -> Option<LogId> {
        let last = self.last()?;
        self.committed.map(|id| if id.index > last.index { last } else { id })
    }

    /// Entries that differ from what was committed, and all after them, go too.
    pub fn purge(&mut self, id: LogId) {
        if !self.entries.iter().any(|e| e.id == id) {
            self.entries.clear();
        }
        self.entries.retain(|e| e.id.index > id.index);
        self.purged = Some(id);
        self.committed = self.committed_in_log();
    }
}
