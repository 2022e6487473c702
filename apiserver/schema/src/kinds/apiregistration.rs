//! The group `apiregistration.k8s.io`.

mod api_service;
pub(crate) mod registered; // those that a server makes by itself

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&api_service::ROW];
