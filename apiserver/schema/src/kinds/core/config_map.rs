//! ConfigMap.

use crate::kinds::{Change, Row, Rules};
use crate::table;
use crate::validate::errors::Errors;
use crate::validate::{core, update};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["cm"],
    rules: Rules { validate, printer: &table::core::CONFIG_MAP, ..Rules::PLAIN },
    ..Row::namespaced(["", "v1", "ConfigMap"], ["configmaps", "configmap"], "io.k8s.api.core.v1.ConfigMap")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    core::config_map(change.new, errors);
    if let Some(old) = change.old {
        update::frozen(change.new, old, &["data", "binaryData"], errors);
    }
}
