//! Names of rows, byte by byte. The README draws them; `tests/golden` pins them.
//!
//! Invariants:
//! - rows of `idx` sort by table, then by user key bytewise, then newest revision first;
//! - where a key has many rows no key is a prefix of another's: a zero byte inside a key becomes `00 ff`, and
//!   the key ends with `00 01`, so every row of one key begins with the same bytes and no other row does;
//! - rows of `rev` sort by revision.
use bytes::Bytes;

use super::auth::alarm_number;
use super::varint::{Cut, put_u64, read_u64};
use crate::types::{AlarmKind, LeaseId, Revision};

/// First byte of every row in `idx`: which table it is in.
pub(crate) mod table {
    /// Live keys, with their newest version.
    pub(crate) const KEYS: u8 = b'k';
    /// Versions that were replaced, and tombstones.
    pub(crate) const OLDER: u8 = b'o';
    /// Leases by id.
    pub(crate) const LEASES: u8 = b'l';
    /// Keys by the lease they hang on.
    pub(crate) const LEASE_KEYS: u8 = b'a';
    /// Fences by their first key.
    pub(crate) const FENCES: u8 = b'f';
    /// Users by name.
    pub(crate) const USERS: u8 = b'u';
    /// Roles by name.
    pub(crate) const ROLES: u8 = b'r';
    /// Alarms by member and kind.
    pub(crate) const ALARMS: u8 = b'n';
    /// Single facts by name.
    pub(crate) const META: u8 = b'm';
}

const TOMBSTONE_MARK: u8 = b't';
const ETCD_BETWEEN: u8 = b'_';
const REVISION_BYTES: usize = 16;
const KEY_END: [u8; 2] = [0, 1];
const ZERO_INSIDE: [u8; 2] = [0, 0xff];

/// Row of `rev`: main ‖ sub, big-endian, and `t` behind a tombstone's.
pub(crate) fn rev_row(at: Revision, tombstone: bool) -> Vec<u8> {
    let mut row = Vec::with_capacity(REVISION_BYTES + 1);
    row.extend_from_slice(&at.main.to_be_bytes());
    row.extend_from_slice(&at.sub.to_be_bytes());
    if tombstone {
        row.push(TOMBSTONE_MARK);
    }
    row
}

/// Revision of a row of `rev`, and whether it is a tombstone.
pub(crate) fn parse_rev_row(row: &[u8]) -> Option<(Revision, bool)> {
    let tombstone = match row.get(REVISION_BYTES..)? {
        [] => false,
        [TOMBSTONE_MARK] => true,
        _ => return None,
    };
    let main = i64::from_be_bytes(row[..8].try_into().ok()?);
    let sub = i64::from_be_bytes(row[8..16].try_into().ok()?);
    Some((Revision { main, sub }, tombstone))
}

/// What etcd calls a version in its own file: the same with a `_` between the two.
pub(crate) fn etcd_name(at: Revision, tombstone: bool) -> Vec<u8> {
    let mark: &[u8] = if tombstone { &[TOMBSTONE_MARK] } else { b"" };
    [&at.main.to_be_bytes()[..], &[ETCD_BETWEEN], &at.sub.to_be_bytes(), mark].concat()
}

/// The version that etcd calls so, and whether it is a tombstone.
pub(crate) fn parse_etcd_name(name: &[u8]) -> Option<(Revision, bool)> {
    let (main, rest) = name.split_first_chunk::<8>()?;
    let rest = rest.strip_prefix(&[ETCD_BETWEEN])?;
    let (sub, mark) = rest.split_first_chunk::<8>()?;
    let tombstone = match mark {
        [] => false,
        [TOMBSTONE_MARK] => true,
        _ => return None,
    };
    let at = Revision { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(*sub) };
    (at.main >= 0 && at.sub >= 0).then_some((at, tombstone))
}

/// The row of a live key.
pub(crate) fn newest_row(key: &[u8]) -> Vec<u8> {
    [&[table::KEYS][..], key].concat()
}

/// The key of such a row.
pub(crate) fn key_of_newest(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[table::KEYS])
}

/// What every row of an older version of `key` begins with.
pub(crate) fn older_of(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 3 + REVISION_BYTES);
    row.push(table::OLDER);
    for &byte in key {
        match byte {
            0 => row.extend_from_slice(&ZERO_INSIDE),
            _ => row.push(byte),
        }
    }
    row.extend_from_slice(&KEY_END);
    row
}

/// Appends the revision to [`older_of`], descending: newer ones sort first.
pub(crate) fn push_revision(row: &mut Vec<u8>, at: Revision) {
    row.extend_from_slice(&(!at.main).to_be_bytes());
    row.extend_from_slice(&(!at.sub).to_be_bytes());
}

/// The row of one older version of `key`.
pub(crate) fn older_row(key: &[u8], at: Revision) -> Vec<u8> {
    let mut row = older_of(key);
    push_revision(&mut row, at);
    row
}

/// Splits the row of an older version into what [`older_of`] its key is, and the revision.
pub(crate) fn split_older_row(row: &[u8]) -> Option<(&[u8], Revision)> {
    let (older, revision) = row.split_at_checked(row.len().checked_sub(REVISION_BYTES)?)?;
    // Whoever walks the keys goes on behind this; behind nothing would be the beginning again.
    if older.first() != Some(&table::OLDER) || !older.ends_with(&KEY_END) {
        return None;
    }
    let main = !i64::from_be_bytes(revision[..8].try_into().ok()?);
    let sub = !i64::from_be_bytes(revision[8..].try_into().ok()?);
    Some((older, Revision { main, sub }))
}

/// The key that `older` is [`older_of`].
pub(crate) fn key_of(older: &[u8]) -> Option<Bytes> {
    let escaped = older.strip_prefix(&[table::OLDER])?.strip_suffix(&KEY_END)?;
    if !escaped.contains(&0) {
        return Some(Bytes::copy_from_slice(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        if byte == 0 && bytes.next() != Some(&ZERO_INSIDE[1]) {
            return None;
        }
        key.push(byte);
    }
    Some(key.into())
}

/// The first row that is behind all older versions of the key.
pub(crate) fn behind(older: &[u8]) -> Vec<u8> {
    let mut row = older.to_vec();
    if let Some(last) = row.last_mut() {
        *last += 1;
    }
    row
}

/// What the row of a version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionRow {
    pub(crate) create: i64,
    /// 0 = a tombstone.
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

impl VersionRow {
    pub(crate) const TOMBSTONE: VersionRow = VersionRow { create: 0, version: 0, lease: LeaseId::NONE };

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        put_u64(&mut out, self.create as u64);
        put_u64(&mut out, self.version as u64);
        put_u64(&mut out, self.lease.0 as u64);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [create, version, lease] = numbers(bytes)?;
        Some(VersionRow { create, version, lease: LeaseId(lease) })
    }
}

/// What the row of a live key holds: its newest version, and when that was made.
pub(crate) fn encode_newest(at: Revision, row: &VersionRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    put_u64(&mut out, at.main as u64);
    put_u64(&mut out, at.sub as u64);
    out.extend_from_slice(&row.encode());
    out
}

/// Reads what [`encode_newest`] made.
pub(crate) fn decode_newest(bytes: &[u8]) -> Option<(Revision, VersionRow)> {
    let [main, sub, create, version, lease] = numbers(bytes)?;
    Some((Revision { main, sub }, VersionRow { create, version, lease: LeaseId(lease) }))
}

/// Exactly `N` numbers.
fn numbers<const N: usize>(mut bytes: &[u8]) -> Option<[i64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (read, length) = read_u64(bytes)?;
        *number = read as i64;
        bytes = &bytes[length..];
    }
    bytes.is_empty().then_some(numbers)
}

/// The row of a lease.
pub(crate) fn lease_row(id: LeaseId) -> Vec<u8> {
    [&[table::LEASES][..], &id.0.to_be_bytes()].concat()
}

/// The row that says a key hangs on a lease; an empty key gives what all of the lease begin with.
pub(crate) fn lease_key_row(id: LeaseId, key: &[u8]) -> Vec<u8> {
    [&[table::LEASE_KEYS][..], &id.0.to_be_bytes(), key].concat()
}

/// The row of the fence that begins at `start`.
pub(crate) fn fence_row(start: &[u8]) -> Vec<u8> {
    [&[table::FENCES][..], start].concat()
}

/// The row of a user.
pub(crate) fn user_row(name: &str) -> Vec<u8> {
    [&[table::USERS][..], name.as_bytes()].concat()
}

/// The row of a role.
pub(crate) fn role_row(name: &str) -> Vec<u8> {
    [&[table::ROLES][..], name.as_bytes()].concat()
}

/// The row of an alarm: member (8) ‖ etcd's number of the alarm.
pub(crate) fn alarm_row(member: u64, kind: AlarmKind) -> Vec<u8> {
    [&[table::ALARMS][..], &member.to_be_bytes(), &[alarm_number(kind)]].concat()
}

/// The row of a single fact.
pub(crate) fn meta_row(name: &str) -> Vec<u8> {
    [&[table::META][..], name.as_bytes()].concat()
}

/// A number alone in a row.
pub(crate) fn decode_number(bytes: Bytes) -> Option<u64> {
    let mut cut = Cut::new(bytes);
    let number = cut.u64()?;
    cut.is_empty().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_as_keys_do_and_newest_first() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"\x01", b"a", b"a\0", b"a\0b"];
        for (at, low) in keys.iter().enumerate() {
            assert_eq!(key_of(&older_of(low)).as_deref(), Some(*low));
            assert!(keys[at + 1..].iter().all(|high| newest_row(low) < newest_row(high)));
            let newer = older_row(low, Revision { main: 9, sub: 1 });
            let older = older_row(low, Revision { main: 9, sub: 0 });
            assert!(newer < older && older < behind(&older_of(low)));
            for high in &keys[at + 1..] {
                assert!(older < older_row(high, Revision { main: i64::MAX, sub: 0 }), "{low:?} {high:?}");
                assert!(!older_of(high).starts_with(&older_of(low)), "{low:?} {high:?}");
            }
        }
    }

    #[test]
    fn rows_come_back() {
        let at = Revision { main: 7, sub: 3 };
        assert_eq!(parse_rev_row(&rev_row(at, false)), Some((at, false)));
        assert_eq!(parse_rev_row(&rev_row(at, true)), Some((at, true)));
        assert_eq!(split_older_row(&older_row(b"a\0", at)), Some((&older_of(b"a\0")[..], at)));
        let row = VersionRow { create: 5, version: 2, lease: LeaseId(-1) };
        assert_eq!(VersionRow::decode(&row.encode()), Some(row));
        assert_eq!(VersionRow::decode(&row.encode()[1..]), None);
        let newest = encode_newest(at, &row);
        assert_eq!(decode_newest(&newest), Some((at, row)));
        assert_eq!(decode_newest(&newest[..newest.len() - 1]), None);
        assert_eq!(decode_newest(&[&newest[..], b"\0"].concat()), None);
        assert_eq!(key_of_newest(&newest_row(b"a\0")), Some(&b"a\0"[..]));
        assert_eq!(parse_rev_row(b"short"), None);
        assert_eq!(split_older_row(b"oa\0\x01 sixteen bytes"), None, "too short for a revision");
        assert_eq!(split_older_row(b"o89abcdef0123456"), None, "a revision and no key");
        assert_eq!(parse_etcd_name(&etcd_name(at, false)), Some((at, false)));
        assert_eq!(parse_etcd_name(&etcd_name(at, true)), Some((at, true)));
        for name in
            [&b"12345678-12345678"[..], b"12345678_12345678x", b"12345678_1234567", b"\xff2345678_12345678"]
        {
            assert_eq!(parse_etcd_name(name), None);
        }
    }
}
