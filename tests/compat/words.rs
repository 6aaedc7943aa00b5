//! The words of the comparison: a request that can be sent to either side, and what comes back.
use bramble_proto::etcdserverpb as pb;
use tonic::Code;

/// One unary request. Lease ids in it are the oracle's; see [`crate::side::Side`] for the translation.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    KeepAlive(pb::LeaseKeepAliveRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
    Status,
    HashKv(pb::HashKvRequest),
    Alarm(pb::AlarmRequest),
    Members(pb::MemberListRequest),
}

/// One good answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    Grant(pb::LeaseGrantResponse),
    Revoke(pb::LeaseRevokeResponse),
    KeepAlive(pb::LeaseKeepAliveResponse),
    TimeToLive(pb::LeaseTimeToLiveResponse),
    Leases(pb::LeaseLeasesResponse),
    Status(pb::StatusResponse),
    HashKv(pb::HashKvResponse),
    Alarm(pb::AlarmResponse),
    Members(pb::MemberListResponse),
}

/// A refusal: code and text, both of which clients read.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub text: String,
}

/// What came back.
pub type Outcome = Result<Reply, Refused>;

impl From<tonic::Status> for Refused {
    fn from(status: tonic::Status) -> Self {
        Refused { code: status.code(), text: status.message().to_string() }
    }
}

impl Request {
    /// The RPC's short name.
    pub fn rpc(&self) -> &'static str {
        match self {
            Request::Range(_) => "Range",
            Request::Put(_) => "Put",
            Request::Delete(_) => "DeleteRange",
            Request::Txn(_) => "Txn",
            Request::Compact(_) => "Compact",
            Request::Grant(_) => "LeaseGrant",
            Request::Revoke(_) => "LeaseRevoke",
            Request::KeepAlive(_) => "LeaseKeepAlive",
            Request::TimeToLive(_) => "LeaseTimeToLive",
            Request::Leases => "LeaseLeases",
            Request::Status => "Status",
            Request::HashKv(_) => "HashKV",
            Request::Alarm(_) => "Alarm",
            Request::Members(_) => "MemberList",
        }
    }
}

impl Reply {
    /// The answer's header.
    pub fn header(&self) -> Option<&pb::ResponseHeader> {
        match self {
            Reply::Range(reply) => reply.header.as_ref(),
            Reply::Put(reply) => reply.header.as_ref(),
            Reply::Delete(reply) => reply.header.as_ref(),
            Reply::Txn(reply) => reply.header.as_ref(),
            Reply::Compact(reply) => reply.header.as_ref(),
            Reply::Grant(reply) => reply.header.as_ref(),
            Reply::Revoke(reply) => reply.header.as_ref(),
            Reply::KeepAlive(reply) => reply.header.as_ref(),
            Reply::TimeToLive(reply) => reply.header.as_ref(),
            Reply::Leases(reply) => reply.header.as_ref(),
            Reply::Status(reply) => reply.header.as_ref(),
            Reply::HashKv(reply) => reply.header.as_ref(),
            Reply::Alarm(reply) => reply.header.as_ref(),
            Reply::Members(reply) => reply.header.as_ref(),
        }
    }

    /// The answer's header, to mask.
    pub fn header_mut(&mut self) -> Option<&mut pb::ResponseHeader> {
        match self {
            Reply::Range(reply) => reply.header.as_mut(),
            Reply::Put(reply) => reply.header.as_mut(),
            Reply::Delete(reply) => reply.header.as_mut(),
            Reply::Txn(reply) => reply.header.as_mut(),
            Reply::Compact(reply) => reply.header.as_mut(),
            Reply::Grant(reply) => reply.header.as_mut(),
            Reply::Revoke(reply) => reply.header.as_mut(),
            Reply::KeepAlive(reply) => reply.header.as_mut(),
            Reply::TimeToLive(reply) => reply.header.as_mut(),
            Reply::Leases(reply) => reply.header.as_mut(),
            Reply::Status(reply) => reply.header.as_mut(),
            Reply::HashKv(reply) => reply.header.as_mut(),
            Reply::Alarm(reply) => reply.header.as_mut(),
            Reply::Members(reply) => reply.header.as_mut(),
        }
    }
}
