//! etcd's Auth service: there are no users here, and none can be made. Who may connect is decided by the socket's rights or by client
//! certificates.
//!
//! So it answers as an etcd without users does: lists are empty, nobody is found, and authentication, which is off, stays off.

use super::Service;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

fn precondition(text: &str) -> Status {
    Status::failed_precondition(format!("etcdserver: {text}"))
}

fn not_enabled() -> Status {
    precondition("authentication is not enabled")
}

fn no_root() -> Status {
    precondition("root user does not exist")
}

fn no_user() -> Status {
    precondition("user name not found")
}

fn no_role() -> Status {
    precondition("role name not found")
}

/// Calls that are refused, and why.
macro_rules! refused {
    ($($call:ident($request:ident) -> $response:ident: $why:ident,)*) => {
        #[tonic::async_trait]
        impl Auth for Service {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = self.header_now();
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            async fn auth_disable(
                &self,
                _: Request<pb::AuthDisableRequest>,
            ) -> Result<Response<pb::AuthDisableResponse>, Status> {
                Ok(Response::new(pb::AuthDisableResponse { header: self.header_now() }))
            }

            async fn user_list(
                &self,
                _: Request<pb::AuthUserListRequest>,
            ) -> Result<Response<pb::AuthUserListResponse>, Status> {
                Ok(Response::new(pb::AuthUserListResponse { header: self.header_now(), users: Vec::new() }))
            }

            async fn role_list(
                &self,
                _: Request<pb::AuthRoleListRequest>,
            ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
                Ok(Response::new(pb::AuthRoleListResponse { header: self.header_now(), roles: Vec::new() }))
            }

            $(async fn $call(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err($why())
            })*
        }
    };
}

refused! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse: no_root,
    authenticate(AuthenticateRequest) -> AuthenticateResponse: not_enabled,
    user_add(AuthUserAddRequest) -> AuthUserAddResponse: not_enabled,
    user_get(AuthUserGetRequest) -> AuthUserGetResponse: no_user,
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse: no_user,
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse: no_user,
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse: no_user,
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse: no_user,
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse: not_enabled,
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse: no_role,
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse: no_role,
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse: no_role,
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse: no_role,
}
