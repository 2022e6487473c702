//! The group `apiextensions.k8s.io`.

mod custom_resource_definition;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&custom_resource_definition::ROW];
