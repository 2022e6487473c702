//! The group `apps`.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] =
    &[&controller_revision::ROW, &daemon_set::ROW, &deployment::ROW, &replica_set::ROW, &stateful_set::ROW];
