//! etcd's hash of the history: equal on every member, whatever is erased already, and equal to etcd's.
//!
//! CRC-32C over the word `key`, then for every version in revision order its 17-byte etcd name (main ‖
//! `_` ‖ sub, and `t` behind a tombstone's) and its record. Of versions at or below the floor only those
//! count that etcd's index *keeps* at the revision hashed: the live ones, but for keys that this revision
//! itself deleted before it put them, which etcd takes for deleted. Where it keeps nothing, it skips
//! nothing, which leaves what was live at the floor.
use super::history::{Version, Versions};
use super::moment::Moment;
use super::room::{Cut, Going, Room};
use crate::codec::peek_key_value;
use crate::codec::rows::{etcd_name, parse_rev_row};
use crate::engine::{Cursor, Family, Read};
use crate::error::{Fatal, ReadError, Refusal};
use crate::types::{KeyRange, Revision};

impl<R: Read> Moment<'_, R> {
    /// The hash up to main revision `wanted` (0 = now), and the revision really hashed; `None` when it is
    /// not to go on. A negative one hashes nothing, as in etcd.
    pub(crate) fn hash_kv(&self, wanted: i64, room: Room<'_>) -> Result<Option<(u32, i64)>, ReadError> {
        if wanted > 0 && wanted < self.floor {
            return Err(Refusal::Compacted { wanted, compacted: self.floor }.into());
        }
        if wanted > self.revision {
            return Err(Refusal::Future { wanted, current: self.revision }.into());
        }
        let main = if wanted == 0 { self.revision } else { wanted };
        let kept_at = if self.keeps_any(main)? { main } else { self.floor };
        let hash = Cut::answer(self.hash_rows(main, kept_at, room))?;
        Ok(hash.map(|hash| (hash, main)))
    }

    /// Whether any key is kept at `main`. A look at the first one will do, unless `main` itself made it.
    fn keeps_any(&self, main: i64) -> Result<bool, Fatal> {
        let mut versions = Versions::of(self.rows);
        let mut live = self.live_keys(&KeyRange::all(), main)?;
        while let Some((key, version)) = live.next()? {
            if is_kept(&mut versions, &key, version, main)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hash_rows(&self, main: i64, kept_at: i64, room: Room<'_>) -> Result<u32, Cut> {
        let mut going = Going::on(room);
        let mut hash = crc32c::crc32c(b"key");
        let mut versions = Versions::of(self.rows);
        let mut cursor = self.rows.cursor(Family::Rev);
        cursor.seek(&[])?;
        while let Some((row, record)) = cursor.row() {
            going.row()?;
            let unreadable = || Fatal::Inconsistent(format!("history row {row:02x?} cannot be read"));
            let (at, tombstone) = parse_rev_row(row).ok_or_else(unreadable)?;
            if at.main > main {
                break;
            }
            let (key, _) = peek_key_value(record).ok_or_else(unreadable)?;
            if at.main > self.floor || is_kept_row(&mut versions, key, at, kept_at)? {
                hash = crc32c::crc32c_append(hash, &etcd_name(at, tombstone));
                hash = crc32c::crc32c_append(hash, record);
            }
            cursor.next()?;
        }
        Ok(hash)
    }
}

/// Whether the version of `key` at `at` is the one that is kept at main revision `main`.
fn is_kept_row<R: Read>(
    versions: &mut Versions<'_, R>,
    key: &[u8],
    at: Revision,
    main: i64,
) -> Result<bool, Fatal> {
    match versions.find(key, main)? {
        Some(newest) if newest.at == at && newest.is_live() => is_kept(versions, key, newest, main),
        _ => Ok(false),
    }
}

/// Whether the live `newest` version of `key` at `main` is kept: not if `main` has deleted the key, too.
fn is_kept<R: Read>(
    versions: &mut Versions<'_, R>,
    key: &[u8],
    newest: Version,
    main: i64,
) -> Result<bool, Fatal> {
    if newest.at.main < main {
        return Ok(true);
    }
    let mut version = versions.find_exactly(key, newest.at)?;
    while let Some(within) = version.filter(|version| version.at.main == main) {
        if !within.is_live() {
            return Ok(false);
        }
        version = versions.older()?;
    }
    Ok(true)
}
