//! etcd's Auth service: there are no users here. Who may connect is decided by the socket's rights or by client certificates.

use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::{Service, answer};

/// Calls that are refused because authentication cannot be on.
macro_rules! refused {
    ($($call:ident: $request:ident -> $response:ident,)*) => {
        #[tonic::async_trait]
        impl Auth for Service {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = self.header_now();
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            $(async fn $call(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(answer::auth_not_enabled())
            })*
        }
    };
}

refused! {
    auth_enable: AuthEnableRequest -> AuthEnableResponse,
    auth_disable: AuthDisableRequest -> AuthDisableResponse,
    authenticate: AuthenticateRequest -> AuthenticateResponse,
    user_add: AuthUserAddRequest -> AuthUserAddResponse,
    user_get: AuthUserGetRequest -> AuthUserGetResponse,
    user_list: AuthUserListRequest -> AuthUserListResponse,
    user_delete: AuthUserDeleteRequest -> AuthUserDeleteResponse,
    user_change_password: AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse,
    user_grant_role: AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse,
    user_revoke_role: AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse,
    role_add: AuthRoleAddRequest -> AuthRoleAddResponse,
    role_get: AuthRoleGetRequest -> AuthRoleGetResponse,
    role_list: AuthRoleListRequest -> AuthRoleListResponse,
    role_delete: AuthRoleDeleteRequest -> AuthRoleDeleteResponse,
    role_grant_permission: AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse,
    role_revoke_permission: AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse,
}
