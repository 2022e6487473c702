//! The group `events.k8s.io`.

mod event;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&event::ROW];
