//! LimitRange.

use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::name;
use crate::table::{Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{entries, list, list_mut, object_mut, text};
use serde_json::{Value, json};
use skiff_proto::quantity::Quantity;
use std::collections::BTreeSet;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["limits"],
    rules: Rules { defaults, validate, printer: &PRINTER, create_on_update: true, ..Rules::PLAIN },
    ..Row::namespaced(["", "v1", "LimitRange"], ["limitranges", "limitrange"], "io.k8s.api.core.v1.LimitRange")
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column { name: "Created At", json_type: "date", description: "When it was made.", wide: false }],
    cells: |it, _| vec![name(it), it["metadata"]["creationTimestamp"].clone()],
};

/// Limits of containers follow from each other: a limit from the most, a request from the limit or the least.
fn defaults(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    for limit in list_mut(spec, "limits") {
        if text(limit, "type") != "Container" {
            continue;
        }
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let given: Vec<_> = entries(limit, from).map(|(name, value)| (name.clone(), value.clone())).collect();
            if given.is_empty() {
                continue;
            }
            if !limit[to].is_object() {
                limit[to] = json!({});
            }
            for (name, value) in given {
                if limit[to][&name].is_null() {
                    limit[to][name] = value;
                }
            }
        }
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    let path = spec.field("limits");
    let mut kinds = BTreeSet::new();
    for (index, limit) in list(&change.new["spec"], "limits").iter().enumerate() {
        let path = path.index(index);
        let kind = text(limit, "type");
        type_name(kind, &path.field("type"), errors);
        if !kinds.insert(kind) {
            errors.duplicate(&path.field("type"), kind);
        }
        names(limit, kind, &path, errors);
        amounts(limit, kind == "Pod", &path, errors);
    }
}

fn type_name(kind: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(detail) = Format::QualifiedName.check(kind) {
        errors.invalid(path, kind, detail);
    } else if !kind.contains('/') && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

const DEFAULTS: [&str; 2] = ["default", "defaultRequest"];

fn names(limit: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let path = path.field(field);
        if kind == "Pod" && DEFAULTS.contains(&field) {
            if entries(limit, field).next().is_some() {
                errors.forbidden(&path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in entries(limit, field) {
            let of_container = ["Pod", "Container"].contains(&kind);
            let standard = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || !of_container && matches!(name.as_str(), "storage" | "requests.storage" | "pods");
            if let Some(detail) = Format::QualifiedName.check(name) {
                errors.invalid(&path.key(name), name.as_str(), detail);
            } else if !name.contains('/') && !standard {
                let whose = if of_container { "must be a standard resource for containers" } else { OTHER };
                errors.invalid(&path.key(name), name.as_str(), whose);
            }
        }
    }
    let storage = |field: &str| !limit[field]["storage"].is_null();
    if kind == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.field("limits"), detail);
    }
}

const OTHER: &str = "must be a standard resource type or fully qualified";

fn amounts(limit: &Value, of_pods: bool, path: &Path<'_>, errors: &mut Errors) {
    let fields = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];
    let names: BTreeSet<&String> =
        fields.iter().flat_map(|field| entries(limit, field)).map(|(name, _)| name).collect();
    for name in names {
        let of = |field: &str| match of_pods && DEFAULTS.contains(&field) {
            true => None,
            false => limit[field][name].as_str().and_then(|text| Quantity::parse(text).ok()),
        };
        // What may not be above what, in Kubernetes' words, and where it says so.
        for (low, low_name, high, high_name, at) in [
            ("min", "min", "max", "max", "min"),
            ("min", "min", "defaultRequest", "default request", "defaultRequest"),
            ("defaultRequest", "default request", "max", "max", "defaultRequest"),
            ("defaultRequest", "default request", "default", "default limit", "defaultRequest"),
            ("min", "min", "default", "default", "default"),
            ("default", "default", "max", "max", "default"),
        ] {
            if let (Some(less), Some(more)) = (of(low), of(high))
                && less.nanos() > more.nanos()
            {
                let (less, more) = (less.canonical(), more.canonical());
                let shown = if at == high { &more } else { &less };
                let shown = if at == "default" { &less } else { shown }.clone();
                let verb = format!("{low_name} value {less} is greater than {high_name} value {more}");
                errors.invalid(&path.field(at).key(name), shown, verb);
            }
        }
        let ratio_path = path.field("maxLimitRequestRatio");
        let Some(ratio) = of("maxLimitRequestRatio") else { continue };
        if ratio.nanos() < 1_000_000_000 {
            let shown = ratio.canonical();
            errors.invalid(&ratio_path.key(name), shown.clone(), format!("ratio {shown} is less than 1"));
        }
        if let (Some(least), Some(most)) = (of("min"), of("max"))
            && most.nanos() * 1_000_000_000 < ratio.nanos().saturating_mul(least.nanos())
        {
            #[allow(clippy::cast_precision_loss)] // as Kubernetes shows it
            let share = most.nanos() as f64 / least.nanos() as f64;
            let shown = ratio.canonical();
            let detail = format!("ratio {shown} is greater than max/min = {share:.6}");
            errors.invalid(&ratio_path.key(name), shown, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    fn range(limits: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"limits": limits}})
    }

    #[test]
    fn limits_of_containers_follow_from_each_other() {
        let mut it = range(&json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]));
        (super::ROW.rules.defaults)(&mut it);
        assert_eq!(it["spec"]["limits"][0]["default"], json!({"cpu": "2"}));
        assert_eq!(it["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
    }

    #[test]
    fn what_is_refused() {
        for (limits, expected) in [
            (json!([{"type": "Pod", "default": {"cpu": "1"}}]), "spec.limits[0].default: Forbidden"),
            (json!([{"type": "Pod"}, {"type": "Pod"}]), "spec.limits[1].type: Duplicate"),
            (json!([{"type": "Some"}]), "spec.limits[0].type: Invalid"),
            (json!([{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]), "spec.limits[0].min[cpu]: Invalid"),
            (json!([{"type": "PersistentVolumeClaim"}]), "spec.limits[0].limits: Required"),
            (
                json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "800m"}}]),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid",
            ),
            (
                json!([{"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}]),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid",
            ),
        ] {
            assert_eq!(errors(&super::ROW, &range(&limits)), [expected], "{limits}");
        }
        let fine = json!([{"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "2"}}]);
        assert_eq!(errors(&super::ROW, &range(&fine)), [""; 0]);
    }
}
