//! One side of the comparison: a server, its connection, its ids, and its names for leases.
//!
//! Requests are written with the oracle's lease ids. A lease whose id the server picked has another id
//! on the other side; the table here translates on the way in and back on the way out, so that both
//! sides speak of the same lease.
use std::collections::HashMap;

use bramble_proto::etcdserverpb::{self as pb, compare::TargetUnion, request_op, response_op};
use bramble_tests::process::Server;
use bramble_tests::wire::Wire;
use tonic::Request as Grpc;

use crate::words::{Outcome, Refused, Reply, Request};

/// See the module.
pub struct Side {
    server: Server,
    pub wire: Wire,
    cluster_id: u64,
    member_id: u64,
    /// The oracle's id → this side's.
    own: HashMap<i64, i64>,
    /// This side's → the oracle's.
    common: HashMap<i64, i64>,
}

impl Side {
    /// Connects and learns the ids to mask.
    pub async fn over(server: Server) -> Side {
        let wire = Wire::connect(&server.url).await;
        let status = wire.maintenance().status(pb::StatusRequest {}).await;
        let header = status.expect("a ready server tells its status").into_inner().header.expect("a header");
        assert!(header.cluster_id != 0 && header.member_id != 0, "ids are never 0: {header:?}");
        Side {
            server,
            wire,
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            own: HashMap::new(),
            common: HashMap::new(),
        }
    }

    /// Notes that the lease the oracle calls `common` is `own` here.
    pub fn same_lease(&mut self, common: i64, own: i64) {
        self.own.insert(common, own);
        self.common.insert(own, common);
    }

    /// If the server has ended, the end of its log.
    pub fn obituary(&mut self) -> Option<String> {
        if self.server.alive() {
            return None;
        }
        let log = self.server.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.starts_with('{')).take(12).collect();
        Some(format!("{:?} has ended:\n{}\n", self.server.kind, lines.join("\n")))
    }

    fn own_lease(&self, common: i64) -> i64 {
        self.own.get(&common).copied().unwrap_or(common)
    }

    fn common_lease(&self, own: i64) -> i64 {
        self.common.get(&own).copied().unwrap_or(own)
    }

    /// Sends the request and masks what may differ between two healthy servers.
    pub async fn call(&self, request: &Request) -> Outcome {
        self.send(request.clone()).await.map(|reply| self.mask(reply)).map_err(Refused::from)
    }

    async fn send(&self, request: Request) -> Result<Reply, tonic::Status> {
        let wire = &self.wire;
        Ok(match request {
            Request::Range(it) => Reply::Range(wire.kv().range(it).await?.into_inner()),
            Request::Put(it) => Reply::Put(wire.kv().put(self.translate_put(it)).await?.into_inner()),
            Request::Delete(it) => Reply::Delete(wire.kv().delete_range(it).await?.into_inner()),
            Request::Txn(it) => Reply::Txn(wire.kv().txn(self.translate_txn(it)).await?.into_inner()),
            Request::Compact(it) => Reply::Compact(wire.kv().compact(it).await?.into_inner()),
            Request::Grant(it) => Reply::Grant(wire.lease().lease_grant(it).await?.into_inner()),
            Request::Revoke(mut it) => {
                it.id = self.own_lease(it.id);
                Reply::Revoke(wire.lease().lease_revoke(it).await?.into_inner())
            }
            Request::KeepAlive(mut it) => {
                it.id = self.own_lease(it.id);
                Reply::KeepAlive(self.keep_alive(it).await?)
            }
            Request::TimeToLive(mut it) => {
                it.id = self.own_lease(it.id);
                Reply::TimeToLive(wire.lease().lease_time_to_live(it).await?.into_inner())
            }
            Request::Leases => {
                Reply::Leases(wire.lease().lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner())
            }
            Request::Status => {
                Reply::Status(wire.maintenance().status(pb::StatusRequest {}).await?.into_inner())
            }
            Request::HashKv(it) => Reply::HashKv(wire.maintenance().hash_kv(it).await?.into_inner()),
            Request::Alarm(it) => Reply::Alarm(wire.maintenance().alarm(it).await?.into_inner()),
            Request::Members(it) => Reply::Members(wire.cluster().member_list(it).await?.into_inner()),
        })
    }

    async fn keep_alive(
        &self,
        it: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, tonic::Status> {
        let mut answers =
            self.wire.lease().lease_keep_alive(Grpc::new(tokio_stream::once(it))).await?.into_inner();
        answers.message().await?.ok_or_else(|| tonic::Status::unknown("the stream ended without an answer"))
    }

    fn translate_put(&self, mut put: pb::PutRequest) -> pb::PutRequest {
        put.lease = self.own_lease(put.lease);
        put
    }

    fn translate_txn(&self, mut txn: pb::TxnRequest) -> pb::TxnRequest {
        for compare in &mut txn.compare {
            if let Some(TargetUnion::Lease(lease)) = &mut compare.target_union {
                *lease = self.own_lease(*lease);
            }
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match op.request.take() {
                Some(request_op::Request::RequestPut(put)) => {
                    op.request = Some(request_op::Request::RequestPut(self.translate_put(put)));
                }
                Some(request_op::Request::RequestTxn(inner)) => {
                    op.request = Some(request_op::Request::RequestTxn(self.translate_txn(inner)));
                }
                other => op.request = other,
            }
        }
        txn
    }

    /// Ids of cluster and member, and terms, differ between two servers by nature. They become 1, but
    /// only when they are the ids this server gave at the start; 0 stays 0.
    pub fn mask_header(&self, header: &mut pb::ResponseHeader) {
        if header.cluster_id == self.cluster_id {
            header.cluster_id = 1;
        }
        if header.member_id == self.member_id {
            header.member_id = 1;
        }
        header.raft_term = header.raft_term.min(1);
    }

    /// Leases in a record get the oracle's names.
    pub fn mask_kv(&self, kv: &mut bramble_proto::mvccpb::KeyValue) {
        kv.lease = self.common_lease(kv.lease);
    }

    fn mask(&self, mut reply: Reply) -> Reply {
        if let Some(header) = reply.header_mut() {
            self.mask_header(header);
        }
        match &mut reply {
            Reply::Range(range) => range.kvs.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::Put(put) => put.prev_kv.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::Delete(delete) => delete.prev_kvs.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::Txn(txn) => self.mask_txn(txn),
            Reply::Revoke(_) | Reply::Compact(_) | Reply::Grant(_) | Reply::HashKv(_) => {}
            Reply::KeepAlive(alive) => alive.id = self.common_lease(alive.id),
            Reply::TimeToLive(left) => {
                left.id = self.common_lease(left.id);
                left.keys.sort();
            }
            Reply::Leases(leases) => {
                leases.leases.iter_mut().for_each(|lease| lease.id = self.common_lease(lease.id));
            }
            Reply::Status(status) => self.mask_status(status),
            Reply::Alarm(alarms) => alarms.alarms.iter_mut().for_each(|alarm| alarm.member_id = 1),
            Reply::Members(members) => members.members.iter_mut().for_each(|member| self.mask_member(member)),
        }
        reply
    }

    fn mask_txn(&self, txn: &mut pb::TxnResponse) {
        for op in &mut txn.responses {
            match &mut op.response {
                Some(response_op::Response::ResponseRange(range)) => {
                    range.kvs.iter_mut().for_each(|kv| self.mask_kv(kv));
                }
                Some(response_op::Response::ResponsePut(put)) => {
                    put.prev_kv.iter_mut().for_each(|kv| self.mask_kv(kv))
                }
                Some(response_op::Response::ResponseDeleteRange(delete)) => {
                    delete.prev_kvs.iter_mut().for_each(|kv| self.mask_kv(kv));
                }
                Some(response_op::Response::ResponseTxn(inner)) => self.mask_txn(inner),
                None => {}
            }
        }
    }

    /// Of a status only the header, the leader and the complaints are compared: sizes, indexes and the
    /// version are each server's own.
    fn mask_status(&self, status: &mut pb::StatusResponse) {
        let leads = status.leader == self.member_id;
        *status = pb::StatusResponse {
            header: status.header.take(),
            leader: u64::from(leads),
            errors: std::mem::take(&mut status.errors),
            is_learner: status.is_learner,
            ..Default::default()
        };
    }

    /// Ports differ; names and the number of URLs do not.
    fn mask_member(&self, member: &mut pb::Member) {
        if member.id == self.member_id {
            member.id = 1;
        }
        member.peer_ur_ls.iter_mut().for_each(|url| *url = "peer".to_string());
        member.client_ur_ls.iter_mut().for_each(|url| *url = "client".to_string());
    }
}
