//! The group `policy`.

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[];
