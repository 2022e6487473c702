//! The group `autoscaling`.

mod horizontal_pod_autoscaler;
mod horizontal_pod_autoscaler_v1;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&horizontal_pod_autoscaler::ROW, &horizontal_pod_autoscaler_v1::ROW];
