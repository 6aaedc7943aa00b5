//! Reads a file that anybody may have made.
//!
//! What bounds it, whatever the bytes say: each page is read once (a bit each says which were), so there are
//! no circles and no tree that is walked twice, and the work is the file's length at most; a branch or leaf is
//! read whole, up to [`BRANCH_BYTES_MAX`] and [`LEAF_BYTES_MAX`]; a tree is [`DEPTH_MAX`] deep at most. Keys that
//! are handed out ascend and lie where the branches above them say.
use std::io;
use std::sync::Arc;

use super::meta::{META_BYTES, Meta};
use super::page::{Header, Kind, Page};
use super::{BboltError, HEAD_BYTES, PageNumber, u64_at};
use crate::disk::File;

/// bbolt's trees of 17-byte keys are 5 deep at a billion of them.
const DEPTH_MAX: usize = 32;
/// A branch has a few keys at least, of 32 KiB at most.
const BRANCH_BYTES_MAX: u64 = 1 << 20;
/// A leaf has up to four values; etcd takes 1.5 MiB each, and seldom is it told to take more.
const LEAF_BYTES_MAX: u64 = 64 << 20;
/// Buckets of one file. etcd has ten.
const BUCKETS_MAX: usize = 1_000;
/// Names and small buckets in the root.
const ROOT_BYTES_MAX: usize = 16 << 20;

const PAGE_BYTES_MIN: u32 = 512;
const PAGE_BYTES_MAX: u32 = 1 << 20;
/// Whoever writes a page size in the first meta, writes the second one page behind it; it is looked for at
/// these sizes when the first one is not whole.
const PAGE_SIZES: [u32; 12] =
    [512, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20];

/// Bytes that can be read anywhere.
pub trait Source {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end; what the system says.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// How many there are.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl Source for Arc<dyn File> {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        File::read_at(&**self, offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        File::len(&**self)
    }
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let found = from.and_then(|from| self.get(from..from.checked_add(bytes.len())?));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }
}

/// An open file. Every bucket can be walked once.
#[derive(Debug)]
pub struct Bbolt<S> {
    source: S,
    meta: Meta,
    /// Of every page, whether it was read.
    read: Vec<u64>,
}

/// A bucket of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: Vec<u8>,
    root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Page(PageNumber),
    /// The bucket itself, and the page it lies in.
    Inline(PageNumber, Vec<u8>),
}

/// A page on the way down, and the bounds of the keys in it.
struct Level {
    page: Page,
    /// The next element.
    at: usize,
    low: Vec<u8>,
    /// The first key that is not below it any more.
    high: Option<Vec<u8>>,
}

/// A page that a branch leads to, and the bounds of the keys in it.
struct Child {
    number: PageNumber,
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

impl<S: Source> Bbolt<S> {
    /// Reads where everything begins.
    ///
    /// # Errors
    /// [`BboltError`].
    pub fn open(source: S) -> Result<Bbolt<S>, BboltError> {
        let bytes = source.len().map_err(|source| BboltError::Io { offset: 0, bytes: 0, source })?;
        let meta = newest_meta(&source, bytes)?;
        let needed = meta.end.checked_mul(u64::from(meta.page_bytes)).filter(|_| meta.end >= 3);
        let needed = needed.ok_or_else(|| BboltError::damaged(0, format!("it claims {} pages", meta.end)))?;
        if needed > bytes {
            return Err(BboltError::Truncated { bytes, needed });
        }
        let read = vec![0; usize::try_from(meta.end / 64 + 1).unwrap_or(usize::MAX)];
        let mut file = Bbolt { source, meta, read };
        file.mark(0, 2, 0)?;
        Ok(file)
    }

    /// The size of its pages.
    pub fn page_bytes(&self) -> u32 {
        self.meta.page_bytes
    }

    /// All buckets, by name. Call it once.
    ///
    /// # Errors
    /// [`BboltError`].
    pub fn buckets(&mut self) -> Result<Vec<Bucket>, BboltError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        self.walk_tree(Root::Page(self.meta.root), true, |page, key, value| {
            bytes += key.len() + value.len();
            if found.len() == BUCKETS_MAX || bytes > ROOT_BYTES_MAX {
                return Err(BboltError::foreign("it has too many buckets"));
            }
            found.push(Bucket { name: key.to_vec(), root: Root::of(page, value)? });
            Ok(())
        })?;
        Ok(found)
    }

    /// Calls `each` with all keys of a bucket and their values, ascending, until it fails. Call it once for
    /// each bucket.
    ///
    /// # Errors
    /// What `each` says; [`BboltError`].
    pub fn walk<E: From<BboltError>>(
        &mut self,
        bucket: &Bucket,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_tree(bucket.root.clone(), false, |_, key, value| each(key, value))
    }

    /// Checks the list of free pages, if there is one: it and the trees that were read, which are all of them,
    /// have no page in common.
    ///
    /// # Errors
    /// [`BboltError`].
    pub fn check_freelist(&mut self) -> Result<(), BboltError> {
        let Some(number) = self.meta.freelist else { return Ok(()) };
        let (header, bytes) = self.load(number)?;
        if header.kind != Kind::Freelist {
            return Err(BboltError::damaged(
                number,
                format!("it should be the freelist, not a {:?}", header.kind),
            ));
        }
        let numbers = |at: usize| bytes.get(at..at + 8).map(|bytes| u64_at(bytes, 0));
        let (count, first) = match header.count {
            0xffff => (numbers(HEAD_BYTES).unwrap_or(u64::MAX), HEAD_BYTES + 8),
            count => (u64::from(count), HEAD_BYTES),
        };
        if count > ((bytes.len().saturating_sub(first)) / 8) as u64 {
            return Err(BboltError::damaged(number, format!("{count} numbers do not fit into it")));
        }
        for at in 0..count as usize {
            let free = numbers(first + 8 * at).unwrap_or(0);
            self.mark(free, 1, number)?;
        }
        Ok(())
    }

    fn walk_tree<E: From<BboltError>>(
        &mut self,
        root: Root,
        buckets: bool,
        mut each: impl FnMut(PageNumber, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let page = match root {
            Root::Page(number) => self.page(number)?,
            Root::Inline(number, bytes) => Page::inline(number, &bytes)?,
        };
        let mut path = vec![Level { page, at: 0, low: Vec::new(), high: None }];
        let mut last: Option<Vec<u8>> = None;
        while let Some(level) = path.last_mut() {
            if level.at == level.page.count {
                path.pop();
                continue;
            }
            let at = level.at;
            level.at += 1;
            if level.page.kind == Kind::Leaf {
                let element = level.page.leaf(at)?;
                level.check(at, element.key)?;
                if last.as_ref().is_some_and(|last| element.key <= &last[..]) {
                    return Err(level.page.damaged(format!("key {at} is not behind the one before")).into());
                }
                if element.is_bucket != buckets {
                    let what =
                        if buckets { "a key beside the buckets" } else { "a bucket inside of a bucket" };
                    return Err(
                        BboltError::foreign(format!("page {} has {what}", level.page.number())).into()
                    );
                }
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(element.key);
                each(level.page.number(), element.key, element.value)?;
                continue;
            }
            let Child { number, low, high } = level.child(at)?;
            if path.len() == DEPTH_MAX {
                return Err(BboltError::damaged(number, format!("it is {DEPTH_MAX} levels deep")).into());
            }
            let page = self.page(number)?;
            if page.count == 0 {
                return Err(page.damaged("it is empty, and not a whole bucket").into());
            }
            path.push(Level { page, at: 0, low, high });
        }
        Ok(())
    }

    /// A leaf or branch, read for the first time.
    fn page(&mut self, number: PageNumber) -> Result<Page, BboltError> {
        let (header, bytes) = self.load(number)?;
        Page::of_tree(number, header, bytes)
    }

    /// A page with all that it goes on in, read for the first time.
    fn load(&mut self, number: PageNumber) -> Result<(Header, Vec<u8>), BboltError> {
        if number < 2 || number >= self.meta.end {
            let what = format!("something leads to it, and there are pages 2 to {}", self.meta.end - 1);
            return Err(BboltError::damaged(number, what));
        }
        let page_bytes = u64::from(self.meta.page_bytes);
        let mut head = [0; HEAD_BYTES];
        self.fill(number * page_bytes, &mut head)?;
        let header = Header::decode(&head, number)?;
        let pages = u64::from(header.overflow) + 1;
        self.mark(number, pages, number)?;
        let (bytes, max) = (
            pages * page_bytes,
            match header.kind {
                Kind::Branch => BRANCH_BYTES_MAX.max(page_bytes),
                Kind::Leaf | Kind::Freelist | Kind::Meta => LEAF_BYTES_MAX,
            },
        );
        if bytes > max {
            return Err(BboltError::TooLarge { page: number, bytes, max });
        }
        let mut whole = vec![0; bytes as usize];
        self.fill(number * page_bytes, &mut whole)?;
        Ok((header, whole))
    }

    /// Notes that pages are read now; `by` leads to them.
    fn mark(&mut self, first: PageNumber, pages: u64, by: PageNumber) -> Result<(), BboltError> {
        let end = first.checked_add(pages).filter(|end| *end <= self.meta.end && (first >= 2 || by == 0));
        let end = end.ok_or_else(|| {
            let what = format!(
                "it takes pages {first} and {} behind it; the last one is {}",
                pages - 1,
                self.meta.end - 1
            );
            BboltError::damaged(by, what)
        })?;
        for page in first..end {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            if self.read[word] & bit != 0 {
                return Err(BboltError::damaged(by, format!("page {page} is used twice")));
            }
            self.read[word] |= bit;
        }
        Ok(())
    }

    fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BboltError> {
        fill(&self.source, offset, bytes)
    }
}

impl Level {
    /// A key must lie where the branch above says.
    fn check(&self, at: usize, key: &[u8]) -> Result<(), BboltError> {
        let inside = key >= &self.low[..] && self.high.as_ref().is_none_or(|high| key < &high[..]);
        match inside {
            true => Ok(()),
            false => Err(self.page.damaged(format!("key {at} does not belong there"))),
        }
    }

    /// What element `at` of a branch leads to.
    fn child(&self, at: usize) -> Result<Child, BboltError> {
        let (key, number) = self.page.branch(at)?;
        self.check(at, key)?;
        let high = match at + 1 < self.page.count {
            true => {
                let (next, _) = self.page.branch(at + 1)?;
                if next <= key {
                    return Err(self.page.damaged(format!("key {} is not behind the one before", at + 1)));
                }
                Some(next.to_vec())
            }
            false => self.high.clone(),
        };
        Ok(Child { number, low: key.to_vec(), high })
    }
}

impl Root {
    /// Where the bucket in the value of a key of page `number` begins.
    fn of(number: PageNumber, value: &[u8]) -> Result<Root, BboltError> {
        let (head, inline) = value
            .split_at_checked(16)
            .ok_or_else(|| BboltError::damaged(number, "a bucket in it is shorter than its header"))?;
        match u64_at(head, 0) {
            0 => Ok(Root::Inline(number, inline.to_vec())),
            page if inline.is_empty() => Ok(Root::Page(page)),
            _ => Err(BboltError::damaged(number, "a bucket in it lies in two places")),
        }
    }
}

/// The meta that counts: of those that are whole the newest.
fn newest_meta<S: Source>(source: &S, bytes: u64) -> Result<Meta, BboltError> {
    let meta_at = |offset: u64| {
        let mut page = [0; META_BYTES];
        let there = offset + META_BYTES as u64 <= bytes;
        if there {
            fill(source, offset, &mut page)?;
        }
        Ok::<_, BboltError>((Meta::decode(&page), Meta::is_big_endian(&page)))
    };
    let (first, big_endian) = meta_at(0)?;
    if big_endian {
        return Err(BboltError::foreign("a big-endian machine has written it"));
    }
    let sizes = first.map_or(PAGE_SIZES.to_vec(), |meta| vec![meta.page_bytes]);
    let mut second = None;
    for size in sizes {
        let (found, _) = meta_at(u64::from(size))?;
        second = second.or(found.filter(|meta| meta.page_bytes == size || first.is_some()));
    }
    let meta = match (first, second) {
        (Some(one), Some(other)) if one.page_bytes != other.page_bytes => {
            return Err(BboltError::damaged(1, "its page size is not that of page 0"));
        }
        (Some(one), Some(other)) if other.transaction > one.transaction => other,
        (Some(one), _) => one,
        (None, Some(other)) => other,
        (None, None) if bytes < 2 * u64::from(PAGE_BYTES_MIN) => {
            return Err(BboltError::foreign(format!("it has {bytes} bytes")));
        }
        (None, None) => {
            return Err(BboltError::foreign("neither of its first two pages is one that bbolt writes"));
        }
    };
    match meta.page_bytes {
        size if size.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&size) => Ok(meta),
        size => Err(BboltError::foreign(format!("its pages have {size} bytes"))),
    }
}

fn fill<S: Source>(source: &S, offset: u64, bytes: &mut [u8]) -> Result<(), BboltError> {
    let length = bytes.len();
    source.read_at(offset, bytes).map_err(|source| BboltError::Io { offset, bytes: length, source })
}
