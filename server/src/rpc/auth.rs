//! Users, roles, and logins.
use bramble_proto::etcdserverpb as pb;
use bramble_proto::etcdserverpb::auth_server::Auth;
use bramble_store::types::KeyRange;
use tonic::{Request, Response, Status};

use super::{convert, open, status};
use crate::node::client::{Answer, Client, NewPassword};
use crate::node::error::Error;

/// The Auth service.
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

/// An answer, or its error, as the wire has it.
fn said<T, R>(
    answer: Result<Answer<T>, Error>,
    response: impl FnOnce(Option<pb::ResponseHeader>, T) -> R,
) -> Result<Response<R>, Status> {
    let Answer { header, body } = answer.map_err(status::of)?;
    Ok(Response::new(response(Some(convert::header(header)), body)))
}

#[tonic::async_trait]
impl Auth for Service {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let (caller, _) = open(request)?;
        said(self.client.auth_enable(&caller).await, |header, ()| pb::AuthEnableResponse { header })
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let (caller, _) = open(request)?;
        said(self.client.auth_disable(&caller).await, |header, ()| pb::AuthDisableResponse { header })
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let (caller, _) = open(request)?;
        said(self.client.auth_status(&caller).await, |header, status| pb::AuthStatusResponse {
            header,
            enabled: status.enabled,
            auth_revision: status.revision,
        })
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.authenticate(&caller, &request.name, &request.password).await;
        said(answer, |header, token| pb::AuthenticateResponse { header, token })
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let (caller, request) = open(request)?;
        // A hash of the client's is not taken, as in etcd.
        let password = match request.options.is_some_and(|options| options.no_password) {
            true => NewPassword::None,
            false => NewPassword::Plain(request.password),
        };
        let answer = self.client.user_add(&caller, &request.name, password).await;
        said(answer, |header, ()| pb::AuthUserAddResponse { header })
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.user_get(&caller, &request.name).await;
        said(answer, |header, roles| pb::AuthUserGetResponse { header, roles })
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        let (caller, _) = open(request)?;
        said(self.client.user_list(&caller).await, |header, users| pb::AuthUserListResponse { header, users })
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.user_delete(&caller, &request.name).await;
        said(answer, |header, ()| pb::AuthUserDeleteResponse { header })
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        let (caller, request) = open(request)?;
        let password = convert::auth::new_password(request.password, &request.hashed_password)?;
        let answer = self.client.user_change_password(&caller, &request.name, password).await;
        said(answer, |header, ()| pb::AuthUserChangePasswordResponse { header })
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.user_grant_role(&caller, &request.user, &request.role).await;
        said(answer, |header, ()| pb::AuthUserGrantRoleResponse { header })
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.user_revoke_role(&caller, &request.name, &request.role).await;
        said(answer, |header, ()| pb::AuthUserRevokeRoleResponse { header })
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.role_add(&caller, &request.name).await;
        said(answer, |header, ()| pb::AuthRoleAddResponse { header })
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.role_get(&caller, &request.role).await;
        said(answer, |header, permissions| pb::AuthRoleGetResponse {
            header,
            perm: permissions.into_iter().map(convert::auth::permission_response).collect(),
        })
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        let (caller, _) = open(request)?;
        said(self.client.role_list(&caller).await, |header, roles| pb::AuthRoleListResponse { header, roles })
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let (caller, request) = open(request)?;
        let answer = self.client.role_delete(&caller, &request.role).await;
        said(answer, |header, ()| pb::AuthRoleDeleteResponse { header })
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let (caller, request) = open(request)?;
        let permission = request.perm.map(convert::auth::permission).transpose()?;
        let answer = self.client.role_grant_permission(&caller, &request.name, permission).await;
        said(answer, |header, ()| pb::AuthRoleGrantPermissionResponse { header })
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let (caller, request) = open(request)?;
        let range = KeyRange::from_wire(request.key, request.range_end);
        let answer = self.client.role_revoke_permission(&caller, &request.role, range).await;
        said(answer, |header, ()| pb::AuthRoleRevokePermissionResponse { header })
    }
}
