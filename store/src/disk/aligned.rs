//! Buffers that start where direct I/O may start, without unsafe code: a vector a little too long, and
//! the part of it that begins on a boundary.
use std::ops::{Deref, DerefMut};

/// Alignment in bytes of every buffer, offset and length of a write: the largest logical block in use.
pub const ALIGN: usize = 4096;

/// A byte buffer whose first byte lies on an [`ALIGN`] boundary and whose length is a multiple of it.
pub struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuf {
    /// `len` zero bytes, rounded up to whole blocks.
    pub fn zeroed(len: usize) -> Self {
        let len = len.next_multiple_of(ALIGN);
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        // `align_offset` may say usize::MAX where addresses are unknown (const evaluation); never here.
        assert!(start < ALIGN, "no aligned byte in the first {ALIGN} of a buffer");
        AlignedBuf { bytes, start, len }
    }

    /// Makes it at least `len` bytes long; the new bytes are zero, the old ones stay.
    pub fn grow(&mut self, len: usize) {
        let len = len.next_multiple_of(ALIGN);
        if len <= self.len {
            return;
        }
        if self.start + len <= self.bytes.len() {
            self.len = len;
            return;
        }
        let mut larger = AlignedBuf::zeroed(len.max(self.len * 2));
        larger.len = len;
        larger[..self.len].copy_from_slice(self);
        *self = larger;
    }

    /// Sets every byte to zero and the length to `len`; lets go of memory above `keep` bytes.
    pub fn reset(&mut self, len: usize, keep: usize) {
        if self.bytes.len() > keep + ALIGN || self.start + len.next_multiple_of(ALIGN) > self.bytes.len() {
            *self = AlignedBuf::zeroed(len);
            return;
        }
        let used = self.start + self.len;
        self.bytes[self.start..used].fill(0);
        self.len = len.next_multiple_of(ALIGN);
    }

    /// Part of it for writing. `from` and `to` must be multiples of [`ALIGN`].
    pub fn slice(&self, from: usize, to: usize) -> AlignedSlice<'_> {
        assert!(from.is_multiple_of(ALIGN) && to.is_multiple_of(ALIGN), "{from}..{to} is not aligned");
        AlignedSlice(&self[from..to])
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// Bytes that lie on a boundary and fill whole blocks; only [`AlignedBuf::slice`] makes one.
#[derive(Clone, Copy)]
pub struct AlignedSlice<'a>(&'a [u8]);

impl<'a> AlignedSlice<'a> {
    /// Part of it. `from` and `to` must be multiples of [`ALIGN`].
    pub fn part(&self, from: usize, to: usize) -> AlignedSlice<'a> {
        assert!(from.is_multiple_of(ALIGN) && to.is_multiple_of(ALIGN), "{from}..{to} is not aligned");
        AlignedSlice(&self.0[from..to])
    }
}

impl Deref for AlignedSlice<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_stay_aligned_and_keep_their_bytes_when_they_grow() {
        let mut buf = AlignedBuf::zeroed(1);
        assert_eq!(buf.len(), ALIGN);
        buf[0] = 7;
        for blocks in 2..20 {
            buf.grow(blocks * ALIGN);
            assert_eq!((buf.as_ptr() as usize) % ALIGN, 0);
            assert_eq!((buf.len(), buf[0]), (blocks * ALIGN, 7));
            assert!(buf[1..].iter().all(|b| *b == 0));
        }
        buf.reset(ALIGN, 1 << 20);
        assert_eq!((buf.len(), buf[0]), (ALIGN, 0));
        buf.grow(19 * ALIGN);
        assert!(buf.iter().all(|b| *b == 0));
    }
}
