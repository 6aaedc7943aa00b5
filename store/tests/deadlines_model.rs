//! The leader's deadlines against a plain map, by seed, and their rules one by one.
use std::collections::BTreeMap;
use std::time::Duration;

mod common;

use bramble_store::lease::deadlines::{DUE_MAX, Deadlines, ENDING_PER_SECOND, RETRY};
use bramble_store::types::{Lease, LeaseId};
use common::Random;

const TTL_MAX_S: i64 = 9_000_000_000;

fn lease(id: i64, ttl_s: i64) -> Lease {
    Lease { id: LeaseId(id), ttl_s, remaining_s: 0 }
}
fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
fn leading() -> Deadlines {
    let mut deadlines = Deadlines::new();
    deadlines.promote(&[], s(0), s(0));
    deadlines
}

/// A lease in the model: its deadline, and when it was last handed out.
#[derive(Clone, Copy, Debug)]
struct Plain {
    ttl_s: i64,
    at: Duration,
    handed_out: Option<Duration>,
}

impl Plain {
    fn is_due(&self, now: Duration) -> bool {
        self.at <= now && self.handed_out.is_none_or(|last| last + RETRY <= now)
    }
}

fn run(seed: u64, reached: &mut [u64; 6]) {
    let mut random = Random::new(seed);
    let (mut deadlines, mut model, mut now) = (Deadlines::new(), BTreeMap::<LeaseId, Plain>::new(), s(100));
    let mut replicated = BTreeMap::<LeaseId, Lease>::new();
    for _ in 0..200 {
        now += ms(random.below(900) as u64);
        let id = LeaseId(random.below(12) as i64 - 4);
        match random.below(16) {
            0..=3 if !replicated.contains_key(&id) => {
                let ttl_s = if random.one_in(20) { TTL_MAX_S } else { 1 + random.below(12) as i64 };
                let granted = lease(id.0, ttl_s);
                replicated.insert(id, granted);
                deadlines.granted(&granted, now);
                if deadlines.leading() {
                    model.insert(id, Plain { ttl_s, at: now + s(ttl_s as u64), handed_out: None });
                }
            }
            4..=8 => {
                let alive = model.get_mut(&id).filter(|plain| now < plain.at);
                let renewed = alive.map(|plain| {
                    plain.at = now + s(plain.ttl_s as u64);
                    plain.ttl_s
                });
                reached[0] += u64::from(renewed.is_some());
                assert_eq!(deadlines.renew(id, now), renewed, "seed {seed}");
            }
            9 => {
                replicated.remove(&id);
                model.remove(&id);
                deadlines.revoked(id);
            }
            10 if random.one_in(4) => {
                model.clear();
                deadlines.demote();
                reached[1] += 1;
            }
            11 if random.one_in(3) => {
                let grace = ms(random.below(3000) as u64);
                for known in replicated.values_mut() {
                    known.remaining_s = if random.one_in(3) { 1 + random.below(5) as i64 } else { 0 };
                }
                let all: Vec<Lease> = replicated.values().copied().collect();
                deadlines.promote(&all, now, grace);
                let left =
                    |known: &Lease| if known.remaining_s > 0 { known.remaining_s } else { known.ttl_s };
                let at = |known: &Lease| now + grace + s(left(known) as u64);
                let plain = |known: &Lease| Plain { ttl_s: known.ttl_s, at: at(known), handed_out: None };
                model = all.iter().map(|known| (known.id, plain(known))).collect();
                reached[2] += 1;
            }
            _ => check_due(seed, &mut random, &mut deadlines, &mut model, now, reached),
        }
        check(seed, &mut deadlines, &model, now);
    }
}

fn check_due(
    seed: u64,
    random: &mut Random,
    deadlines: &mut Deadlines,
    model: &mut BTreeMap<LeaseId, Plain>,
    now: Duration,
    reached: &mut [u64; 6],
) {
    let max = random.below(4);
    let due = deadlines.due(now, max);
    let due_in_model = model.values().filter(|plain| plain.is_due(now)).count();
    assert_eq!(due.len(), max.min(due_in_model), "seed {seed}");
    for id in due {
        let plain = model.get_mut(&id).expect("only leases there are");
        assert!(plain.is_due(now), "seed {seed}: {id:?} too early");
        reached[3] += 1;
        reached[4] += u64::from(plain.handed_out.is_some());
        plain.handed_out = Some(now);
        if random.one_in(4) {
            deadlines.refused(id);
            plain.handed_out = None;
            reached[5] += 1;
        }
    }
}

fn check(seed: u64, deadlines: &mut Deadlines, model: &BTreeMap<LeaseId, Plain>, now: Duration) {
    assert_eq!(deadlines.len(), model.len(), "seed {seed}");
    for id in (-4..8).map(LeaseId) {
        let left = model.get(&id).map(|plain| plain.at.saturating_sub(now));
        assert_eq!(deadlines.remaining(id, now), left, "seed {seed}");
    }
    let all: Vec<_> = model.iter().map(|(id, plain)| (plain.at, *id)).collect();
    assert_eq!(deadlines.all().collect::<Vec<_>>(), all, "seed {seed}");
    let again = |plain: &Plain| plain.handed_out.map_or(plain.at, |last| last + RETRY);
    assert_eq!(deadlines.next_due(), model.values().map(again).min(), "seed {seed}");
}

#[test]
fn by_seed_against_a_plain_map() {
    let mut reached = [0; 6];
    let seeds = 10_000;
    for seed in 1..=seeds {
        run(seed, &mut reached);
    }
    println!("{seeds} seeds: renewed, demoted, promoted, due, again, refused: {reached:?}");
    assert!(reached.iter().all(|times| *times > 1_000), "{reached:?}");
}

#[test]
fn never_early_and_again_until_revoked() {
    let mut deadlines = leading();
    deadlines.granted(&lease(7, 5), ms(1_500));
    assert_eq!(deadlines.next_due(), Some(ms(6_500)));
    assert_eq!(deadlines.due(ms(6_499), 10), []);
    assert_eq!(deadlines.due(ms(6_500), 10), [LeaseId(7)]);
    assert_eq!(deadlines.due(ms(9_499), 10), [], "the revoke is given time");
    assert_eq!(deadlines.due(ms(9_500), 10), [LeaseId(7)], "the revoke was lost");
    deadlines.revoked(LeaseId(7));
    assert_eq!(deadlines.due(s(60), 10), []);
    assert_eq!(deadlines.remaining(LeaseId(7), s(60)), None);
}

/// Found by the simulated world, seed 52: a full log refused the revoke, and the lease stayed for three seconds more.
#[test]
fn a_revoke_that_was_refused_is_tried_again_at_once() {
    let mut deadlines = leading();
    deadlines.granted(&lease(7, 5), s(0));
    deadlines.refused(LeaseId(7));
    assert_eq!(deadlines.due(ms(4_999), 10), [], "not handed out yet");
    assert_eq!(deadlines.due(s(5), 10), [LeaseId(7)]);
    deadlines.refused(LeaseId(7));
    assert_eq!(deadlines.due(ms(5_500), 10), [LeaseId(7)]);
    assert_eq!(deadlines.due(ms(6_000), 10), []);
    deadlines.revoked(LeaseId(7));
    deadlines.refused(LeaseId(7));
    assert_eq!(deadlines.due(s(60), 10), []);
}

#[test]
fn a_lease_past_its_deadline_cannot_be_renewed() {
    let mut deadlines = leading();
    deadlines.granted(&lease(7, 5), s(0));
    assert_eq!(deadlines.renew(LeaseId(7), ms(4_999)), Some(5));
    assert_eq!(deadlines.renew(LeaseId(7), ms(9_999)), None, "due, though nobody has looked yet");
    assert_eq!(deadlines.remaining(LeaseId(7), ms(9_999)), Some(s(0)));
    assert_eq!(deadlines.renew(LeaseId(8), s(1)), None);
}

#[test]
fn who_does_not_lead_knows_nothing() {
    let mut deadlines = Deadlines::new();
    deadlines.granted(&lease(7, 5), s(0));
    assert!(deadlines.is_empty() && !deadlines.leading());
    deadlines.promote(&[lease(7, 5)], s(0), s(0));
    assert!(deadlines.leading());
    deadlines.demote();
    assert_eq!((deadlines.due(s(100), 10), deadlines.next_due(), deadlines.leading()), (vec![], None, false));
}

#[test]
fn a_new_leader_gives_time_and_never_takes_it() {
    let mut deadlines = Deadlines::new();
    let checkpointed = Lease { remaining_s: 4, ..lease(2, 60) };
    deadlines.promote(&[lease(1, 10), checkpointed], s(1000), ms(1_500));
    assert_eq!(deadlines.remaining(LeaseId(1), s(1000)), Some(ms(11_500)));
    assert_eq!(deadlines.remaining(LeaseId(2), s(1000)), Some(ms(5_500)));
    assert_eq!(
        deadlines.renew(LeaseId(2), s(1001)),
        Some(60),
        "a renewal gives the full TTL, not what was left"
    );
    assert_eq!(deadlines.remaining(LeaseId(2), s(1001)), Some(s(60)));
}

#[test]
fn the_longest_and_the_strangest_ttl() {
    let mut deadlines = leading();
    let late = Duration::MAX - s(1);
    deadlines.granted(&lease(1, TTL_MAX_S), s(5));
    assert_eq!(deadlines.remaining(LeaseId(1), s(5)), Some(s(TTL_MAX_S as u64)));
    deadlines.promote(&[lease(2, i64::MAX), lease(3, -1), lease(4, i64::MIN)], late, Duration::MAX);
    assert_eq!(deadlines.len(), 3);
    assert_eq!(deadlines.due(Duration::MAX, 2).len(), 2);
}

/// 10,000 leases that would all end in the same second end at a bearable rate, and none of them early.
#[test]
fn a_mass_of_leases_is_spread_after_a_promotion() {
    let mut deadlines = Deadlines::new();
    let all: Vec<Lease> = (1..=10_000).map(|id| lease(id, 10)).collect();
    deadlines.promote(&all, s(0), s(1));
    let mut ended = 0;
    for second in 0..40 {
        let mut now_ended = 0;
        loop {
            let due = deadlines.due(s(second), DUE_MAX + 1);
            assert!(due.len() <= DUE_MAX);
            due.iter().for_each(|id| deadlines.revoked(*id));
            now_ended += due.len();
            if due.is_empty() {
                break;
            }
        }
        assert!(second >= 11 || now_ended == 0, "early at {second}");
        assert!(now_ended <= ENDING_PER_SECOND, "{now_ended} in second {second}");
        ended += now_ended;
    }
    assert_eq!(ended, 10_000);
}

/// Renewals must not pile up: a hundred leases renewed five million times stay a hundred rows.
#[test]
fn renewals_take_no_memory() {
    let mut deadlines = leading();
    for id in 1..=100 {
        deadlines.granted(&lease(id, 30), s(0));
    }
    for round in 1..=50_000_u64 {
        let now = ms(round * 7);
        for id in 1..=100 {
            assert_eq!(deadlines.renew(LeaseId(id), now), Some(30));
        }
        assert_eq!(deadlines.due(now, DUE_MAX), []);
    }
    assert!(deadlines.heap_rows() <= 264, "{}", deadlines.heap_rows());
}

/// Nor do leases that come and go, or deadlines that come nearer (granted again with a shorter TTL).
#[test]
fn leases_that_come_and_go_take_no_memory() {
    let mut deadlines = leading();
    for round in 0..300_000_i64 {
        deadlines.granted(&lease(round, 9_000 - round % 9_000), s(round as u64));
        deadlines.granted(&lease(-1, TTL_MAX_S - round), s(0));
        deadlines.revoked(LeaseId(round - 50));
        assert!(deadlines.heap_rows() <= 2 * deadlines.len() + 64);
    }
    assert_eq!(deadlines.len(), 51);
}
