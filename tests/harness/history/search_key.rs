//! The search key by key, blind to revisions: what each call saw and did of one key, as a register with value, version
//! and lease. It takes nothing from the server but answers and the time they came.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::replay::ops;
use super::search::{gave_up, searched};
use super::search_core::{Failed, Model, Open, Step, search};
use super::text;
use super::witness::Witness;
use super::{
    Answer, Body, Call, Compare, History, KeyValue, NEVER, Op, OpAnswer, Property, Put, Range, Relation,
    Request, Span, Target, Txn, Violation,
};

/// Every key by itself.
pub fn by_key(history: &History, states_max: usize) -> Vec<Violation> {
    let index = Index::of(history);
    index.points.keys().filter_map(|key| one(history, key, &index, states_max)).collect()
}

/// Which calls are about which keys.
struct Index<'a> {
    /// By key: calls that name it, or found it where they looked.
    points: BTreeMap<&'a Bytes, Vec<usize>>,
    /// Calls about more keys than they name.
    wide: Vec<usize>,
    /// By lease: when it was first asked for, and the revokes.
    granted: HashMap<i64, u64>,
    revokes: HashMap<i64, Vec<usize>>,
    /// What watches of all keys saw put, if there are any.
    values_seen: Option<HashSet<Bytes>>,
}

impl<'a> Index<'a> {
    fn of(history: &'a History) -> Index<'a> {
        let mut index = Index {
            points: BTreeMap::new(),
            wide: Vec::new(),
            granted: HashMap::new(),
            revokes: HashMap::new(),
            values_seen: values_seen(history),
        };
        for (number, call) in history.calls.iter().enumerate().filter(|(_, call)| searched(call)) {
            index.take(number, call);
        }
        index
    }

    fn take(&mut self, number: usize, call: &'a Call) {
        match &call.request {
            Request::Grant { lease, .. } => {
                let first = self.granted.entry(*lease).or_insert(call.began);
                *first = call.began.min(*first);
            }
            Request::Revoke(lease) => self.revokes.entry(*lease).or_default().push(number),
            Request::Txn(txn) => {
                txn.compares
                    .iter()
                    .for_each(|compare| self.points.entry(&compare.key).or_default().push(number));
            }
            Request::Op(_) | Request::Compact(_) | Request::KeepAlive(_) => {}
        }
        for op in ops(&call.request) {
            match op {
                Op::Put(Put { key, .. })
                | Op::Range(Range { keys: Span::Key(key), .. })
                | Op::Delete { keys: Span::Key(key), .. } => self.points.entry(key).or_default().push(number),
                Op::Range(_) | Op::Delete { .. } => self.wide.push(number),
            }
        }
        // A key that nobody put must be found out, too.
        let Some(Answer { body: Body::Op(OpAnswer::Range { kvs, .. }), .. }) = call.answer() else { return };
        kvs.iter().for_each(|kv| self.points.entry(&kv.key).or_default().push(number));
    }

    /// The calls about a key, and the leases it may have hung on.
    fn about(&self, history: &History, key: &Bytes) -> (Vec<usize>, BTreeSet<i64>) {
        let points = self.points.get(key).map_or(&[] as &[usize], Vec::as_slice);
        let on = |op: &Op| matches!(op, Op::Put(put) if put.key == *key && put.lease != 0);
        let puts = points.iter().flat_map(|call| ops(&history.calls[*call].request)).filter(|op| on(op));
        let leases: BTreeSet<i64> = puts.filter_map(lease_of).collect();
        let revokes = leases.iter().filter_map(|lease| self.revokes.get(lease)).flatten();
        let mut calls: Vec<usize> = points.iter().chain(&self.wide).chain(revokes).copied().collect();
        calls.sort_unstable();
        calls.dedup();
        (calls, leases)
    }
}

fn lease_of(op: &Op) -> Option<i64> {
    match op {
        Op::Put(put) => Some(put.lease),
        Op::Range(_) | Op::Delete { .. } => None,
    }
}

/// The values that watches of all keys saw, if there are any: what they did not see was not put.
fn values_seen(history: &History) -> Option<HashSet<Bytes>> {
    let witness = Witness::of(history);
    let values = witness.events().map(|event| event.kv.value.clone()).collect();
    (witness.last() > 1).then_some(values)
}

fn one(history: &History, key: &Bytes, index: &Index<'_>, states_max: usize) -> Option<Violation> {
    let register = Register::of(history, key, index);
    let opens: Vec<Open> = register.moves.iter().map(|one| one.open).collect();
    let name = format!("key {}", key.escape_ascii());
    match search(&register, &opens, states_max) {
        Ok(_) => None,
        Err(Failed::GaveUp(looked)) => Some(gave_up(&name, looked)),
        Err(Failed::Stuck { placed, state, next }) => {
            let line = |index: &usize| match register.moves[*index].call {
                Some(call) => format!("    {}\n", text::call(&history.calls[call])),
                None => "    a lease ended\n".to_string(),
            };
            let end = placed.len().saturating_sub(6);
            let before: String = placed[end..].iter().map(line).collect();
            let next: String = next.iter().map(line).collect();
            Some(Violation::new(
                Property::Linearizable,
                format!(
                    "{name}: no order explains the answers, whatever the revisions. The longest beginning has {} \
                     calls and ends with\n{before}which leaves {state:?}; none of these fits next:\n{next}",
                    placed.len()
                ),
            ))
        }
    }
}

/// What a key holds, without revisions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cell {
    value: Bytes,
    version: i64,
    lease: i64,
}

/// What is known of the key before a step.
#[derive(Clone, Debug)]
enum Seen {
    Anything,
    Present,
    Is(Option<Cell>),
    On(i64),
}

#[derive(Clone, Debug)]
enum Does {
    Nothing,
    Put(Bytes, i64),
    Delete,
}

/// Guards of this key that must hold or fail, then steps.
#[derive(Clone, Debug, Default)]
struct Way {
    guards: Vec<(Compare, bool)>,
    steps: Vec<(Seen, Does)>,
}

/// A call as the key sees it. One of unknown outcome may go several ways.
struct Move {
    call: Option<usize>,
    open: Open,
    ways: Vec<Way>,
}

struct Register {
    moves: Vec<Move>,
    /// Calls of unknown outcome.
    optional: Vec<usize>,
    /// By lease: its end.
    ends: HashMap<i64, usize>,
}

impl Register {
    fn of(history: &History, key: &Bytes, index: &Index<'_>) -> Register {
        let mut moves = Vec::new();
        let (calls, leases) = index.about(history, key);
        for number in calls {
            let call = &history.calls[number];
            let mut ways = ways(call, key);
            if let Some(seen) = index.values_seen.as_ref().filter(|_| call.unknown()) {
                ways.retain(|way| way.puts().all(|value| seen.contains(value)));
            }
            if ways.iter().any(|way| !way.steps.is_empty() || !way.guards.is_empty()) {
                let open = Open { began: call.began, ended: call.ended, must: !call.unknown() };
                moves.push(Move { call: Some(number), open, ways });
            }
        }
        let optional = (0..moves.len()).filter(|index| !moves[*index].open.must).collect();
        let mut ends = HashMap::new();
        for lease in leases {
            ends.insert(lease, moves.len());
            let began = index.granted.get(&lease).copied().unwrap_or(0);
            let way = Way { guards: Vec::new(), steps: vec![(Seen::On(lease), Does::Delete)] };
            moves.push(Move { call: None, open: Open { began, ended: NEVER, must: false }, ways: vec![way] });
        }
        Register { moves, optional, ends }
    }
}

/// What a call says and does about a key.
fn ways(call: &Call, key: &Bytes) -> Vec<Way> {
    match (&call.request, call.answer().map(|answer| &answer.body)) {
        (Request::Op(op), Some(Body::Op(answer))) => {
            vec![Way { guards: Vec::new(), steps: steps(op, Some(answer), key) }]
        }
        (Request::Op(op), _) => vec![Way { guards: Vec::new(), steps: steps(op, None, key) }],
        (Request::Txn(txn), Some(Body::Txn { succeeded, answers })) => {
            vec![branch(txn, *succeeded, Some(answers), key)]
        }
        (Request::Txn(txn), _) => vec![branch(txn, true, None, key), branch(txn, false, None, key)],
        // A revoke deletes the key if it hangs on the lease; one of two ways.
        (Request::Revoke(lease), _) => {
            let off =
                Compare { key: key.clone(), target: Target::Lease(*lease), relation: Relation::NotEqual };
            let deletes = Way { guards: Vec::new(), steps: vec![(Seen::On(*lease), Does::Delete)] };
            vec![deletes, Way { guards: vec![(off, true)], steps: Vec::new() }]
        }
        _ => Vec::new(),
    }
}

fn branch(txn: &Txn, succeeded: bool, answers: Option<&Vec<OpAnswer>>, key: &Bytes) -> Way {
    let own = txn.compares.iter().filter(|compare| compare.key == *key && !of_revision(&compare.target));
    // That one of several failed does not say which.
    let telling = succeeded || txn.compares.len() == 1;
    let guards = own.filter(|_| telling).map(|compare| (compare.clone(), succeeded)).collect();
    let ops = if succeeded { &txn.success } else { &txn.failure };
    let answer = |index: usize| answers.and_then(|answers| answers.get(index));
    let steps = ops.iter().enumerate().flat_map(|(index, op)| steps(op, answer(index), key)).collect();
    Way { guards, steps }
}

/// Compares with revisions are left out, but for the one that says "absent".
fn of_revision(target: &Target) -> bool {
    matches!(target, Target::Create(given) | Target::Mod(given) if *given != 0)
}

fn steps(op: &Op, answer: Option<&OpAnswer>, key: &Bytes) -> Vec<(Seen, Does)> {
    match (op, answer) {
        (Op::Range(range), Some(OpAnswer::Range { kvs, more, .. })) if range.keys.contains(key) => {
            let found = kvs.iter().find(|kv| kv.key == *key);
            let beyond = *more && kvs.last().is_none_or(|last| last.key < *key);
            if beyond { Vec::new() } else { vec![(Seen::Is(found.map(cell)), Does::Nothing)] }
        }
        (Op::Put(put), answer) if put.key == *key => {
            let seen = match answer {
                Some(OpAnswer::Put(prev)) if put.prev_kv => Seen::Is(prev.as_ref().map(cell)),
                _ => Seen::Anything,
            };
            vec![(seen, Does::Put(put.value.clone(), put.lease))]
        }
        (Op::Delete { keys, prev_kv }, answer) if keys.contains(key) => {
            let seen = match answer {
                Some(OpAnswer::Delete { prev, .. }) if *prev_kv => {
                    Seen::Is(prev.iter().find(|kv| kv.key == *key).map(cell))
                }
                Some(OpAnswer::Delete { deleted: 0, .. }) => Seen::Is(None),
                Some(OpAnswer::Delete { .. }) if matches!(keys, Span::Key(_)) => Seen::Present,
                _ => Seen::Anything,
            };
            vec![(seen, Does::Delete)]
        }
        _ => Vec::new(),
    }
}

fn cell(kv: &KeyValue) -> Cell {
    Cell { value: kv.value.clone(), version: kv.version, lease: kv.lease }
}

fn holds(compare: &Compare, cell: Option<&Cell>) -> bool {
    let order = match &compare.target {
        // Only 0 is asked for here: a key that is there has some revision, and that is more.
        Target::Create(_) | Target::Mod(_) => i64::from(cell.is_some()).cmp(&0),
        Target::Version(given) => cell.map_or(0, |cell| cell.version).cmp(given),
        Target::Lease(given) => cell.map_or(0, |cell| cell.lease).cmp(given),
        Target::Value(given) => match cell {
            Some(cell) => cell.value.cmp(given),
            None => return false,
        },
    };
    match compare.relation {
        Relation::Equal => order.is_eq(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
        Relation::NotEqual => order.is_ne(),
    }
}

impl Way {
    /// The values it puts.
    fn puts(&self) -> impl Iterator<Item = &Bytes> {
        self.steps.iter().filter_map(|(_, does)| match does {
            Does::Put(value, _) => Some(value),
            Does::Nothing | Does::Delete => None,
        })
    }

    /// Whether it changes nothing, wherever it goes.
    fn reads(&self) -> bool {
        self.steps.iter().all(|(_, does)| matches!(does, Does::Nothing))
    }

    /// What the key holds afterwards, if this is possible.
    fn go(&self, start: &Option<Cell>) -> Option<Option<Cell>> {
        if self.guards.iter().any(|(compare, expected)| holds(compare, start.as_ref()) != *expected) {
            return None;
        }
        let mut cell = start.clone();
        for (seen, does) in &self.steps {
            let fits = match seen {
                Seen::Anything => true,
                Seen::Present => cell.is_some(),
                Seen::Is(seen) => cell == *seen,
                Seen::On(lease) => cell.as_ref().is_some_and(|cell| cell.lease == *lease),
            };
            if !fits {
                return None;
            }
            match does {
                Does::Nothing => {}
                Does::Put(value, lease) => {
                    let version = cell.map_or(0, |cell| cell.version) + 1;
                    cell = Some(Cell { value: value.clone(), version, lease: *lease });
                }
                Does::Delete => cell = None,
            }
        }
        Some(cell)
    }
}

impl Model for Register {
    type State = Option<Cell>;

    fn start(&self) -> Option<Cell> {
        None
    }

    fn step(&self, state: &Option<Cell>, index: usize) -> Step<Option<Cell>> {
        let one = &self.moves[index];
        let mut ends: Vec<Option<Cell>> = one.ways.iter().filter_map(|way| way.go(state)).collect();
        if one.open.must && ends.first() == Some(state) && one.ways.iter().all(Way::reads) {
            return Step::Same;
        }
        // A delete that finds nothing here may have been meant to find something later: that is a choice.
        ends.retain(|end| one.open.must || end != state);
        if ends.is_empty() { Step::No } else { Step::To(ends) }
    }

    fn optional(&self, state: &Option<Cell>) -> Vec<usize> {
        let end = state.as_ref().and_then(|cell| self.ends.get(&cell.lease));
        self.optional.iter().chain(end).copied().collect()
    }
}
