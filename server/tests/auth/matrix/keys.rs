//! Rows of the RPCs that are about keys: KV, Watch, Lease, Lock, Election.
use bramble_proto::etcdserverpb::lease_client::LeaseClient;
use bramble_proto::etcdserverpb::request_op::Request as Op;
use bramble_proto::etcdserverpb::watch_client::WatchClient;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::v3electionpb::election_client::ElectionClient;
use bramble_proto::v3electionpb::{self as election};
use bramble_proto::v3lockpb::lock_client::LockClient;
use bramble_proto::v3lockpb::{self as lock};

use super::*;

impl Matrix {
    pub(super) async fn kv(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut kv = self.world.kv();
        let range = pb::RangeRequest { key: bytes("a"), range_end: bytes("c"), ..Default::default() };
        let put = pb::PutRequest { key: bytes("c"), value: bytes("v"), ..Default::default() };
        Some(match method {
            "Range" => (Needs::Keys, outcome(kv.range(with(token, range)).await).map(drop)),
            "RangeStream" => {
                let answer = match kv.range_stream(with(token, range)).await {
                    Ok(stream) => stream.into_inner().message().await.map(|_| Response::new(())),
                    Err(status) => Err(status),
                };
                (Needs::Keys, outcome(answer))
            }
            "Put" => (Needs::Keys, outcome(kv.put(with(token, put)).await).map(drop)),
            "DeleteRange" => {
                let delete =
                    pb::DeleteRangeRequest { key: bytes("b"), range_end: bytes("bk"), ..Default::default() };
                (Needs::Keys, outcome(kv.delete_range(with(token, delete)).await).map(drop))
            }
            "Txn" => {
                let compare = pb::Compare { key: bytes("a"), ..Default::default() };
                let op = |request| pb::RequestOp { request: Some(request) };
                let txn = pb::TxnRequest {
                    compare: vec![compare],
                    success: vec![op(Op::RequestPut(put))],
                    failure: vec![op(Op::RequestRange(range))],
                };
                (Needs::Keys, outcome(kv.txn(with(token, txn)).await).map(drop))
            }
            "Compact" => {
                let compact = pb::CompactionRequest { revision: 1, physical: false };
                (Needs::Root, outcome(kv.compact(with(token, compact)).await).map(drop))
            }
            _ => return None,
        })
    }

    /// The stream is open to all; its watchers are not, and say why in their own way.
    pub(super) async fn watch(&self, token: Option<&str>) -> Result<(), Refused> {
        let create = pb::WatchCreateRequest { key: bytes("a"), range_end: bytes("c"), ..Default::default() };
        let asked = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let asked = tokio_stream::StreamExt::chain(tokio_stream::once(asked), tokio_stream::pending());
        let answer = WatchClient::new(self.world.routes.clone()).watch(with(token, asked)).await;
        let mut stream = outcome(answer)?;
        let created = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
        let created = created.expect("no error").expect("an answer");
        if !created.canceled {
            return Ok(());
        }
        assert_eq!((created.created, created.watch_id), (true, -1));
        assert!(created.header.is_some_and(|header| header.revision > 1), "{:?}", created.header);
        let refusals =
            [(nobody(), "InvalidArgument"), (bad_token(), "Unauthenticated"), (denied(), "PermissionDenied")];
        let said = refusals.into_iter().find(|((_, text), code)| {
            created.cancel_reason == format!("rpc error: code = {code} desc = {text}")
        });
        Err(said.unwrap_or_else(|| panic!("{:?}", created.cancel_reason)).0)
    }

    pub(super) async fn lease(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = LeaseClient::new(self.world.routes.clone());
        let id = self.lease;
        Some(match method {
            "LeaseGrant" => {
                let request = pb::LeaseGrantRequest { ttl: 600, id: 0 };
                (Needs::AnyUser, outcome(client.lease_grant(with(token, request)).await).map(drop))
            }
            "LeaseRevoke" => {
                // One of its own for each who may, so that there is always one to revoke.
                let root = Caller::user("root");
                let grant = self.world.client().lease_grant(&root, LeaseId::NONE, 600).await;
                let lease = grant.expect("granted").body.id;
                let put = PutRequest { key: bytes("c"), value: bytes("v"), lease, ..PutRequest::default() };
                self.world.client().put(&root, put).await.expect("put");
                let request = pb::LeaseRevokeRequest { id: lease.0 };
                (Needs::Keys, outcome(client.lease_revoke(with(token, request)).await).map(drop))
            }
            "LeaseKeepAlive" => {
                let asked = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
                let answer = match client.lease_keep_alive(with(token, asked)).await {
                    Ok(stream) => stream.into_inner().message().await.map(|answer| {
                        assert!(answer.is_some_and(|answer| answer.ttl == 600));
                        Response::new(())
                    }),
                    Err(status) => Err(status),
                };
                (Needs::Keys, outcome(answer))
            }
            "LeaseTimeToLive" => {
                let request = pb::LeaseTimeToLiveRequest { id, keys: true };
                (Needs::Keys, outcome(client.lease_time_to_live(with(token, request)).await).map(drop))
            }
            "LeaseLeases" => {
                let request = pb::LeaseLeasesRequest {};
                (Needs::Keys, outcome(client.lease_leases(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    pub(super) async fn lock(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = LockClient::new(self.world.routes.clone());
        Some(match method {
            "Lock" => {
                let request = lock::LockRequest { name: bytes("bl"), lease: self.lease };
                (Needs::Keys, outcome(client.lock(with(token, request)).await).map(drop))
            }
            "Unlock" => {
                let request = lock::UnlockRequest { key: bytes("bk") };
                (Needs::Keys, outcome(client.unlock(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    pub(super) async fn election(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = ElectionClient::new(self.world.routes.clone());
        let name = bytes("be");
        let leader = || {
            let (name, key) = (bytes("be"), bytes("be/4d"));
            Some(election::LeaderKey { name, key, rev: 1, lease: self.lease })
        };
        let answer = match method {
            "Campaign" => {
                let request = election::CampaignRequest { name, lease: self.lease, value: bytes("v") };
                outcome(client.campaign(with(token, request)).await).map(drop)
            }
            "Proclaim" => {
                let request = election::ProclaimRequest { leader: leader(), value: bytes("v") };
                outcome(client.proclaim(with(token, request)).await).map(drop)
            }
            "Leader" => outcome(client.leader(with(token, election::LeaderRequest { name })).await).map(drop),
            "Observe" => {
                let answer = match client.observe(with(token, election::LeaderRequest { name })).await {
                    Ok(stream) => stream.into_inner().message().await.map(|_| Response::new(())),
                    Err(status) => Err(status),
                };
                outcome(answer)
            }
            "Resign" => {
                let request = election::ResignRequest { leader: leader() };
                outcome(client.resign(with(token, request)).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Keys, answer))
    }
}
