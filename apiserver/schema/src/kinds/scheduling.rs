//! The group `scheduling.k8s.io`.

mod priority_class;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&priority_class::ROW];
