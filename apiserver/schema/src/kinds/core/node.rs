//! Node.

use crate::kinds::{Change, Row, Rules, Selectable, Storage, proxy, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{core, update};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["no"],
    storage: Storage { folder: "minions", version: None },
    subresources: &[proxy("NodeProxyOptions"), status(["", "v1", "Node"])],
    rules: Rules {
        defaults: defaults::core::node,
        validate,
        printer: &table::core::NODE,
        fields: &[Selectable {
            path: "spec.unschedulable",
            value: Some(|it| (it["spec"]["unschedulable"] == true).to_string()),
        }],
        // A kubelet registers its node with the status it has.
        status_on_create: true,
        ..Rules::PLAIN
    },
    ..Row::cluster(["", "v1", "Node"], ["nodes", "node"], "io.k8s.api.core.v1.Node")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    core::node(change.new, errors);
    if let Some(old) = change.old {
        update::node(&change.new["spec"], &old["spec"], &Path::Root.field("spec"), errors);
    }
}
