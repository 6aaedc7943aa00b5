//! How much memory each part of a member may take: one function of the profile and the ceiling.
//!
//! ```text
//!   ceiling ─┬─ the program, compactions                  as much as they take
//!            ├─ memtables, block cache                    a sixteenth each
//!            ├─ queues: log, watches, JSON                their part of the profile's
//!            └─ clients: connections, requests, watches   what is left, each kind its part
//! ```
//! The sum of all of it, taken at once, stays below the ceiling; the test below adds it up.
use bramble_store::engine::{Memory as EngineMemory, Profile as EngineProfile};
use bramble_store::watch::HubOptions;

use super::budget::{KINDS, Kind, Limit};
use crate::config::{MEMORY_MIN_BYTES, Profile};

const MIB: usize = 1 << 20;
/// Threads, code and what they work with, measured on an idle member.
const PROGRAM_BYTES: usize = 24 * MIB;
/// What a flush and a compaction read and write with.
const COMPACTION_BYTES: usize = 8 * MIB;
/// The smallest memtables that are worth a file.
const MEMTABLES_MIN_BYTES: usize = 4 * MIB;
/// Two commands of the largest size that etcd lets through.
const PROPOSALS_MIN_BYTES: usize = 3 * MIB;
/// JSON of one message of the usual largest size.
const BODIES_MIN_BYTES: usize = 4 * MIB;

/// What each part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Memtables, and blocks of files.
    pub engine: EngineMemory,
    /// What clients may take, by the numbers of the kinds.
    pub clients: [Limit; KINDS.len()],
    /// Proposals under way, where the device would allow more.
    pub proposals_bytes: usize,
    /// Flushed entries of the log that are kept for readers.
    pub log_tail_bytes: usize,
    /// Changes that wait for the watch pump.
    pub feed_bytes: usize,
    /// Events that wait for their watch streams, and what one step of catching up reads.
    pub watch: HubOptions,
    /// Watch responses that streams have not taken.
    pub unread_bytes: usize,
    /// Bodies of JSON that are being read.
    pub bodies_bytes: usize,
    /// What a client may send on one connection before somebody has read it.
    pub connection_window: u32,
}

impl Memory {
    /// What a profile gives.
    pub fn of(profile: Profile) -> Memory {
        let watch = HubOptions::default();
        let (watch, unread_bytes) = match profile {
            Profile::Default => (watch, 32 * MIB),
            // Less of everything but what each stream is sure of.
            Profile::Pi => (
                HubOptions {
                    stream_bytes_max: watch.stream_bytes_max / 4,
                    total_bytes_max: watch.total_bytes_max / 4,
                    step_bytes_max: watch.step_bytes_max / 2,
                    ..watch
                },
                8 * MIB,
            ),
        };
        Memory {
            engine: engine_profile(profile).memory(),
            clients: KINDS.map(|kind| limit(profile, kind)),
            proposals_bytes: 32 * MIB,
            log_tail_bytes: 4 * MIB,
            feed_bytes: 8 * MIB,
            watch,
            unread_bytes,
            bodies_bytes: 16 * MIB,
            connection_window: 128 << 10,
        }
    }

    /// What a ceiling leaves of a profile; a table in `server/README.md` tells it. One that is too low
    /// counts as the lowest, and one above what the profile takes changes nothing.
    pub fn within(profile: Profile, ceiling_bytes: Option<u64>) -> Memory {
        let whole = Memory::of(profile);
        let Some(ceiling) = ceiling_bytes.filter(|bytes| *bytes < resident_max(profile) as u64) else {
            return whole;
        };
        let ceiling = ceiling.max(MEMORY_MIN_BYTES) as usize;
        let part = ceiling as f64 / resident_max(profile) as f64;
        let mut memory = Memory {
            engine: EngineMemory {
                memtable_bytes: (ceiling / 16).clamp(MEMTABLES_MIN_BYTES, whole.engine.memtable_bytes),
                block_cache_bytes: (ceiling / 16).min(whole.engine.block_cache_bytes),
            },
            proposals_bytes: scaled(whole.proposals_bytes, part, PROPOSALS_MIN_BYTES),
            log_tail_bytes: scaled(whole.log_tail_bytes, part, 256 << 10),
            feed_bytes: scaled(whole.feed_bytes, part, MIB),
            watch: HubOptions {
                stream_bytes_max: scaled(whole.watch.stream_bytes_max, part, 64 << 10),
                total_bytes_max: scaled(whole.watch.total_bytes_max, part, MIB / 2),
                step_bytes_max: scaled(whole.watch.step_bytes_max, part, 64 << 10),
                ..whole.watch
            },
            unread_bytes: scaled(whole.unread_bytes, part, MIB),
            bodies_bytes: scaled(whole.bodies_bytes, part, BODIES_MIN_BYTES),
            // HTTP/2 has no smaller one.
            connection_window: 64 << 10,
            ..whole
        };
        let left = ceiling.saturating_sub(memory.own_bytes());
        memory.clients = KINDS.map(|kind| memory.share(whole.clients[kind as usize], kind, left));
        memory
    }

    /// The most that the member itself takes.
    pub fn own_bytes(&self) -> usize {
        // RocksDB begins a flush a third above the budget, and fills the next memtables meanwhile.
        let memtables = self.engine.memtable_bytes / 3 * 4 * 2;
        let queues = self.proposals_bytes + self.log_tail_bytes + self.feed_bytes + self.bodies_bytes;
        let watches = self.watch.total_bytes_max + self.unread_bytes;
        PROGRAM_BYTES + COMPACTION_BYTES + memtables + self.engine.block_cache_bytes + queues + watches
    }

    /// The most that clients take: the limits, times what one of each was measured to take.
    pub fn client_bytes(&self) -> usize {
        KINDS.iter().map(|kind| self.clients[*kind as usize].all * self.bytes_of_one(*kind)).sum()
    }

    /// What one of a kind takes, as `tests/hostile` measured it.
    fn bytes_of_one(&self, kind: Kind) -> usize {
        match kind {
            // And what it has sent and nobody has read.
            Kind::Connections => (14 << 10) + self.connection_window as usize,
            Kind::Requests | Kind::OtherStreams => 13 << 10,
            // And what it keeps when it stands still.
            Kind::WatchStreams => (13 + 16) << 10,
            Kind::Watches => 1 << 10,
            Kind::RequestBytes | Kind::AnswerBytes => 1,
        }
    }

    /// How much of a kind its part of `left` bytes is, no more than the profile has. One connection may have
    /// the same part of it as there, but always enough for one large message.
    fn share(&self, whole: Limit, kind: Kind, left: usize) -> Limit {
        let (percent, least) = match kind {
            Kind::Connections => (27, 1),
            Kind::Requests => (8, 1),
            Kind::RequestBytes => (11, 2 * MIB),
            Kind::AnswerBytes => (21, 4 * MIB),
            Kind::WatchStreams => (22, 1),
            Kind::OtherStreams => (3, 1),
            Kind::Watches => (8, 1),
        };
        let all = (left / 100 * percent / self.bytes_of_one(kind)).clamp(least, whole.all);
        let one = (all as f64 / whole.all as f64 * whole.one as f64) as usize;
        Limit { all, one: one.clamp(least, all), sure: whole.sure }
    }
}

/// Bytes of resident memory that a member keeps within, whatever clients do at once: the limits of the profile
/// times what one of each was measured to take (`server/README.md`), and the member itself at work.
pub fn resident_max(profile: Profile) -> usize {
    match profile {
        Profile::Default => 3 << 30,
        Profile::Pi => 768 << 20,
    }
}

/// The engine's word for a profile.
pub(super) fn engine_profile(profile: Profile) -> EngineProfile {
    match profile {
        Profile::Pi => EngineProfile::Pi,
        Profile::Default => EngineProfile::Default,
    }
}

/// The limits of a profile. `server/README.md` has the table.
fn limit(profile: Profile, kind: Kind) -> Limit {
    let of = |all, one, sure| Limit { all, one, sure };
    match (profile, kind) {
        (Profile::Default, Kind::Connections) => of(10_000, 5_000, 0),
        (Profile::Default, Kind::Requests) => of(16_384, 8_192, 4),
        (Profile::Default, Kind::RequestBytes) => of(64 * MIB, 32 * MIB, 8 << 10),
        (Profile::Default, Kind::AnswerBytes) => of(512 * MIB, 384 * MIB, 16 << 10),
        (Profile::Default, Kind::WatchStreams | Kind::OtherStreams) => of(10_000, 5_000, 2),
        (Profile::Default, Kind::Watches) => of(200_000, 100_000, 4),
        (Profile::Pi, Kind::Connections) => of(2_000, 1_000, 0),
        (Profile::Pi, Kind::Requests) => of(4_096, 2_048, 4),
        (Profile::Pi, Kind::RequestBytes) => of(16 * MIB, 8 * MIB, 8 << 10),
        (Profile::Pi, Kind::AnswerBytes) => of(128 * MIB, 96 * MIB, 16 << 10),
        (Profile::Pi, Kind::WatchStreams | Kind::OtherStreams) => of(2_000, 1_000, 2),
        (Profile::Pi, Kind::Watches) => of(50_000, 25_000, 4),
    }
}

/// A part of `whole`, and not less than `least`.
fn scaled(whole: usize, part: f64, least: usize) -> usize {
    ((whole as f64 * part) as usize).clamp(least.min(whole), whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Profile; 2] = [Profile::Default, Profile::Pi];

    #[test]
    fn everything_at_once_stays_below_the_ceiling() {
        for profile in PROFILES {
            for ceiling in (80..resident_max(profile) / MIB).map(|mib| mib * MIB) {
                let memory = Memory::within(profile, Some(ceiling as u64));
                let sum = memory.own_bytes() + memory.client_bytes();
                assert!(sum <= ceiling, "{profile:?}: {sum} of {ceiling}: {memory:?}");
            }
        }
    }

    #[test]
    fn a_profile_stays_below_its_own_maximum() {
        for profile in PROFILES {
            let memory = Memory::of(profile);
            assert!(memory.own_bytes() + memory.client_bytes() <= resident_max(profile), "{memory:?}");
        }
    }

    #[test]
    fn a_higher_ceiling_takes_nothing_away_and_a_very_high_one_is_none() {
        for profile in PROFILES {
            let mut before = Memory::within(profile, Some(0));
            for mib in 80..4096 {
                let memory = Memory::within(profile, Some(mib << 20));
                for kind in KINDS {
                    let (then, now) = (before.clients[kind as usize], memory.clients[kind as usize]);
                    assert!(then.all <= now.all && then.one <= now.one, "{mib} MiB, {kind:?}");
                }
                assert!(before.engine.memtable_bytes <= memory.engine.memtable_bytes, "{mib} MiB");
                before = memory;
            }
            assert_eq!(before, Memory::of(profile));
            assert_eq!(before, Memory::within(profile, None));
        }
    }

    #[test]
    fn the_lowest_ceiling_lets_a_small_cluster_live() {
        for profile in PROFILES {
            let memory = Memory::within(profile, Some(MEMORY_MIN_BYTES));
            let all = |kind: Kind| memory.clients[kind as usize].all;
            assert!(all(Kind::Connections) >= 64 && all(Kind::WatchStreams) >= 128, "{memory:?}");
            assert!(all(Kind::Watches) >= 1000 && all(Kind::Requests) >= 100, "{memory:?}");
        }
    }

    /// The column of numbers in the README's table.
    #[test]
    fn the_readme_tells_what_96_mib_come_to() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(path).expect("server/README.md");
        let memory = Memory::within(Profile::Pi, Some(96 << 20));
        let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / MIB as f64);
        let all = |kind: Kind| memory.clients[kind as usize].all;
        let Memory { engine, watch, .. } = memory;
        let queues = memory.own_bytes()
            - PROGRAM_BYTES
            - COMPACTION_BYTES
            - engine.block_cache_bytes
            - engine.memtable_bytes / 3 * 4 * 2;
        assert!(queues > watch.total_bytes_max);
        for cell in [
            format!("| {} ({}) |", mib(engine.memtable_bytes), mib(engine.memtable_bytes / 3 * 4 * 2)),
            format!("| {} |", mib(queues)),
            format!("| {} |", all(Kind::Connections)),
            format!("| {}, {} |", all(Kind::WatchStreams), all(Kind::OtherStreams)),
            format!("| {}, {} |", all(Kind::Requests), all(Kind::Watches)),
            format!("| {}, {} |", mib(all(Kind::AnswerBytes)), mib(all(Kind::RequestBytes))),
        ] {
            assert!(readme.contains(&cell), "{cell} stands in no table");
        }
    }

    #[test]
    fn every_profile_has_room_for_one_large_request_and_the_small_one_has_less() {
        for kind in KINDS {
            let (default, pi) = (limit(Profile::Default, kind), limit(Profile::Pi, kind));
            assert!(pi.all < default.all && pi.one <= pi.all && default.one <= default.all, "{kind:?}");
        }
        assert!(limit(Profile::Pi, Kind::RequestBytes).one >= 4 << 20);
    }
}
