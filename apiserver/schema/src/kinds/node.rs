//! The group `node.k8s.io`.

mod runtime_class;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&runtime_class::ROW];
