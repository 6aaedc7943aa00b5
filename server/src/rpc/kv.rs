//! Range, RangeStream, Put, DeleteRange, Txn, Compact.
use std::pin::Pin;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::kv_server::Kv;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::{convert, leaderless, open, slow, status};
use crate::node::client::Client;
use crate::trace;

/// The KV service.
#[derive(Clone)]
pub struct Service {
    client: Client,
    txn_ops_max: usize,
}

impl Service {
    /// Serves `client`, with at most so many operations in one transaction.
    pub fn new(client: Client, txn_ops_max: usize) -> Self {
        Service { client, txn_ops_max }
    }
}

#[tonic::async_trait]
impl Kv for Service {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let (caller, request) = open(request)?;
        slow::asked_range(&request);
        let consistency = convert::consistency(request.serializable);
        let request = convert::range(request)?;
        let answer = self.client.range(&caller, request, consistency).await.map_err(status::of)?;
        slow::answered(answer.body.kvs.len() as i64);
        let response = convert::range_response(convert::header(answer.header), answer.body);
        trace::step("assemble the response");
        Ok(Response::new(response))
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let (caller, request) = open(request)?;
        let consistency = convert::consistency(request.serializable);
        let request = convert::range(request)?;
        let chunks = self.client.range_stream(&caller, request, consistency).await.map_err(status::of)?;
        let leaderless = leaderless(&self.client, &caller);
        let answers = stream::unfold(Some((chunks, leaderless)), |open| async {
            let (mut chunks, mut leaderless) = open?;
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk?.map(convert::range_chunk).map_err(status::of),
                () = &mut leaderless => Err(status::no_leader()),
            };
            let goes_on = chunk.is_ok();
            Some((chunk, goes_on.then_some((chunks, leaderless))))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let (caller, request) = open(request)?;
        slow::asked_put(&request);
        let answer = self.client.put(&caller, convert::put(request)).await.map_err(status::of)?;
        Ok(Response::new(convert::put_response(convert::header(answer.header), answer.body)))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let (caller, request) = open(request)?;
        slow::asked_delete(&request);
        let answer = self.client.delete(&caller, convert::delete(request)).await.map_err(status::of)?;
        slow::answered(answer.body.deleted);
        Ok(Response::new(convert::delete_response(convert::header(answer.header), answer.body)))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (caller, request) = open(request)?;
        let consistency = convert::txn_consistency(&request);
        let asked = request.clone();
        let request = convert::txn(request, self.txn_ops_max)?;
        slow::asked_txn(asked, request.is_read_only());
        let answer = self.client.txn(&caller, request, consistency).await.map_err(status::of)?;
        Ok(Response::new(convert::txn_response(convert::header(answer.header), answer.body)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer =
            self.client.compact(&caller, request.revision, request.physical).await.map_err(status::of)?;
        Ok(Response::new(pb::CompactionResponse { header: Some(convert::header(answer.header)) }))
    }
}
