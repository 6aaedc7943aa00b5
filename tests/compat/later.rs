//! What Bramble does not serve yet, and so is not compared. Whoever serves it takes it out of here.
use crate::world::Kind;

/// Sessions that need it are plain ones.
pub const KINDS: &[Kind] = &[Kind::Alarms];
/// RPCs: answered with Unimplemented, and not called by chance.
pub const RPCS: &[&str] = &["Hash", "Defragment", "MoveLeader", "Downgrade"];
/// Scripts.
pub const WALKS: &[&str] = &["downgrade", "quota"];

/// Whether a cell of the grid waits for it.
pub fn is_later(rpc: &str, option: &str) -> bool {
    let of_alarms = option.starts_with("with alarm") || option.starts_with("action=");
    RPCS.contains(&rpc) || (KINDS.contains(&Kind::Alarms) && of_alarms)
}
