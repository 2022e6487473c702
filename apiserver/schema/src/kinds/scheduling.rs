//! The group `scheduling.k8s.io`.

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[];
