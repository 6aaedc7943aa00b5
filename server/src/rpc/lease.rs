//! LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases.
use std::pin::Pin;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::lease_server::Lease;
use bramble_store::types::LeaseId;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{convert, leaderless, next_of, open, require_leader, status};
use crate::node::client::{Caller, Client};

/// The Lease service.
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
impl Lease for Service {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer =
            self.client.lease_grant(&caller, LeaseId(request.id), request.ttl).await.map_err(status::of)?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: Some(convert::header(answer.header)),
            id: answer.body.id.0,
            ttl: answer.body.ttl_s,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.lease_revoke(&caller, LeaseId(request.id)).await.map_err(status::of)?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(convert::header(answer.header)) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (caller, asked) = open(request)?;
        // Refused at once, not at the first request.
        require_leader(&self.client, &caller)?;
        let leaderless = leaderless(&self.client, &caller);
        let session = KeepAlives { client: self.client.clone(), caller, asked, leaderless };
        let answers = stream::unfold(Some(session), |session| async {
            let mut session = session?;
            match session.next().await? {
                Ok(answer) => Some((Ok(answer), Some(session))),
                Err(end) => Some((Err(end), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let (caller, request) = open(request)?;
        let id = LeaseId(request.id);
        let answer = self.client.lease_time_to_live(&caller, id, request.keys).await.map_err(status::of)?;
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: Some(convert::header(answer.header)),
            id: request.id,
            ttl: answer.body.ttl_s,
            granted_ttl: answer.body.granted_ttl_s,
            keys: answer.body.keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let (caller, _) = open(request)?;
        let answer = self.client.leases(&caller).await.map_err(status::of)?;
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: Some(convert::header(answer.header)),
            leases: answer.body.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect(),
        }))
    }
}

/// One stream of keep-alives: one answer for each request, in order.
struct KeepAlives {
    client: Client,
    caller: Caller,
    asked: Streaming<pb::LeaseKeepAliveRequest>,
    leaderless: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl KeepAlives {
    /// The next answer, or why the stream ends; `None` when the client asks no more.
    async fn next(&mut self) -> Option<Result<pb::LeaseKeepAliveResponse, Status>> {
        tokio::select! {
            answer = answer_next(&self.client, &self.caller, &mut self.asked) => answer.transpose(),
            () = self.client.stopped() => Some(Err(status::stopped())),
            () = &mut self.leaderless => Some(Err(status::no_leader())),
        }
    }
}

async fn answer_next(
    client: &Client,
    caller: &Caller,
    asked: &mut Streaming<pb::LeaseKeepAliveRequest>,
) -> Result<Option<pb::LeaseKeepAliveResponse>, Status> {
    let Some(request) = next_of(asked, client, "lease-keepalive").await? else {
        return Ok(None);
    };
    let answer = client.lease_keep_alive(caller, LeaseId(request.id)).await.map_err(status::of)?;
    Ok(Some(pb::LeaseKeepAliveResponse {
        header: Some(convert::header(answer.header)),
        id: request.id,
        ttl: answer.body,
    }))
}
