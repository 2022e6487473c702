//! Event.

use serde_json::json;

use crate::kinds::{Row, Rules, Selectable};
use crate::table;
use crate::validate::core;
use crate::view::text;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ev"],
    rules: Rules {
        validate: |change, errors| core::event(change.new, errors),
        printer: &table::core::EVENT,
        fields: FIELDS,
        bookmark: |it| it["involvedObject"] = json!({}),
        create_on_update: true,
        // kube-apiserver --event-ttl.
        ttl_seconds: 3600,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Event"], ["events", "event"], "io.k8s.api.core.v1.Event")
};

/// Who reports: the old field, or the one that took its place.
fn source(event: &serde_json::Value) -> String {
    let old = text(&event["source"], "component");
    if old.is_empty() { text(event, "reportingComponent") } else { old }.to_owned()
}

const FIELDS: &[Selectable] = &[
    Selectable::at("involvedObject.kind"),
    Selectable::at("involvedObject.namespace"),
    Selectable::at("involvedObject.name"),
    Selectable::at("involvedObject.uid"),
    Selectable::at("involvedObject.apiVersion"),
    Selectable::at("involvedObject.resourceVersion"),
    Selectable::at("involvedObject.fieldPath"),
    Selectable::at("reason"),
    Selectable::at("reportingComponent"),
    Selectable { path: "source", value: Some(source) },
    Selectable::at("type"),
];
