//! PodDisruptionBudget.

use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name, number};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{meta, workload};
use crate::view::text;
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["pdb"],
    subresources: &[status(["policy", "v1", "PodDisruptionBudget"])],
    rules: Rules {
        // Kubernetes has no rule for its metadata but those of all objects.
        name: Format::PathSegment,
        free_finalizers: true,
        validate,
        printer: &PRINTER,
        generation: true,
        unconditional_update: false,
        ..Rules::PLAIN
    },
    ..Row::namespaced(
        ["policy", "v1", "PodDisruptionBudget"],
        ["poddisruptionbudgets", "poddisruptionbudget"],
        "io.k8s.api.policy.v1.PodDisruptionBudget",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Min Available", "How many pods must stay, as a count or a share."),
        Column::text("Max Unavailable", "How many pods may go, as a count or a share."),
        Column::number("Allowed Disruptions", "How many pods may be evicted now."),
        AGE,
    ],
    cells: |it, now| {
        let (spec, allowed) = (&it["spec"], number(&it["status"]["disruptionsAllowed"]));
        vec![name(it), bound(&spec["minAvailable"]), bound(&spec["maxUnavailable"]), allowed.into(), age(it, now)]
    },
};

fn bound(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::Number(count) => count.to_string().into(),
        share => share.clone(),
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if change.part == "status" {
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        return workload::counts(&change.new["status"], &counts, &Path::Root.field("status"), errors);
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let bounds = ["minAvailable", "maxUnavailable"];
    if bounds.iter().all(|bound| !spec[*bound].is_null()) {
        errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for bound in bounds {
        workload::count_or_share(&spec[bound], &path.field(bound), errors);
    }
    meta::selector(&spec["selector"], &path.field("selector"), errors);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    errors.one_of(&path.field("unhealthyPodEvictionPolicy"), text(spec, "unhealthyPodEvictionPolicy"), &policies);
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::json;

    #[test]
    fn what_is_refused() {
        let of = |spec| errors(&super::ROW, &json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(of(json!({"minAvailable": 1})), [""; 0]);
        for (spec, expected) in [
            (json!({"minAvailable": 1, "maxUnavailable": 1}), "spec: Invalid"),
            (json!({"minAvailable": -1}), "spec.minAvailable: Invalid"),
            (json!({"maxUnavailable": "101%"}), "spec.maxUnavailable: Invalid"),
            (json!({"maxUnavailable": "1.1"}), "spec.maxUnavailable: Invalid"),
            (json!({"unhealthyPodEvictionPolicy": "Never"}), "spec.unhealthyPodEvictionPolicy: NotSupported"),
        ] {
            assert_eq!(of(spec), [expected]);
        }
    }
}
