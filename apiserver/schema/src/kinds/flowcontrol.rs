//! The group `flowcontrol.apiserver.k8s.io`.

mod flow_schema;
mod priority_level_configuration;

use super::Row;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{list, text};
use serde_json::Value;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&flow_schema::ROW, &priority_level_configuration::ROW];

/// Conditions have a type, and one of each.
fn conditions(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    let (conditions, path) = (list(status, "conditions"), path.field("conditions"));
    for (index, one) in conditions.iter().enumerate() {
        let path = path.index(index);
        if conditions.iter().take(index).any(|before| text(before, "type") == text(one, "type")) {
            errors.duplicate(&path.field("type"), text(one, "type"));
        }
        if text(one, "type").is_empty() {
            errors.required(&path.field("type"), "");
        }
    }
}
