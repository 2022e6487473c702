//! ClusterRoleBinding: who has a role in the cluster.

use super::shared::{self, Scope};
use crate::kinds::{Row, Rules};
use crate::validate::names::Format;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        name: Format::PathSegment,
        defaults: shared::binding_defaults,
        validate: |change, errors| shared::binding(change, Scope::Cluster, errors),
        printer: &shared::BINDING,
        create_on_update: true,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"],
        ["clusterrolebindings", "clusterrolebinding"],
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    )
};
