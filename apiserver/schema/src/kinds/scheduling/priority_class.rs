//! PriorityClass: a name for a pod's priority.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{default, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["pc"],
    rules: Rules {
        defaults: |it| default(it, "preemptionPolicy", "PreemptLowerPriority"),
        prepare: |new, old, _| {
            // It is 1 from the start and is not counted further.
            let generation = old.map_or(&Value::Null, |old| &old["metadata"]["generation"]).as_i64().unwrap_or(1);
            new["metadata"]["generation"] = generation.into();
        },
        validate,
        printer: &PRINTER,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["scheduling.k8s.io", "v1", "PriorityClass"],
        ["priorityclasses", "priorityclass"],
        "io.k8s.api.scheduling.v1.PriorityClass",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::number("Value", "The priority of its pods."),
        Column::boolean("Global-Default", "Whether pods without a class get this one."),
        AGE,
        Column::text("PreemptionPolicy", "Whether its pods push others away."),
    ],
    cells: |it, now| {
        vec![
            name(it),
            number(&it["value"]).into(),
            (it["globalDefault"] == true).into(),
            age(it, now),
            text(it, "preemptionPolicy").into(),
        ]
    },
};

/// The greatest value of a class that is not Kubernetes' own.
const USER_MOST: i64 = 1_000_000_000;
/// Kubernetes' own classes.
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let new = change.new;
    let path = Path::Root.field("value");
    if let Some(old) = change.old {
        if number(&new["value"]) != number(&old["value"]) {
            errors.forbidden(&path, "may not be changed in an update.");
        }
        update::same("preemptionPolicy", new, old, &Path::Root, errors);
        return;
    }
    if text(&new["metadata"], "name").starts_with("system-") {
        if let Some(wrong) = system(new) {
            let metadata = Path::Root.field("metadata");
            let detail =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {wrong}");
            errors.forbidden(&metadata.field("name"), detail);
        }
    } else if number(&new["value"]) > USER_MOST {
        errors.forbidden(&path, format!("maximum allowed value of a user defined priority is {USER_MOST}"));
    }
    let policies = ["Never", "PreemptLowerPriority"];
    errors.one_of(&Path::Root.field("preemptionPolicy"), text(new, "preemptionPolicy"), &policies);
}

/// Why this is none of Kubernetes' own classes.
fn system(class: &Value) -> Option<String> {
    let name = text(&class["metadata"], "name");
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if number(&class["value"]) != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    (class["globalDefault"] == true).then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, update_errors};
    use serde_json::json;

    #[test]
    fn what_is_refused() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        let of = |object| errors(&super::ROW, &object);
        assert_eq!(of(class("a", 1000)), [""; 0]);
        assert_eq!(of(class("system-node-critical", 2_000_001_000)), [""; 0]);
        assert_eq!(of(class("a", 1_000_000_001)), ["value: Forbidden"]);
        assert_eq!(of(class("system-a", 1)), ["metadata.name: Forbidden"]);
        assert_eq!(of(class("system-cluster-critical", 1)), ["metadata.name: Forbidden"]);
        assert_eq!(update_errors(&super::ROW, &class("a", 2), &class("a", 1)), ["value: Forbidden"]);
    }
}
