//! Event.

use crate::kinds::{Row, Rules, Selectable};
use crate::path::Path;
use crate::table;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::text;
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ev"],
    rules: Rules {
        validate: |change, errors| validate(change.new, "reportingComponent", errors),
        // What their names must look like is asked of those of the newer group only.
        name: Format::PathSegment,
        printer: &table::core::EVENT,
        fields: FIELDS,
        bookmark: |it| it["involvedObject"] = json!({}),
        create_on_update: true,
        ttl_seconds: TTL_SECONDS,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Event"], ["events", "event"], "io.k8s.api.core.v1.Event")
};

/// kube-apiserver --event-ttl.
pub(in crate::kinds) const TTL_SECONDS: i64 = 3600;
/// Most bytes of a name in an event, and of its message.
const NAME_BYTES_MOST: usize = 128;
const MESSAGE_BYTES_MOST: usize = 1024;

/// Who reports: the old field, or the one that took its place.
fn source(event: &Value) -> String {
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

/// What is asked of every event, in the core group's form; `reporter` is what the served version calls who reports.
pub(in crate::kinds) fn validate(event: &Value, reporter: &str, errors: &mut Errors) {
    let (of_event, of_object) = (text(&event["metadata"], "namespace"), text(&event["involvedObject"], "namespace"));
    let involved = Path::Root.field("involvedObject");
    let is_new = !event["eventTime"].is_null();
    // Events about objects without a namespace live in `default`.
    let agrees = match of_object {
        "" if is_new => matches!(of_event, "default" | "kube-system"),
        "" => matches!(of_event, "" | "default"),
        of_object => is_new || of_event == of_object,
    };
    if !agrees {
        errors.invalid(&involved.field("namespace"), of_object, "does not match event.namespace");
    }
    if is_new {
        said(event, reporter, errors);
    }
}

/// What only those have that say when they happened.
fn said(event: &Value, reporter: &str, errors: &mut Errors) {
    let who = text(event, "reportingComponent");
    if who.is_empty() {
        errors.required(&Path::Root.field(reporter), "");
    }
    Format::QualifiedName.require(who, &Path::Root.field(reporter), errors);
    for field in ["reportingInstance", "action", "reason"] {
        let value = text(event, field);
        if value.is_empty() {
            errors.required(&Path::Root.field(field), "");
        }
        if value.len() > NAME_BYTES_MOST {
            errors.invalid(&Path::Root.field(field), "", format!("can have at most {NAME_BYTES_MOST} characters"));
        }
    }
    if text(event, "message").len() > MESSAGE_BYTES_MOST {
        let detail = format!("can have at most {MESSAGE_BYTES_MOST} characters");
        errors.invalid(&Path::Root.field("message"), "", detail);
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::json;

    #[test]
    fn what_is_refused() {
        let mut it = json!({"metadata": {"name": "Some name"}, "involvedObject": {"namespace": "default"}});
        assert_eq!(errors(&super::ROW, &it), [""; 0]);
        it["involvedObject"]["namespace"] = json!("other");
        assert_eq!(errors(&super::ROW, &it), ["involvedObject.namespace: Invalid"]);
        it["eventTime"] = json!("2026-01-01T00:00:00.000000Z");
        let missing = ["reportingComponent: Required", "reportingComponent: Invalid", "reportingInstance: Required"];
        let expected: Vec<_> = missing.into_iter().chain(["action: Required", "reason: Required"]).collect();
        assert_eq!(errors(&super::ROW, &it), expected);
    }
}
