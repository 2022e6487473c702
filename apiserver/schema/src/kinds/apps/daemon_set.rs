//! DaemonSet.

use crate::defaults::workload as fill;
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, labels, name, number};
use crate::table::workload::{CONTAINERS, IMAGES, SELECTOR, with_template};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::warnings::of_template;
use crate::validate::{meta, pod, update, workload};
use crate::view::{default, object_mut, text};
use serde_json::{Value, json};

/// Counts changes of the template; Kubernetes keeps it from its first versions of the kind.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[status(["apps", "v1", "DaemonSet"])],
    rules: Rules {
        defaults: |it| crate::defaults::with_spec(it, defaults),
        prepare: |new, old, _| prepare(new, old),
        validate,
        warnings: of_template,
        printer: &PRINTER,
        generation: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(["apps", "v1", "DaemonSet"], ["daemonsets", "daemonset"], "io.k8s.api.apps.v1.DaemonSet")
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::number("Desired", "Nodes that should run the pod."),
        Column::number("Current", "Nodes that run at least one."),
        Column::number("Ready", "Nodes whose pod is ready."),
        Column::number("Up-to-date", "Nodes whose pod is of the current template."),
        Column::number("Available", "Nodes whose pod has been ready for long enough."),
        Column::text("Node Selector", "Labels of the nodes that should run it."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |it, now| {
        let (spec, status) = (&it["spec"], &it["status"]);
        let counts = [
            "desiredNumberScheduled",
            "currentNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        ];
        let mut cells = vec![name(it)];
        cells.extend(counts.map(|count| json!(number(&status[count]))));
        cells.extend([labels(&spec["template"]["spec"], "nodeSelector").into(), age(it, now)]);
        with_template(cells, spec)
    },
};

fn defaults(spec: &mut Value) {
    default(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = object_mut(spec, "updateStrategy") {
        default(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = object_mut(strategy, "rollingUpdate")
        {
            default(rolling, "maxUnavailable", 1);
            default(rolling, "maxSurge", 0);
        }
    }
    fill::template(spec);
}

/// The server counts the generations of the template, whatever a client says after creation.
fn prepare(new: &mut Value, old: Option<&Value>) {
    let said =
        |it: &Value| text(&it["metadata"]["annotations"], TEMPLATE_GENERATION).parse::<i64>().unwrap_or_default();
    let generation = match old {
        None => said(new).max(1),
        Some(old) => said(old) + i64::from(!update::equal(&new["spec"]["template"], &old["spec"]["template"])),
    };
    if let Some(annotations) = object_mut(new, "metadata").and_then(|metadata| object_mut(metadata, "annotations")) {
        annotations[TEMPLATE_GENERATION] = generation.to_string().into();
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return status_counts(&change.new["status"], errors);
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    if let Some(old) = change.old {
        update::same("selector", spec, &old["spec"], &path, errors);
    }
    let selector = path.field("selector");
    meta::selector(&spec["selector"], &selector, errors);
    if spec["selector"].is_object() && pod::is_empty_selector(&spec["selector"]) {
        errors.invalid(&selector, spec["selector"].clone(), "empty selector is invalid for daemonset");
    }
    let template = path.field("template");
    pod::template(&spec["template"], &spec["selector"], &["Always"], &template, errors);
    workload::unselected(spec, &template, errors);
    workload::no_deadline(&spec["template"], "DaemonSet", &template, errors);
    workload::counts(spec, &["minReadySeconds", "revisionHistoryLimit"], &path, errors);
    strategy(&spec["updateStrategy"], &path.field("updateStrategy"), errors);
}

fn strategy(strategy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (rolling, at) = (&strategy["rollingUpdate"], path.field("rollingUpdate"));
    match text(strategy, "type") {
        "OnDelete" => return,
        "RollingUpdate" => {}
        kind => {
            let shown = if kind.is_empty() { " " } else { kind };
            return errors.one_of(path, shown, &["OnDelete", "RollingUpdate"]);
        }
    }
    if !rolling.is_object() {
        return errors.required(&at, "");
    }
    for field in ["maxUnavailable", "maxSurge"] {
        workload::count_or_share(&rolling[field], &at.field(field), errors);
    }
    let some = |field: &str| {
        let value = &rolling[field];
        value.as_i64().or_else(|| workload::percent(value).map(i64::from)).unwrap_or_default() != 0
    };
    match (some("maxUnavailable"), some("maxSurge")) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&at.field("maxSurge"), rolling["maxSurge"].clone(), detail);
        }
        (false, false) => errors.required(&at.field("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn status_counts(status: &Value, errors: &mut Errors) {
    const COUNTS: &[&str] = &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    workload::counts(status, COUNTS, &Path::Root.field("status"), errors);
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn daemon_set() -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": {},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = daemon_set();
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&super::ROW, &with(pointer, value));
        let strategy = "/spec/updateStrategy";
        assert_eq!(of(strategy, json!({})), [""; 0]);
        assert_eq!(
            of("/spec/selector", json!({"matchLabels": {"a": "c"}})),
            ["spec.template.metadata.labels: Invalid"]
        );
        assert_eq!(of(strategy, json!({"type": "Now"})), ["spec.updateStrategy: NotSupported"]);
        for (rolling, expected) in [
            (json!({"maxUnavailable": 1, "maxSurge": "10%"}), "spec.updateStrategy.rollingUpdate.maxSurge: Invalid"),
            (json!({"maxUnavailable": 0}), "spec.updateStrategy.rollingUpdate.maxUnavailable: Required"),
            (json!({"maxUnavailable": "101%"}), "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid"),
        ] {
            assert_eq!(of(strategy, json!({"rollingUpdate": rolling})), [expected]);
        }
        let changed = with(
            "/spec/selector",
            json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "a", "operator": "Exists"}]}),
        );
        assert_eq!(update_errors(&super::ROW, &changed, &daemon_set()), ["spec.selector: Invalid"]);
    }

    #[test]
    fn generations_of_the_template_are_counted() {
        let generation = |it: &Value| it["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
        let mut first = daemon_set();
        super::prepare(&mut first, None);
        assert_eq!(generation(&first), "1");
        let mut second = with("/spec/template/metadata/labels", json!({"a": "b", "c": "d"}));
        super::prepare(&mut second, Some(&first));
        assert_eq!(generation(&second), "2");
        let mut third = second.clone();
        third["metadata"]["annotations"] = json!({});
        super::prepare(&mut third, Some(&second));
        assert_eq!(generation(&third), "2");
    }
}
