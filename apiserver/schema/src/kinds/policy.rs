//! The group `policy`.

mod pod_disruption_budget;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&pod_disruption_budget::ROW];
