//! The open batch: records encoded where they will be written, in frames that only lack stamps.
//!
//! Invariant: the frames lie side by side in one aligned buffer, each starts on an alignment unit, so
//! that a flush is one write.
use super::frame;
use super::index::Index;
use super::record::{self, Record};
use super::segment::Standing;
use crate::command::Entry;
use crate::disk::AlignedBuf;

/// Memory kept between batches.
const KEEP_BYTES: usize = 2 << 20;

/// A frame being built.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Where it starts in the buffer.
    pub from: usize,
    /// Payload bytes so far.
    pub length: usize,
    /// The entries in it that stand.
    pub run: Option<(u64, u64)>,
    /// What the log says once it is on the device.
    pub after: Standing,
}

/// Everything since the last flush.
pub(crate) struct Batch {
    pub buf: AlignedBuf,
    pub drafts: Vec<Draft>,
    /// Whether something in it waits for a flush, not only for a ride.
    pub urgent: bool,
    /// Whether a record in it takes back entries, so that its records can only be read in order.
    pub rewinds: bool,
    align: u32,
    frame_bytes_max: usize,
    scratch: Vec<u8>,
}

impl Batch {
    pub(crate) fn new(align: u32, frame_bytes_max: usize) -> Self {
        let buf = AlignedBuf::zeroed(align as usize);
        Batch {
            buf,
            drafts: Vec::new(),
            urgent: false,
            rewinds: false,
            align,
            frame_bytes_max,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Adds an entry; `after` is what the log says with it.
    pub(crate) fn push_entry(&mut self, entry: &Entry, after: Standing) {
        let mut head = std::mem::take(&mut self.scratch);
        head.clear();
        record::entry_head(entry, &mut head);
        self.push(&head, record::entry_bytes(entry), after);
        self.scratch = head;
        let draft = self.drafts.last_mut().expect("push left one");
        let first = draft.run.map_or(entry.id.index, |(first, _)| first);
        draft.run = Some((first, entry.id.index));
        self.urgent = true;
    }

    /// Adds a record other than an entry; `after` as above.
    pub(crate) fn push_record(&mut self, record: &Record, after: Standing) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        record::encode(record, &mut bytes);
        self.push(&bytes, &[], after);
        self.scratch = bytes;
    }

    fn push(&mut self, head: &[u8], tail: &[u8], after: Standing) {
        let bytes = head.len() + tail.len();
        match self.drafts.last() {
            Some(draft) if draft.length + bytes <= self.frame_bytes_max => {}
            Some(draft) => {
                let from = draft.from + frame::extent(draft.length, self.align);
                self.drafts.push(Draft { from, length: 0, run: None, after });
            }
            None => self.drafts.push(Draft { from: 0, length: 0, run: None, after }),
        }
        let draft = self.drafts.last_mut().expect("one was there or was pushed");
        self.buf.grow(draft.from + frame::extent(draft.length + bytes, self.align));
        frame::put(&mut self.buf, draft.from, draft.length, head);
        frame::put(&mut self.buf, draft.from, draft.length + head.len(), tail);
        draft.length += bytes;
        draft.after = after;
    }

    /// Takes note that entries beyond `index.last` no longer stand.
    pub(crate) fn truncated(&mut self, index: &Index) {
        let next = index.next();
        for draft in &mut self.drafts {
            draft.run =
                draft.run.filter(|(first, _)| *first < next).map(|(first, last)| (first, last.min(next - 1)));
        }
    }

    /// Takes note that no entry in it stands.
    pub(crate) fn emptied(&mut self) {
        self.drafts.iter_mut().for_each(|draft| draft.run = None);
    }

    /// Where draft number `at` ends in the buffer.
    pub(crate) fn end(&self, at: usize) -> usize {
        self.drafts[at].from + frame::extent(self.drafts[at].length, self.align)
    }

    pub(crate) fn clear(&mut self) {
        self.drafts.clear();
        self.urgent = false;
        self.rewinds = false;
        self.buf.reset(self.align as usize, KEEP_BYTES);
    }
}
