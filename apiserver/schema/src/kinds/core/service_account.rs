//! ServiceAccount.

use crate::kinds::{CREATE, Part, Row, Rules};
use crate::table;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["sa"],
    subresources: &[Part { name: "token", body: ["authentication.k8s.io", "v1", "TokenRequest"], verbs: CREATE }],
    rules: Rules { printer: &table::core::SERVICE_ACCOUNT, returns_deleted: true, ..Rules::PLAIN },
    ..Row::namespaced(
        ["", "v1", "ServiceAccount"],
        ["serviceaccounts", "serviceaccount"],
        "io.k8s.api.core.v1.ServiceAccount",
    )
};
