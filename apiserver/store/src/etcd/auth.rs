//! etcd's Auth service: users, roles, and what they may do (see [`crate::users`]). Who may connect at all is decided by the socket's
//! rights or by client certificates.

use super::Service;
use super::who::{self, Who};
use crate::keys::KeyRange;
use crate::users::{Caller, Change, Denied, Grant, Hashed, PASSWORD_BYTES_MAX, Users, hash, matches};
use crate::writer::Work;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::auth_server::Auth;
use std::sync::Arc;
use std::time::Instant;
use tonic::{Request, Response, Status};

/// What the password of nobody is compared with, so that it takes as long as that of somebody.
const NOBODY: &[u8] = b"$2a$10$CCCCCCCCCCCCCCCCCCCCC.CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC";

impl Service {
    /// Whoever sent a request, and the users as they are.
    fn looks<T>(&self, request: &Request<T>) -> Result<(Caller, Arc<Users>), Status> {
        Ok((self.caller(&Who::of(request)).map_err(who::denied)?, self.store.core().users()))
    }

    pub(super) async fn change<T>(&self, request: &Request<T>, change: Change) -> Result<(), Status> {
        let caller = self.caller(&Who::of(request)).map_err(who::denied)?;
        Ok(self.store.ask(|reply| Work::Users(change, caller, reply)).await?)
    }

    /// Does what takes a processor for a while, a few at a time.
    async fn patiently<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let failed = |what: &str| Status::unavailable(format!("etcdserver: look at a password: {what}"));
        let _turn = self.passwords.acquire().await.map_err(|error| failed(&error.to_string()))?;
        tokio::task::spawn_blocking(act).await.map_err(|error| failed(&error.to_string()))
    }

    async fn new_hash(&self, password: String) -> Result<Hashed, Status> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Status::unknown(format!("bcrypt: password length exceeds {PASSWORD_BYTES_MAX} bytes")));
        }
        let cost = self.bcrypt_cost;
        self.patiently(move || hash(&password, cost)).await
    }

    /// Whether that is the user's password.
    async fn recognizes(&self, name: &str, password: String) -> Result<(), Status> {
        let (hashed, refused) = match self.store.core().users().password_of(name) {
            Ok(hashed) => (hashed, None),
            Err(Denied::WrongPassword) => (NOBODY.to_vec(), Some(Denied::WrongPassword)),
            Err(denied) => return Err(who::denied(denied)),
        };
        let is_right = self.patiently(move || matches(&hashed, &password)).await?;
        match refused {
            None if is_right => Ok(()),
            refused => Err(who::denied(refused.unwrap_or(Denied::WrongPassword))),
        }
    }
}

/// A new password as a request brings it: in words, or hashed by somebody.
enum Brought {
    Password(String),
    Hashed(Hashed),
}

fn brought(password: String, hashed: &str) -> Result<Brought, Status> {
    if !password.is_empty() {
        return Ok(Brought::Password(password));
    }
    let decoded = crate::users::from_base64(hashed).ok_or_else(|| who::denied(Denied::NoPassword))?;
    Ok(Brought::Hashed(decoded))
}

/// Calls that change something, and the change.
macro_rules! changes {
    ($($call:ident($request:ident) -> $response:ident: $change:expr,)*) => {
        #[tonic::async_trait]
        impl Auth for Service {
            async fn authenticate(
                &self,
                request: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                self.authenticated(request.into_inner()).await
            }

            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let (header, users) = (self.header_now(), self.store.core().users());
                let (enabled, auth_revision) = (users.is_enabled(), users.revision());
                Ok(Response::new(pb::AuthStatusResponse { header, enabled, auth_revision }))
            }

            async fn user_add(
                &self,
                request: Request<pb::AuthUserAddRequest>,
            ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
                let add = request.get_ref().clone();
                let password = match add.options.is_some_and(|options| options.no_password) {
                    true => None,
                    false => Some(self.new_hash(add.password).await?),
                };
                self.change(&request, Change::AddUser(add.name, password)).await?;
                Ok(Response::new(pb::AuthUserAddResponse { header: self.header_now() }))
            }

            async fn user_change_password(
                &self,
                request: Request<pb::AuthUserChangePasswordRequest>,
            ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
                let set = request.get_ref().clone();
                let password = match brought(set.password, &set.hashed_password)? {
                    Brought::Password(password) => self.new_hash(password).await?,
                    Brought::Hashed(hashed) => hashed,
                };
                self.change(&request, Change::SetPassword(set.name, password)).await?;
                Ok(Response::new(pb::AuthUserChangePasswordResponse { header: self.header_now() }))
            }

            async fn user_get(
                &self,
                request: Request<pb::AuthUserGetRequest>,
            ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
                let (caller, users) = self.looks(&request)?;
                let name = &request.get_ref().name;
                let roles = users.check_user(&caller, name).and_then(|()| users.roles_of(name));
                let roles = roles.map_err(who::denied)?;
                Ok(Response::new(pb::AuthUserGetResponse { header: self.header_now(), roles }))
            }

            async fn user_list(
                &self,
                request: Request<pb::AuthUserListRequest>,
            ) -> Result<Response<pb::AuthUserListResponse>, Status> {
                self.check_admin(&request)?;
                let users = self.store.core().users().names();
                Ok(Response::new(pb::AuthUserListResponse { header: self.header_now(), users }))
            }

            async fn role_get(
                &self,
                request: Request<pb::AuthRoleGetRequest>,
            ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
                let (caller, users) = self.looks(&request)?;
                let role = &request.get_ref().role;
                let grants = users.check_role(&caller, role).and_then(|()| users.grants_of(role));
                let perm = grants.map_err(who::denied)?.iter().map(Grant::message).collect();
                Ok(Response::new(pb::AuthRoleGetResponse { header: self.header_now(), perm }))
            }

            async fn role_list(
                &self,
                request: Request<pb::AuthRoleListRequest>,
            ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
                self.check_admin(&request)?;
                let roles = self.store.core().users().roles();
                Ok(Response::new(pb::AuthRoleListResponse { header: self.header_now(), roles }))
            }

            $(async fn $call(&self, request: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                let make: fn(pb::$request) -> Result<Change, Status> = $change;
                let change = make(request.get_ref().clone())?;
                self.change(&request, change).await?;
                Ok(Response::new(pb::$response { header: self.header_now() }))
            })*
        }
    };
}

changes! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse: |_| Ok(Change::Enable),
    auth_disable(AuthDisableRequest) -> AuthDisableResponse: |_| Ok(Change::Disable),
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse: |request| Ok(Change::DeleteUser(request.name)),
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse:
        |request| Ok(Change::GrantRole(request.user, request.role)),
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse:
        |request| Ok(Change::RevokeRole(request.name, request.role)),
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse: |request| Ok(Change::AddRole(request.name)),
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse: |request| Ok(Change::DeleteRole(request.role)),
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse:
        |request| Ok(Change::Grant(request.name, granted(request.perm)?)),
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse:
        |request| Ok(Change::Revoke(request.role, KeyRange::from_etcd(request.key, request.range_end))),
}

fn granted(permission: Option<skiff_proto::etcd::authpb::Permission>) -> Result<Grant, Status> {
    let permission = permission.ok_or_else(|| who::denied(Denied::NothingGranted))?;
    let number = permission.perm_type;
    Grant::of(permission).ok_or_else(|| super::answer::unknown("Permission.permType", number))
}

impl Service {
    /// A token for who shows his password; if rights change meanwhile, it is looked at again.
    async fn authenticated(
        &self,
        request: pb::AuthenticateRequest,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let core = self.store.core();
        loop {
            let revision = core.users().revision();
            self.recognizes(&request.name, request.password.clone()).await?;
            if revision == core.users().revision() {
                break;
            }
        }
        let token = core.tokens().draw(&request.name, self.store.revision(), Instant::now());
        Ok(Response::new(pb::AuthenticateResponse { header: self.header_now(), token }))
    }
}
