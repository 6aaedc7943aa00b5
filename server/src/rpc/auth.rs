//! Users and roles. None of it is served yet.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::unserved;

/// The Auth service.
#[derive(Clone, Copy)]
pub struct Service;

macro_rules! all_unserved {
    ($($method:ident($request:ident) -> $response:ident, $name:literal;)*) => {
        #[tonic::async_trait]
        impl Auth for Service {
            $(
                async fn $method(
                    &self,
                    _request: Request<pb::$request>,
                ) -> Result<Response<pb::$response>, Status> {
                    Err(unserved(concat!("Auth.", $name)))
                }
            )*
        }
    };
}

all_unserved! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse, "AuthEnable";
    auth_disable(AuthDisableRequest) -> AuthDisableResponse, "AuthDisable";
    auth_status(AuthStatusRequest) -> AuthStatusResponse, "AuthStatus";
    authenticate(AuthenticateRequest) -> AuthenticateResponse, "Authenticate";
    user_add(AuthUserAddRequest) -> AuthUserAddResponse, "UserAdd";
    user_get(AuthUserGetRequest) -> AuthUserGetResponse, "UserGet";
    user_list(AuthUserListRequest) -> AuthUserListResponse, "UserList";
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse, "UserDelete";
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse, "UserChangePassword";
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse, "UserGrantRole";
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse, "UserRevokeRole";
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse, "RoleAdd";
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse, "RoleGet";
    role_list(AuthRoleListRequest) -> AuthRoleListResponse, "RoleList";
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse, "RoleDelete";
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse, "RoleGrantPermission";
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse, "RoleRevokePermission";
}
