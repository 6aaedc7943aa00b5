//! What may go wrong in a world. Each kind is off in half of the worlds, so that pairs occur undiluted.
use std::time::Duration;

use bramble_store::disk::sim::Rng;

use crate::eye::Eye;
use crate::machine::Machine;

/// What the member leaves free for flushes, for the log and for what makes room.
pub const KEPT_FREE_BYTES: u64 = 64 << 20;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The power goes, between two disk calls.
    Cut,
    /// The power goes at a disk call, so many from now.
    CutAtCall(u64),
    /// The process is killed; the disk keeps what it was given.
    Kill,
    /// A clean stop and a start.
    Stop,
    /// A disk call fails, so many from now.
    Io(u64),
    /// One disk call takes long.
    Stall(Duration),
    /// The engine flushes by itself, so many batches from now.
    FlushBehind(u64),
    /// It does, and soon after it the power goes: so many batches and disk calls from now.
    FlushThenCut(u64, u64),
    /// Time passes for everybody, and nobody runs.
    Pause(Duration),
    /// Others fill the volume: so many bytes are left.
    Full(u64),
    /// They make room.
    Room,
    /// Nothing does.
    Quiet,
}

impl Fault {
    /// Whether the member may die of it later.
    pub fn kills(self) -> bool {
        matches!(self, Fault::CutAtCall(_) | Fault::Io(_) | Fault::FlushThenCut(..))
    }
}

/// The kinds that are on in one world, and how it is otherwise.
#[derive(Clone, Debug)]
pub struct Weather {
    pub faults: u64,
    pub cuts: bool,
    kills: bool,
    stops: bool,
    errors: bool,
    stalls: bool,
    flushes: bool,
    pauses: bool,
    full: bool,
    pub lulls: bool,
    pub slow_watchers: bool,
    sync_ms: u64,
    preempt_percent: u64,
    clock_rate: u32,
}

impl Weather {
    pub fn draw(rng: &mut Rng) -> Weather {
        let mut on = || rng.chance(50);
        let (cuts, kills, stops, errors) = (on(), on(), on(), on());
        let (stalls, flushes, pauses, slow_watchers) = (on(), on(), on(), on());
        let (slow_disk, preempts, wrong_clock, lulls, full) = (on(), on(), on(), on(), on());
        Weather {
            faults: 5 + rng.below(20),
            cuts,
            kills,
            stops,
            errors,
            stalls,
            flushes,
            pauses,
            full,
            lulls,
            slow_watchers,
            sync_ms: if slow_disk { 1 + rng.below(200) } else { 0 },
            preempt_percent: if preempts { 1 + rng.below(20) } else { 0 },
            clock_rate: if wrong_clock { 950 + rng.below(101) as u32 } else { 1000 },
        }
    }

    /// What lasts.
    pub fn begin(&self, machine: &mut Machine, eye: &Eye) {
        machine.pace.lock().expect("one thread runs at a time").sync_ms = self.sync_ms;
        machine.clock_rate = self.clock_rate;
        eye.set_preempt_percent(self.preempt_percent);
        eye.set_clock_rate(self.clock_rate);
        match self.clock_rate {
            1000 => {}
            ..1000 => eye.hit("clock too slow"),
            _ => eye.hit("clock too fast"),
        }
    }

    /// It is over.
    pub fn end(&self, machine: &mut Machine, eye: &Eye) {
        let mut pace = machine.pace.lock().expect("one thread runs at a time");
        pace.sync_ms = pace.sync_ms.min(20);
        pace.stall = None;
        machine.room(u64::MAX);
        eye.set_preempt_percent(0);
    }

    /// What goes wrong next.
    pub fn fault(&self, rng: &mut Rng) -> Fault {
        let calls = 1 + rng.below(60);
        let time = Duration::from_millis(500 + rng.below(9500));
        // Less than is kept free; what the ring still grows by is there, or a write fails and ends the member.
        let left = (2 << 20) + rng.below(KEPT_FREE_BYTES - (2 << 20));
        let kinds = [
            (self.cuts, Fault::Cut),
            (self.cuts, Fault::CutAtCall(calls)),
            (self.cuts, Fault::CutAtCall(calls)),
            (self.kills, Fault::Kill),
            (self.stops, Fault::Stop),
            (self.errors, Fault::Io(calls)),
            (self.stalls, Fault::Stall(time)),
            (self.flushes, Fault::FlushBehind(calls)),
            // A batch is a write and a sync of the log, mostly.
            (self.flushes && self.cuts, Fault::FlushThenCut(calls, 2 * calls + rng.below(8))),
            (self.pauses, Fault::Pause(time)),
            (self.full, Fault::Full(left)),
            (self.full, Fault::Room),
            (true, Fault::Quiet),
        ];
        let on: Vec<_> = kinds.into_iter().filter_map(|(on, fault)| on.then_some(fault)).collect();
        on[rng.below(on.len() as u64) as usize]
    }
}
