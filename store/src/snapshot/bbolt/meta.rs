//! Meta pages: where everything begins.
//!
//! ```text
//!   at 16  magic (4)  version (4)  page size (4)  flags (4)  root (8)  sequence (8)
//!          freelist (8)  first page never used (8)  transaction (8)  FNV-1a of bytes 16..72 (8)
//! ```
use super::page::Kind;
use super::{HEAD_BYTES, PageNumber, u32_at, u64_at};

/// A meta page up to the end of its checksum.
pub(super) const META_BYTES: usize = HEAD_BYTES + 64;
const MAGIC: u32 = 0xED0C_DAED;
/// The magic as a big-endian host writes it.
const MAGIC_SWAPPED: u32 = MAGIC.swap_bytes();
const VERSION: u32 = 2;
/// In place of the freelist's page: it is not stored.
const NO_FREELIST: u64 = u64::MAX;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_bytes: u32,
    /// The page that the tree of buckets begins with.
    pub(super) root: PageNumber,
    pub(super) freelist: Option<PageNumber>,
    /// The first page that was never used: all others are below it.
    pub(super) end: PageNumber,
    /// Of two whole metas the one with the larger transaction counts.
    pub(super) transaction: u64,
}

impl Meta {
    /// The meta page in `bytes`, if it is whole. (Only then does anything in it mean something.)
    pub(super) fn decode(bytes: &[u8]) -> Option<Meta> {
        let page = bytes.get(..META_BYTES)?;
        let whole = u32_at(page, 16) == MAGIC
            && u32_at(page, 20) == VERSION
            && u64_at(page, 72) == fnv_1a(&page[HEAD_BYTES..72]);
        let freelist = Some(u64_at(page, 48)).filter(|page| *page != NO_FREELIST);
        whole.then(|| Meta {
            page_bytes: u32_at(page, 24),
            root: u64_at(page, 32),
            freelist,
            end: u64_at(page, 56),
            transaction: u64_at(page, 64),
        })
    }

    /// Whether a host that writes numbers the other way round has made `bytes`.
    pub(super) fn is_big_endian(bytes: &[u8]) -> bool {
        bytes.len() >= META_BYTES && u32_at(bytes, 16) == MAGIC_SWAPPED
    }

    /// The meta page with this number.
    pub(super) fn encode(&self, number: PageNumber) -> [u8; META_BYTES] {
        let mut page = [0; META_BYTES];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &number.to_le_bytes());
        put(8, &Kind::Meta.flag().to_le_bytes());
        put(16, &MAGIC.to_le_bytes());
        put(20, &VERSION.to_le_bytes());
        put(24, &self.page_bytes.to_le_bytes());
        put(32, &self.root.to_le_bytes());
        put(48, &self.freelist.unwrap_or(NO_FREELIST).to_le_bytes());
        put(56, &self.end.to_le_bytes());
        put(64, &self.transaction.to_le_bytes());
        let checksum = fnv_1a(&page[HEAD_BYTES..72]);
        page[72..].copy_from_slice(&checksum.to_le_bytes());
        page
    }
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_comes_back_and_no_bit_may_be_wrong() {
        let meta = Meta { page_bytes: 4096, root: 7, freelist: None, end: 9, transaction: 3 };
        let page = meta.encode(1);
        assert_eq!(Meta::decode(&page), Some(meta));
        let listed = Meta { freelist: Some(2), ..meta };
        assert_eq!(Meta::decode(&listed.encode(0)), Some(listed));
        for bit in HEAD_BYTES * 8..META_BYTES * 8 {
            let mut wrong = page;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&wrong), None, "bit {bit}");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
