//! One page of a tree with all that it goes on in, checked before anything in it is looked at.
//!
//! ```text
//!   header   number (8)  flag (2)  elements (2)  overflow pages (4)
//!   leaf     flags (4)  position (4)  key bytes (4)  value bytes (4)      flags: 1 = the value is a bucket
//!   branch   position (4)  key bytes (4)  page (8)
//! ```
//! A position counts from the beginning of its own element.
use super::{BboltError, HEAD_BYTES, KEY_BYTES_MAX, PageNumber, u16_at, u32_at, u64_at};

/// What a page is; the flag in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
    Meta,
    Freelist,
}

impl Kind {
    pub(super) fn flag(self) -> u16 {
        match self {
            Kind::Branch => 1,
            Kind::Leaf => 2,
            Kind::Meta => 4,
            Kind::Freelist => 16,
        }
    }

    fn of(flag: u16) -> Option<Kind> {
        [Kind::Branch, Kind::Leaf, Kind::Meta, Kind::Freelist].into_iter().find(|kind| kind.flag() == flag)
    }
}

/// The header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) count: u16,
    /// Pages directly behind it that belong to it.
    pub(super) overflow: u32,
}

impl Header {
    /// The header in front of `bytes`, of page `number`.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], number: PageNumber) -> Result<Header, BboltError> {
        let (own, flag) = (u64_at(bytes, 0), u16_at(bytes, 8));
        if own != number {
            return Err(BboltError::damaged(number, format!("it says that it is page {own}")));
        }
        let kind = Kind::of(flag)
            .ok_or_else(|| BboltError::damaged(number, format!("it is of no known kind ({flag:#x})")))?;
        Ok(Header { kind, count: u16_at(bytes, 10), overflow: u32_at(bytes, 12) })
    }

    pub(super) fn encode(&self, number: PageNumber) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.kind.flag().to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }
}

/// A leaf or a branch.
#[derive(Debug)]
pub(super) struct Page {
    /// Its own; of an inline bucket the page that it lies in.
    number: PageNumber,
    pub(super) kind: Kind,
    pub(super) count: usize,
    /// From its header on.
    bytes: Vec<u8>,
}

/// An element of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafElement<'a> {
    pub(super) is_bucket: bool,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Page {
    /// The page of a tree in `bytes`, which are all of it.
    pub(super) fn of_tree(number: PageNumber, header: Header, bytes: Vec<u8>) -> Result<Page, BboltError> {
        let kind = match header.kind {
            Kind::Branch | Kind::Leaf => header.kind,
            other => return Err(BboltError::damaged(number, format!("a tree leads to it, a {other:?}"))),
        };
        let page = Page { number, kind, count: usize::from(header.count), bytes };
        if page.bytes.len() < page.elements_end() {
            return Err(page.damaged(format!("{} elements do not fit into it", page.count)));
        }
        if kind == Kind::Branch && page.count == 0 {
            return Err(page.damaged("it is a branch that leads nowhere"));
        }
        Ok(page)
    }

    /// The bucket in `bytes`, a value of page `number`.
    pub(super) fn inline(number: PageNumber, bytes: &[u8]) -> Result<Page, BboltError> {
        let head = bytes
            .first_chunk()
            .ok_or_else(|| BboltError::damaged(number, "a bucket in it is shorter than its header"))?;
        let header = Header::decode(head, 0)
            .map_err(|error| BboltError::damaged(number, format!("a bucket in it: {error}")))?;
        if header.kind != Kind::Leaf || header.overflow != 0 {
            return Err(BboltError::damaged(number, "a bucket in it is no leaf"));
        }
        Page::of_tree(number, header, bytes.to_vec())
    }

    /// Element `at` of a leaf, which has so many.
    pub(super) fn leaf(&self, at: usize) -> Result<LeafElement<'_>, BboltError> {
        let head = HEAD_BYTES * (at + 1);
        let flags = u32_at(&self.bytes, head);
        if flags > 1 {
            return Err(self.damaged(format!("element {at} has unknown flags ({flags:#x})")));
        }
        let from = self.key_begins(at, u32_at(&self.bytes, head + 4))?;
        let key_ends = from + u64::from(u32_at(&self.bytes, head + 8));
        let ends = key_ends + u64::from(u32_at(&self.bytes, head + 12));
        let (key, value) = (self.cut(at, from, key_ends)?, self.cut(at, key_ends, ends)?);
        self.check_key(at, key)?;
        Ok(LeafElement { is_bucket: flags == 1, key, value })
    }

    /// Key and page of element `at` of a branch, which has so many.
    pub(super) fn branch(&self, at: usize) -> Result<(&[u8], PageNumber), BboltError> {
        let head = HEAD_BYTES * (at + 1);
        let from = self.key_begins(at, u32_at(&self.bytes, head))?;
        let key = self.cut(at, from, from + u64::from(u32_at(&self.bytes, head + 4)))?;
        // The leftmost key of a tree may be any that is not behind its child's; bbolt never leaves it out.
        self.check_key(at, key)?;
        Ok((key, u64_at(&self.bytes, head + 8)))
    }

    /// It cannot be what a database wrote.
    pub(super) fn damaged(&self, what: impl Into<String>) -> BboltError {
        BboltError::damaged(self.number, what)
    }

    pub(super) fn number(&self) -> PageNumber {
        self.number
    }

    fn elements_end(&self) -> usize {
        HEAD_BYTES * (self.count + 1)
    }

    /// Where the key of an element begins, counted from the page's beginning.
    fn key_begins(&self, at: usize, position: u32) -> Result<u64, BboltError> {
        let from = (HEAD_BYTES * (at + 1)) as u64 + u64::from(position);
        match from < self.elements_end() as u64 {
            true => Err(self.damaged(format!("element {at} lies among the heads"))),
            false => Ok(from),
        }
    }

    fn cut(&self, at: usize, from: u64, to: u64) -> Result<&[u8], BboltError> {
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let bytes = range.and_then(|(from, to)| self.bytes.get(from..to));
        bytes.ok_or_else(|| {
            self.damaged(format!("element {at} ends at {to}, the page at {}", self.bytes.len()))
        })
    }

    fn check_key(&self, at: usize, key: &[u8]) -> Result<(), BboltError> {
        match key.len() {
            1..=KEY_BYTES_MAX => Ok(()),
            bytes => Err(self.damaged(format!("the key of element {at} has {bytes} bytes"))),
        }
    }
}
