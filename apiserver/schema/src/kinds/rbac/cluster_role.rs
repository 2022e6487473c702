//! ClusterRole: what may be done in the cluster.

use super::shared::{self, Scope};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::CREATED;
use crate::validate::errors::Errors;
use crate::validate::meta;
use crate::validate::names::Format;
use crate::view::list;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules { name: Format::PathSegment, validate, printer: &CREATED, create_on_update: true, ..Rules::PLAIN },
    ..Row::cluster(
        ["rbac.authorization.k8s.io", "v1", "ClusterRole"],
        ["clusterroles", "clusterrole"],
        "io.k8s.api.rbac.v1.ClusterRole",
    )
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    shared::rules(new, Scope::Cluster, errors);
    let (rule, path) = (&new["aggregationRule"], Path::Root.field("aggregationRule"));
    let selectors = path.field("clusterRoleSelectors");
    if !rule.is_null() && list(rule, "clusterRoleSelectors").is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.required(&selectors, detail);
    }
    for (index, selector) in list(rule, "clusterRoleSelectors").iter().enumerate() {
        let before = errors.len();
        meta::selector(selector, &selectors.index(index), errors);
        if errors.len() > before {
            // A real server reads the selector once more, and says so.
            errors.invalid(&selectors.index(index), serde_json::Value::Null, "invalid label selector.");
        }
    }
}
