//! MemberList. Changes of the membership come with the cluster.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::{convert, open, status, unserved};
use crate::node::client::Client;

/// The Cluster service.
#[derive(Clone)]
pub struct Service {
    client: Client,
}

impl Service {
    /// Serves `client`.
    pub fn new(client: Client) -> Self {
        Service { client }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let (caller, request) = open(request)?;
        let consistency = convert::consistency(!request.linearizable);
        let answer = self.client.members(&caller, consistency).await.map_err(status::of)?;
        Ok(Response::new(pb::MemberListResponse {
            header: Some(convert::header(answer.header)),
            members: answer.body.into_iter().map(convert::member).collect(),
        }))
    }

    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(unserved("Cluster.MemberAdd"))
    }

    async fn member_remove(
        &self,
        _request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(unserved("Cluster.MemberRemove"))
    }

    async fn member_update(
        &self,
        _request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(unserved("Cluster.MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(unserved("Cluster.MemberPromote"))
    }
}
