//! Status, HashKV and the list of alarms.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::alarm_request::AlarmAction;
use bramble_proto::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::{convert, open, status, unserved};
use crate::node::client::{Caller, Client};
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

    async fn alarms(&self, caller: &Caller, wanted: i32) -> Result<Response<pb::AlarmResponse>, Status> {
        let answer = self.client.alarms(caller).await.map_err(status::of)?;
        let all = wanted == i32::from(pb::AlarmType::None);
        let alarms = answer.body.into_iter().filter(|(_, alarm)| all || *alarm == wanted);
        Ok(Response::new(pb::AlarmResponse {
            header: Some(convert::header(answer.header)),
            alarms: alarms.map(|(member_id, alarm)| pb::AlarmMember { member_id, alarm }).collect(),
        }))
    }
}

#[tonic::async_trait]
impl Maintenance for Service {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        let (caller, request) = open(request)?;
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.alarms(&caller, request.alarm).await,
            Ok(AlarmAction::Activate) => Err(unserved("Maintenance.Alarm with ACTIVATE")),
            Ok(AlarmAction::Deactivate) => Err(unserved("Maintenance.Alarm with DEACTIVATE")),
            // etcd falls over here.
            Err(_) => Err(Status::invalid_argument("etcdserver: unknown alarm action")),
        }
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let (caller, _) = open(request)?;
        let answer = self.client.status(&caller).await.map_err(status::of)?;
        let status = answer.body;
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
            db_size_quota: convert::bytes_i64(status.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo::default()),
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

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Err(unserved("Maintenance.Defragment"))
    }

    async fn hash(&self, _request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(unserved("Maintenance.Hash"))
    }

    type SnapshotStream = tokio_stream::Empty<Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(unserved("Maintenance.Snapshot"))
    }

    async fn move_leader(
        &self,
        _request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(unserved("Maintenance.MoveLeader"))
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(unserved("Maintenance.Downgrade"))
    }
}
