//! Records: what a frame's payload holds, one after the other.
//!
//! Invariants: every record begins with its kind; a length is compared with the bytes that are left
//! before anything is allocated; an unknown kind is [`Fatal::Unknown`], never skipped. Numbers are
//! LEB128 varints unless said otherwise.
//!
//! ```text
//!  1 entry     term index payload-kind(0 blank, 1 command, 2 membership) length bytes
//!  2 vote      term node committed(0|1)
//!  3 committed term index
//!  4 truncate  0 | 1 term index      keep nothing | keep up to there
//!  5 purge     term index            entries up to there are gone
//!  6 reset     term index            all entries are gone; the log goes on after this position
//!  7 next      segment epoch length  the log goes on in that segment, whose file is so long
//!  8 seal                            proves that the frame before it was synced
//!  9 note      length bytes          the owner's, in place of the one before
//! ```
use bytes::Bytes;

use super::Vote;
use crate::command::{Entry, Payload};
use crate::error::Fatal;
use crate::types::LogId;

/// The highest index that is read back: whatever is computed from one, the next one above all, has room.
pub(crate) const INDEX_MAX: u64 = u64::MAX / 2;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entry(Entry),
    Vote(Vote),
    Committed(LogId),
    Truncate(Option<LogId>),
    Purge(LogId),
    Reset(LogId),
    Next { segment: u32, epoch: u32, length: u64 },
    Seal,
    Note(Bytes),
}

/// Why a payload cannot be read.
#[derive(Debug)]
pub(crate) enum BadRecord {
    /// A kind of a newer version.
    Unknown(String),
    /// It ends early, or a number is out of range.
    Malformed(&'static str),
}

/// Longest encoding of an entry's fields before its bytes: two kinds, three varints of 10 bytes.
pub(crate) const ENTRY_HEAD_MAX: usize = 2 + 3 * 10;

/// The bytes of an entry's record but for its payload, which follows them.
pub(crate) fn entry_head(entry: &Entry, out: &mut Vec<u8>) {
    let (kind, length) = match &entry.payload {
        Payload::Blank => (0, 0),
        Payload::Command(bytes) => (1, bytes.len()),
        Payload::Membership(bytes) => (2, bytes.len()),
    };
    out.push(1);
    put_id(entry.id, out);
    out.push(kind);
    put_number(length as u64, out);
}

/// The bytes an entry carries.
pub(crate) fn entry_bytes(entry: &Entry) -> &[u8] {
    match &entry.payload {
        Payload::Blank => &[],
        Payload::Command(bytes) | Payload::Membership(bytes) => bytes,
    }
}

/// Appends the bytes of a record.
pub(crate) fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Entry(entry) => {
            entry_head(entry, out);
            out.extend_from_slice(entry_bytes(entry));
        }
        Record::Vote(vote) => {
            out.push(2);
            put_number(vote.term, out);
            put_number(vote.node, out);
            out.push(vote.committed.into());
        }
        Record::Committed(id) => put_kind_and_id(3, *id, out),
        Record::Truncate(None) => out.extend([4, 0]),
        Record::Truncate(Some(id)) => {
            out.push(4);
            put_kind_and_id(1, *id, out);
        }
        Record::Purge(id) => put_kind_and_id(5, *id, out),
        Record::Reset(id) => put_kind_and_id(6, *id, out),
        Record::Next { segment, epoch, length } => {
            out.push(7);
            put_number(u64::from(*segment), out);
            put_number(u64::from(*epoch), out);
            put_number(*length, out);
        }
        Record::Seal => out.push(8),
        Record::Note(bytes) => {
            out.push(9);
            put_number(bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
    }
}

fn put_kind_and_id(kind: u8, id: LogId, out: &mut Vec<u8>) {
    out.push(kind);
    put_id(id, out);
}

fn put_id(id: LogId, out: &mut Vec<u8>) {
    put_number(id.term, out);
    put_number(id.index, out);
}

fn put_number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads all records of a payload.
pub(crate) fn decode(payload: Vec<u8>) -> Result<Vec<Record>, BadRecord> {
    let mut cursor = Cursor { bytes: Bytes::from(payload), at: 0 };
    let mut records = Vec::new();
    while cursor.at < cursor.bytes.len() {
        records.push(cursor.record()?);
    }
    Ok(records)
}

struct Cursor {
    bytes: Bytes,
    at: usize,
}

impl Cursor {
    fn record(&mut self) -> Result<Record, BadRecord> {
        Ok(match self.byte()? {
            1 => Record::Entry(self.entry()?),
            2 => Record::Vote(Vote { term: self.number()?, node: self.number()?, committed: self.flag()? }),
            3 => Record::Committed(self.id()?),
            4 => Record::Truncate(if self.flag()? { Some(self.id()?) } else { None }),
            5 => Record::Purge(self.id()?),
            6 => Record::Reset(self.id()?),
            7 => Record::Next { segment: self.small()?, epoch: self.small()?, length: self.number()? },
            8 => Record::Seal,
            9 => Record::Note(self.bytes("a note is longer than its frame")?),
            kind => return Err(BadRecord::Unknown(format!("record kind {kind}"))),
        })
    }

    fn entry(&mut self) -> Result<Entry, BadRecord> {
        let (id, kind) = (self.id()?, self.byte()?);
        let bytes = self.bytes("an entry is longer than its frame")?;
        let payload = match kind {
            0 if bytes.is_empty() => Payload::Blank,
            0 => return Err(BadRecord::Malformed("a blank entry with bytes")),
            1 => Payload::Command(bytes),
            2 => Payload::Membership(bytes),
            kind => return Err(BadRecord::Unknown(format!("entry kind {kind}"))),
        };
        Ok(Entry { id, payload })
    }

    /// A length and as many bytes.
    fn bytes(&mut self, too_long: &'static str) -> Result<Bytes, BadRecord> {
        let length = self.number()?;
        let left = (self.bytes.len() - self.at) as u64;
        if length > left {
            return Err(BadRecord::Malformed(too_long));
        }
        let bytes = self.bytes.slice(self.at..self.at + length as usize);
        self.at += length as usize;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        let byte = *self.bytes.get(self.at).ok_or(BadRecord::Malformed("a record is cut short"))?;
        self.at += 1;
        Ok(byte)
    }

    fn flag(&mut self) -> Result<bool, BadRecord> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord::Malformed("a flag is neither 0 nor 1")),
        }
    }

    fn number(&mut self) -> Result<u64, BadRecord> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BadRecord::Malformed("a number is too long"))
    }

    fn small(&mut self) -> Result<u32, BadRecord> {
        u32::try_from(self.number()?).map_err(|_| BadRecord::Malformed("a number is out of range"))
    }

    fn id(&mut self) -> Result<LogId, BadRecord> {
        let id = LogId { term: self.number()?, index: self.number()? };
        if id.index > INDEX_MAX {
            return Err(BadRecord::Malformed("a position is out of range"));
        }
        Ok(id)
    }
}

impl BadRecord {
    /// As the error of a frame that is whole but says something wrong.
    pub(crate) fn fatal(self, path: &std::path::Path, offset: u64, end: u64) -> Fatal {
        match self {
            BadRecord::Unknown(what) => Fatal::Unknown { what: format!("{what} in {}", path.display()) },
            BadRecord::Malformed(what) => {
                Fatal::Damaged { path: path.to_owned(), offset, end, what: what.to_owned() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_and_every_cut_is_refused() {
        let id = LogId { term: 300, index: INDEX_MAX };
        let entry = |payload| Record::Entry(Entry { id, payload });
        let records = vec![
            entry(Payload::Blank),
            entry(Payload::Command(Bytes::from_static(b"command"))),
            entry(Payload::Membership(Bytes::from_static(b""))),
            Record::Vote(Vote { term: 128, node: u64::MAX, committed: true }),
            Record::Committed(id),
            Record::Truncate(None),
            Record::Truncate(Some(id)),
            Record::Purge(id),
            Record::Reset(id),
            Record::Next { segment: 3, epoch: u32::MAX, length: 1 << 40 },
            Record::Seal,
            Record::Note(Bytes::from_static(b"note")),
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode(record, &mut bytes));
        assert_eq!(decode(bytes).expect("whole"), records);
        for record in &records {
            let mut one = Vec::new();
            encode(record, &mut one);
            for cut in 1..one.len() {
                assert!(decode(one[..cut].to_vec()).is_err(), "{record:?} cut at {cut}");
            }
        }
        let mut huge = vec![1, 1, 1, 1];
        put_number(u64::MAX, &mut huge);
        assert!(matches!(decode(huge), Err(BadRecord::Malformed(_))));
        let mut beyond = Vec::new();
        encode(&Record::Purge(LogId { term: 1, index: INDEX_MAX + 1 }), &mut beyond);
        assert!(matches!(decode(beyond), Err(BadRecord::Malformed(_))));
        assert!(matches!(decode(vec![99]), Err(BadRecord::Unknown(_))));
    }
}
