//! Rows of the RPCs that are not about keys: Cluster, Maintenance, Auth, Health.
use bramble_proto::etcdserverpb::cluster_client::ClusterClient;
use bramble_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use bramble_proto::health::HealthCheckRequest;
use bramble_proto::health::health_client::HealthClient;

use super::*;

impl Matrix {
    pub(super) async fn cluster(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = ClusterClient::new(self.world.routes.clone());
        Some(match method {
            "MemberList" => {
                let request = pb::MemberListRequest { linearizable: true };
                (Needs::AnyUser, outcome(client.member_list(with(token, request)).await).map(drop))
            }
            "MemberAdd" => {
                let request = pb::MemberAddRequest { peer_ur_ls: vec!["nonsense".into()], is_learner: false };
                (Needs::Root, outcome(client.member_add(with(token, request)).await).map(drop))
            }
            "MemberRemove" => {
                let request = pb::MemberRemoveRequest { id: 1 };
                (Needs::Root, outcome(client.member_remove(with(token, request)).await).map(drop))
            }
            "MemberUpdate" => {
                let request = pb::MemberUpdateRequest { id: 1, peer_ur_ls: vec!["nonsense".into()] };
                (Needs::Root, outcome(client.member_update(with(token, request)).await).map(drop))
            }
            "MemberPromote" => {
                let request = pb::MemberPromoteRequest { id: 1 };
                (Needs::Root, outcome(client.member_promote(with(token, request)).await).map(drop))
            }
            _ => return None,
        })
    }

    pub(super) async fn maintenance(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = MaintenanceClient::new(self.world.routes.clone());
        let answer = match method {
            // To list them; see below for the rest.
            "Alarm" => {
                let answer = client.alarm(with(token, pb::AlarmRequest::default())).await;
                return Some((Needs::AnyUser, outcome(answer).map(drop)));
            }
            "Status" => outcome(client.status(with(token, pb::StatusRequest {})).await).map(drop),
            "Defragment" => outcome(client.defragment(with(token, pb::DefragmentRequest {})).await).map(drop),
            "Hash" => outcome(client.hash(with(token, pb::HashRequest {})).await).map(drop),
            "HashKV" => {
                outcome(client.hash_kv(with(token, pb::HashKvRequest { revision: 0 })).await).map(drop)
            }
            "Snapshot" => outcome(client.snapshot(with(token, pb::SnapshotRequest {})).await).map(drop),
            "MoveLeader" => {
                outcome(client.move_leader(with(token, pb::MoveLeaderRequest { target_id: 1 })).await)
                    .map(drop)
            }
            "Downgrade" => {
                outcome(client.downgrade(with(token, pb::DowngradeRequest::default())).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Root, answer))
    }

    pub(super) async fn auth(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = self.world.auth();
        let (name, role) = ("nosuch".to_owned(), "nosuch".to_owned());
        let answer = match method {
            "Authenticate" => {
                let request = pb::AuthenticateRequest { name: "exact".into(), password: "pw-exact".into() };
                return Some((
                    Needs::Nothing,
                    outcome(client.authenticate(with(token, request)).await).map(drop),
                ));
            }
            "UserGet" => {
                let request = pb::AuthUserGetRequest { name: "exact".into() };
                return Some((Needs::Itself, outcome(client.user_get(with(token, request)).await).map(drop)));
            }
            "RoleGet" => {
                let request = pb::AuthRoleGetRequest { role: "ranger".into() };
                return Some((Needs::Itself, outcome(client.role_get(with(token, request)).await).map(drop)));
            }
            "AuthEnable" => {
                outcome(client.auth_enable(with(token, pb::AuthEnableRequest {})).await).map(drop)
            }
            "AuthDisable" => {
                let answer = outcome(client.auth_disable(with(token, pb::AuthDisableRequest {})).await);
                if answer.is_ok() {
                    outcome(client.auth_enable(pb::AuthEnableRequest {}).await).expect("on again");
                }
                answer.map(drop)
            }
            "AuthStatus" => {
                outcome(client.auth_status(with(token, pb::AuthStatusRequest {})).await).map(drop)
            }
            "UserAdd" => {
                let request = pb::AuthUserAddRequest { name: "exact".into(), ..Default::default() };
                outcome(client.user_add(with(token, request)).await).map(drop)
            }
            "UserList" => outcome(client.user_list(with(token, pb::AuthUserListRequest {})).await).map(drop),
            "UserDelete" => {
                outcome(client.user_delete(with(token, pb::AuthUserDeleteRequest { name })).await).map(drop)
            }
            "UserChangePassword" => {
                let request = pb::AuthUserChangePasswordRequest { name, ..Default::default() };
                outcome(client.user_change_password(with(token, request)).await).map(drop)
            }
            "UserGrantRole" => {
                let request = pb::AuthUserGrantRoleRequest { user: name, role };
                outcome(client.user_grant_role(with(token, request)).await).map(drop)
            }
            "UserRevokeRole" => {
                let request = pb::AuthUserRevokeRoleRequest { name, role };
                outcome(client.user_revoke_role(with(token, request)).await).map(drop)
            }
            "RoleAdd" => {
                let request = pb::AuthRoleAddRequest { name: "ranger".into() };
                outcome(client.role_add(with(token, request)).await).map(drop)
            }
            "RoleList" => outcome(client.role_list(with(token, pb::AuthRoleListRequest {})).await).map(drop),
            "RoleDelete" => {
                outcome(client.role_delete(with(token, pb::AuthRoleDeleteRequest { role })).await).map(drop)
            }
            "RoleGrantPermission" => {
                let request = pb::AuthRoleGrantPermissionRequest { name, perm: None };
                outcome(client.role_grant_permission(with(token, request)).await).map(drop)
            }
            "RoleRevokePermission" => {
                let request = pb::AuthRoleRevokePermissionRequest { role, ..Default::default() };
                outcome(client.role_revoke_permission(with(token, request)).await).map(drop)
            }
            _ => return None,
        };
        Some((Needs::Root, answer))
    }

    pub(super) async fn health(&self, method: &str, token: Option<&str>) -> Option<Row> {
        let mut client = HealthClient::new(self.world.routes.clone());
        let request = HealthCheckRequest { service: String::new() };
        Some(match method {
            "Check" => (Needs::Nothing, outcome(client.check(with(token, request)).await).map(drop)),
            "Watch" => (Needs::Nothing, outcome(client.watch(with(token, request)).await).map(drop)),
            _ => return None,
        })
    }
}
