//! Which call of unknown outcome took which revision: a matching that grows a revision at a time.
//!
//! A revision that nobody answered for may have been made by any of several calls, and each call makes one at most.
//! Kuhn's augmenting paths: when all of a revision's candidates are taken, one that holds a candidate moves over if it
//! has another. A revision that finds no place then has none under any assignment of those before it.
use std::collections::{HashMap, HashSet};

/// Calls and the revisions they took.
#[derive(Debug, Default)]
pub struct Matching {
    candidates: HashMap<i64, Vec<usize>>,
    taken: HashMap<usize, i64>,
}

impl Matching {
    /// Finds a call for one more revision, if there is an assignment that serves all.
    pub fn place(&mut self, revision: i64, candidates: Vec<usize>) -> bool {
        self.candidates.insert(revision, candidates);
        self.augment(revision, &mut HashSet::new())
    }

    fn augment(&mut self, revision: i64, tried: &mut HashSet<usize>) -> bool {
        let candidates = self.candidates.get(&revision).cloned().unwrap_or_default();
        if let Some(free) = candidates.iter().find(|call| !self.taken.contains_key(call)) {
            self.taken.insert(*free, revision);
            return true;
        }
        for call in candidates {
            let holder = self.taken.get(&call).copied();
            if tried.insert(call) && holder.is_some_and(|holder| self.augment(holder, tried)) {
                self.taken.insert(call, revision);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Matching;

    #[test]
    fn those_who_have_a_choice_move_over() {
        let mut matching = Matching::default();
        assert!(matching.place(5, vec![1, 2]));
        assert!(matching.place(6, vec![1]), "5 can take 2");
        assert!(matching.place(7, vec![2, 3]));
        assert!(!matching.place(8, vec![1, 2, 3]), "three calls make three revisions");
        let mut taken: Vec<_> = matching.taken.into_iter().collect();
        taken.sort_unstable();
        assert_eq!(taken, [(1, 6), (2, 5), (3, 7)]);
    }
}
