//! The group `resource.k8s.io`: devices, who has them, and who wants them.
//!
//! Objects are kept and checked, all but their CEL selectors, which nothing compiles yet. Nothing allocates devices: claims stay pending.

mod allocation; // what came of a claim
mod capacity; // how devices are shared
mod claim; // what a claim asks for
mod device; // one device of a slice
mod device_class;
mod resource_claim;
mod resource_claim_template;
mod resource_slice;
mod shared; // names, lists, configuration

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] =
    &[&device_class::ROW, &resource_claim::ROW, &resource_claim_template::ROW, &resource_slice::ROW];
