//! From the open batch to the device: frames that fit are one write and one sync; then the next segment.
use super::{Flushed, Log};
use crate::error::Fatal;
use crate::types::LogId;

impl Log {
    /// Writes the open batch and takes note of where it lies.
    pub(super) fn write_batch(&mut self) -> Result<Flushed, Fatal> {
        let mut flushed = Flushed::default();
        let mut at = 0;
        while at < self.batch.drafts.len() {
            let from = self.batch.drafts[at].from;
            let fitting = (at..self.batch.drafts.len()).take_while(|i| {
                let bytes = self.batch.end(*i) - from;
                self.ring.fits(bytes as u64)
            });
            let until = at + fitting.count();
            if until == at {
                if self.ring.is_untouched() {
                    return Err(Fatal::Inconsistent("a frame is larger than a segment".to_owned()));
                }
                self.rotate(&mut flushed)?;
                continue;
            }
            let frames: Vec<_> = (at..until)
                .map(|i| (self.batch.drafts[i].from, self.batch.end(i), self.batch.drafts[i].length))
                .collect();
            let places = self.ring.write(&mut self.batch.buf, &frames)?;
            flushed.bytes += (self.batch.end(until - 1) - from) as u64;
            let mut index = self.reader.index_mut();
            for (draft, place) in self.batch.drafts[at..until].iter().zip(places) {
                if let Some((first, last)) = draft.run {
                    index.add_run(first, last, place);
                }
            }
            self.on_device = self.batch.drafts[until - 1].after;
            self.sealed = false;
            at = until;
        }
        self.batch.clear();
        self.ring.free(self.on_device.purged);
        let mut index = self.reader.index_mut();
        index.evict(self.ring.options.recent_bytes);
        flushed.last = index.last;
        Ok(flushed)
    }

    fn rotate(&mut self, flushed: &mut Flushed) -> Result<(), Fatal> {
        let mut standing = self.on_device;
        // A purge that still waits in the batch may free the segment that is needed now. It can be said
        // earlier unless something before it in the batch has to be read first.
        let purged = self.reader.purged();
        let is_there = |id: &LogId| standing.last.is_some_and(|last| last.index >= id.index);
        if let Some(purged) = purged.filter(|id| !self.batch.rewinds && is_there(id)) {
            standing.purged = Some(purged);
        }
        self.ring.rotate(standing)?;
        self.on_device = standing;
        self.reader.index_mut().files = self.ring.files();
        flushed.rotations += 1;
        flushed.bytes += 2 * u64::from(self.ring.options.frame_align);
        Ok(())
    }
}
