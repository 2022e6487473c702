//! The group `batch`.

mod cron_job;
mod job;
mod schedule;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&cron_job::ROW, &job::ROW];
