//! The group `apps`.

mod deployment;
mod replica_set;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&deployment::ROW, &replica_set::ROW];
