//! The group `batch`.

mod job;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&job::ROW];
