//! Event of `events.k8s.io`: the core group's events under other names, and with stricter rules.

use crate::kinds::core::event::{TTL_SECONDS, validate as validate_core};
use crate::kinds::{Change, Conversion, Row, Rules, Selectable, Storage};
use crate::path::Path;
use crate::table;
use crate::table::Printer;
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::text;
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ev"],
    storage: Storage {
        folder: "events",
        version: Some(Conversion { api_version: "v1", to_storage: to_core, from_storage: from_core }),
    },
    rules: Rules {
        validate,
        printer: &PRINTER,
        fields: FIELDS,
        create_on_update: true,
        ttl_seconds: TTL_SECONDS,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["events.k8s.io", "v1", "Event"], ["events", "event"], "io.k8s.api.events.v1.Event")
};

static PRINTER: Printer =
    Printer { columns: table::core::EVENT.columns, cells: |it, now| (table::core::EVENT.cells)(&as_core(it), now) };

const FIELDS: &[Selectable] = &[
    Selectable::at("regarding.kind"),
    Selectable::at("regarding.namespace"),
    Selectable::at("regarding.name"),
    Selectable::at("regarding.uid"),
    Selectable::at("regarding.apiVersion"),
    Selectable::at("regarding.resourceVersion"),
    Selectable::at("regarding.fieldPath"),
    Selectable::at("reason"),
    Selectable::at("reportingController"),
    Selectable::at("type"),
];

/// Fields by their names in the core group and here, with what each form has when nothing is said.
const NAMES: [(&str, &str, Unsaid, Unsaid); 8] = [
    ("involvedObject", "regarding", Unsaid::Empty, Unsaid::Empty),
    ("message", "note", Unsaid::Absent, Unsaid::Absent),
    ("source", "deprecatedSource", Unsaid::Empty, Unsaid::Empty),
    ("firstTimestamp", "deprecatedFirstTimestamp", Unsaid::Null, Unsaid::Null),
    ("lastTimestamp", "deprecatedLastTimestamp", Unsaid::Null, Unsaid::Null),
    ("count", "deprecatedCount", Unsaid::Absent, Unsaid::Absent),
    ("reportingComponent", "reportingController", Unsaid::NoText, Unsaid::Absent),
    ("reportingInstance", "reportingInstance", Unsaid::NoText, Unsaid::Absent),
];

/// What stands for a field that is not given.
#[derive(Clone, Copy)]
enum Unsaid {
    Absent,
    Null,
    NoText,
    Empty,
}

impl Unsaid {
    fn value(self) -> Option<Value> {
        match self {
            Self::Absent => None,
            Self::Null => Some(Value::Null),
            Self::NoText => Some("".into()),
            Self::Empty => Some(json!({})),
        }
    }
}

fn rename(event: &mut Value, names: impl Iterator<Item = (&'static str, &'static str, Unsaid)>) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to, unsaid) in names {
        let value = fields.remove(from).filter(|value| !value.is_null() && *value != "");
        if let Some(value) = value.or_else(|| unsaid.value()) {
            fields.insert(to.to_owned(), value);
        }
    }
}

fn to_core(event: &mut Value) {
    rename(event, NAMES.into_iter().map(|(core, here, unsaid, _)| (here, core, unsaid)));
    let series = event.get_mut("series").and_then(Value::as_object_mut);
    if let Some(series) = series.filter(|series| series.get("count") == Some(&0.into())) {
        series.remove("count");
    }
}

fn from_core(event: &mut Value) {
    rename(event, NAMES.into_iter().map(|(core, here, _, unsaid)| (core, here, unsaid)));
    if let Some(series) = event.get_mut("series").and_then(Value::as_object_mut) {
        series.entry("count").or_insert_with(|| 0.into());
    }
}

fn as_core(event: &Value) -> Value {
    let mut event = event.clone();
    to_core(&mut event);
    event
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let event = as_core(change.new);
    validate_core(&event, "reportingController", errors);
    match change.old.map(as_core) {
        None => only_new(&event, errors),
        Some(old) => unchanged(&event, &old, errors),
    }
}

fn series(event: &Value, errors: &mut Errors) {
    let series = &event["series"];
    if !series.is_object() {
        return;
    }
    if series["count"].as_i64().unwrap_or_default() < 2 {
        errors.invalid(&Path::Root.field("series.count"), "", "should be at least 2");
    }
    if series["lastObservedTime"].is_null() {
        errors.required(&Path::Root.field("series.lastObservedTime"), "");
    }
}

/// What is asked of new events: nothing of what is deprecated.
fn only_new(event: &Value, errors: &mut Errors) {
    series(event, errors);
    if event["eventTime"].is_null() {
        errors.required(&Path::Root.field("eventTime"), "");
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&Path::Root.field("type"), "", format!("has invalid value: {kind}"));
    }
    let source = &event["source"];
    for (field, is_set) in [
        ("firstTimestamp", !event["firstTimestamp"].is_null()),
        ("lastTimestamp", !event["lastTimestamp"].is_null()),
        ("count", event["count"].as_i64().unwrap_or_default() != 0),
        ("source", !text(source, "component").is_empty() || !text(source, "host").is_empty()),
    ] {
        if is_set {
            errors.invalid(&Path::Root.field(field), "", "needs to be unset");
        }
    }
}

/// Of an event that was there, nothing but how often it happened changes.
fn unchanged(event: &Value, old: &Value, errors: &mut Errors) {
    const STAYS: [&str; 14] = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reason",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ];
    if event["series"] != old["series"] {
        series(event, errors);
    }
    for field in STAYS {
        if event[field] != old[field] {
            let name = if field == "reportingComponent" { "reportingController" } else { field };
            errors.invalid(&Path::Root.field(name), event[field].clone(), update::IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn event() -> Value {
        json!({"metadata": {"name": "a"}, "regarding": {"namespace": "default"}, "note": "n", "reason": "R",
            "reportingController": "k.io/c", "reportingInstance": "i", "action": "A", "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000000Z", "deprecatedSource": {},
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null})
    }

    #[test]
    fn the_core_form_and_back() {
        let mut it = event();
        to_core(&mut it);
        assert_eq!((&it["message"], &it["reportingComponent"]), (&json!("n"), &json!("k.io/c")));
        assert_eq!(it["involvedObject"], json!({"namespace": "default"}));
        from_core(&mut it);
        assert_eq!(it, event());
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(errors(&ROW, &event()), [""; 0]);
        for (pointer, value, expected) in [
            ("/eventTime", Value::Null, "eventTime: Required"),
            ("/type", json!("Odd"), "type: Invalid"),
            ("/deprecatedCount", json!(1), "count: Invalid"),
            ("/deprecatedSource", json!({"host": "h"}), "source: Invalid"),
            (
                "/series",
                json!({"count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}),
                "series.count: Invalid",
            ),
        ] {
            let mut it = event();
            set(&mut it, pointer, value);
            assert_eq!(errors(&ROW, &it), [expected]);
        }
        let mut it = event();
        it["note"] = json!("other");
        assert_eq!(update_errors(&ROW, &it, &event()), ["message: Invalid"]);
    }
}
