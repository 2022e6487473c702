//! The group `autoscaling`.

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[];
