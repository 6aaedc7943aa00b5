//! What really happened: every change, read off the engine as soon as it is there, so that no compaction
//! takes it away. One member alone applies only what its log has kept, so nothing in here is ever undone,
//! whatever the power does, and nothing comes a second time.
use std::collections::BTreeMap;

use bramble_store::codec::decode_key_value;
use bramble_store::engine::mem::MemView;
use bramble_store::engine::{Cursor, Family, Read};
use bramble_store::types::KeyValue;
use bramble_tests::history::Time;

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub sub: i64,
    pub tombstone: bool,
    pub kv: KeyValue,
}

/// One main revision.
#[derive(Clone, Debug)]
pub struct Moment {
    pub changes: Vec<Change>,
    /// When it was seen, at most one turn of the apply thread after it was made.
    pub at: Time,
}

/// All moments.
#[derive(Default)]
pub struct Truth {
    pub moments: BTreeMap<i64, Moment>,
}

impl Truth {
    /// The newest revision; 1 when nothing was ever written.
    pub fn revision(&self) -> i64 {
        self.moments.last_key_value().map_or(1, |(main, _)| *main)
    }

    /// Takes in what is new; how many revisions there are more.
    pub fn look(&mut self, view: &MemView, now: Time) -> Result<usize, String> {
        let before = self.revision();
        let rows = rows_from(view, before + 1)?;
        let mut new = 0;
        for (main, change) in rows {
            let newest = self.revision();
            if main > newest + 1 {
                return Err(format!("revision {main} follows {newest}"));
            }
            let moment = self.moments.entry(main).or_insert(Moment { changes: Vec::new(), at: now });
            if change.sub != moment.changes.len() as i64 {
                return Err(format!("change {} of revision {main} is missing", moment.changes.len()));
            }
            moment.changes.push(change);
            new += usize::from(main > newest);
        }
        Ok(new)
    }

    /// After a restart: every row is what it was, and above `floor` none is missing.
    pub fn compare(&self, view: &MemView, floor: i64) -> Result<(), String> {
        let mut there = BTreeMap::<i64, Vec<Change>>::new();
        for (main, change) in rows_from(view, 0)? {
            there.entry(main).or_default().push(change);
        }
        for (main, changes) in &there {
            let Some(moment) = self.moments.get(main) else {
                return Err(format!("revision {main} was never made, and is there after a restart"));
            };
            if let Some(other) = changes.iter().find(|change| !moment.changes.contains(change)) {
                return Err(format!("revision {main} had {:?}, and has {other:?}", moment.changes));
            }
        }
        let mut kept = self.moments.range(floor + 1..);
        let lost = kept.find(|(main, moment)| {
            there.get(main).is_none_or(|changes| changes.len() != moment.changes.len())
        });
        match lost {
            Some((main, moment)) => Err(format!("revision {main} is lost: {:?}", moment.changes)),
            None => Ok(()),
        }
    }
}

fn rows_from(view: &MemView, main: i64) -> Result<Vec<(i64, Change)>, String> {
    let mut cursor = view.cursor(Family::Rev);
    let mut rows = Vec::new();
    let fatal = |fatal: bramble_store::error::Fatal| fatal.to_string();
    cursor.seek(&main.to_be_bytes()).map_err(fatal)?;
    while let Some((row, value)) = cursor.row() {
        let (main, sub) = (number(row, 0)?, number(row, 8)?);
        let value = bytes::Bytes::copy_from_slice(value);
        let mut kv = decode_key_value(&value).ok_or_else(|| format!("revision {main} holds no record"))?;
        let tombstone = row.len() > 16;
        if tombstone {
            // As its event has it; the row's name says it already.
            kv.mod_revision = main;
        }
        rows.push((main, Change { sub, tombstone, kv }));
        cursor.next().map_err(fatal)?;
    }
    Ok(rows)
}

fn number(row: &[u8], from: usize) -> Result<i64, String> {
    let bytes = row.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(i64::from_be_bytes).ok_or_else(|| format!("a row of the history is named {row:?}"))
}
