//! The group `discovery.k8s.io`.

mod endpoint_slice;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&endpoint_slice::ROW];
