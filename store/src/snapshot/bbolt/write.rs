//! Writes a file in one go, from keys that come sorted, in memory for a page of each level and the largest
//! value.
//!
//! Pages come in the order of their numbers, so they can be sent as they come. Only the two metas, which are
//! the first, say where the tree begins and ends: write everything once to learn the [`Layout`], then again
//! behind the metas. The same keys give the same bytes.
//!
//! ```text
//!   put ─► leaf ─(full)─► page n ─► branch ─(full)─► page m ─► branch above …
//! ```
use super::meta::Meta;
use super::page::{Header, Kind};
use super::{BboltError, HEAD_BYTES, KEY_BYTES_MAX, PageNumber};

/// The size of the pages that are written: that of almost all of etcd's files.
pub const PAGE_BYTES: usize = 4096;
/// A page is full here. Keys of history only grow, so nothing comes between those that are there.
const FULL_BYTES: usize = PAGE_BYTES / 10 * 9;
/// One of them stays behind when a branch is full, so that no branch has a single child: bbolt takes none.
const CHILDREN_MIN: usize = 3;
/// Pages 0 and 1 are the metas.
const FIRST_PAGE: PageNumber = 2;

/// What only the end of the writing tells, and the beginning of the file must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PageNumber,
    end: PageNumber,
}

impl Layout {
    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.end * PAGE_BYTES as u64
    }

    /// The two pages that the file begins with.
    pub fn metas(&self) -> Vec<u8> {
        let mut pages = vec![0; 2 * PAGE_BYTES];
        let (page_bytes, Layout { root, end }) = (PAGE_BYTES as u32, *self);
        for (number, transaction) in [(0, 2), (1, 1)] {
            let meta = Meta { page_bytes, root, freelist: None, end, transaction };
            let at = number as usize * PAGE_BYTES;
            let page = meta.encode(number);
            pages[at..at + page.len()].copy_from_slice(&page);
        }
        pages
    }
}

/// Makes pages. Take them away as often as there is no room for more.
#[derive(Debug)]
pub struct Writer {
    pages: Pages,
    /// The bucket in hand.
    tree: Tree,
    /// Those that are finished, and their first pages.
    buckets: Vec<(Vec<u8>, PageNumber)>,
}

impl Default for Writer {
    fn default() -> Self {
        let pages = Pages { out: Vec::new(), next: FIRST_PAGE };
        Writer { pages, tree: Tree::default(), buckets: Vec::new() }
    }
}

impl Writer {
    /// Adds a key to the bucket in hand, behind the one before.
    ///
    /// # Errors
    /// It is not behind it, empty, or too long for bbolt.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BboltError> {
        let bytes = key.len();
        if !(1..=KEY_BYTES_MAX).contains(&bytes) {
            return Err(BboltError::damaged(
                self.pages.next,
                format!("a key of {bytes} bytes is not for it"),
            ));
        }
        if self.tree.last.as_ref().is_some_and(|last| key <= &last[..]) {
            return Err(BboltError::damaged(self.pages.next, "a key comes before the one before"));
        }
        self.tree.put(&mut self.pages, key, value, Link::Value);
        Ok(())
    }

    /// Ends the bucket in hand, which has this name, and begins another. Names ascend.
    pub fn end_bucket(&mut self, name: &str) {
        assert!(
            self.buckets.last().is_none_or(|(last, _)| &last[..] < name.as_bytes()),
            "buckets come sorted"
        );
        let root = std::mem::take(&mut self.tree).finish(&mut self.pages);
        self.buckets.push((name.as_bytes().to_vec(), root));
    }

    /// Ends the file: the last pages, and what its beginning must say.
    pub fn finish(mut self) -> (Vec<u8>, Layout) {
        let mut tree = Tree::default();
        for (name, root) in &self.buckets {
            // Behind the page the sequence, which etcd does not use.
            let value = [root.to_le_bytes(), [0; 8]].concat();
            tree.put(&mut self.pages, name, &value, Link::Bucket);
        }
        let root = tree.finish(&mut self.pages);
        (self.pages.out, Layout { root, end: self.pages.next })
    }

    /// Bytes of pages that nobody has taken.
    pub fn ready_bytes(&self) -> usize {
        self.pages.out.len()
    }

    /// Takes the pages that are ready: those behind what was taken before.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pages.out)
    }
}

/// Pages that are ready, and the number of the next one.
#[derive(Debug)]
struct Pages {
    out: Vec<u8>,
    next: PageNumber,
}

impl Pages {
    fn write(&mut self, node: &Node) -> PageNumber {
        let number = self.next;
        let pages = node.bytes().div_ceil(PAGE_BYTES);
        let end = self.out.len() + pages * PAGE_BYTES;
        let count = u16::try_from(node.elements.len()).expect("a page has room for a few hundred");
        let overflow = u32::try_from(pages - 1).expect("no value has 16 TiB");
        self.out.extend_from_slice(&Header { kind: node.kind, count, overflow }.encode(number));
        let mut heads = HEAD_BYTES * node.elements.len();
        let mut at = 0;
        for element in &node.elements {
            self.out.extend_from_slice(&element.head((heads + at) as u32));
            heads -= HEAD_BYTES;
            at += element.key_bytes + element.value_bytes;
        }
        self.out.extend_from_slice(&node.data);
        self.out.resize(end, 0);
        self.next += pages as u64;
        number
    }
}

/// The tree of one bucket, or of the root: pages that are not full yet.
#[derive(Debug)]
struct Tree {
    leaf: Node,
    /// From above the leaves upwards.
    branches: Vec<Node>,
    last: Option<Vec<u8>>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { leaf: Node::new(Kind::Leaf), branches: Vec::new(), last: None }
    }
}

impl Tree {
    fn put(&mut self, pages: &mut Pages, key: &[u8], value: &[u8], link: Link) {
        if !self.leaf.has_room(key.len() + value.len()) && !self.leaf.elements.is_empty() {
            self.end_leaf(pages);
        }
        self.leaf.push(key, value, link);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }

    fn end_leaf(&mut self, pages: &mut Pages) {
        let full = std::mem::replace(&mut self.leaf, Node::new(Kind::Leaf));
        let page = pages.write(&full);
        self.lead_to(pages, 0, full.first_key(), page);
    }

    /// Has the branch on a level lead to a page below.
    fn lead_to(&mut self, pages: &mut Pages, level: usize, key: &[u8], page: PageNumber) {
        if level == self.branches.len() {
            self.branches.push(Node::new(Kind::Branch));
        }
        let branch = &mut self.branches[level];
        if !branch.has_room(key.len()) && branch.elements.len() >= CHILDREN_MIN {
            let held_back = branch.split_last();
            let full = std::mem::replace(branch, held_back);
            let written = pages.write(&full);
            self.lead_to(pages, level + 1, full.first_key(), written);
        }
        self.branches[level].push(key, b"", Link::Page(page));
    }

    /// Writes what is left; the page that the tree begins with.
    fn finish(mut self, pages: &mut Pages) -> PageNumber {
        if self.branches.is_empty() {
            return pages.write(&self.leaf);
        }
        self.end_leaf(pages);
        let mut level = 0;
        loop {
            let branch = std::mem::replace(&mut self.branches[level], Node::new(Kind::Branch));
            let page = pages.write(&branch);
            level += 1;
            if level == self.branches.len() {
                return page;
            }
            self.lead_to(pages, level, branch.first_key(), page);
        }
    }
}

/// Elements of a page that is not written yet.
#[derive(Debug)]
struct Node {
    kind: Kind,
    elements: Vec<Element>,
    /// Keys and values, one behind the other.
    data: Vec<u8>,
}

#[derive(Debug)]
struct Element {
    key_bytes: usize,
    value_bytes: usize,
    link: Link,
}

/// What an element is.
#[derive(Clone, Copy, Debug)]
enum Link {
    Value,
    Bucket,
    Page(PageNumber),
}

impl Element {
    /// Its head; `position` counts from there.
    fn head(&self, position: u32) -> [u8; HEAD_BYTES] {
        let [key, value] = [self.key_bytes, self.value_bytes].map(|bytes| (bytes as u32).to_le_bytes());
        let position = position.to_le_bytes();
        let parts = match self.link {
            Link::Value => [[0; 4], position, key, value],
            Link::Bucket => [1_u32.to_le_bytes(), position, key, value],
            Link::Page(page) => {
                let page = page.to_le_bytes();
                let half = |at: usize| [page[at], page[at + 1], page[at + 2], page[at + 3]];
                [position, key, half(0), half(4)]
            }
        };
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&parts.concat());
        head
    }
}

impl Node {
    fn new(kind: Kind) -> Node {
        Node { kind, elements: Vec::new(), data: Vec::new() }
    }

    /// What it takes on the disk, without the rest of the last page.
    fn bytes(&self) -> usize {
        HEAD_BYTES * (self.elements.len() + 1) + self.data.len()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes() + HEAD_BYTES + bytes <= FULL_BYTES
    }

    fn push(&mut self, key: &[u8], value: &[u8], link: Link) {
        self.elements.push(Element { key_bytes: key.len(), value_bytes: value.len(), link });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn first_key(&self) -> &[u8] {
        &self.data[..self.elements.first().map_or(0, |first| first.key_bytes)]
    }

    /// Takes the last element of a branch out, as a branch of its own.
    fn split_last(&mut self) -> Node {
        let elements: Vec<Element> = self.elements.pop().into_iter().collect();
        let at = self.data.len() - elements.first().map_or(0, |last| last.key_bytes);
        Node { kind: self.kind, elements, data: self.data.split_off(at) }
    }
}
