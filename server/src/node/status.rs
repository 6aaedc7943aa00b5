//! A member's view of itself: local, and answered without a leader.
use bramble_store::types::AlarmKind;

use super::answers::Status;
use super::core::{Core, View};
use super::error::NotNow;
use super::members;

pub(super) fn of(core: &Core, view: &View) -> Result<Status, NotNow> {
    let standing = core.raft.standing();
    let applied = view.applied().map_or(0, |id| id.index);
    // What Raft tells of itself may be a moment older than the state.
    let committed = standing.committed.map_or(0, |id| id.index).max(applied);
    let size = core.size()?;
    let no_leader = standing.leader.is_none().then(|| "etcdserver: no leader".to_owned());
    let alarms = view.alarms().iter().map(|(member, kind)| alarm_line(*member, *kind));
    let errors = no_leader.into_iter().chain(alarms).collect();
    Ok(Status {
        leader: standing.leader.unwrap_or(0),
        committed_index: committed,
        applied_index: applied,
        // With what is still in memory: it will be on disk, and etcdctl divides by the size.
        db_bytes: size.total_bytes + size.unflushed_bytes,
        db_in_use_bytes: size.in_use_bytes.min(size.total_bytes) + size.unflushed_bytes,
        quota_bytes: core.config.quota_bytes,
        learner: members::is_learner(core, view),
        downgrade: view.downgrade().map(str::to_owned),
        errors,
    })
}

/// As etcd writes one: what is zero is left out, and a space is behind it.
fn alarm_line(member: u64, kind: AlarmKind) -> String {
    let name = match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    };
    match member {
        0 => format!("alarm:{name} "),
        member => format!("memberID:{member} alarm:{name} "),
    }
}
