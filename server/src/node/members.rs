//! The members as clients see them.
use bramble_store::error::Fatal;

use super::answers::Member;
use super::core::{Core, View};
use super::error::NotNow;
use crate::raft::members;

/// The members by id, from the membership that a view holds.
pub(super) fn list(core: &Core, view: &View) -> Result<Vec<Member>, NotNow> {
    let Some((_, row)) = view.membership() else { return Ok(Vec::new()) };
    let members = members::decode(row).map_err(|what| core.failed(&Fatal::Unknown { what: what.into() }))?;
    let mut list = Vec::new();
    for (id, peer) in &members.peers {
        // Of itself a member knows best what it is called and where it listens since its last start.
        let (name, client_urls) = match *id == core.ids.member {
            true => (core.config.name.clone(), core.client_urls.clone()),
            false => (peer.name.clone(), peer.client_urls.clone()),
        };
        let (peer_urls, learner) = (peer.peer_urls.clone(), !members.is_voter(*id));
        list.push(Member { id: *id, name, peer_urls, client_urls, learner });
    }
    Ok(list)
}

/// Whether this member is a learner in the membership that a view holds.
pub(super) fn is_learner(core: &Core, view: &View) -> bool {
    let members = view.membership().and_then(|(_, row)| members::decode(row).ok());
    members.is_some_and(|members| {
        members.peers.contains_key(&core.ids.member) && !members.is_voter(core.ids.member)
    })
}
