//! Commands as bytes.
//!
//! ```text
//!   format 1 │ kind │ required version │ flags │ member │ counter │ [user │ auth revision] │ [term] │ body
//!   1 byte     1      varint             1       varint   varint    flags & 1                flags & 2
//! ```
//! Signed numbers are zigzag varints, byte strings have their length in front. The body is the fields
//! of the action in the order below, nothing behind it. A new field needs a new kind or a higher
//! required version; a kind or version this code does not know ends the node rather than being skipped.
use bytes::Bytes;

use super::admin;
use super::varint::{Cut, put_bytes, put_i64, put_u64};
use crate::command::{Action, Command, Origin, RequestId};
use crate::error::Fatal;
use crate::types::*;

/// The newest state version this code understands. A command says the lowest one that understands it.
pub const STATE_VERSION: u32 = 1;

const FORMAT: u8 = 1;

mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const TXN: u8 = 3;
    pub(super) const COMPACT: u8 = 4;
    pub(super) const LEASE_GRANT: u8 = 5;
    pub(super) const LEASE_REVOKE: u8 = 6;
    pub(super) const AUTH: u8 = 7;
    pub(super) const ALARM: u8 = 8;
    pub(super) const LEASE_CHECKPOINT: u8 = 9;
    pub(super) const DOWNGRADE: u8 = 10;
}

mod op {
    pub(super) const RANGE: u8 = 1;
    pub(super) const PUT: u8 = 2;
    pub(super) const DELETE: u8 = 3;
    pub(super) const TXN: u8 = 4;
}

const HAS_ORIGIN: u8 = 1;
const HAS_FENCE: u8 = 2;

const PREV_KV: u8 = 1;
const IGNORE_VALUE: u8 = 2;
const IGNORE_LEASE: u8 = 4;

/// Deepest nesting that is read back. Requests are bounded well below it before they are proposed.
const DEPTH_MAX: usize = 256;

/// The bytes of a command.
pub fn encode(command: &Command) -> Bytes {
    let Command { request, origin, required_version, fence_term, action } = command;
    let has_origin = *origin != Origin::default();
    let mut out = Vec::with_capacity(64 + action_bytes(action));
    out.push(FORMAT);
    out.push(kind_of(action));
    put_u64(&mut out, u64::from(*required_version));
    out.push(flag(has_origin, HAS_ORIGIN) | flag(fence_term.is_some(), HAS_FENCE));
    put_u64(&mut out, request.member);
    put_u64(&mut out, request.counter);
    if has_origin {
        put_bytes(&mut out, origin.user.as_bytes());
        put_u64(&mut out, origin.auth_revision);
    }
    if let Some(term) = fence_term {
        put_u64(&mut out, *term);
    }
    put_action(&mut out, action);
    out.into()
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Room for the large part of an action, so that a big value is copied once.
fn action_bytes(action: &Action) -> usize {
    match action {
        Action::Put(put) => put.key.len() + put.value.len(),
        Action::Txn(txn) => {
            txn.success.iter().map(|op| if let Op::Put(put) = op { put.value.len() } else { 64 }).sum()
        }
        Action::Delete(_)
        | Action::Compact { .. }
        | Action::LeaseGrant { .. }
        | Action::LeaseRevoke { .. }
        | Action::Auth(_)
        | Action::Alarm(_)
        | Action::Downgrade(_) => 0,
        Action::LeaseCheckpoint { remaining } => remaining.len() * 12,
    }
}

fn kind_of(action: &Action) -> u8 {
    match action {
        Action::Put(_) => kind::PUT,
        Action::Delete(_) => kind::DELETE,
        Action::Txn(_) => kind::TXN,
        Action::Compact { .. } => kind::COMPACT,
        Action::LeaseGrant { .. } => kind::LEASE_GRANT,
        Action::LeaseRevoke { .. } => kind::LEASE_REVOKE,
        Action::Auth(_) => kind::AUTH,
        Action::Alarm(_) => kind::ALARM,
        Action::LeaseCheckpoint { .. } => kind::LEASE_CHECKPOINT,
        Action::Downgrade(_) => kind::DOWNGRADE,
    }
}

fn put_action(out: &mut Vec<u8>, action: &Action) {
    match action {
        Action::Put(put) => put_put(out, put),
        Action::Delete(delete) => put_delete(out, delete),
        Action::Txn(txn) => put_txn(out, txn),
        Action::Compact { revision } => put_i64(out, *revision),
        Action::LeaseGrant { id, ttl_s } => {
            put_i64(out, id.0);
            put_i64(out, *ttl_s);
        }
        Action::LeaseRevoke { id } => put_i64(out, id.0),
        Action::Auth(change) => admin::put_auth(out, change),
        Action::Alarm(change) => admin::put_alarm(out, change),
        Action::LeaseCheckpoint { remaining } => admin::put_checkpoint(out, remaining),
        Action::Downgrade(change) => admin::put_downgrade(out, change),
    }
}

pub(super) fn put_key_range(out: &mut Vec<u8>, range: &KeyRange) {
    put_bytes(out, &range.start);
    match &range.end {
        RangeEnd::Single => out.push(0),
        RangeEnd::Before(end) => {
            out.push(1);
            put_bytes(out, end);
        }
        RangeEnd::Open => out.push(2),
    }
}

fn put_put(out: &mut Vec<u8>, put: &PutRequest) {
    let PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
    let ignore = flag(*ignore_value, IGNORE_VALUE) | flag(*ignore_lease, IGNORE_LEASE);
    out.push(flag(*prev_kv, PREV_KV) | ignore);
    put_bytes(out, key);
    put_bytes(out, value);
    put_i64(out, lease.0);
}

fn put_delete(out: &mut Vec<u8>, delete: &DeleteRequest) {
    let DeleteRequest { range, prev_kv } = delete;
    out.push(flag(*prev_kv, PREV_KV));
    put_key_range(out, range);
}

fn put_range(out: &mut Vec<u8>, request: &RangeRequest) {
    let RangeRequest { range, limit, revision, order, target, detail, filter } = request;
    put_key_range(out, range);
    put_i64(out, *limit);
    put_i64(out, *revision);
    out.push(match order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    out.push(match target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    out.push(match detail {
        Detail::Full => 0,
        Detail::KeysOnly => 1,
        Detail::CountOnly => 2,
    });
    for bound in [filter.min_mod, filter.max_mod, filter.min_create, filter.max_create] {
        put_i64(out, bound);
    }
}

fn put_compare(out: &mut Vec<u8>, compare: &Compare) {
    let Compare { range, target, result } = compare;
    put_key_range(out, range);
    out.push(match result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    });
    let (tag, number) = match target {
        CompareTarget::Version(version) => (0, *version),
        CompareTarget::Create(revision) => (1, *revision),
        CompareTarget::Mod(revision) => (2, *revision),
        CompareTarget::Lease(lease) => (4, lease.0),
        CompareTarget::Value(value) => {
            out.push(3);
            return put_bytes(out, value);
        }
    };
    out.push(tag);
    put_i64(out, number);
}

fn put_txn(out: &mut Vec<u8>, txn: &TxnRequest) {
    put_u64(out, txn.compare.len() as u64);
    for compare in &txn.compare {
        put_compare(out, compare);
    }
    for branch in [&txn.success, &txn.failure] {
        put_u64(out, branch.len() as u64);
        for op in branch {
            put_op(out, op);
        }
    }
}

fn put_op(out: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Range(range) => {
            out.push(op::RANGE);
            put_range(out, range);
        }
        Op::Put(put) => {
            out.push(op::PUT);
            put_put(out, put);
        }
        Op::Delete(delete) => {
            out.push(op::DELETE);
            put_delete(out, delete);
        }
        Op::Txn(txn) => {
            out.push(op::TXN);
            put_txn(out, txn);
        }
    }
}

/// The command in `bytes`; keys and values share its memory.
///
/// # Errors
/// `Fatal::Unknown` when format, kind or required version is newer than this code,
/// `Fatal::Inconsistent` when the bytes are no command.
pub fn decode(bytes: Bytes) -> Result<Command, Fatal> {
    let unknown = |what: String| Err(Fatal::Unknown { what });
    let mut cut = Cut::new(bytes);
    let head = (|| Some((cut.byte()?, cut.byte()?, cut.u64()?)))();
    let (format, kind, required) = head.ok_or_else(malformed)?;
    if format != FORMAT {
        return unknown(format!("command format {format}"));
    }
    if required > u64::from(STATE_VERSION) {
        return unknown(format!("command of state version {required}"));
    }
    if !(kind::PUT..=kind::DOWNGRADE).contains(&kind) {
        return unknown(format!("command kind {kind}"));
    }
    let command = cut_command(&mut cut, kind, required as u32).ok_or_else(malformed)?;
    if !cut.is_empty() {
        return Err(malformed());
    }
    Ok(command)
}

fn malformed() -> Fatal {
    Fatal::Inconsistent("a log entry is no command, though its checksum holds".into())
}

fn cut_command(cut: &mut Cut, kind: u8, required_version: u32) -> Option<Command> {
    let flags = cut.byte()?;
    if flags & !(HAS_ORIGIN | HAS_FENCE) != 0 {
        return None;
    }
    let request = RequestId { member: cut.u64()?, counter: cut.u64()? };
    let mut origin = Origin::default();
    if flags & HAS_ORIGIN != 0 {
        origin = Origin { user: cut_text(cut)?, auth_revision: cut.u64()? };
    }
    let fence_term = if flags & HAS_FENCE != 0 { Some(cut.u64()?) } else { None };
    let action = match kind {
        kind::PUT => Action::Put(cut_put(cut)?),
        kind::DELETE => Action::Delete(cut_delete(cut)?),
        kind::TXN => Action::Txn(cut_txn(cut, DEPTH_MAX)?),
        kind::COMPACT => Action::Compact { revision: cut.i64()? },
        kind::LEASE_GRANT => Action::LeaseGrant { id: LeaseId(cut.i64()?), ttl_s: cut.i64()? },
        kind::LEASE_REVOKE => Action::LeaseRevoke { id: LeaseId(cut.i64()?) },
        kind::AUTH => Action::Auth(admin::cut_auth(cut)?),
        kind::ALARM => Action::Alarm(admin::cut_alarm(cut)?),
        kind::LEASE_CHECKPOINT => Action::LeaseCheckpoint { remaining: admin::cut_checkpoint(cut)? },
        kind::DOWNGRADE => Action::Downgrade(admin::cut_downgrade(cut)?),
        _ => return None,
    };
    Some(Command { request, origin, required_version, fence_term, action })
}

pub(super) fn cut_text(cut: &mut Cut) -> Option<String> {
    String::from_utf8(cut.bytes()?.into()).ok()
}

pub(super) fn cut_key_range(cut: &mut Cut) -> Option<KeyRange> {
    let start = cut.bytes()?;
    let end = match cut.byte()? {
        0 => RangeEnd::Single,
        1 => RangeEnd::Before(cut.bytes()?),
        2 => RangeEnd::Open,
        _ => return None,
    };
    Some(KeyRange { start, end })
}

fn cut_put(cut: &mut Cut) -> Option<PutRequest> {
    let flags = cut.byte()?;
    if flags & !(PREV_KV | IGNORE_VALUE | IGNORE_LEASE) != 0 {
        return None;
    }
    Some(PutRequest {
        prev_kv: flags & PREV_KV != 0,
        ignore_value: flags & IGNORE_VALUE != 0,
        ignore_lease: flags & IGNORE_LEASE != 0,
        key: cut.bytes()?,
        value: cut.bytes()?,
        lease: LeaseId(cut.i64()?),
    })
}

fn cut_delete(cut: &mut Cut) -> Option<DeleteRequest> {
    let prev_kv = match cut.byte()? {
        0 => false,
        PREV_KV => true,
        _ => return None,
    };
    Some(DeleteRequest { prev_kv, range: cut_key_range(cut)? })
}

fn cut_range(cut: &mut Cut) -> Option<RangeRequest> {
    Some(RangeRequest {
        range: cut_key_range(cut)?,
        limit: cut.i64()?,
        revision: cut.i64()?,
        order: match cut.byte()? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => return None,
        },
        target: match cut.byte()? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => return None,
        },
        detail: match cut.byte()? {
            0 => Detail::Full,
            1 => Detail::KeysOnly,
            2 => Detail::CountOnly,
            _ => return None,
        },
        filter: RevisionFilter {
            min_mod: cut.i64()?,
            max_mod: cut.i64()?,
            min_create: cut.i64()?,
            max_create: cut.i64()?,
        },
    })
}

fn cut_compare(cut: &mut Cut) -> Option<Compare> {
    Some(Compare {
        range: cut_key_range(cut)?,
        result: match cut.byte()? {
            0 => CompareResult::Equal,
            1 => CompareResult::Greater,
            2 => CompareResult::Less,
            3 => CompareResult::NotEqual,
            _ => return None,
        },
        target: match cut.byte()? {
            0 => CompareTarget::Version(cut.i64()?),
            1 => CompareTarget::Create(cut.i64()?),
            2 => CompareTarget::Mod(cut.i64()?),
            3 => CompareTarget::Value(cut.bytes()?),
            4 => CompareTarget::Lease(LeaseId(cut.i64()?)),
            _ => return None,
        },
    })
}

fn cut_txn(cut: &mut Cut, depth_left: usize) -> Option<TxnRequest> {
    let depth_left = depth_left.checked_sub(1)?;
    Some(TxnRequest {
        compare: cut_list(cut, cut_compare)?,
        success: cut_list(cut, |cut| cut_op(cut, depth_left))?,
        failure: cut_list(cut, |cut| cut_op(cut, depth_left))?,
    })
}

fn cut_op(cut: &mut Cut, depth_left: usize) -> Option<Op> {
    match cut.byte()? {
        op::RANGE => cut_range(cut).map(Op::Range),
        op::PUT => cut_put(cut).map(Op::Put),
        op::DELETE => cut_delete(cut).map(Op::Delete),
        op::TXN => cut_txn(cut, depth_left).map(Op::Txn),
        _ => None,
    }
}

/// A count and so many items. Every item takes a byte at least, so a false count allocates little.
pub(super) fn cut_list<T>(cut: &mut Cut, mut item: impl FnMut(&mut Cut) -> Option<T>) -> Option<Vec<T>> {
    let count = usize::try_from(cut.u64()?).ok().filter(|count| *count <= cut.left())?;
    let mut items = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        items.push(item(cut)?);
    }
    Some(items)
}
