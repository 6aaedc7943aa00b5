//! The words of the comparison: a request that can be sent to either side, and what comes back. Every RPC
//! of the services is one line of the table below; streams are asked once and give their first answer.
use std::time::Duration;

use bramble_proto::etcdserverpb as pb;
use bramble_proto::v3electionpb as el;
use bramble_proto::v3lockpb as lk;
use bramble_tests::wire::Wire;
use tonic::{Code, Request as Grpc, Status};

/// A stream that is asked for its first answer may take so long; a unary call waits for ever.
const FIRST_WITHIN: Duration = Duration::from_secs(20);

/// Asks, by the kind of RPC: unary, the first answer of a server's stream, one question on a stream of both.
macro_rules! ask {
    (unary $client:expr, $call:ident, $grpc:expr) => {
        $client.$call($grpc).await.map(tonic::Response::into_inner)
    };
    (once $client:expr, $call:ident, $grpc:expr) => {{
        let (metadata, extensions, request) = $grpc.into_parts();
        let grpc = Grpc::from_parts(metadata, extensions, tokio_stream::iter([request]));
        first($client.$call(grpc)).await
    }};
    ($stream:ident $client:expr, $call:ident, $grpc:expr) => {
        first($client.$call($grpc)).await
    };
}

/// Where the header of an answer is.
macro_rules! header {
    (chunks $reply:ident) => {
        $reply.range_response.as_mut().and_then(|range| range.header.as_mut())
    };
    ($headed:ident $reply:ident) => {
        $reply.header.as_mut()
    };
}

macro_rules! rpcs {
    ($($service:literal $client:ident { $(
        $kind:ident $name:ident = $call:ident($request:ty) -> $reply:ty;
    )* })*) => {
        /// One request. Lease ids in it are the oracle's; see [`crate::names::Names`] for the translation.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $($($name($request),)*)* }

        /// One good answer.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Reply { $($($name($reply),)*)* }

        impl Request {
            /// The RPC's short name.
            pub fn rpc(&self) -> &'static str {
                match self { $($(Request::$name(_) => stringify!($name),)*)* }
            }

            /// The RPC's full name, as in [`bramble_proto::METHODS`].
            pub fn path(&self) -> &'static str {
                match self { $($(Request::$name(_) => concat!("/", $service, "/", stringify!($name)),)*)* }
            }
        }

        impl Reply {
            /// The answer's header, to read or to mask.
            pub fn header_mut(&mut self) -> Option<&mut pb::ResponseHeader> {
                match self { $($(Reply::$name(reply) => header!($kind reply),)*)* }
            }
        }

        /// Sends a request and waits for its (first) answer.
        pub async fn send(wire: &Wire, request: Grpc<Request>) -> Result<Reply, Status> {
            let (metadata, extensions, request) = request.into_parts();
            match request {
                $($(Request::$name(it) => {
                    let grpc = Grpc::from_parts(metadata, extensions, it);
                    let reply: Result<$reply, Status> = ask!($kind wire.$client(), $call, grpc);
                    reply.map(Reply::$name)
                })*)*
            }
        }
    };
}

rpcs! {
    "etcdserverpb.KV" kv {
        unary Range = range(pb::RangeRequest) -> pb::RangeResponse;
        chunks RangeStream = range_stream(pb::RangeRequest) -> pb::RangeStreamResponse;
        unary Put = put(pb::PutRequest) -> pb::PutResponse;
        unary DeleteRange = delete_range(pb::DeleteRangeRequest) -> pb::DeleteRangeResponse;
        unary Txn = txn(pb::TxnRequest) -> pb::TxnResponse;
        unary Compact = compact(pb::CompactionRequest) -> pb::CompactionResponse;
    }
    "etcdserverpb.Watch" watch {
        once Watch = watch(pb::WatchRequest) -> pb::WatchResponse;
    }
    "etcdserverpb.Lease" lease {
        unary LeaseGrant = lease_grant(pb::LeaseGrantRequest) -> pb::LeaseGrantResponse;
        unary LeaseRevoke = lease_revoke(pb::LeaseRevokeRequest) -> pb::LeaseRevokeResponse;
        once LeaseKeepAlive = lease_keep_alive(pb::LeaseKeepAliveRequest) -> pb::LeaseKeepAliveResponse;
        unary LeaseTimeToLive = lease_time_to_live(pb::LeaseTimeToLiveRequest) -> pb::LeaseTimeToLiveResponse;
        unary LeaseLeases = lease_leases(pb::LeaseLeasesRequest) -> pb::LeaseLeasesResponse;
    }
    "etcdserverpb.Cluster" cluster {
        unary MemberAdd = member_add(pb::MemberAddRequest) -> pb::MemberAddResponse;
        unary MemberRemove = member_remove(pb::MemberRemoveRequest) -> pb::MemberRemoveResponse;
        unary MemberUpdate = member_update(pb::MemberUpdateRequest) -> pb::MemberUpdateResponse;
        unary MemberList = member_list(pb::MemberListRequest) -> pb::MemberListResponse;
        unary MemberPromote = member_promote(pb::MemberPromoteRequest) -> pb::MemberPromoteResponse;
    }
    "etcdserverpb.Maintenance" maintenance {
        unary Alarm = alarm(pb::AlarmRequest) -> pb::AlarmResponse;
        unary Status = status(pb::StatusRequest) -> pb::StatusResponse;
        unary Defragment = defragment(pb::DefragmentRequest) -> pb::DefragmentResponse;
        unary Hash = hash(pb::HashRequest) -> pb::HashResponse;
        unary HashKV = hash_kv(pb::HashKvRequest) -> pb::HashKvResponse;
        first Snapshot = snapshot(pb::SnapshotRequest) -> pb::SnapshotResponse;
        unary MoveLeader = move_leader(pb::MoveLeaderRequest) -> pb::MoveLeaderResponse;
        unary Downgrade = downgrade(pb::DowngradeRequest) -> pb::DowngradeResponse;
    }
    "etcdserverpb.Auth" auth {
        unary AuthEnable = auth_enable(pb::AuthEnableRequest) -> pb::AuthEnableResponse;
        unary AuthDisable = auth_disable(pb::AuthDisableRequest) -> pb::AuthDisableResponse;
        unary AuthStatus = auth_status(pb::AuthStatusRequest) -> pb::AuthStatusResponse;
        unary Authenticate = authenticate(pb::AuthenticateRequest) -> pb::AuthenticateResponse;
        unary UserAdd = user_add(pb::AuthUserAddRequest) -> pb::AuthUserAddResponse;
        unary UserGet = user_get(pb::AuthUserGetRequest) -> pb::AuthUserGetResponse;
        unary UserList = user_list(pb::AuthUserListRequest) -> pb::AuthUserListResponse;
        unary UserDelete = user_delete(pb::AuthUserDeleteRequest) -> pb::AuthUserDeleteResponse;
        unary UserChangePassword = user_change_password(pb::AuthUserChangePasswordRequest)
            -> pb::AuthUserChangePasswordResponse;
        unary UserGrantRole = user_grant_role(pb::AuthUserGrantRoleRequest) -> pb::AuthUserGrantRoleResponse;
        unary UserRevokeRole = user_revoke_role(pb::AuthUserRevokeRoleRequest)
            -> pb::AuthUserRevokeRoleResponse;
        unary RoleAdd = role_add(pb::AuthRoleAddRequest) -> pb::AuthRoleAddResponse;
        unary RoleGet = role_get(pb::AuthRoleGetRequest) -> pb::AuthRoleGetResponse;
        unary RoleList = role_list(pb::AuthRoleListRequest) -> pb::AuthRoleListResponse;
        unary RoleDelete = role_delete(pb::AuthRoleDeleteRequest) -> pb::AuthRoleDeleteResponse;
        unary RoleGrantPermission = role_grant_permission(pb::AuthRoleGrantPermissionRequest)
            -> pb::AuthRoleGrantPermissionResponse;
        unary RoleRevokePermission = role_revoke_permission(pb::AuthRoleRevokePermissionRequest)
            -> pb::AuthRoleRevokePermissionResponse;
    }
    "v3lockpb.Lock" lock {
        unary Lock = lock(lk::LockRequest) -> lk::LockResponse;
        unary Unlock = unlock(lk::UnlockRequest) -> lk::UnlockResponse;
    }
    "v3electionpb.Election" election {
        unary Campaign = campaign(el::CampaignRequest) -> el::CampaignResponse;
        unary Proclaim = proclaim(el::ProclaimRequest) -> el::ProclaimResponse;
        unary Leader = leader(el::LeaderRequest) -> el::LeaderResponse;
        first Observe = observe(el::LeaderRequest) -> el::LeaderResponse;
        unary Resign = resign(el::ResignRequest) -> el::ResignResponse;
    }
}

/// A refusal: code and text, both of which clients read.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub code: Code,
    pub text: String,
}

/// What came back.
pub type Outcome = Result<Reply, Refused>;

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Refused { code: status.code(), text: status.message().to_string() }
    }
}

impl Refused {
    /// A refusal in these words.
    pub fn new(code: Code, text: &str) -> Self {
        Refused { code, text: text.to_string() }
    }
}

/// The first answer of a stream.
pub async fn first<T>(
    call: impl Future<Output = Result<tonic::Response<tonic::Streaming<T>>, Status>>,
) -> Result<T, Status> {
    let answer = async { call.await?.into_inner().message().await };
    let answer = tokio::time::timeout(FIRST_WITHIN, answer).await;
    let answer = answer.map_err(|_| Status::unknown("the stream does not answer"))??;
    answer.ok_or_else(|| Status::unknown("the stream ended without an answer"))
}
