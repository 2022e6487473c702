//! The group `rbac.authorization.k8s.io`.

mod cluster_role;
mod cluster_role_binding;
mod role;
mod role_binding;
mod shared;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&cluster_role::ROW, &cluster_role_binding::ROW, &role::ROW, &role_binding::ROW];
