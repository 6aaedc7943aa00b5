//! Reads a segment from front to back in large steps.
use crate::disk::AlignedBuf;
use crate::error::Fatal;
use crate::log::frame::BLOCK;
use crate::log::ring::io_error;
use crate::log::segment::Segment;

/// Bytes read ahead.
const AHEAD: u64 = 256 << 10;

/// A window over the first `end` bytes of a segment.
pub(in crate::log) struct Window<'a> {
    segment: &'a Segment,
    end: u64,
    buf: AlignedBuf,
    at: u64,
    have: u64,
    /// Bytes that the next read takes, if so many are there.
    ahead: u64,
}

impl<'a> Window<'a> {
    pub(in crate::log) fn new(segment: &'a Segment, end: u64) -> Self {
        let block = BLOCK as u64;
        Window { segment, end: end / block * block, buf: AlignedBuf::zeroed(0), at: 0, have: 0, ahead: block }
    }

    /// As `new`, and the next read is of these bytes alone.
    pub(in crate::log) fn alone(segment: &'a Segment, offset: u64, bytes: u64) -> Self {
        Window { at: offset, ahead: bytes, ..Window::new(segment, segment.file_bytes) }
    }

    /// `bytes` bytes from `offset`, or `None` when they are not all there.
    pub(in crate::log) fn get(&mut self, offset: u64, bytes: usize) -> Result<Option<&[u8]>, Fatal> {
        let wanted_end = offset + bytes as u64;
        if wanted_end > self.end {
            return Ok(None);
        }
        if offset < self.at || wanted_end > self.at + self.have {
            let have = self.ahead.max(bytes as u64).min(self.end - offset);
            (self.have, self.at, self.ahead) = (0, offset, AHEAD);
            self.buf.grow(have as usize);
            let into = &mut self.buf[..have as usize];
            self.segment.file.read_at(offset, into).map_err(io_error("read", &self.segment.path))?;
            self.have = have;
        }
        let from = (offset - self.at) as usize;
        Ok(Some(&self.buf[from..from + bytes]))
    }
}
