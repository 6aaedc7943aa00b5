//! Which path calls which RPC, and with which messages.
//!
//! One row an RPC; a second path is an older name of the first. RPCs without a row have no place
//! under `/v3` in etcd either.
use bramble_proto::{METHODS, Method, etcdserverpb as pb, v3electionpb as election, v3lockpb as lock};
use bytes::Bytes;
use tonic::Status;

use super::codec::{self, Malformed};

/// An RPC with its paths and the messages it takes and gives.
pub(super) struct Row {
    /// As gRPC names it: `/etcdserverpb.KV/Range`.
    pub rpc: &'static str,
    /// Below the root: `/v3/kv/range`.
    pub paths: &'static [&'static str],
    /// A request in JSON as the bytes that gRPC sends.
    pub request: fn(&[u8]) -> Result<Bytes, Malformed>,
    /// The bytes of an answer as JSON.
    pub answer: fn(Bytes) -> Result<Bytes, Status>,
}

impl Row {
    /// What the `.proto` files say of the RPC.
    pub fn method(&self) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.path == self.rpc)
    }
}

macro_rules! rows {
    ($($rpc:literal: $request:ty => $answer:ty, $($path:literal),+;)*) => {
        &[$(Row {
            rpc: $rpc,
            paths: &[$($path),+],
            request: codec::request::<$request>,
            answer: codec::answer::<$answer>,
        }),*]
    };
}

/// The table.
#[rustfmt::skip] // one RPC, one line
pub(super) static ROWS: &[Row] = rows! {
    "/etcdserverpb.KV/Range": pb::RangeRequest => pb::RangeResponse, "/v3/kv/range";
    "/etcdserverpb.KV/Put": pb::PutRequest => pb::PutResponse, "/v3/kv/put";
    "/etcdserverpb.KV/DeleteRange": pb::DeleteRangeRequest => pb::DeleteRangeResponse, "/v3/kv/deleterange";
    "/etcdserverpb.KV/Txn": pb::TxnRequest => pb::TxnResponse, "/v3/kv/txn";
    "/etcdserverpb.KV/Compact": pb::CompactionRequest => pb::CompactionResponse, "/v3/kv/compaction";
    "/etcdserverpb.Watch/Watch": pb::WatchRequest => pb::WatchResponse, "/v3/watch";
    "/etcdserverpb.Lease/LeaseGrant": pb::LeaseGrantRequest => pb::LeaseGrantResponse, "/v3/lease/grant";
    "/etcdserverpb.Lease/LeaseRevoke": pb::LeaseRevokeRequest => pb::LeaseRevokeResponse, "/v3/lease/revoke", "/v3/kv/lease/revoke";
    "/etcdserverpb.Lease/LeaseKeepAlive": pb::LeaseKeepAliveRequest => pb::LeaseKeepAliveResponse, "/v3/lease/keepalive";
    "/etcdserverpb.Lease/LeaseTimeToLive": pb::LeaseTimeToLiveRequest => pb::LeaseTimeToLiveResponse, "/v3/lease/timetolive", "/v3/kv/lease/timetolive";
    "/etcdserverpb.Lease/LeaseLeases": pb::LeaseLeasesRequest => pb::LeaseLeasesResponse, "/v3/lease/leases", "/v3/kv/lease/leases";
    "/etcdserverpb.Cluster/MemberAdd": pb::MemberAddRequest => pb::MemberAddResponse, "/v3/cluster/member/add";
    "/etcdserverpb.Cluster/MemberRemove": pb::MemberRemoveRequest => pb::MemberRemoveResponse, "/v3/cluster/member/remove";
    "/etcdserverpb.Cluster/MemberUpdate": pb::MemberUpdateRequest => pb::MemberUpdateResponse, "/v3/cluster/member/update";
    "/etcdserverpb.Cluster/MemberList": pb::MemberListRequest => pb::MemberListResponse, "/v3/cluster/member/list";
    "/etcdserverpb.Cluster/MemberPromote": pb::MemberPromoteRequest => pb::MemberPromoteResponse, "/v3/cluster/member/promote";
    "/etcdserverpb.Maintenance/Alarm": pb::AlarmRequest => pb::AlarmResponse, "/v3/maintenance/alarm";
    "/etcdserverpb.Maintenance/Status": pb::StatusRequest => pb::StatusResponse, "/v3/maintenance/status";
    "/etcdserverpb.Maintenance/Defragment": pb::DefragmentRequest => pb::DefragmentResponse, "/v3/maintenance/defragment";
    "/etcdserverpb.Maintenance/Hash": pb::HashRequest => pb::HashResponse, "/v3/maintenance/hash";
    "/etcdserverpb.Maintenance/HashKV": pb::HashKvRequest => pb::HashKvResponse, "/v3/maintenance/hashkv";
    "/etcdserverpb.Maintenance/Snapshot": pb::SnapshotRequest => pb::SnapshotResponse, "/v3/maintenance/snapshot";
    "/etcdserverpb.Maintenance/MoveLeader": pb::MoveLeaderRequest => pb::MoveLeaderResponse, "/v3/maintenance/transfer-leadership";
    "/etcdserverpb.Maintenance/Downgrade": pb::DowngradeRequest => pb::DowngradeResponse, "/v3/maintenance/downgrade";
    "/etcdserverpb.Auth/AuthEnable": pb::AuthEnableRequest => pb::AuthEnableResponse, "/v3/auth/enable";
    "/etcdserverpb.Auth/AuthDisable": pb::AuthDisableRequest => pb::AuthDisableResponse, "/v3/auth/disable";
    "/etcdserverpb.Auth/AuthStatus": pb::AuthStatusRequest => pb::AuthStatusResponse, "/v3/auth/status";
    "/etcdserverpb.Auth/Authenticate": pb::AuthenticateRequest => pb::AuthenticateResponse, "/v3/auth/authenticate";
    "/etcdserverpb.Auth/UserAdd": pb::AuthUserAddRequest => pb::AuthUserAddResponse, "/v3/auth/user/add";
    "/etcdserverpb.Auth/UserGet": pb::AuthUserGetRequest => pb::AuthUserGetResponse, "/v3/auth/user/get";
    "/etcdserverpb.Auth/UserList": pb::AuthUserListRequest => pb::AuthUserListResponse, "/v3/auth/user/list";
    "/etcdserverpb.Auth/UserDelete": pb::AuthUserDeleteRequest => pb::AuthUserDeleteResponse, "/v3/auth/user/delete";
    "/etcdserverpb.Auth/UserChangePassword": pb::AuthUserChangePasswordRequest => pb::AuthUserChangePasswordResponse, "/v3/auth/user/changepw";
    "/etcdserverpb.Auth/UserGrantRole": pb::AuthUserGrantRoleRequest => pb::AuthUserGrantRoleResponse, "/v3/auth/user/grant";
    "/etcdserverpb.Auth/UserRevokeRole": pb::AuthUserRevokeRoleRequest => pb::AuthUserRevokeRoleResponse, "/v3/auth/user/revoke";
    "/etcdserverpb.Auth/RoleAdd": pb::AuthRoleAddRequest => pb::AuthRoleAddResponse, "/v3/auth/role/add";
    "/etcdserverpb.Auth/RoleGet": pb::AuthRoleGetRequest => pb::AuthRoleGetResponse, "/v3/auth/role/get";
    "/etcdserverpb.Auth/RoleList": pb::AuthRoleListRequest => pb::AuthRoleListResponse, "/v3/auth/role/list";
    "/etcdserverpb.Auth/RoleDelete": pb::AuthRoleDeleteRequest => pb::AuthRoleDeleteResponse, "/v3/auth/role/delete";
    "/etcdserverpb.Auth/RoleGrantPermission": pb::AuthRoleGrantPermissionRequest => pb::AuthRoleGrantPermissionResponse, "/v3/auth/role/grant";
    "/etcdserverpb.Auth/RoleRevokePermission": pb::AuthRoleRevokePermissionRequest => pb::AuthRoleRevokePermissionResponse, "/v3/auth/role/revoke";
    "/v3lockpb.Lock/Lock": lock::LockRequest => lock::LockResponse, "/v3/lock/lock";
    "/v3lockpb.Lock/Unlock": lock::UnlockRequest => lock::UnlockResponse, "/v3/lock/unlock";
    "/v3electionpb.Election/Campaign": election::CampaignRequest => election::CampaignResponse, "/v3/election/campaign";
    "/v3electionpb.Election/Proclaim": election::ProclaimRequest => election::ProclaimResponse, "/v3/election/proclaim";
    "/v3electionpb.Election/Leader": election::LeaderRequest => election::LeaderResponse, "/v3/election/leader";
    "/v3electionpb.Election/Observe": election::LeaderRequest => election::LeaderResponse, "/v3/election/observe";
    "/v3electionpb.Election/Resign": election::ResignRequest => election::ResignResponse, "/v3/election/resign";
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_has_its_row_except_those_that_have_none_in_etcd() {
        let rows = |path: &str| ROWS.iter().filter(|row| row.rpc == path).count();
        for method in METHODS {
            let none_in_etcd =
                method.path == "/etcdserverpb.KV/RangeStream" || method.service == "grpc.health.v1.Health";
            assert_eq!(rows(method.path), usize::from(!none_in_etcd), "{}", method.path);
        }
        assert!(ROWS.iter().all(|row| row.method().is_some()), "a row without an RPC");
    }

    #[test]
    fn no_path_stands_twice() {
        let mut paths: Vec<_> = ROWS.iter().flat_map(|row| row.paths).collect();
        assert!(paths.iter().all(|path| path.starts_with("/v3/")));
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
    }
}
