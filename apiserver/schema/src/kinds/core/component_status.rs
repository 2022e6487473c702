//! ComponentStatus: how the control plane's parts are. Computed by the API server when it is asked for.

use crate::kinds::{Review, Row, Rules, UNSTORED};
use crate::table::text::{condition, name};
use crate::table::{Column, NAME, Printer};
use crate::view::text;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["cs"],
    verbs: &["get", "list"],
    storage: UNSTORED,
    rules: Rules {
        printer: &PRINTER,
        deprecation: "v1 ComponentStatus is deprecated in v1.19+",
        review: Review::Parts,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["", "v1", "ComponentStatus"],
        ["componentstatuses", "componentstatus"],
        "io.k8s.api.core.v1.ComponentStatus",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status", "Whether it is well."),
        Column::text("Message", "What it says."),
        Column::text("Error", "What is wrong."),
    ],
    cells: |it, _| {
        let healthy = condition(it, "Healthy");
        let status = match healthy.map(|it| text(it, "status")) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        };
        let said = |field: &str| healthy.map(|it| text(it, field)).unwrap_or_default().into();
        vec![name(it), status.into(), said("message"), said("error")]
    },
};
