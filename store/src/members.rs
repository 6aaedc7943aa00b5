//! The membership: encoded by the server, kept beside the applied id so that both change together.
use bytes::Bytes;

use crate::codec::rows::meta_row;
use crate::codec::varint::{Cut, put_u64};
use crate::engine::staged::Staged;
use crate::engine::{Family, Read};
use crate::error::Fatal;
use crate::types::LogId;

/// A membership and the entry that brought it.
pub(crate) type Membership = (LogId, Bytes);

const ROW: &str = "membership";

pub(crate) fn load<R: Read>(rows: &R) -> Result<Option<Membership>, Fatal> {
    let Some(bytes) = rows.get(Family::Idx, &meta_row(ROW))? else {
        return Ok(None);
    };
    let mut cut = Cut::new(bytes);
    let read = (|| Some((LogId { term: cut.u64()?, index: cut.u64()? }, cut.bytes()?)))();
    match read.filter(|_| cut.is_empty()) {
        Some(membership) => Ok(Some(membership)),
        None => Err(Fatal::Inconsistent("the membership cannot be read".into())),
    }
}

pub(crate) fn stage<V: Read>(rows: &mut Staged<V>, (id, membership): &Membership) {
    let mut out = Vec::with_capacity(membership.len() + 24);
    put_u64(&mut out, id.term);
    put_u64(&mut out, id.index);
    crate::codec::varint::put_bytes(&mut out, membership);
    rows.put(Family::Idx, meta_row(ROW), out);
}
