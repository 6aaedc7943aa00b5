//! The log: the only thing that is synced on the write path.
//!
//! Entries, votes and the rest are records in one stream of frames; what gathers between two flushes is
//! one batch, one write, one sync. The stream runs through a ring of segments that were filled with zeros
//! once and are overwritten in place for ever. The README describes every byte.
//!
//! Invariants:
//! - what a returned `flush` covered is there after any cut; what was never appended is never there;
//! - a sector that was synced is not written again while its segment is needed;
//! - no entry is purged beyond what the engine has flushed;
//! - after a failed call the log refuses everything: what the device holds is then unknown.
//!
//! ```text
//!   append, save_vote, …  →  batch ──flush──▶ ring of segments ──open──▶ index, votes
//!            read  ◀── index: recent entries │ frames on the device
//! ```
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::command::Entry;
use crate::disk::Disk;
use crate::error::Fatal;
use crate::types::LogId;

mod batch;
mod frame;
mod index;
mod note;
mod options;
mod reader;
mod record;
mod ring;
pub mod salvage;
mod scan;
mod segment;
mod write;

pub use note::NOTE_BYTES_MAX;
pub use options::{Flushed, LogOptions, Recovered, Usage, Vote};
pub use reader::Reader;

use batch::Batch;
use index::Index;
use note::Note;
use record::Record;
use ring::{Ring, io_error};
use segment::Standing;
pub(crate) use segment::is_name as is_segment_name;

/// The log. One owner writes; [`Reader`]s read beside it.
pub struct Log {
    reader: Reader,
    batch: Batch,
    ring: Ring,
    /// The newest vote and committed position; the rest of it is the index's.
    standing: Standing,
    /// What the frames on the device say.
    on_device: Standing,
    purge_requested: Option<LogId>,
    engine_durable: Option<LogId>,
    sealed: bool,
    note: Option<Note>,
}

impl Log {
    /// Opens the log in `dir`, which is made when missing (its parent must exist).
    ///
    /// # Errors
    /// `Fatal::Damaged` for everything but a torn tail, `Fatal::Unknown` for a newer format, `Fatal::Io`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<(Log, Recovered), Fatal> {
        options.check()?;
        if !disk.exists(dir).map_err(io_error("look for", dir))? {
            disk.create_dir(dir).map_err(io_error("create directory", dir))?;
        }
        let parent = dir.parent().unwrap_or(dir);
        disk.sync_dir(parent).map_err(io_error("sync directory", parent))?;
        let found = scan::recover(&disk, dir, options.recent_bytes)?;
        let mut ring = Ring {
            disk,
            dir: dir.to_owned(),
            options,
            segments: found.segments,
            live: std::collections::VecDeque::new(),
            position: 0,
            next_sequence: 1,
            previous_crc: 0,
            start: 1,
            disk_full: false,
        };
        let mut recovered = Recovered::default();
        let (mut index, mut standing, mut sealed) = (Index::default(), Standing::default(), false);
        let mut note = None;
        match found.log {
            None => ring.make_first()?,
            Some(log) => {
                recovered.torn_frames = u64::from(log.torn_until > 0);
                (index, standing, sealed, note) = (log.index, log.standing, log.sealed, log.note);
                ring.live = log.live;
                (ring.position, ring.next_sequence, ring.previous_crc) =
                    (log.position, log.next_sequence, log.previous_crc);
                let start = log.start.checked_add(1);
                ring.start =
                    start.ok_or_else(|| Fatal::Inconsistent("the log has used up its starts".into()))?;
                (standing.purged, standing.last) = (index.purged, index.last);
                ring.erase_until(log.torn_until)?;
                // First: the segment being passed on to may be one that this purge frees.
                ring.free(index.purged);
                if let Some((segment, epoch)) = log.unfinished {
                    ring.refuse_live(segment)?;
                    ring.open_segment(segment, epoch, standing)?;
                }
            }
        }
        index.files = ring.files();
        let on_device = standing;
        standing.committed = committed_in_log(standing.committed, index.last);
        (recovered.vote, recovered.committed) = (standing.vote, standing.committed);
        (recovered.purged, recovered.last) = (index.purged, index.last);
        recovered.note = note.as_ref().map(|note| note.bytes.clone());
        let batch = Batch::new(ring.options.frame_align, ring.options.frame_payload_max());
        let reader = Reader::new(index);
        let (purge_requested, engine_durable) = (None, None);
        let mut log =
            Log { reader, batch, ring, standing, on_device, purge_requested, engine_durable, sealed, note };
        if on_device.committed != standing.committed {
            // Else the position would be back as soon as the log is long enough again.
            log.record_committed();
        }
        Ok((log, recovered))
    }

    fn refuse_if_failed(&self) -> Result<(), Fatal> {
        reader::refuse_if_failed(&self.reader.index())
    }

    /// Adds entries after the last one: readable at once, durable after [`Log::flush`]. The first entry of
    /// a log has index 0.
    ///
    /// # Errors
    /// `Fatal::Inconsistent` when they do not follow the last one, or one is above [`Log::entry_bytes_max`];
    /// then none of them was taken.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), Fatal> {
        let mut index = self.reader.index_mut();
        reader::refuse_if_failed(&index)?;
        let (bytes_max, mut last) = (self.ring.options.entry_bytes_max(), index.last);
        for Entry { id, .. } in entries {
            let expected = last.map_or(0, |last| last.index + 1);
            if id.index != expected || last.is_some_and(|last| last.term > id.term) {
                return Err(Fatal::Inconsistent(format!("entry {id:?} does not follow {last:?} in the log")));
            }
            last = Some(*id);
        }
        if let Some(large) = entries.iter().find(|e| record::entry_bytes(e).len() as u64 > bytes_max) {
            let (id, bytes) = (large.id, record::entry_bytes(large).len());
            return Err(Fatal::Inconsistent(format!(
                "entry {id:?} has {bytes} of at most {bytes_max} bytes"
            )));
        }
        for entry in entries {
            let after = Standing { purged: index.purged, last: Some(entry.id), ..self.standing };
            self.batch.push_entry(entry, after);
            index.push(entry.clone());
        }
        Ok(())
    }

    /// Drops the entries after `last_kept` (`None`: all) by a record; nothing is overwritten.
    ///
    /// # Errors
    /// `Fatal::Inconsistent` when `last_kept` is neither in the log nor the purged position.
    pub fn truncate_after(&mut self, last_kept: Option<LogId>) -> Result<(), Fatal> {
        let mut index = self.reader.index_mut();
        reader::refuse_if_failed(&index)?;
        let known = match last_kept {
            Some(id) => index.term_of(id.index) == Some(id.term),
            None => index.purged.is_none(),
        };
        if !known {
            let (purged, last) = (index.purged, index.last);
            let what = format!("truncate after {last_kept:?}, but the log holds {purged:?} to {last:?}");
            return Err(Fatal::Inconsistent(what));
        }
        if last_kept == index.last {
            return Ok(());
        }
        index.truncate(last_kept);
        self.batch.truncated(&index);
        self.batch.push_record(&Record::Truncate(last_kept), after(&self.standing, &index));
        (self.batch.urgent, self.batch.rewinds) = (true, true);
        Ok(())
    }

    /// Records a vote; durable after [`Log::flush`].
    pub fn save_vote(&mut self, vote: Vote) {
        self.standing.vote = Some(vote);
        let after = after(&self.standing, &self.reader.index());
        self.batch.push_record(&Record::Vote(vote), after);
        self.batch.urgent = true;
    }

    /// Records the committed position. It rides with the next frame and asks for no flush of its own.
    pub fn save_committed(&mut self, committed: LogId) {
        if self.standing.committed != Some(committed) {
            self.standing.committed = Some(committed);
            self.record_committed();
        }
    }

    fn record_committed(&mut self) {
        let after = after(&self.standing, &self.reader.index());
        if let Some(committed) = self.standing.committed {
            self.batch.push_record(&Record::Committed(committed), after);
        }
    }

    /// Asks to drop entries up to `requested`. Remembered: they go once the engine has them
    /// ([`Log::note_durable`]). Rides with the next frame like the committed position.
    pub fn purge(&mut self, requested: LogId) {
        if self.purge_requested.is_none_or(|id| id.index < requested.index) {
            self.purge_requested = Some(requested);
        }
        self.advance_purge();
    }

    /// Tells what the engine has flushed; purges what was waiting for it.
    pub fn note_durable(&mut self, durable: LogId) {
        if self.engine_durable.is_none_or(|id| id.index < durable.index) {
            self.engine_durable = Some(durable);
        }
        self.advance_purge();
    }

    /// The only place where entries are purged: up to what was asked for and the engine has. An engine that
    /// is ahead of the log, or that has another entry there, restarts the log at that position.
    fn advance_purge(&mut self) {
        let (Some(requested), Some(durable)) = (self.purge_requested, self.engine_durable) else { return };
        let purged = if requested.index <= durable.index { requested } else { durable };
        let mut index = self.reader.index_mut();
        if index.purged.is_some_and(|id| id.index >= purged.index) {
            return;
        }
        assert!(purged.index <= durable.index, "purge to {purged:?} beyond the engine's {durable:?}");
        let ahead = index.last.is_none_or(|last| last.index <= purged.index);
        if ahead || index.term_of(purged.index) != Some(purged.term) {
            // What the engine has was committed; entries that differ from it, and all after them, never were.
            drop(index);
            self.reset(purged);
        } else {
            index.purge(purged);
            self.batch.push_record(&Record::Purge(purged), after(&self.standing, &index));
        }
        // Space comes back only once the record is on the device; nobody may be able to write until then.
        self.batch.urgent |= self.ring.would_free(purged);
    }

    /// Empties the log and lets it go on after `id`: for an engine that is ahead of the log, or whose state
    /// was replaced. Durable after [`Log::flush`].
    ///
    /// # Errors
    /// `Fatal::Inconsistent` when `id` is beyond what the engine has flushed ([`Log::note_durable`] first),
    /// or below what is purged.
    pub fn reset_to(&mut self, id: LogId) -> Result<(), Fatal> {
        let index = self.reader.index();
        reader::refuse_if_failed(&index)?;
        let (durable, purged) = (self.engine_durable, index.purged);
        if durable.is_none_or(|durable| durable.index < id.index)
            || purged.is_some_and(|p| p.index > id.index)
        {
            let what =
                format!("restart the log at {id:?}, with the engine at {durable:?} and purged {purged:?}");
            return Err(Fatal::Inconsistent(what));
        }
        drop(index);
        self.reset(id);
        self.batch.urgent = true;
        Ok(())
    }

    fn reset(&mut self, id: LogId) {
        let mut index = self.reader.index_mut();
        index.reset(id);
        self.batch.emptied();
        self.batch.rewinds = true;
        self.batch.push_record(&Record::Reset(id), after(&self.standing, &index));
        drop(index);
        let committed = committed_in_log(self.standing.committed, Some(id));
        if committed != self.standing.committed {
            self.standing.committed = committed;
            self.record_committed();
        }
    }

    /// Whether something waits for a flush: entries, truncations, votes, a purge that frees a segment.
    /// Committed and other purged positions alone do not.
    pub fn pending(&self) -> bool {
        self.batch.urgent
    }

    /// Writes everything since the last flush: one aligned write and one sync (three of each where it
    /// passes on to another segment).
    ///
    /// # Errors
    /// `Fatal::Io`; from then on the log refuses everything.
    pub fn flush(&mut self) -> Result<Flushed, Fatal> {
        self.refuse_if_failed()?;
        let noted = self.add_note();
        let result = self.write_batch();
        if noted && result.is_ok() {
            self.note_written();
        }
        self.poison_on_error(result)
    }

    fn poison_on_error<T>(&mut self, result: Result<T, Fatal>) -> Result<T, Fatal> {
        if let Err(fatal) = &result {
            self.reader.index_mut().failed = Some(fatal.to_string());
        }
        result
    }

    /// Flushes, then writes a frame that proves it: at a clean stop, and after 60 s without a write. Does
    /// nothing when the last frame is a seal and nothing waits, a new note neither.
    ///
    /// # Errors
    /// As for [`Log::flush`].
    pub fn seal(&mut self) -> Result<(), Fatal> {
        if self.batch.urgent {
            self.flush()?;
        }
        self.refuse_if_failed()?;
        if self.is_sealed() && !self.has_new_note() {
            return Ok(());
        }
        let after = after(&self.standing, &self.reader.index());
        self.batch.push_record(&Record::Seal, after);
        self.flush()?;
        self.sealed = true;
        Ok(())
    }

    /// Whether the last frame is a seal, and nothing waits to be written.
    pub fn is_sealed(&self) -> bool {
        self.sealed && self.batch.is_empty()
    }

    /// One step of zero-filling ahead of the write position, at most `bytes_max` and 256 KiB; true = more
    /// to do. A full disk is no error here: see [`Usage::disk_full`].
    ///
    /// # Errors
    /// As for [`Log::flush`].
    pub fn fill_ahead(&mut self, bytes_max: u64) -> Result<bool, Fatal> {
        self.refuse_if_failed()?;
        let result = self.ring.fill_ahead(bytes_max);
        let more = self.poison_on_error(result)?;
        self.reader.index_mut().files = self.ring.files();
        Ok(more)
    }

    /// A handle that reads beside the writer.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// See [`Reader::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, indexes: Range<u64>, bytes_max: u64) -> Result<Vec<Entry>, Fatal> {
        self.reader.read(indexes, bytes_max)
    }

    /// See [`Reader::term_of`].
    pub fn term_of(&self, index: u64) -> Option<u64> {
        self.reader.term_of(index)
    }

    /// See [`Reader::last`].
    pub fn last(&self) -> Option<LogId> {
        self.reader.last()
    }

    /// The newest vote, flushed or not.
    pub fn vote(&self) -> Option<Vote> {
        self.standing.vote
    }

    /// Largest payload of an entry in bytes: what fits into one frame of a segment.
    pub fn entry_bytes_max(&self) -> u64 {
        self.ring.options.entry_bytes_max()
    }

    /// How full the ring is.
    pub fn usage(&self) -> Usage {
        self.ring.usage()
    }
}

/// What the log says with everything in memory.
fn after(standing: &Standing, index: &Index) -> Standing {
    Standing { purged: index.purged, last: index.last, ..*standing }
}

/// A committed position may have reached the device before its entries did.
fn committed_in_log(committed: Option<LogId>, last: Option<LogId>) -> Option<LogId> {
    match (committed, last) {
        (Some(committed), Some(last)) if committed.index > last.index => Some(last),
        (Some(committed), Some(_)) => Some(committed),
        (None, _) | (_, None) => None,
    }
}
