//! HorizontalPodAutoscaler in `autoscaling/v1`: kept as `autoscaling/v2`, whose other metrics, behavior and conditions stand in
//! annotations here.

mod annotations; // the texts of those annotations
mod convert; // from one version to the other

use super::horizontal_pod_autoscaler::{CARRIED, PRINTER, validate};
use crate::kinds::{Change, Conversion, Row, Rules, Storage, status};
use crate::table::Printer;
use crate::validate::errors::Errors;
use crate::view::{default, object_mut};
use serde_json::Value;

const GVK: [&str; 3] = ["autoscaling", "v1", "HorizontalPodAutoscaler"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["hpa"],
    categories: &["all"],
    subresources: &[status(GVK)],
    storage: Storage {
        folder: "horizontalpodautoscalers",
        version: Some(Conversion {
            api_version: "autoscaling/v2",
            to_storage: convert::to_v2,
            from_storage: convert::to_v1,
        }),
    },
    rules: Rules { defaults, prepare, validate: check, printer: &PRINTED, ..Rules::PLAIN },
    ..Row::namespaced(
        GVK,
        ["horizontalpodautoscalers", "horizontalpodautoscaler"],
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    )
};

static PRINTED: Printer = Printer { columns: PRINTER.columns, cells: |it, now| (PRINTER.cells)(&as_v2(it), now) };

fn as_v2(it: &Value) -> Value {
    let mut it = it.clone();
    convert::to_v2(&mut it);
    it
}

/// What an author may leave out; what the annotations carry is brought into form.
fn defaults(it: &mut Value) {
    if !it.is_object() {
        return;
    }
    let Some(spec) = object_mut(it, "spec") else { return };
    default(spec, "minReplicas", 1);
    convert::to_v2(it);
    convert::to_v1(it);
}

/// Of what the annotations carry, a part belongs to the status.
fn prepare(new: &mut Value, old: Option<&Value>, part: &str) {
    let kept = if part == "status" { &CARRIED[..4] } else { &CARRIED[4..] };
    let Some(metadata) = object_mut(new, "metadata") else { return };
    let Some(annotations) = object_mut(metadata, "annotations") else { return };
    for key in kept {
        match old.map(|old| &old["metadata"]["annotations"][*key]).filter(|text| !text.is_null()) {
            Some(text) => annotations[*key] = text.clone(),
            None => {
                annotations.as_object_mut().and_then(|map| map.remove(*key));
            }
        }
    }
    if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
        metadata.as_object_mut().and_then(|fields| fields.remove("annotations"));
    }
}

fn check(change: &Change<'_>, errors: &mut Errors) {
    let (new, old) = (as_v2(change.new), change.old.map(as_v2));
    validate::whole(&Change { new: &new, old: old.as_ref(), part: change.part }, errors);
}

#[cfg(test)]
mod tests {
    use super::super::horizontal_pod_autoscaler;
    use super::*;
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    fn v2() -> Value {
        let mut it = json!({"metadata": {"name": "a", "annotations": {"k": "v"}}, "spec": {"maxReplicas": 5, "minReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "behavior": {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 9}], "tolerance": "100m"}},
            "metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                {"type": "External", "external": {"metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                    "target": {"type": "Value", "value": "30"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
                    "target": {"type": "AverageValue", "averageValue": "3"}}},
                {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                    "target": {"type": "Utilization", "averageUtilization": 7}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "status": {"desiredReplicas": 2, "currentReplicas": 1,
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 30, "averageValue": "100m"}}}]}});
        horizontal_pod_autoscaler::defaults(&mut it);
        it
    }

    #[test]
    fn what_v1_has_no_field_for_comes_back() {
        let mut it = v2();
        convert::to_v1(&mut it);
        assert_eq!(it["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(it["status"]["currentCPUUtilizationPercentage"], 30);
        let metrics = it["metadata"]["annotations"][CARRIED[0]].as_str().expect("a text");
        assert!(
            metrics.starts_with(r#"[{"type":"Pods","pods":{"metricName":"x","targetAverageValue":"10"}},"#),
            "{metrics}"
        );
        let behavior = it["metadata"]["annotations"][CARRIED[1]].as_str().expect("a text");
        assert!(
            behavior.starts_with(r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","#),
            "{behavior}"
        );
        convert::to_v2(&mut it);
        assert_eq!(it, v2());
    }

    #[test]
    fn a_v1_object_is_checked_as_v2() {
        let it = |annotation: &str| {
            json!({"metadata": {"name": "a", "annotations": {CARRIED[0]: annotation}}, "spec": {"maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
        };
        assert_eq!(errors(&ROW, &it("no JSON")), [""; 0]);
        assert_eq!(errors(&ROW, &it(r#"[{"type":"Pods"}]"#)), ["spec.metrics[0].pods: Required"]);
    }

    #[test]
    fn the_status_belongs_to_its_part() {
        let mut old = v2();
        convert::to_v1(&mut old);
        let mut new = old.clone();
        new["metadata"]["annotations"] = json!({CARRIED[1]: "{}", CARRIED[5]: "[]"});
        prepare(&mut new, Some(&old), "");
        assert_eq!(new["metadata"]["annotations"][CARRIED[1]], "{}");
        assert_eq!(new["metadata"]["annotations"][CARRIED[5]], old["metadata"]["annotations"][CARRIED[5]]);
    }
}
