//! The search itself, for any model: Wing and Gong's, with Lowe's memory of what failed.
//!
//! A call may come next if no other call that still has to come had ended before it began. Reads that fit come at
//! once, as that takes no choice away. Where several others fit, each is tried in turn; a set of calls with a state
//! that was there before is not tried again. What need not have happened is tried only where the model says that it
//! may and where it changes something, and is left out otherwise.
use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Time;

/// What calls do.
pub trait Model {
    /// What they do it to.
    type State: Clone + Hash + Eq;

    /// Before all calls.
    fn start(&self) -> Self::State;

    /// The call in this state.
    fn step(&self, state: &Self::State, call: usize) -> Step<Self::State>;

    /// The calls that need not have happened, but may have here.
    fn optional(&self, state: &Self::State) -> Vec<usize>;
}

/// What a call does in a state.
pub enum Step<S> {
    /// It cannot have happened here.
    No,
    /// It fits, and nothing changes, nor would it anywhere else where it fits.
    Same,
    /// It fits, and leaves one of these.
    To(Vec<S>),
}

/// When a call was open, and whether it must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Before it.
    pub began: Time,
    /// After it, or `NEVER`.
    pub ended: Time,
    /// Whether it was answered.
    pub must: bool,
}

/// How a search ended without an order.
#[derive(Debug)]
pub enum Failed<S> {
    /// There is none. The calls of the longest beginning of one, the state after it, and those that had to come next.
    Stuck {
        /// In order.
        placed: Vec<usize>,
        /// After them.
        state: S,
        /// None of them fits.
        next: Vec<usize>,
    },
    /// So many states were looked at, and more are left.
    GaveUp(usize),
}

struct Choice<S> {
    /// How many were placed before it.
    placed: usize,
    /// Calls to try, each with the state it leaves; taken from the end.
    rest: Vec<(usize, S)>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Open],
    /// Those that must come, by begin.
    order: Vec<usize>,
    /// By call: its place in `order`.
    rank: Vec<usize>,
    placed: Vec<usize>,
    is_placed: Vec<bool>,
    /// In `order`: all before this are placed.
    floor: usize,
    /// A sum over the placed ones, with 128 bits of chance each: equal sums are equal sets.
    sum: u128,
    tried: HashSet<(u128, u128)>,
    longest: Option<(Vec<usize>, M::State, Vec<usize>)>,
    longest_must: usize,
    must_placed: usize,
}

/// Looks for an order. `states_max` bounds the choices that are looked at.
pub fn search<M: Model>(
    model: &M,
    calls: &[Open],
    states_max: usize,
) -> Result<Vec<usize>, Failed<M::State>> {
    let mut order: Vec<usize> = (0..calls.len()).filter(|call| calls[*call].must).collect();
    order.sort_unstable_by_key(|call| (calls[*call].began, *call));
    let mut rank = vec![usize::MAX; calls.len()];
    for (place, call) in order.iter().enumerate() {
        rank[*call] = place;
    }
    let mut search = Search {
        model,
        calls,
        order,
        rank,
        placed: Vec::new(),
        is_placed: vec![false; calls.len()],
        floor: 0,
        sum: 0,
        tried: HashSet::new(),
        longest: None,
        longest_must: 0,
        must_placed: 0,
    };
    search.run(states_max)
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, states_max: usize) -> Result<Vec<usize>, Failed<M::State>> {
        let must = self.order.len();
        let mut state = self.model.start();
        let mut choices: Vec<Choice<M::State>> = Vec::new();
        let mut looked = 0;
        loop {
            let mut fits = self.advance(&state);
            if self.must_placed == must {
                return Ok(std::mem::take(&mut self.placed));
            }
            if fits.len() == 1
                && let Some((call, next)) = fits.pop()
            {
                self.place(call);
                state = next;
                continue;
            }
            if fits.is_empty() {
                self.remember(&state);
            } else {
                choices.push(Choice { placed: self.placed.len(), rest: fits });
            }
            looked += 1;
            if looked > states_max {
                return Err(Failed::GaveUp(looked));
            }
            match self.next_choice(&mut choices) {
                Some(next) => state = next,
                None => {
                    let (placed, state, next) =
                        self.longest.take().unwrap_or_else(|| (Vec::new(), self.model.start(), Vec::new()));
                    return Err(Failed::Stuck { placed, state, next });
                }
            }
        }
    }

    /// Places all that changes nothing, and finds what else fits; the most likely at the end.
    fn advance(&mut self, state: &M::State) -> Vec<(usize, M::State)> {
        loop {
            let mut fits = Vec::new();
            let mut placed_one = false;
            let (candidates, first_end) = self.candidates();
            for call in candidates {
                match self.model.step(state, call) {
                    Step::No => {}
                    Step::Same => {
                        self.place(call);
                        placed_one = true;
                    }
                    Step::To(states) => fits.extend(states.into_iter().map(|state| (call, state))),
                }
            }
            if placed_one {
                continue;
            }
            for call in self.model.optional(state) {
                if !self.is_placed[call]
                    && self.calls[call].began <= first_end
                    && let Step::To(states) = self.model.step(state, call)
                {
                    fits.extend(states.into_iter().map(|state| (call, state)));
                }
            }
            fits.sort_by_key(|(call, _)| {
                (self.calls[*call].must, Reverse(self.calls[*call].ended), Reverse(*call))
            });
            return fits;
        }
    }

    /// What must come and may come next, and the first end among all that must still come.
    fn candidates(&mut self) -> (Vec<usize>, Time) {
        while self.order.get(self.floor).is_some_and(|call| self.is_placed[*call]) {
            self.floor += 1;
        }
        let mut first_end = Time::MAX;
        let mut candidates = Vec::new();
        for call in &self.order[self.floor..] {
            if self.calls[*call].began > first_end {
                break;
            }
            if !self.is_placed[*call] {
                first_end = first_end.min(self.calls[*call].ended);
                candidates.push(*call);
            }
        }
        candidates.retain(|call| self.calls[*call].began <= first_end);
        (candidates, first_end)
    }

    fn next_choice(&mut self, choices: &mut Vec<Choice<M::State>>) -> Option<M::State> {
        loop {
            let choice = choices.last_mut()?;
            let Some((call, state)) = choice.rest.pop() else {
                choices.pop();
                continue;
            };
            let keep = choice.placed;
            self.take_back(keep);
            self.place(call);
            if self.tried.insert((self.sum, hash(&state))) {
                return Some(state);
            }
        }
    }

    fn place(&mut self, call: usize) {
        self.placed.push(call);
        self.is_placed[call] = true;
        self.sum ^= hash(&call);
        self.must_placed += usize::from(self.calls[call].must);
    }

    fn take_back(&mut self, keep: usize) {
        for call in self.placed.split_off(keep) {
            self.is_placed[call] = false;
            self.sum ^= hash(&call);
            self.must_placed -= usize::from(self.calls[call].must);
            self.floor = self.floor.min(self.rank[call]);
        }
    }

    fn remember(&mut self, state: &M::State) {
        if self.longest.is_none() || self.must_placed > self.longest_must {
            self.longest_must = self.must_placed;
            let (next, _) = self.candidates();
            self.longest = Some((self.placed.clone(), state.clone(), next));
        }
    }
}

/// 128 bits: two different sets or states among millions have the same with a chance below 10^-20.
fn hash(value: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0x5eed) << 64 | half(0xb0b)
}
