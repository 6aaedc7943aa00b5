//! The owner's note: a few bytes that ride with frames which are written anyway.
//!
//! The log keeps the newest one and does not look into it. It asks for no flush; only [`Log::seal`] writes for
//! its sake. A segment that is let go would take it along, so it is written again with the first batch after
//! passing on to another one. Between the two a cut may lose it: it is for what may be lost, such as counts.
use bytes::Bytes;

use super::record::Record;
use super::{Log, after};

/// Longest note in bytes: with a seal it fits into the smallest frame.
pub const NOTE_BYTES_MAX: usize = 3 << 10;

/// A note, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) bytes: Bytes,
    /// Of the segment that it was last written to; `None`: it was not written yet.
    pub(super) epoch: Option<u32>,
}

impl Log {
    /// Lets `note` ride with the next frame, in place of the one before.
    ///
    /// # Panics
    /// When it is longer than [`NOTE_BYTES_MAX`].
    pub fn save_note(&mut self, note: Bytes) {
        assert!(note.len() <= NOTE_BYTES_MAX, "a note of {} bytes", note.len());
        self.note = Some(Note { bytes: note, epoch: None });
    }

    /// Whether there is a note that is on no device.
    pub(super) fn has_new_note(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.epoch.is_none())
    }

    /// Adds the note to a batch that is about to be written, if its segment has it not. It is the last record,
    /// so wherever the batch ends, it is there.
    pub(super) fn add_note(&mut self) -> bool {
        let epoch = self.ring.usage().epoch;
        let Some(note) = self.note.as_ref().filter(|note| note.epoch != Some(epoch)) else { return false };
        if self.batch.is_empty() {
            return false;
        }
        let after = after(&self.standing, &self.reader.index());
        self.batch.push_record(&Record::Note(note.bytes.clone()), after);
        true
    }

    /// The batch that it was added to is on the device.
    pub(super) fn note_written(&mut self) {
        let epoch = self.ring.usage().epoch;
        if let Some(note) = &mut self.note {
            note.epoch = Some(epoch);
        }
    }
}
