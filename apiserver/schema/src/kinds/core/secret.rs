//! Secret.

use crate::kinds::{Change, Row, Rules, Selectable};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::{core, update};
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        defaults: defaults::core::secret,
        validate,
        printer: &table::core::SECRET,
        fields: &[Selectable::at("type")],
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Secret"], ["secrets", "secret"], "io.k8s.api.core.v1.Secret")
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    core::secret(change.new, errors);
    if let Some(old) = change.old {
        update::same("type", change.new, old, &Path::Root, errors);
        update::frozen(change.new, old, &["data"], errors);
    }
}
