//! What one server calls things that have another name on the other: ids of cluster, member, leases and
//! tokens, terms, ports, its version. Requests are written in the oracle's words and translated on the
//! way in; answers are translated back, so that both sides speak of the same things.
use std::collections::HashMap;

use bramble_proto::etcdserverpb::{self as pb, compare::TargetUnion, request_op, response_op};
use bramble_proto::mvccpb::KeyValue;

use crate::words::{Reply, Request};

/// The member that answers, in requests that name one and in answers.
pub const SELF: u64 = 1;
/// In a downgrade request: the version that may be asked for.
pub const ONE_BELOW: &str = "one below";

/// See the module.
#[derive(Clone, Debug)]
pub struct Names {
    cluster_id: u64,
    member_id: u64,
    minor_version: u64,
    /// The oracle's id → this side's.
    own: HashMap<i64, i64>,
    /// This side's → the oracle's.
    common: HashMap<i64, i64>,
}

impl Names {
    /// Those that a server told in its first answer.
    pub fn of(status: &pb::StatusResponse) -> Names {
        let header = status.header.as_ref().expect("a header");
        assert!(header.cluster_id != 0 && header.member_id != 0, "ids are never 0: {header:?}");
        let minor = status.version.split('.').nth(1).and_then(|minor| minor.parse().ok());
        Names {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            minor_version: minor.expect("a version of three numbers"),
            own: HashMap::new(),
            common: HashMap::new(),
        }
    }

    /// Notes that the lease the oracle calls `common` is `own` here.
    pub fn same_lease(&mut self, common: i64, own: i64) {
        self.own.insert(common, own);
        self.common.insert(own, common);
    }

    fn own_lease(&self, common: i64) -> i64 {
        self.own.get(&common).copied().unwrap_or(common)
    }

    fn common_lease(&self, own: i64) -> i64 {
        self.common.get(&own).copied().unwrap_or(own)
    }

    /// A request in this side's words.
    pub fn translate(&self, mut request: Request) -> Request {
        match &mut request {
            Request::Put(it) => it.lease = self.own_lease(it.lease),
            Request::Txn(it) => self.translate_txn(it),
            Request::LeaseRevoke(it) => it.id = self.own_lease(it.id),
            Request::LeaseKeepAlive(it) => it.id = self.own_lease(it.id),
            Request::LeaseTimeToLive(it) => it.id = self.own_lease(it.id),
            Request::Alarm(it) if it.member_id == SELF => it.member_id = self.member_id,
            Request::MoveLeader(it) if it.target_id == SELF => it.target_id = self.member_id,
            Request::Downgrade(it) => {
                it.version = it.version.replace(ONE_BELOW, &format!("3.{}", self.minor_version - 1));
            }
            _ => {}
        }
        request
    }

    fn translate_txn(&self, txn: &mut pb::TxnRequest) {
        for compare in &mut txn.compare {
            if let Some(TargetUnion::Lease(lease)) = &mut compare.target_union {
                *lease = self.own_lease(*lease);
            }
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(request_op::Request::RequestPut(put)) => put.lease = self.own_lease(put.lease),
                Some(request_op::Request::RequestTxn(inner)) => self.translate_txn(inner),
                _ => {}
            }
        }
    }

    /// Ids of cluster and member, and terms, differ between two servers by nature. They become 1, but
    /// only when they are the ids this server gave at the start; 0 stays 0.
    pub fn mask_header(&self, header: &mut pb::ResponseHeader) {
        if header.cluster_id == self.cluster_id {
            header.cluster_id = 1;
        }
        header.member_id = self.common_member(header.member_id);
        header.raft_term = header.raft_term.min(1);
    }

    fn common_member(&self, id: u64) -> u64 {
        if id == self.member_id { SELF } else { id }
    }

    /// Leases in a record get the oracle's names.
    pub fn mask_kv(&self, kv: &mut KeyValue) {
        kv.lease = self.common_lease(kv.lease);
    }

    /// An answer in the oracle's words, without what may differ between two healthy servers.
    pub fn mask(&self, mut reply: Reply) -> Reply {
        if let Some(header) = reply.header_mut() {
            self.mask_header(header);
        }
        match &mut reply {
            Reply::Range(range) => range.kvs.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::Put(put) => put.prev_kv.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::DeleteRange(delete) => delete.prev_kvs.iter_mut().for_each(|kv| self.mask_kv(kv)),
            Reply::Txn(txn) => self.mask_txn(txn),
            Reply::LeaseKeepAlive(alive) => alive.id = self.common_lease(alive.id),
            Reply::LeaseTimeToLive(left) => {
                left.id = self.common_lease(left.id);
                left.keys.sort();
            }
            Reply::LeaseLeases(leases) => {
                leases.leases.iter_mut().for_each(|lease| lease.id = self.common_lease(lease.id));
            }
            Reply::Leader(leader) | Reply::Observe(leader) => {
                leader.kv.iter_mut().for_each(|kv| self.mask_kv(kv));
            }
            Reply::MemberAdd(added) => {
                added.member.iter_mut().chain(&mut added.members).for_each(|member| self.mask_member(member));
                added.members.sort_by_key(|member| member.id);
            }
            Reply::MemberList(list) => list.members.iter_mut().for_each(|member| self.mask_member(member)),
            Reply::Alarm(_)
            | Reply::Status(_)
            | Reply::Downgrade(_)
            | Reply::Hash(_)
            | Reply::Snapshot(_) => {
                self.mask_maintenance(&mut reply);
            }
            Reply::Authenticate(given) if is_token(&given.token) => given.token = "a token".to_string(),
            _ => {}
        }
        reply
    }

    /// What only names itself, its size or its version.
    fn mask_maintenance(&self, reply: &mut Reply) {
        match reply {
            Reply::Alarm(alarms) => self.mask_alarms(&mut alarms.alarms),
            Reply::Status(status) => self.mask_status(status),
            Reply::Downgrade(answer) if answer.version == self.cluster_version() => {
                answer.version = "own".to_string();
            }
            Reply::Hash(hash) => hash.hash = 0,
            Reply::Snapshot(piece) => *piece = pb::SnapshotResponse::default(),
            _ => {}
        }
    }

    /// How the version of the cluster is told: with a zero at the end until 3.5.
    fn cluster_version(&self) -> String {
        let end = if self.minor_version < 6 { ".0" } else { "" };
        format!("3.{}{end}", self.minor_version)
    }

    /// Alarms come in any order.
    fn mask_alarms(&self, alarms: &mut [pb::AlarmMember]) {
        alarms.iter_mut().for_each(|alarm| alarm.member_id = self.common_member(alarm.member_id));
        alarms.sort_by_key(|alarm| (alarm.alarm, alarm.member_id));
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
        let own = format!("memberID:{} ", self.member_id);
        let complaints = status.errors.iter().map(|text| text.replace(&own, "memberID:1 "));
        let mut errors: Vec<String> = complaints.collect();
        errors.sort();
        *status = pb::StatusResponse {
            header: status.header.take(),
            leader: u64::from(leads),
            errors,
            is_learner: status.is_learner,
            ..Default::default()
        };
    }

    /// Ports differ, and the id of a new member; names and the number of URLs do not.
    fn mask_member(&self, member: &mut pb::Member) {
        member.id = if member.id == self.member_id { SELF } else { 0 };
        member.peer_ur_ls.iter_mut().for_each(|url| *url = "peer".to_string());
        member.client_ur_ls.iter_mut().for_each(|url| *url = "client".to_string());
    }
}

/// Sixteen letters, a dot and a number.
fn is_token(token: &str) -> bool {
    token.split_once('.').is_some_and(|(letters, index)| {
        letters.len() == 16
            && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
            && index.parse::<u64>().is_ok()
    })
}
