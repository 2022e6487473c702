//! HorizontalPodAutoscaler in `autoscaling/v2`, the version in which it is kept.

pub(super) mod metrics; // what it measures, as text
pub(super) mod validate; // what it may say

use crate::kinds::{Row, Rules, status};
use crate::table::text::{age, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::view::{default, list, object_mut, present_mut, text};
use serde_json::{Value, json};

const GVK: [&str; 3] = ["autoscaling", "v2", "HorizontalPodAutoscaler"];
const FOLDER: &str = "horizontalpodautoscalers";

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[status(GVK)],
    rules: Rules { defaults, validate: validate::whole, printer: &PRINTER, ..Rules::PLAIN },
    ..Row::namespaced(GVK, [FOLDER, "horizontalpodautoscaler"], "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler")
};

/// How it prints, in this version's form.
pub(super) static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Reference", "What is scaled."),
        Column::text("Targets", "What is measured, and what it should be."),
        Column::text("MinPods", "The fewest replicas."),
        Column::text("MaxPods", "The most replicas."),
        Column::text("Replicas", "How many there are."),
        AGE,
    ],
    cells: |it, now| {
        let (spec, status) = (&it["spec"], &it["status"]);
        let target = &spec["scaleTargetRef"];
        let least = spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
        vec![
            name(it),
            format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
            metrics::cell(list(spec, "metrics"), list(status, "currentMetrics")).into(),
            least.into(),
            number(&spec["maxReplicas"]).into(),
            number(&status["currentReplicas"]).into(),
            age(it, now),
        ]
    },
};

/// Annotations in which older versions carry what they have no fields for.
pub(super) const CARRIED: [&str; 6] = [
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/behavior",
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "autoscaling.alpha.kubernetes.io/conditions",
];

/// Takes the annotations of older versions out.
pub(super) fn drop_carried(it: &mut Value) {
    let Some(metadata) = it.get_mut("metadata") else { return };
    let Some(annotations) = present_mut(metadata, "annotations").and_then(Value::as_object_mut) else { return };
    for key in CARRIED {
        annotations.remove(key);
    }
    if annotations.is_empty() {
        metadata.as_object_mut().and_then(|fields| fields.remove("annotations"));
    }
}

/// Processor time at 80 per cent, which is measured if nothing else is.
pub(super) fn default_metric() -> Value {
    cpu_utilization(80)
}

/// A metric: processor time, in per cent of what was asked for.
pub(super) fn cpu_utilization(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// What an author may leave out.
pub(super) fn defaults(it: &mut Value) {
    drop_carried(it);
    let Some(spec) = object_mut(it, "spec") else { return };
    default(spec, "minReplicas", 1);
    if list(spec, "metrics").is_empty() {
        spec["metrics"] = json!([default_metric()]);
    }
    if let Some(behavior) = present_mut(spec, "behavior").filter(|it| it.is_object()) {
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        if let Some(up) = object_mut(behavior, "scaleUp") {
            default(up, "stabilizationWindowSeconds", 0);
            rules(up, json!([pods, percent]));
        }
        if let Some(down) = object_mut(behavior, "scaleDown") {
            rules(down, json!([percent]));
        }
    }
}

fn rules(rules: &mut Value, policies: Value) {
    default(rules, "selectPolicy", "Max");
    default(rules, "policies", policies);
}
