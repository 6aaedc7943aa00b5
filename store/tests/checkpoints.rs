//! Checkpoints of leases: what is left of a long lease outlives its leader, and still no lease ends early.
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

mod common;

use bramble_store::lease::deadlines::{CHECKPOINT_MAX, Deadlines};
use bramble_store::types::{Lease, LeaseId};
use common::Random;

const EVERY: Duration = Duration::from_secs(10);

fn lease(id: i64, ttl_s: i64) -> Lease {
    Lease { id: LeaseId(id), ttl_s, remaining_s: 0 }
}
fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
fn leading(leases: &[Lease]) -> Deadlines {
    let mut deadlines = Deadlines::with_checkpoints(EVERY);
    deadlines.promote(leases, s(0), s(0));
    deadlines
}

#[test]
fn a_long_lease_is_written_down_every_interval() {
    let mut deadlines = leading(&[]);
    deadlines.granted(&lease(1, 25), s(0));
    deadlines.granted(&lease(2, 10), s(0));
    assert_eq!(deadlines.due_checkpoints(ms(9_999)), []);
    assert_eq!(
        deadlines.due_checkpoints(ms(10_001)),
        [(LeaseId(1), 15)],
        "rounded up, and not the short one"
    );
    assert_eq!(deadlines.due_checkpoints(ms(20_000)), []);
    let applied = Lease { remaining_s: 15, ..lease(1, 25) };
    deadlines.checkpointed(&applied, ms(10_500));
    assert!(deadlines.is_checkpointed(LeaseId(1)));
    assert_eq!(deadlines.due_checkpoints(ms(20_500)), [(LeaseId(1), 5)]);
    assert_eq!(deadlines.due_checkpoints(s(60)), [], "less than an interval is left");
    assert_eq!(deadlines.remaining(LeaseId(1), ms(24_000)), Some(s(1)), "a checkpoint moves no deadline");
}

#[test]
fn a_lost_checkpoint_comes_again() {
    let mut deadlines = leading(&[lease(1, 100)]);
    assert_eq!(deadlines.due_checkpoints(s(10)), [(LeaseId(1), 90)]);
    assert_eq!(deadlines.due_checkpoints(s(20)), [(LeaseId(1), 80)]);
}

#[test]
fn a_lease_renewed_while_its_checkpoint_is_under_way_is_put_right() {
    let mut deadlines = leading(&[lease(1, 100)]);
    assert!(!deadlines.is_checkpointed(LeaseId(1)));
    assert_eq!(deadlines.due_checkpoints(s(10)), [(LeaseId(1), 90)]);
    assert!(deadlines.is_checkpointed(LeaseId(1)), "it will be, so a renewal has to take it back");
    assert_eq!(deadlines.renew(LeaseId(1), s(11)), Some(100));
    deadlines.checkpointed(&Lease { remaining_s: 90, ..lease(1, 100) }, s(11));
    assert_eq!(deadlines.due_checkpoints(s(11)), [(LeaseId(1), 0)]);
}

#[test]
fn a_renewal_takes_back_what_was_written_down() {
    let mut deadlines = leading(&[Lease { remaining_s: 4, ..lease(1, 100) }]);
    assert!(deadlines.is_checkpointed(LeaseId(1)));
    assert_eq!(deadlines.remaining(LeaseId(1), s(0)), Some(s(4)));
    deadlines.checkpointed(&lease(1, 100), s(1));
    assert!(!deadlines.is_checkpointed(LeaseId(1)));
    assert_eq!(deadlines.renew(LeaseId(1), s(2)), Some(100));
    assert_eq!(deadlines.due_checkpoints(s(12)), [(LeaseId(1), 90)], "it is long again");
}

#[test]
fn without_checkpoints_nothing_is_due() {
    let mut deadlines = Deadlines::new();
    deadlines.promote(&[lease(1, 1_000_000)], s(0), s(0));
    assert_eq!(deadlines.due_checkpoints(s(900_000)), []);
    let mut deadlines = leading(&[lease(1, 1_000_000)]);
    deadlines.demote();
    assert_eq!(deadlines.due_checkpoints(s(900_000)), []);
    deadlines.promote(&[lease(1, 1_000_000)], s(0), s(0));
    assert_eq!(deadlines.due_checkpoints(s(10)).len(), 1, "the interval outlives a demotion");
}

#[test]
fn one_checkpoint_holds_so_many_and_the_rest_follows() {
    let all: Vec<Lease> = (1..=2 * CHECKPOINT_MAX as i64 + 1).map(|id| lease(id, 100)).collect();
    let mut deadlines = leading(&all);
    let sizes: Vec<_> = (0..4).map(|_| deadlines.due_checkpoints(s(10)).len()).collect();
    assert_eq!(sizes, [CHECKPOINT_MAX, CHECKPOINT_MAX, 1, 0]);
    assert_eq!(Deadlines::with_checkpoints(s(0)).due_checkpoints(s(1)), []);
}

/// A lease as its owner sees it.
struct Owned {
    /// It must live at least until then.
    promised: Duration,
    /// What the next leader knows at most.
    known_s: i64,
}

/// The replicated rows, the log of checkpoints on their way to them, and who leads.
struct World {
    seed: u64,
    random: Random,
    now: Duration,
    deadlines: Deadlines,
    rows: BTreeMap<LeaseId, Lease>,
    log: VecDeque<(LeaseId, i64)>,
    /// Handed out, and held up before it is in the log.
    held_up: Vec<(LeaseId, i64)>,
    owned: BTreeMap<LeaseId, Owned>,
    reached: [u64; 6],
}

impl World {
    fn new(seed: u64) -> World {
        let random = Random::new(seed);
        let (rows, log, held_up, owned) = Default::default();
        let (now, deadlines, reached) = (s(100), leading(&[]), [0; 6]);
        World { seed, random, now, deadlines, rows, log, held_up, owned, reached }
    }

    fn turn(&mut self) {
        self.now += ms(self.random.below(4_000) as u64);
        let id = LeaseId(self.random.below(8) as i64);
        match self.random.below(15) {
            0..=2 if !self.rows.contains_key(&id) => self.grant(id),
            3..=5 if self.deadlines.remaining(id, self.now).is_some_and(|left| !left.is_zero()) => {
                self.renew(id);
            }
            6..=7 => self.write_down(),
            8..=9 => self.apply(1),
            10 => self.settle(),
            11 => self.change_leader(),
            _ => self.end(),
        }
    }

    fn grant(&mut self, id: LeaseId) {
        let granted = lease(id.0, 1 + self.random.below(80) as i64);
        self.rows.insert(id, granted);
        self.deadlines.granted(&granted, self.now);
        self.promise(&granted);
    }

    fn promise(&mut self, row: &Lease) {
        let promised = self.now + s(row.ttl_s as u64);
        self.owned.insert(row.id, Owned { promised, known_s: row.ttl_s });
    }

    /// As the server does it: what is written down is taken back first, and that is waited for; and for
    /// what is about to be written down, before that.
    fn renew(&mut self, id: LeaseId) {
        if self.deadlines.is_checkpointed(id) {
            if self.deadlines.checkpoint_under_way(id) {
                self.settle();
                self.reached[5] += 1;
            }
            self.log.push_back((id, 0));
            self.apply(usize::MAX);
            self.reached[0] += 1;
        }
        let row = self.rows[&id];
        assert_eq!(self.deadlines.renew(id, self.now), Some(row.ttl_s), "seed {}", self.seed);
        self.promise(&row);
    }

    fn write_down(&mut self) {
        self.settle();
        self.held_up = self.deadlines.due_checkpoints(self.now);
        assert!(self.held_up.iter().all(|(id, left_s)| *left_s < self.rows[id].ttl_s), "seed {}", self.seed);
    }

    /// What was handed out comes into the log or never will.
    fn settle(&mut self) {
        for checkpoint in std::mem::take(&mut self.held_up) {
            if !self.random.one_in(4) {
                self.log.push_back(checkpoint);
            }
        }
        self.deadlines.checkpoints_settled();
    }

    fn apply(&mut self, most: usize) {
        let count = most.min(self.log.len());
        for (id, left_s) in self.log.drain(..count) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.remaining_s = left_s;
                self.deadlines.checkpointed(row, self.now);
                let known_s = if left_s == 0 { row.ttl_s } else { left_s };
                self.owned.get_mut(&id).expect("owned").known_s = known_s;
                self.reached[1] += 1;
            }
        }
    }

    /// Some of what is under way is lost with the old leader.
    fn change_leader(&mut self) {
        let kept = self.random.below(4);
        self.apply(kept);
        self.log.clear();
        self.held_up.clear();
        let grace = ms(self.random.below(2_000) as u64);
        let all: Vec<Lease> = self.rows.values().copied().collect();
        self.deadlines.demote();
        self.deadlines.promote(&all, self.now, grace);
        for (id, owned) in &self.owned {
            let left = self.deadlines.remaining(*id, self.now).expect("replicated");
            let known = s(owned.known_s as u64);
            assert!(left <= known + grace, "seed {}: {id:?} has {left:?} of {known:?}", self.seed);
            self.reached[2] += 1;
        }
    }

    /// The revokes go through the log, too.
    fn end(&mut self) {
        self.settle();
        self.reached[4] += self.log.len() as u64;
        self.apply(usize::MAX);
        for id in self.deadlines.due(self.now, 100) {
            assert!(self.owned[&id].promised <= self.now, "seed {}: {id:?} ended early", self.seed);
            self.deadlines.revoked(id);
            self.rows.remove(&id);
            self.owned.remove(&id);
            self.reached[3] += 1;
        }
    }
}

/// Leaders come and go, checkpoints are under way, applied or lost; nothing ends before its time, and a
/// new leader gives back no more than what passed since the last checkpoint, and the grace.
#[test]
fn no_lease_ends_early_whoever_leads() {
    let (mut reached, seeds) = ([0; 6], 5_000);
    for seed in 1..=seeds {
        let mut world = World::new(seed);
        (0..200).for_each(|_| world.turn());
        reached.iter_mut().zip(world.reached).for_each(|(all, one)| *all += one);
    }
    println!("{seeds} seeds: taken back, written down, promoted, ended, under way, held up: {reached:?}");
    assert!(reached.iter().all(|times| *times > 1_000), "{reached:?}");
}
