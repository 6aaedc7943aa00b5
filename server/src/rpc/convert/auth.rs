//! Permissions and passwords.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bramble_proto::authpb;
use bramble_proto::authpb::permission::Type as PbKind;
use bramble_store::error::Refusal;
use bramble_store::types::{KeyRange, Permission, PermissionKind};
use tonic::Status;

use crate::node::client::NewPassword;
use crate::rpc::status;

/// What a role is to be allowed.
///
/// # Errors
/// A kind that is none. etcd keeps such a permission, and it allows nothing.
pub fn permission(permission: authpb::Permission) -> Result<Permission, Status> {
    let kind = match PbKind::try_from(permission.perm_type) {
        Ok(PbKind::Read) => PermissionKind::Read,
        Ok(PbKind::Write) => PermissionKind::Write,
        Ok(PbKind::Readwrite) => PermissionKind::ReadWrite,
        Err(_) => return Err(status::of(Refusal::InvalidAuthManagement)),
    };
    Ok(Permission { kind, range: KeyRange::from_wire(permission.key, permission.range_end) })
}

/// What a role allows.
pub fn permission_response(permission: Permission) -> authpb::Permission {
    let kind = match permission.kind {
        PermissionKind::Read => PbKind::Read,
        PermissionKind::Write => PbKind::Write,
        PermissionKind::ReadWrite => PbKind::Readwrite,
    };
    let (key, range_end) = permission.range.to_wire();
    authpb::Permission { perm_type: kind.into(), key, range_end }
}

/// The password of a change. etcd takes a hash of the client's only beside an empty password; with
/// neither nobody can log in.
///
/// # Errors
/// A hash that is no base64.
pub fn new_password(password: String, hashed: &str) -> Result<NewPassword, Status> {
    if !password.is_empty() {
        return Ok(NewPassword::Plain(password));
    }
    let hash = STANDARD.decode(hashed).map_err(|_| status::of(Refusal::NoPasswordUser))?;
    Ok(NewPassword::Hashed(hash.into()))
}
