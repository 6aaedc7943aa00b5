//! A hash of everything that replicas agree on: equal on equal states, whatever each has erased, flushed
//! or counted already.
//!
//! ```text
//!   hash_kv of the whole history ─ every other row of idx: leases, users, roles, alarms, facts
//! ```
//! Left out is what is one replica's own: version rows and fences, which follow from the history; how far
//! it is applied and erased.
use crate::codec::rows::table;
use crate::engine::{Cursor, Family, Read};
use crate::error::ReadError;
use crate::facts;
use crate::mvcc::{Cut, Going, Moment, Room};

/// The tables of `idx` that do not follow from the history.
const TABLES: [u8; 6] =
    [table::LEASES, table::LEASE_KEYS, table::USERS, table::ROLES, table::ALARMS, table::META];

/// The hash, and the revision it is of; `None` when it is not to go on.
pub(crate) fn whole<R: Read>(
    moment: &Moment<'_, R>,
    room: Room<'_>,
) -> Result<Option<(u32, i64)>, ReadError> {
    let Some((history, revision)) = moment.hash_kv(0, room)? else { return Ok(None) };
    let mut going = Going::on(room);
    let hash =
        TABLES.iter().try_fold(history, |hash, table| table_rows(hash, moment.rows, *table, &mut going));
    Ok(Cut::answer(hash)?.map(|hash| (hash, revision)))
}

fn table_rows<R: Read>(mut hash: u32, rows: &R, table: u8, going: &mut Going<'_>) -> Result<u32, Cut> {
    let mut cursor = rows.cursor(Family::Idx);
    cursor.seek(&[table])?;
    while let Some((row, value)) = cursor.row().filter(|(row, _)| row.first() == Some(&table)) {
        going.row()?;
        if !facts::is_local(row) {
            // With their lengths: no two states give the same bytes.
            for part in [row, value] {
                hash = crc32c::crc32c_append(hash, &(part.len() as u64).to_be_bytes());
                hash = crc32c::crc32c_append(hash, part);
            }
        }
        cursor.next()?;
    }
    Ok(hash)
}
