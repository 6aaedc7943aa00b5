//! Alarm, Status, Hash, HashKV, Defragment, Snapshot, MoveLeader, Downgrade.
use std::pin::Pin;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::alarm_request::AlarmAction;
use bramble_proto::etcdserverpb::downgrade_request::DowngradeAction;
use bramble_proto::etcdserverpb::maintenance_server::Maintenance;
use bramble_store::command::AlarmChange;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{convert, leaderless, open, status};
use crate::node::client::{Alarm, Answer, Caller, Client};
use crate::version;

/// The Maintenance service.
#[derive(Clone)]
pub struct Service {
    client: Client,
}

impl Service {
    /// Serves `client`.
    pub fn new(client: Client) -> Self {
        Service { client }
    }

    /// Lists all alarms, or those of one kind.
    async fn alarms(&self, caller: &Caller, wanted: i32) -> Result<Answer<Vec<Alarm>>, Status> {
        let mut answer = self.client.alarms(caller).await.map_err(status::of)?;
        if wanted != i32::from(pb::AlarmType::None) {
            answer.body.retain(|(_, kind)| convert::alarm_type(*kind) == wanted);
        }
        Ok(answer)
    }

    async fn change_alarm(
        &self,
        caller: &Caller,
        change: Option<AlarmChange>,
    ) -> Result<Answer<Vec<Alarm>>, Status> {
        self.client.change_alarm(caller, change).await.map_err(status::of)
    }
}

#[tonic::async_trait]
impl Maintenance for Service {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let (caller, request) = open(request)?;
        let (member, kind) = (request.member_id, convert::alarm_kind(request.alarm));
        let answer = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.alarms(&caller, request.alarm).await?,
            Ok(AlarmAction::Activate) => {
                let raise = kind?.map(|kind| AlarmChange::Activate { member, kind });
                self.change_alarm(&caller, raise).await?
            }
            Ok(AlarmAction::Deactivate) => {
                // An alarm that does not exist is not raised.
                let clear = kind.ok().flatten().map(|kind| AlarmChange::Deactivate { member, kind });
                self.change_alarm(&caller, clear).await?
            }
            // etcd falls over here.
            Err(_) => return Err(Status::invalid_argument("etcdserver: unknown alarm action")),
        };
        let alarms = answer.body.into_iter().map(convert::alarm_member).collect();
        Ok(Response::new(pb::AlarmResponse { header: Some(convert::header(answer.header)), alarms }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let (caller, _) = open(request)?;
        let answer = self.client.status(&caller).await.map_err(status::of)?;
        let status = answer.body;
        let downgrade = pb::DowngradeInfo {
            enabled: status.downgrade.is_some(),
            target_version: status.downgrade.unwrap_or_default(),
        };
        Ok(Response::new(pb::StatusResponse {
            header: Some(convert::header(answer.header)),
            version: version::ETCD_SERVER.to_owned(),
            db_size: convert::bytes_i64(status.db_bytes),
            leader: status.leader,
            raft_index: status.committed_index,
            raft_term: answer.header.raft_term,
            raft_applied_index: status.applied_index,
            errors: status.errors,
            db_size_in_use: convert::bytes_i64(status.db_in_use_bytes),
            is_learner: status.learner,
            storage_version: version::ETCD_STORAGE.to_owned(),
            db_size_quota: status.quota_bytes,
            downgrade_info: Some(downgrade),
        }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.hash_kv(&caller, request.revision).await.map_err(status::of)?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(convert::header(answer.header)),
            hash: answer.body.hash,
            compact_revision: answer.body.compact_revision,
            hash_revision: answer.body.hash_revision,
        }))
    }

    /// The answer has no header, as in etcd.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        let (caller, _) = open(request)?;
        self.client.defragment(&caller).await.map_err(status::of)?;
        Ok(Response::new(pb::DefragmentResponse::default()))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        let (caller, _) = open(request)?;
        let answer = self.client.hash(&caller).await.map_err(status::of)?;
        Ok(Response::new(pb::HashResponse {
            header: Some(convert::header(answer.header)),
            hash: answer.body,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    /// The answers have no header, as in etcd.
    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let (caller, _) = open(request)?;
        let blobs = self.client.snapshot(&caller).await.map_err(status::of)?;
        let leaderless = leaderless(&self.client, &caller);
        let answers = stream::unfold(Some((blobs, leaderless)), |open| async {
            let (mut blobs, mut leaderless) = open?;
            let blob = tokio::select! {
                blob = blobs.next() => blob?.map(convert::snapshot_blob).map_err(status::of),
                () = &mut leaderless => Err(status::no_leader()),
            };
            let goes_on = blob.is_ok();
            Some((blob, goes_on.then_some((blobs, leaderless))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    /// The answer has no header, as in etcd.
    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        let (caller, request) = open(request)?;
        self.client.move_leader(&caller, request.target_id).await.map_err(status::of)?;
        Ok(Response::new(pb::MoveLeaderResponse::default()))
    }

    /// The answer names the cluster's version without its last part, as etcd 3.6 does.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        let (caller, request) = open(request)?;
        let target = &request.version;
        let answer = match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => self.client.check_downgrade(&caller, target).await,
            Ok(DowngradeAction::Enable) => self.client.begin_downgrade(&caller, target).await,
            Ok(DowngradeAction::Cancel) => self.client.end_downgrade(&caller).await,
            Err(_) => return Err(Status::unknown("etcdserver: unknown method")),
        };
        let header = answer.map_err(status::of)?.header;
        Ok(Response::new(pb::DowngradeResponse {
            header: Some(convert::header(header)),
            version: version::ETCD_CLUSTER_MINOR.to_owned(),
        }))
    }
}
