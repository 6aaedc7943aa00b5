//! What a command answers, as text.
use std::fmt::Write as _;

use bramble_store::store::{Changes, Reply};
use bramble_store::types::*;

pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub fn record(kv: &KeyValue) -> String {
    let mut out = format!(
        "{}={} create={} mod={} version={}",
        text(&kv.key),
        text(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version
    );
    if kv.lease != LeaseId::NONE {
        let _ = write!(out, " lease={}", kv.lease.0);
    }
    out
}

pub fn history(out: &mut String, changes: &[Changes]) {
    for (main, change) in changes.iter().flat_map(|of| of.changes.iter().map(|change| (of.main, change))) {
        let line = match change.kind {
            EventKind::Put => format!("put {}", record(&change.kv)),
            EventKind::Delete => format!("delete {}", text(&change.kv.key)),
        };
        let _ = writeln!(out, "{main}.{} {line}", change.sub);
    }
}

pub fn range_reply(out: &mut String, reply: &RangeReply) {
    let more = if reply.more { " more" } else { "" };
    let _ = writeln!(out, "revision={} count={}{more}", reply.revision, reply.count);
    for kv in &reply.kvs {
        let _ = writeln!(out, "  {}", record(kv));
    }
}

pub fn reply(out: &mut String, reply: &Reply) {
    let _ = match reply {
        Reply::None => Ok(()),
        Reply::Put(put) => return op_reply(out, &OpReply::Put(put.clone())),
        Reply::Delete(delete) => return op_reply(out, &OpReply::Delete(delete.clone())),
        Reply::Txn(txn) => return op_reply(out, &OpReply::Txn(txn.clone())),
        Reply::Compacted { revision } => writeln!(out, "revision={revision}"),
        Reply::LeftOut { revision } => writeln!(out, "revision={revision} left out"),
        Reply::LeaseGranted { revision, id, ttl_s } => {
            writeln!(out, "revision={revision} lease={} ttl={ttl_s}", id.0)
        }
        Reply::LeaseRevoked { revision }
        | Reply::LeaseCheckpointed { revision }
        | Reply::Downgrade { revision } => writeln!(out, "revision={revision}"),
        // What it did to users and tokens is told beside it.
        Reply::AuthChanged { .. } => Ok(()),
        Reply::Authenticated { token, auth_revision, .. } => {
            writeln!(out, "token={token} checked at {auth_revision}")
        }
        Reply::Alarms { revision, alarms } => {
            let alarms = alarms.iter().map(|(member, kind)| format!(" member={member} {kind:?}"));
            writeln!(out, "revision={revision}{}", alarms.collect::<String>())
        }
    };
}

fn op_reply(out: &mut String, reply: &OpReply) {
    match reply {
        OpReply::Range(range) => range_reply(out, range),
        OpReply::Put(put) => {
            let _ = writeln!(out, "revision={}", put.revision);
            put.prev_kv.iter().for_each(|kv| out.push_str(&format!("  was {}\n", record(kv))));
        }
        OpReply::Delete(delete) => {
            let _ = writeln!(out, "revision={} deleted={}", delete.revision, delete.deleted);
            delete.prev_kvs.iter().for_each(|kv| out.push_str(&format!("  was {}\n", record(kv))));
        }
        OpReply::Txn(txn) => {
            let verdict = if txn.succeeded { "then" } else { "else" };
            let _ = writeln!(out, "revision={} {verdict}", txn.revision);
            for reply in &txn.replies {
                let mut inner = String::new();
                op_reply(&mut inner, reply);
                inner.lines().for_each(|line| out.push_str(&format!("  {line}\n")));
            }
        }
    }
}
