//! The group `coordination.k8s.io`.

mod lease;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&lease::ROW];
