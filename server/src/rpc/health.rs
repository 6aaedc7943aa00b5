//! gRPC's own health service. Only the server as a whole (the empty name) is known, as in etcd.
use std::pin::Pin;

use bramble_proto::health::health_check_response::ServingStatus;
use bramble_proto::health::health_server::Health;
use bramble_proto::health::{HealthCheckRequest, HealthCheckResponse};
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::status;
use crate::node::client::Client;

/// The Health service.
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

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service.is_empty() {
            Ok(Response::new(answer(ServingStatus::Serving)))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    /// Says it once, and then nothing until the member stops.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.get_ref().service.is_empty();
        let now = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        let client = self.client.clone();
        let end = async move {
            client.stopped().await;
            Err(status::stopped())
        };
        Ok(Response::new(Box::pin(stream::iter([Ok(answer(now))]).chain(stream::once(end)))))
    }
}
