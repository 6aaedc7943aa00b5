//! Locks and elections kept by the server. None of it is served yet; clients that build them from
//! transactions and watches (as the Go client does) need nothing from here.
use bramble_proto::v3electionpb as election;
use bramble_proto::v3electionpb::election_server::Election;
use bramble_proto::v3lockpb as lock;
use bramble_proto::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use super::unserved;

/// The Lock service.
#[derive(Clone, Copy)]
pub struct Locks;

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(
        &self,
        _request: Request<lock::LockRequest>,
    ) -> Result<Response<lock::LockResponse>, Status> {
        Err(unserved("Lock.Lock"))
    }

    async fn unlock(
        &self,
        _request: Request<lock::UnlockRequest>,
    ) -> Result<Response<lock::UnlockResponse>, Status> {
        Err(unserved("Lock.Unlock"))
    }
}

/// The Election service.
#[derive(Clone, Copy)]
pub struct Elections;

#[tonic::async_trait]
impl Election for Elections {
    async fn campaign(
        &self,
        _request: Request<election::CampaignRequest>,
    ) -> Result<Response<election::CampaignResponse>, Status> {
        Err(unserved("Election.Campaign"))
    }

    async fn proclaim(
        &self,
        _request: Request<election::ProclaimRequest>,
    ) -> Result<Response<election::ProclaimResponse>, Status> {
        Err(unserved("Election.Proclaim"))
    }

    async fn leader(
        &self,
        _request: Request<election::LeaderRequest>,
    ) -> Result<Response<election::LeaderResponse>, Status> {
        Err(unserved("Election.Leader"))
    }

    type ObserveStream = tokio_stream::Empty<Result<election::LeaderResponse, Status>>;

    async fn observe(
        &self,
        _request: Request<election::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        Err(unserved("Election.Observe"))
    }

    async fn resign(
        &self,
        _request: Request<election::ResignRequest>,
    ) -> Result<Response<election::ResignResponse>, Status> {
        Err(unserved("Election.Resign"))
    }
}
