//! Which ranges contain a key: a balanced (AVL) tree of ranges ordered by start, where every node also
//! knows the largest end below it.
//!
//! ```text
//!               [c, f) top=z           find "d": top > d → left: top = e > d → [a, e) hit;
//!              ╱            ╲                    c ≤ d < f → hit;  right: all start after d → done
//!      [a, e) top=e      [k, z) top=z
//! ```
//!
//! A subtree whose largest end is at or below the key is skipped whole, and so is everything that starts
//! after it: finding k ranges among n costs at most k·log n steps, whoever chose the ranges. Balance is
//! kept by height and not by chance, because clients choose the ranges and recursion must stay shallow.
use std::cmp::Ordering;

use bytes::Bytes;

/// Where a range ends; `Open` sorts above every key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Before(Bytes),
    Open,
}

impl End {
    fn is_above(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < end.as_ref(),
            End::Open => true,
        }
    }
}

/// A half-open range with the number of whoever wants it. One range may be in with several numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interval {
    pub(super) start: Bytes,
    pub(super) end: End,
    pub(super) owner: u64,
}

/// A set of intervals that finds those around a key.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    root: Link,
}

type Link = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    interval: Interval,
    /// The largest end of this node and all below it.
    top: End,
    height: i32,
    left: Link,
    right: Link,
}

impl Intervals {
    /// Puts an interval in; nothing happens if it is there.
    pub(super) fn insert(&mut self, interval: Interval) {
        self.root = Some(insert(self.root.take(), interval));
    }

    /// Takes an interval out; nothing happens if it is not there.
    pub(super) fn remove(&mut self, interval: &Interval) {
        self.root = remove(self.root.take(), interval);
    }

    /// Calls `found` with the owner of every interval that contains `key`, in the order of the intervals.
    pub(super) fn find(&self, key: &[u8], found: &mut impl FnMut(u64)) {
        find(&self.root, key, found);
    }
}

impl Node {
    fn leaf(interval: Interval) -> Box<Node> {
        Box::new(Node { top: interval.end.clone(), interval, height: 1, left: None, right: None })
    }

    /// Derives height and top again after a child changed.
    fn refresh(&mut self) {
        self.height = 1 + height(&self.left).max(height(&self.right));
        let below = self.left.iter().chain(&self.right).map(|node| &node.top);
        self.top = below.chain([&self.interval.end]).max().expect("the node's own end is in").clone();
    }
}

fn find(link: &Link, key: &[u8], found: &mut impl FnMut(u64)) {
    let Some(node) = link.as_ref().filter(|node| node.top.is_above(key)) else { return };
    find(&node.left, key, found);
    if node.interval.start.as_ref() <= key {
        if node.interval.end.is_above(key) {
            found(node.interval.owner);
        }
        find(&node.right, key, found);
    }
}

fn insert(link: Link, interval: Interval) -> Box<Node> {
    let Some(mut node) = link else { return Node::leaf(interval) };
    match interval.cmp(&node.interval) {
        Ordering::Less => node.left = Some(insert(node.left.take(), interval)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), interval)),
        Ordering::Equal => return node,
    }
    balance(node)
}

fn remove(link: Link, interval: &Interval) -> Link {
    let mut node = link?;
    match interval.cmp(&node.interval) {
        Ordering::Less => node.left = remove(node.left.take(), interval),
        Ordering::Greater => node.right = remove(node.right.take(), interval),
        Ordering::Equal => match (node.left.take(), node.right.take()) {
            (None, rest) | (rest, None) => return rest,
            (left, Some(right)) => {
                let (first, rest) = take_first(right);
                (node.interval, node.left, node.right) = (first, left, rest);
            }
        },
    }
    Some(balance(node))
}

/// The lowest interval of a subtree, and the subtree without it.
fn take_first(mut node: Box<Node>) -> (Interval, Link) {
    match node.left.take() {
        None => (node.interval, node.right),
        Some(left) => {
            let (first, rest) = take_first(left);
            node.left = rest;
            (first, Some(balance(node)))
        }
    }
}

fn height(link: &Link) -> i32 {
    link.as_ref().map_or(0, |node| node.height)
}

/// Positive: the left side is higher.
fn lean(node: &Node) -> i32 {
    height(&node.left) - height(&node.right)
}

/// Makes a node whose sides differ by two at most into one whose sides differ by one at most.
fn balance(mut node: Box<Node>) -> Box<Node> {
    if lean(&node) > 1 {
        node.left = node.left.take().map(|left| if lean(&left) < 0 { rotate_left(left) } else { left });
        return rotate_right(node);
    }
    if lean(&node) < -1 {
        node.right =
            node.right.take().map(|right| if lean(&right) > 0 { rotate_right(right) } else { right });
        return rotate_left(node);
    }
    node.refresh();
    node
}

fn rotate_right(mut node: Box<Node>) -> Box<Node> {
    let mut up = node.left.take().expect("only a node that leans left is rotated right");
    node.left = up.right.take();
    node.refresh();
    up.right = Some(node);
    up.refresh();
    up
}

fn rotate_left(mut node: Box<Node>) -> Box<Node> {
    let mut up = node.right.take().expect("only a node that leans right is rotated left");
    node.right = up.left.take();
    node.refresh();
    up.left = Some(node);
    up.refresh();
    up
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rng(u64);
    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % n
        }
        fn key(&mut self) -> Bytes {
            let len = 1 + self.below(2);
            (0..len).map(|_| b'a' + self.below(6) as u8).collect::<Vec<u8>>().into()
        }
    }

    fn check(link: &Link) -> (i32, Option<End>) {
        let Some(node) = link else { return (0, None) };
        let ((left, left_top), (right, right_top)) = (check(&node.left), check(&node.right));
        assert!((left - right).abs() <= 1, "unbalanced");
        assert_eq!(node.height, 1 + left.max(right));
        let top = [left_top, right_top, Some(node.interval.end.clone())].into_iter().flatten().max();
        assert_eq!(Some(&node.top), top.as_ref());
        (node.height, top)
    }

    /// Against a plain list, by seed.
    #[test]
    fn finds_what_a_list_finds() {
        for seed in 1..=300_u64 {
            let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
            let (mut tree, mut list) = (Intervals::default(), Vec::<Interval>::new());
            for _ in 0..120 {
                let end = if rng.below(8) == 0 { End::Open } else { End::Before(rng.key()) };
                let interval = Interval { start: rng.key(), end, owner: rng.below(3) };
                if rng.below(3) < 2 {
                    tree.insert(interval.clone());
                    list.push(interval);
                } else if !list.is_empty() {
                    let gone = list[rng.below(list.len() as u64) as usize].clone();
                    tree.remove(&gone);
                    list.retain(|other| *other != gone);
                }
                list.sort();
                list.dedup();
                check(&tree.root);
                let key = rng.key();
                let mut found = Vec::new();
                tree.find(&key, &mut |owner| found.push(owner));
                let around = |i: &&Interval| i.start <= key && i.end.is_above(&key);
                let wanted: Vec<u64> = list.iter().filter(around).map(|i| i.owner).collect();
                assert_eq!(found, wanted, "seed {seed} key {key:?}");
            }
        }
    }

    /// Keys in order must not make a deep tree.
    #[test]
    fn stays_shallow_when_filled_in_order() {
        let mut tree = Intervals::default();
        for n in 0..100_000_u64 {
            let start = Bytes::copy_from_slice(&n.to_be_bytes());
            tree.insert(Interval { start, end: End::Open, owner: n });
        }
        let height = check(&tree.root).0;
        assert!(height <= 24, "{height}");
    }
}
