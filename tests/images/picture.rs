//! All that a client can ask a server for, but for what belongs to its cluster.
use std::collections::BTreeMap;

use bramble_proto::authpb::Permission;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::etcdserverpb::*;
use bramble_proto::mvccpb::KeyValue;
use bramble_tests::wire::Wire;
use tokio_stream::StreamExt;

/// Revisions at which the whole is read and hashed.
const LOOKS: i64 = 12;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub revision: i64,
    /// -1: never compacted.
    pub compacted: i64,
    /// All records, by key.
    pub keys: Vec<KeyValue>,
    /// At some revisions since the compaction: their hash, and all records.
    past: BTreeMap<i64, (u32, Vec<KeyValue>)>,
    /// Granted seconds and keys of each lease.
    leases: BTreeMap<i64, (i64, Vec<Vec<u8>>)>,
    users: BTreeMap<String, Vec<String>>,
    roles: BTreeMap<String, Vec<Permission>>,
    auth: (bool, u64),
}

impl Picture {
    /// What this server has.
    pub async fn of(wire: &Wire) -> Picture {
        let now = all(wire, 0).await;
        let revision = now.header.expect("a header").revision;
        let compacted = hash(wire, 0).await.compact_revision;
        let floor = compacted.max(1);
        let mut past = BTreeMap::new();
        for look in 0..=LOOKS {
            let at = floor + (revision - floor) * look / LOOKS;
            // At the compaction itself etcd answers with what it hashed while it compacted, until it is restarted.
            let hash = if at > compacted { hash(wire, at).await.hash } else { 0 };
            past.insert(at, (hash, all(wire, at).await.kvs));
        }
        Picture {
            revision,
            compacted,
            keys: now.kvs,
            past,
            leases: leases(wire).await,
            users: users(wire).await,
            roles: roles(wire).await,
            auth: auth(wire).await,
        }
    }

    /// Nothing differs; names what does.
    pub fn assert_same(&self, expected: &Picture, what: &str) {
        let numbers =
            |picture: &Picture| (picture.revision, picture.compacted, picture.keys.len(), picture.auth);
        assert_eq!(numbers(self), numbers(expected), "{what}: revision, compacted, keys, auth");
        assert_eq!(self.leases, expected.leases, "{what}: leases");
        assert_eq!((&self.users, &self.roles), (&expected.users, &expected.roles), "{what}: users and roles");
        let hashes =
            |picture: &Picture| picture.past.iter().map(|(at, (hash, _))| (*at, *hash)).collect::<Vec<_>>();
        assert_eq!(hashes(self), hashes(expected), "{what}: HashKV by revision");
        assert!(self == expected, "{what}: records differ");
    }

    /// The same keys, at a revision far above, with no history.
    pub fn assert_raised(&self, before: &Picture) {
        assert_eq!(self.revision, before.revision + 1_000_000_000);
        assert_eq!(self.compacted, self.revision);
        assert!(self.keys == before.keys, "records differ");
        assert_eq!((&self.leases, &self.users), (&before.leases, &before.users));
    }
}

/// Who watched the old cluster is told to begin anew.
pub async fn assert_compacted(wire: &Wire, revision: i64) {
    let create = WatchCreateRequest {
        key: b"\0".to_vec().into(),
        range_end: b"\0".to_vec().into(),
        start_revision: revision + 1,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::iter([request]).chain(tokio_stream::pending());
    let mut answers = wire.watch().watch(requests).await.expect("a stream").into_inner();
    loop {
        let answer = answers.next().await.expect("it goes on").expect("an answer");
        if answer.canceled {
            assert_eq!(answer.compact_revision, revision + 1_000_000_000);
            return;
        }
        assert!(answer.events.is_empty(), "{answer:?}");
    }
}

async fn all(wire: &Wire, revision: i64) -> RangeResponse {
    let (key, range_end) = (b"\0".to_vec().into(), b"\0".to_vec().into());
    let request = RangeRequest { key, range_end, revision, ..RangeRequest::default() };
    wire.kv().range(request).await.expect("a revision that is kept").into_inner()
}

async fn hash(wire: &Wire, revision: i64) -> HashKvResponse {
    wire.maintenance()
        .hash_kv(HashKvRequest { revision })
        .await
        .expect("a revision that is kept")
        .into_inner()
}

async fn leases(wire: &Wire) -> BTreeMap<i64, (i64, Vec<Vec<u8>>)> {
    let listed = wire.lease().lease_leases(LeaseLeasesRequest {}).await.expect("a list").into_inner();
    let mut found = BTreeMap::new();
    for lease in listed.leases {
        let request = LeaseTimeToLiveRequest { id: lease.id, keys: true };
        let answer = wire.lease().lease_time_to_live(request).await.expect("a lease").into_inner();
        assert!(answer.ttl > 0 && answer.ttl <= answer.granted_ttl, "{answer:?}");
        let mut keys: Vec<Vec<u8>> = answer.keys.iter().map(|key| key.to_vec()).collect();
        keys.sort();
        found.insert(lease.id, (answer.granted_ttl, keys));
    }
    found
}

async fn users(wire: &Wire) -> BTreeMap<String, Vec<String>> {
    let listed = wire.auth().user_list(AuthUserListRequest {}).await.expect("a list").into_inner();
    let mut found = BTreeMap::new();
    for name in listed.users {
        let request = AuthUserGetRequest { name: name.clone() };
        found.insert(name, wire.auth().user_get(request).await.expect("a user").into_inner().roles);
    }
    found
}

async fn roles(wire: &Wire) -> BTreeMap<String, Vec<Permission>> {
    let listed = wire.auth().role_list(AuthRoleListRequest {}).await.expect("a list").into_inner();
    let mut found = BTreeMap::new();
    for role in listed.roles {
        let request = AuthRoleGetRequest { role: role.clone() };
        found.insert(role, wire.auth().role_get(request).await.expect("a role").into_inner().perm);
    }
    found
}

async fn auth(wire: &Wire) -> (bool, u64) {
    let status = wire.auth().auth_status(AuthStatusRequest {}).await.expect("a status").into_inner();
    (status.enabled, status.auth_revision)
}
