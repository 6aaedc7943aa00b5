//! C2, the search: is there any order of the calls, each within its time, that explains every answer?
//!
//! Twice: over the whole store, where revisions, too, must come out as they were answered ([`whole`]); and key by key
//! without a look at any revision ([`super::search_key`]). Calls of unknown outcome and ends of leases may be put in
//! anywhere after they began, or left out. Reads of the past and serializable ones are the replay's business.
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::model::State;
use super::replay::{agrees, changed, may_delete, ops, same};
use super::search_core::{Failed, Model, Open, Step, search};
use super::text;
use super::witness::Witness;
use super::{Answer, Call, History, NEVER, Op, Outcome, Property, Request, Violation};

/// Choices that are looked at before a search gives up. A good history needs about one for each change of unknown
/// cause; a bad one is often decided within a few thousand.
pub const STATES_MAX: usize = 1_000_000;

/// Both searches.
pub fn check(history: &History) -> Vec<Violation> {
    let mut violations = whole(history, STATES_MAX);
    violations.extend(super::search_key::by_key(history, STATES_MAX));
    violations
}

/// Over the whole store, revisions included.
pub fn whole(history: &History, states_max: usize) -> Vec<Violation> {
    let store = Store::of(history);
    let opens: Vec<Open> = store.items.iter().map(|item| store.open(*item)).collect();
    match search(&store, &opens, states_max) {
        Ok(_) => Vec::new(),
        Err(Failed::GaveUp(looked)) => vec![gave_up("the whole store", looked)],
        Err(Failed::Stuck { placed, state, next }) => vec![store.stuck(&placed, &state, &next)],
    }
}

/// A search that ended at its bound counts as a failure.
pub(super) fn gave_up(of: &str, looked: usize) -> Violation {
    Violation::new(
        Property::Decided,
        format!("{of}: no order among the {looked} choices looked at, and more are left"),
    )
}

/// Whether a call stands for itself in a search: it is of the present, and its member was up to date.
pub(super) fn searched(call: &Call) -> bool {
    let now = match &call.request {
        Request::Op(Op::Range(range)) => range.revision <= 0 && !range.serializable,
        Request::KeepAlive(_) => false,
        _ => true,
    };
    now && !matches!(call.outcome, Outcome::Refused(_))
}

/// Something that happened, or may have.
#[derive(Clone, Copy, Debug)]
enum Item {
    Call(usize),
    /// The end of a lease that the call granted.
    LeaseEnd {
        lease: i64,
        granted: usize,
    },
}

struct Store<'a> {
    history: &'a History,
    witness: Witness,
    items: Vec<Item>,
    /// Revisions that a call was answered with that made them.
    claimed: HashSet<i64>,
    last: i64,
    /// Items that need not have happened: by what they would put, and those that would delete.
    puts: HashMap<(Bytes, Bytes), Vec<usize>>,
    deletes: Vec<usize>,
    optional: Vec<usize>,
}

/// The keys, and the revision they are of.
#[derive(Clone, PartialEq, Eq, Hash)]
struct At {
    revision: i64,
    state: State,
}

impl<'a> Store<'a> {
    fn of(history: &'a History) -> Store<'a> {
        let mut store = Store {
            history,
            witness: Witness::of(history),
            items: Vec::new(),
            claimed: HashSet::new(),
            last: 1,
            puts: HashMap::new(),
            deletes: Vec::new(),
            optional: Vec::new(),
        };
        for (index, call) in history.calls.iter().enumerate().filter(|(_, call)| searched(call)) {
            if let Request::Grant { lease, .. } = call.request {
                store.deletes.push(store.items.len());
                store.optional.push(store.items.len());
                store.items.push(Item::LeaseEnd { lease, granted: index });
            }
            match call.answer() {
                Some(answer) => store.take_answered(index, answer),
                None => store.take_unknown(index),
            }
        }
        store
    }

    fn take_answered(&mut self, index: usize, answer: &Answer) {
        self.items.push(Item::Call(index));
        self.last = self.last.max(answer.revision);
        if changed(answer) {
            self.claimed.insert(answer.revision);
        }
    }

    fn take_unknown(&mut self, index: usize) {
        let item = self.items.len();
        let request = &self.history.calls[index].request;
        let mut deletes = matches!(request, Request::Revoke(_));
        let mut puts = false;
        for op in ops(request) {
            match op {
                Op::Put(put) => {
                    puts = true;
                    self.puts.entry((put.key.clone(), put.value.clone())).or_default().push(item);
                }
                Op::Delete { .. } => deletes = true,
                Op::Range(_) => {}
            }
        }
        if deletes {
            self.deletes.push(item);
        }
        if deletes || puts {
            self.optional.push(item);
            self.items.push(Item::Call(index));
        }
    }

    fn open(&self, item: Item) -> Open {
        match item {
            Item::Call(call) => {
                let call = &self.history.calls[call];
                Open { began: call.began, ended: call.ended, must: !call.unknown() }
            }
            Item::LeaseEnd { granted, .. } => {
                Open { began: self.history.calls[granted].began, ended: NEVER, must: false }
            }
        }
    }

    fn answered(&self, at: &At, request: &Request, answer: &Answer) -> Step<At> {
        let revokes = matches!(request, Request::Revoke(lease) if at.state.attached(*lease).is_some());
        let makes = changed(answer) || revokes;
        if answer.revision != at.revision + i64::from(makes) {
            return Step::No;
        }
        if let (Request::Op(Op::Range(range)), super::Body::Op(answer)) = (request, &answer.body) {
            return if at.state.range(range) == *answer { Step::Same } else { Step::No };
        }
        let mut state = at.state.clone();
        let ran = state.run(request, at.revision + 1);
        if !agrees(&answer.body, &ran) || ran.events.is_empty() == makes {
            return Step::No;
        }
        if makes { Step::To(vec![At { revision: at.revision + 1, state }]) } else { Step::Same }
    }

    fn unasked(&self, at: &At, item: Item) -> Step<At> {
        let mut state = at.state.clone();
        let revision = at.revision + 1;
        let events = match item {
            Item::Call(call) => state.run(&self.history.calls[call].request, revision).events,
            Item::LeaseEnd { lease, .. } => state.end_lease(lease, revision),
        };
        if events.is_empty() {
            return Step::Same;
        }
        // What watches saw spares the search a choice. That they were right, others check.
        if self.witness.at(revision).is_some_and(|seen| !same(seen, &events)) {
            return Step::No;
        }
        Step::To(vec![At { revision, state }])
    }

    fn stuck(&self, placed: &[usize], at: &At, next: &[usize]) -> Violation {
        let line = |item: &usize| match self.items[*item] {
            Item::Call(call) => text::call(&self.history.calls[call]),
            Item::LeaseEnd { lease, .. } => format!("lease {lease} ended"),
        };
        let tail =
            |items: &[usize]| items.iter().map(|item| format!("    {}\n", line(item))).collect::<String>();
        let end = placed.len().saturating_sub(6);
        let keys: std::collections::BTreeSet<&Bytes> = next
            .iter()
            .filter_map(|item| match self.items[*item] {
                Item::Call(call) => Some(&self.history.calls[call].request),
                Item::LeaseEnd { .. } => None,
            })
            .flat_map(ops)
            .filter_map(|op| match op {
                Op::Put(put) => Some(&put.key),
                Op::Range(super::Range { keys: super::Span::Key(key), .. })
                | Op::Delete { keys: super::Span::Key(key), .. } => Some(key),
                Op::Range(_) | Op::Delete { .. } => None,
            })
            .collect();
        let kvs: Vec<String> = keys.into_iter().filter_map(|key| at.state.get(key)).map(text::kv).collect();
        Violation::new(
            Property::Linearizable,
            format!(
                "no order explains the answers. The longest beginning has {} calls and ends with\n{}at revision {} \
                 with {}; none of these fits next:\n{}",
                placed.len(),
                tail(&placed[end..]),
                at.revision,
                if kvs.is_empty() { "none of the keys".to_string() } else { kvs.join(" ") },
                tail(next),
            ),
        )
    }
}

impl Model for Store<'_> {
    type State = At;

    fn start(&self) -> At {
        At { revision: 1, state: State::default() }
    }

    fn step(&self, at: &At, item: usize) -> Step<At> {
        match self.items[item] {
            Item::Call(call) => {
                let call = &self.history.calls[call];
                match call.answer() {
                    Some(answer) => self.answered(at, &call.request, answer),
                    None => self.unasked(at, self.items[item]),
                }
            }
            Item::LeaseEnd { .. } => self.unasked(at, self.items[item]),
        }
    }

    /// A revision that was answered is nobody else's, and one that nobody saw needs no cause.
    fn optional(&self, at: &At) -> Vec<usize> {
        let revision = at.revision + 1;
        if self.claimed.contains(&revision) || revision > self.last || self.witness.denies(revision) {
            return Vec::new();
        }
        let Some(seen) = self.witness.at(revision) else { return self.optional.clone() };
        if let Some(put) = seen.iter().find(|event| !event.delete) {
            return self.puts.get(&(put.kv.key.clone(), put.kv.value.clone())).cloned().unwrap_or_default();
        }
        let may = |item: &usize| match self.items[*item] {
            Item::Call(call) => may_delete(&self.history.calls[call].request, seen),
            Item::LeaseEnd { lease, .. } => at.state.attached(lease).is_some(),
        };
        self.deletes.iter().copied().filter(may).collect()
    }
}
