//! Service.

use serde_json::json;

use crate::kinds::{Change, Row, Rules, Selectable, Storage, proxy, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{service, update};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["svc"],
    categories: &["all"],
    storage: Storage { folder: "services/specs", version: None },
    subresources: &[proxy("ServiceProxyOptions"), status(["", "v1", "Service"])],
    rules: Rules {
        name: Format::Label1035,
        defaults: |it| defaults::with_spec(it, defaults::core::service),
        prepare: |new, old, _| {
            if old.is_none() {
                new["status"] = json!({"loadBalancer": {}});
            }
        },
        validate,
        printer: &table::core::SERVICE,
        fields: &[Selectable::at("spec.clusterIP"), Selectable::at("spec.type")],
        returns_deleted: true,
        create_on_update: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Service"], ["services", "service"], "io.k8s.api.core.v1.Service")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let spec = Path::Root.field("spec");
    service::spec(&change.new["spec"], &spec, errors);
    if let Some(old) = change.old {
        update::service(&change.new["spec"], &old["spec"], &spec, errors);
    }
}
