//! Lock, Unlock; Campaign, Proclaim, Leader, Observe, Resign. What they mean is the node's.
//!
//! etcd's services are clients of its own server and hand on their errors as text, so every refusal here
//! has the code Unknown and the text of the request that failed. Only what a client must act on as a
//! connection's end keeps its code: a member that stops or has no leader.
use std::pin::Pin;

use bramble_proto::v3electionpb as election;
use bramble_proto::v3electionpb::election_server::Election;
use bramble_proto::v3lockpb as lock;
use bramble_proto::v3lockpb::lock_server::Lock;
use bramble_store::types::LeaseId;
use futures_util::{Stream, stream};
use tonic::{Code, Request, Response, Status};

use super::{convert, leaderless, open, require_leader, status};
use crate::node::client::{Client, ContestError, LeaderKey};

/// The Lock service.
#[derive(Clone)]
pub struct Locks {
    client: Client,
}

/// The Election service.
#[derive(Clone)]
pub struct Elections {
    client: Client,
}

impl Locks {
    /// Serves `client`.
    pub fn new(client: Client) -> Self {
        Locks { client }
    }
}

impl Elections {
    /// Serves `client`.
    pub fn new(client: Client) -> Self {
        Elections { client }
    }
}

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(
        &self,
        request: Request<lock::LockRequest>,
    ) -> Result<Response<lock::LockResponse>, Status> {
        let (caller, request) = open(request)?;
        let lease = LeaseId(request.lease);
        let locked = self.client.lock(&caller, &request.name, lease).await.map_err(refusal)?;
        let header = Some(convert::header(locked.header));
        Ok(Response::new(lock::LockResponse { header, key: locked.body }))
    }

    async fn unlock(
        &self,
        request: Request<lock::UnlockRequest>,
    ) -> Result<Response<lock::UnlockResponse>, Status> {
        let (caller, request) = open(request)?;
        let unlocked = self.client.unlock(&caller, &request.key).await;
        let header = unlocked.map_err(|error| refusal(error.into()))?.header;
        Ok(Response::new(lock::UnlockResponse { header: Some(convert::header(header)) }))
    }
}

#[tonic::async_trait]
impl Election for Elections {
    async fn campaign(
        &self,
        request: Request<election::CampaignRequest>,
    ) -> Result<Response<election::CampaignResponse>, Status> {
        let (caller, request) = open(request)?;
        let election::CampaignRequest { name, lease, value } = request;
        let won = self.client.campaign(&caller, &name, LeaseId(lease), value).await.map_err(refusal)?;
        Ok(Response::new(election::CampaignResponse {
            header: Some(convert::header(won.header)),
            leader: Some(convert::leader_key(won.body)),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<election::ProclaimRequest>,
    ) -> Result<Response<election::ProclaimResponse>, Status> {
        let (caller, request) = open(request)?;
        let leader = leader_of(request.leader)?;
        let done = self.client.proclaim(&caller, &leader, request.value).await.map_err(refusal)?;
        Ok(Response::new(election::ProclaimResponse { header: Some(convert::header(done.header)) }))
    }

    async fn leader(
        &self,
        request: Request<election::LeaderRequest>,
    ) -> Result<Response<election::LeaderResponse>, Status> {
        let (caller, request) = open(request)?;
        let leader = self.client.leader(&caller, &request.name).await.map_err(refusal)?;
        Ok(Response::new(convert::leader_response(leader)))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<election::LeaderResponse, Status>> + Send>>;

    async fn observe(
        &self,
        request: Request<election::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let (caller, request) = open(request)?;
        require_leader(&self.client, &caller)?;
        let observed = self.client.observe(&caller, &request.name);
        let session = (observed, leaderless(&self.client, &caller), self.client.clone());
        let leaders = stream::unfold(Some(session), |session| async {
            let (mut observed, mut leaderless, client) = session?;
            let next = tokio::select! {
                next = observed.next() => next?.map(convert::leader_response).map_err(status::of),
                () = client.stopped() => Err(status::stopped()),
                () = &mut leaderless => Err(status::no_leader()),
            };
            let goes_on = next.is_ok();
            Some((next, goes_on.then_some((observed, leaderless, client))))
        });
        Ok(Response::new(Box::pin(leaders)))
    }

    async fn resign(
        &self,
        request: Request<election::ResignRequest>,
    ) -> Result<Response<election::ResignResponse>, Status> {
        let (caller, request) = open(request)?;
        let leader = leader_of(request.leader)?;
        let done = self.client.resign(&caller, &leader).await.map_err(refusal)?;
        Ok(Response::new(election::ResignResponse { header: Some(convert::header(done.header)) }))
    }
}

fn leader_of(leader: Option<election::LeaderKey>) -> Result<LeaderKey, Status> {
    let leader = leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
    Ok(convert::leader_key_of(leader))
}

fn refusal(error: ContestError) -> Status {
    let ContestError::Request(error) = error else { return Status::unknown(error.to_string()) };
    let status = status::of(error);
    match status.code() {
        Code::Unavailable => status,
        _ => Status::unknown(status.message()),
    }
}
