//! bbolt's file: pages of one size, in which every bucket is a tree of sorted keys.
//!
//! ```text
//!   page 0   meta: page size, root, first page never used, checksum        ┐ the newer one that is
//!   page 1   meta of the commit before                                     ┘ whole counts
//!   page 2…  leaf     header (16) │ heads of elements (16 each) │ key value key value …
//!            branch   header (16) │ heads of elements (16 each) │ key key …
//!            freelist header (16) │ numbers of pages that nothing uses
//! ```
//! The root is a tree whose values are buckets: the number of the page that a bucket's tree begins with, or
//! the bucket itself when it is small (*inline*). A page that is too small for what it holds goes on in those
//! directly behind it, which have no header (*overflow*).
//!
//! Numbers are little-endian, as all hosts that matter write them. [`read`] believes nothing: whatever the
//! bytes are, it refuses them or hands out keys that ascend, in memory that is bounded, in time that is
//! bounded by the file's length. [`write`] makes files that bbolt's own check accepts.
mod meta;
mod page;
pub mod read;
pub mod write;

use std::io;

pub use read::{Bbolt, Bucket, Source};
pub use write::{Layout, Writer};

/// The number of a page. Metas are 0 and 1.
pub(crate) type PageNumber = u64;

/// What a page begins with, and each of its elements.
const HEAD_BYTES: usize = 16;
/// bbolt's own bound.
const KEY_BYTES_MAX: usize = 32_768;

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub enum BboltError {
    /// The system cannot read it.
    #[error("cannot read {bytes} bytes at {offset}: {source}")]
    Io {
        /** From where. */
        offset: u64,
        /** How many. */
        bytes: usize,
        /** What the system said. */
        source: io::Error,
    },
    /// It is something else.
    #[error("it is not a database of etcd: {what}")]
    Foreign {
        /** What it has not, or should not have. */
        what: String,
    },
    /// It is shorter than its pages.
    #[error("it was cut off: it has {bytes} bytes, and its pages need {needed}")]
    Truncated {
        /** Its length. */
        bytes: u64,
        /** What it should be at least. */
        needed: u64,
    },
    /// A page cannot be what a database wrote.
    #[error("page {page} is damaged: {what}")]
    Damaged {
        /** Which one. */
        page: u64,
        /** What is wrong with it. */
        what: String,
    },
    /// Something is larger than what is read at once.
    #[error("page {page} holds {bytes} bytes in one piece; at most {max} are read at once")]
    TooLarge {
        /** The page it begins with. */
        page: u64,
        /** Its size. */
        bytes: u64,
        /** The bound. */
        max: u64,
    },
}

impl BboltError {
    fn damaged(page: PageNumber, what: impl Into<String>) -> BboltError {
        BboltError::Damaged { page, what: what.into() }
    }

    fn foreign(what: impl Into<String>) -> BboltError {
        BboltError::Foreign { what: what.into() }
    }
}

/// Two bytes at `at`, which are there.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Four bytes at `at`, which are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// Eight bytes at `at`, which are there.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
