//! Endpoints.

use crate::kinds::{Row, Rules, Storage};
use crate::validate::core;
use crate::{defaults, table};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ep"],
    storage: Storage { folder: "services/endpoints", version: None },
    rules: Rules {
        defaults: defaults::core::endpoints,
        validate: |change, errors| core::endpoints(change.new, errors),
        printer: &table::core::ENDPOINTS,
        create_on_update: true,
        deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Endpoints"], ["endpoints", "endpoints"], "io.k8s.api.core.v1.Endpoints")
};
