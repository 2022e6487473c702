//! Lease.

use crate::kinds::{Row, Rules};
use crate::path::Path;
use crate::table;
use crate::validate::core;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    rules: Rules {
        validate: |change, errors| core::lease(&change.new["spec"], &Path::Root.field("spec"), errors),
        printer: &table::core::LEASE,
        create_on_update: true,
        free_finalizers: true,
        unconditional_update: false,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["coordination.k8s.io", "v1", "Lease"], ["leases", "lease"], "io.k8s.api.coordination.v1.Lease")
};
