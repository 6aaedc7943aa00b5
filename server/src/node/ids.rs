//! Ids as etcd derives them, so that the same URLs and token give the same ids everywhere.
use sha1::{Digest, Sha1};

/// The id of a member of a new cluster: from its peer URLs and the cluster's token.
pub(super) fn member_id(peer_urls: &[String], token: &str) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    first_8(Sha1::new().chain_update(urls.concat()).chain_update(token))
}

/// The id of a new cluster: from the ids of its first members.
pub(super) fn cluster_id(members: &[u64]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    let hash = members.iter().fold(Sha1::new(), |hash, id| hash.chain_update(id.to_be_bytes()));
    first_8(hash)
}

fn first_8(hash: Sha1) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.finalize()[..8]);
    // 0 means "nobody" on the wire.
    u64::from_be_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_default_etcd() {
        let member = member_id(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(format!("{member:x}"), "8e9e05c52164694d");
        assert_eq!(format!("{:x}", cluster_id(&[member])), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let (a, b) = ("http://a:1".to_string(), "http://b:1".to_string());
        assert_eq!(member_id(&[a.clone(), b.clone()], "t"), member_id(&[b, a], "t"));
        assert_eq!(cluster_id(&[1, 2]), cluster_id(&[2, 1]));
    }
}
