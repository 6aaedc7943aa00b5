//! Watch: one stream, many watchers. The protocol itself (ids, order, refusals, progress) is the
//! node's; here its two directions are tied to the stream's and its end is given a status.
use std::pin::Pin;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::watch_request::RequestUnion;
use bramble_proto::etcdserverpb::watch_server::Watch;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{convert, leaderless, next_of, open, status};
use crate::node::client::{Client, WatchRequests, WatchResponses};

/// The Watch service.
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
impl Watch for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, asked) = open(request)?;
        let (requests, responses) = self.client.watch(&caller).await.map_err(status::of)?.split();
        let session = Session {
            asks: Box::pin(pass_on(asked, requests, self.client.clone())),
            asks_more: true,
            responses,
            leaderless: leaderless(&self.client, &caller),
        };
        let answers = stream::unfold(Some(session), |session| async {
            let mut session = session?;
            match session.next().await {
                Ok(answer) => Some((Ok(answer), Some(session))),
                Err(end) => Some((Err(end), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// One watch stream. Dropping it (the client went away) ends its watchers.
struct Session {
    /// The stream's one direction: it may wait until the other has made room.
    asks: Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>,
    /// The client has not closed that direction; when it has, its watchers go on, as in etcd.
    asks_more: bool,
    responses: WatchResponses,
    leaderless: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Session {
    /// The next response, or why the stream ends.
    ///
    /// The branches are chosen fairly, so a busy watch cannot keep a cancel waiting.
    async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        loop {
            tokio::select! {
                response = self.responses.next() => {
                    let response = response.ok_or_else(status::stopped)?.map_err(status::of)?;
                    return Ok(convert::watch_response(response));
                }
                end = &mut self.asks, if self.asks_more => {
                    end?;
                    self.asks_more = false;
                }
                () = &mut self.leaderless => return Err(status::no_leader()),
            }
        }
    }
}

/// Passes on what the client asks, until it asks no more.
async fn pass_on(
    mut asked: Streaming<pb::WatchRequest>,
    requests: WatchRequests,
    client: Client,
) -> Result<(), Status> {
    while let Some(request) = next_of(&mut asked, &client, "watch").await? {
        let sent = match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => requests.create(convert::watch_create(create)).await,
            Some(RequestUnion::CancelRequest(cancel)) => requests.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => requests.progress().await,
            // etcd ignores what it does not know here.
            None => Ok(()),
        };
        sent.map_err(status::of)?;
    }
    Ok(())
}
