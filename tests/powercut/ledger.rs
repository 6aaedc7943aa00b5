//! What writers were promised, kept outside the card, and how history is held against it.
//!
//! Every writer owns the keys `wN/…` and writes one thing after the other, so all that it ever asked for is
//! a list, of which only the last may be without an answer. After a cut the history of the server is read,
//! revision by revision: each must be exactly the next write of one writer, whole, and at the revision that
//! the answer named. An acknowledged write that is left over is lost; the last one of a writer, without an
//! answer, may be there or not. Then what is there now must be what that history makes.
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// What a write does to each of its keys: a value and its lease (0: none), or nothing more there.
pub type Effects = BTreeMap<String, Option<(Bytes, i64)>>;

/// A key as it is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub value: Bytes,
    pub lease: i64,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

/// What the server showed: every event after the last check, and all keys.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The newest revision.
    pub head: i64,
    /// Per revision what was done.
    pub history: BTreeMap<i64, Effects>,
    pub keys: BTreeMap<String, Kept>,
}

#[derive(Clone, Debug)]
struct Write {
    effects: Effects,
    /// Where the answer said that it is.
    revision: Option<i64>,
}

/// What is wrong with a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Anything else, in words.
    pub wrong: Vec<String>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Per writer, oldest first: what was asked for since the last check.
    asked: Vec<VecDeque<Write>>,
    /// All keys at `checked`.
    keys: BTreeMap<String, Kept>,
    /// Everything up to this revision was there at the last check.
    checked: i64,
    /// Answers since the last check.
    acknowledged: u64,
}

/// The writer who owns a key.
fn owner(key: &str) -> Option<usize> {
    key.strip_prefix('w')?.split('/').next()?.parse().ok()
}

/// The name of a writer's key.
pub fn key(writer: usize, name: &str) -> String {
    format!("w{writer}/{name}")
}

impl Ledger {
    /// Of a fresh server.
    pub fn new(writers: usize) -> Ledger {
        let asked = (0..writers).map(|_| VecDeque::new()).collect();
        Ledger { asked, keys: BTreeMap::new(), checked: 1, acknowledged: 0 }
    }

    /// A writer is about to ask for this, which changes something.
    pub fn ask(&mut self, writer: usize, effects: Effects) {
        assert!(!effects.is_empty(), "a write that does nothing has no revision");
        self.asked[writer].push_back(Write { effects, revision: None });
    }

    /// What the writer asked for last was done at this revision.
    pub fn acknowledge(&mut self, writer: usize, revision: i64) {
        let last = self.asked[writer].back_mut().expect("an answer follows a question");
        last.revision = Some(revision);
        self.acknowledged += 1;
    }

    /// Answers since the last check.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Everything up to here was there at the last check.
    pub fn checked(&self) -> i64 {
        self.checked
    }

    /// The keys of a writer and their leases, as of the last check.
    pub fn keys_of(&self, writer: usize) -> BTreeMap<String, i64> {
        let own = self.keys.iter().filter(|(key, _)| owner(key) == Some(writer));
        own.map(|(key, kept)| (key.clone(), kept.lease)).collect()
    }

    /// Holds what the server shows against what was promised; what is there counts as promised from then on.
    pub fn check(&mut self, shown: &Shown) -> Findings {
        let mut findings = Findings::default();
        if shown.head < self.checked {
            findings.wrong.push(format!("revision {} after {} was seen", shown.head, self.checked));
        }
        for revision in self.checked + 1..=shown.head {
            if let Err(wrong) = self.replay(revision, shown.history.get(&revision)) {
                findings.wrong.push(wrong);
                break;
            }
        }
        findings.wrong.extend(difference(&self.keys, &shown.keys));
        for left in self.asked.iter_mut().flat_map(|asked| asked.drain(..)) {
            findings.lost += u64::from(left.revision.is_some());
        }
        self.checked = shown.head;
        self.acknowledged = 0;
        findings
    }

    /// Takes the write that must be this revision from its writer's list, and does it to the keys.
    fn replay(&mut self, revision: i64, done: Option<&Effects>) -> Result<(), String> {
        let done = done.ok_or_else(|| format!("history has no revision {revision}"))?;
        let writer = done.keys().next().and_then(|key| owner(key));
        let asked = writer.and_then(|writer| self.asked.get_mut(writer)?.pop_front());
        let asked = asked.ok_or_else(|| format!("nobody asked for revision {revision}: {done:?}"))?;
        if asked.effects != *done {
            return Err(format!("revision {revision} is {done:?} instead of {:?}", asked.effects));
        }
        if let Some(promised) = asked.revision.filter(|promised| *promised != revision) {
            return Err(format!("what was promised at revision {promised} is at {revision}: {done:?}"));
        }
        for (key, effect) in asked.effects {
            self.apply(revision, key, effect);
        }
        Ok(())
    }

    fn apply(&mut self, revision: i64, key: String, effect: Option<(Bytes, i64)>) {
        let Some((value, lease)) = effect else {
            self.keys.remove(&key);
            return;
        };
        let before = self.keys.get(&key);
        let create_revision = before.map_or(revision, |kept| kept.create_revision);
        let version = before.map_or(1, |kept| kept.version + 1);
        let kept = Kept { value, lease, create_revision, mod_revision: revision, version };
        self.keys.insert(key, kept);
    }
}

/// The first key at which what is there is not what history makes.
fn difference(due: &BTreeMap<String, Kept>, there: &BTreeMap<String, Kept>) -> Option<String> {
    let keys = due.keys().chain(there.keys());
    let mut differing = keys.filter(|key| due.get(*key) != there.get(*key));
    let key = differing.next()?;
    Some(format!("{key} is {:?} and not {:?}, as history has it", there.get(key), due.get(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &'static str) -> (String, Option<(Bytes, i64)>) {
        (key.to_owned(), Some((Bytes::from_static(value.as_bytes()), 0)))
    }

    /// Writer 0 wrote `a`, then `a` and `b` at once; writer 1 wrote `a`, and then asked for its end.
    fn promised() -> Ledger {
        let mut ledger = Ledger::new(2);
        ledger.ask(0, Effects::from([put("w0/a", "1")]));
        ledger.acknowledge(0, 2);
        ledger.ask(1, Effects::from([put("w1/a", "1")]));
        ledger.acknowledge(1, 3);
        ledger.ask(0, Effects::from([put("w0/a", "2"), put("w0/b", "2")]));
        ledger.acknowledge(0, 4);
        ledger.ask(1, Effects::from([("w1/a".to_owned(), None)]));
        ledger
    }

    fn kept(value: &'static str, create_revision: i64, mod_revision: i64, version: i64) -> Kept {
        Kept { value: Bytes::from_static(value.as_bytes()), lease: 0, create_revision, mod_revision, version }
    }

    /// All that was acknowledged.
    fn shown() -> Shown {
        let history = BTreeMap::from([
            (2, Effects::from([put("w0/a", "1")])),
            (3, Effects::from([put("w1/a", "1")])),
            (4, Effects::from([put("w0/a", "2"), put("w0/b", "2")])),
        ]);
        let keys = BTreeMap::from([
            ("w0/a".to_owned(), kept("2", 2, 4, 2)),
            ("w0/b".to_owned(), kept("2", 4, 4, 1)),
            ("w1/a".to_owned(), kept("1", 3, 3, 1)),
        ]);
        Shown { head: 4, history, keys }
    }

    #[test]
    fn what_was_acknowledged_is_enough_and_what_was_asked_for_may_be_there() {
        let mut ledger = promised();
        assert_eq!(ledger.acknowledged(), 3);
        assert_eq!(ledger.check(&shown()), Findings::default());
        assert_eq!((ledger.acknowledged(), ledger.checked()), (0, 4));
        assert_eq!(ledger.keys_of(0).len(), 2);
        let mut more = shown();
        more.head = 5;
        more.history.insert(5, Effects::from([("w1/a".to_owned(), None)]));
        more.keys.remove("w1/a");
        assert_eq!(promised().check(&more), Findings::default());
    }

    #[test]
    fn a_lost_write_is_counted() {
        let mut shorter = shown();
        shorter.head = 3;
        shorter.history.remove(&4);
        shorter.keys.remove("w0/b");
        shorter.keys.insert("w0/a".to_owned(), kept("1", 2, 2, 1));
        assert_eq!(promised().check(&shorter), Findings { lost: 1, wrong: Vec::new() });
    }

    /// Each of these is one planted fault, and what must be said about it.
    #[test]
    fn what_is_wrong_is_found() {
        type Plant = fn(&mut Shown);
        let plants: [(&str, Plant); 7] = [
            ("half a write", |shown| {
                shown.history.insert(4, Effects::from([put("w0/a", "2")]));
            }),
            ("a write that nobody asked for", |shown| {
                shown.head = 5;
                shown.history.insert(5, Effects::from([put("w0/c", "3")]));
            }),
            ("a write done twice", |shown| {
                shown.head = 5;
                shown.history.insert(5, shown.history[&4].clone());
            }),
            ("two revisions changed places", |shown| {
                let third = shown.history[&3].clone();
                let fourth = shown.history.insert(4, third).expect("it was there");
                shown.history.insert(3, fourth);
            }),
            ("a hole in history", |shown| {
                shown.history.remove(&3);
            }),
            ("another value than history's", |shown| {
                shown.keys.insert("w0/b".to_owned(), kept("3", 4, 4, 1));
            }),
            ("another version than history's", |shown| {
                shown.keys.insert("w0/a".to_owned(), kept("2", 2, 4, 3));
            }),
        ];
        for (what, plant) in plants {
            let mut shown = shown();
            plant(&mut shown);
            let findings = promised().check(&shown);
            assert!(!findings.wrong.is_empty(), "{what}");
        }
    }

    #[test]
    fn revisions_never_go_back() {
        let mut ledger = promised();
        ledger.check(&shown());
        let before = Shown { head: 3, keys: shown().keys, ..Shown::default() };
        assert_eq!(ledger.check(&before).wrong, ["revision 3 after 4 was seen"]);
    }
}
