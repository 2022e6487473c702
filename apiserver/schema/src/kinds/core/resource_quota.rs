//! ResourceQuota.

use super::persistent_volume_claim::amount;
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{entries, list, text};
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeSet;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["quota"],
    subresources: &[status(["", "v1", "ResourceQuota"])],
    rules: Rules { validate, printer: &PRINTER, returns_deleted: true, ..Rules::PLAIN },
    ..Row::namespaced(
        ["", "v1", "ResourceQuota"],
        ["resourcequotas", "resourcequota"],
        "io.k8s.api.core.v1.ResourceQuota",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Request", "What is used of what may be asked for."),
        Column::text("Limit", "What is used of the sum of limits."),
        AGE,
    ],
    cells: |it, now| vec![name(it), usage(it, false).into(), usage(it, true).into(), age(it, now)],
};

/// `cpu: 1/2, memory: 1Gi/2Gi` of limits or of everything else.
fn usage(quota: &Value, limits: bool) -> String {
    let status = &quota["status"];
    let mut names: Vec<&String> = entries(status, "hard").map(|(name, _)| name).collect();
    names.sort();
    let names = names.into_iter().filter(|name| name.starts_with("limits.") == limits);
    let used = |name: &String| format!("{name}: {}/{}", amount(&status["used"][name]), amount(&status["hard"][name]));
    names.map(used).collect::<Vec<_>>().join(", ")
}

/// Resources that are amounts and may have a fraction, and may be asked for or limited.
const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];
/// Objects that are counted.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_standard(name: &str) -> bool {
    let compute = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    let pages = name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-");
    COMPUTE.contains(&compute) || name == "requests.storage" || COUNTED.contains(&name) || pages
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (new, path) = (change.new, Path::Root.field("spec"));
    if change.is_whole() {
        amounts(&new["spec"], "hard", &path, errors);
        scopes(&new["spec"], &path, errors);
        selector(&new["spec"], &path, errors);
    }
    if change.part == "status" {
        let path = Path::Root.field("status");
        amounts(&new["status"], "hard", &path, errors);
        amounts(&new["status"], "used", &path, errors);
    }
    if let Some(old) = change.old.filter(|_| change.is_whole()) {
        let set = |it: &Value| -> BTreeSet<String> {
            list(&it["spec"], "scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(new) != set(old) {
            errors.invalid(&path.field("scopes"), new["spec"]["scopes"].clone(), "field is immutable");
        }
    }
}

fn amounts(holder: &Value, field: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field(field);
    for (name, value) in entries(holder, field) {
        let path = path.key(name);
        if let Some(detail) = Format::QualifiedName.check(name) {
            errors.invalid(&path, name.as_str(), detail);
        } else if !name.contains('/') && !is_standard(name) {
            // Kubernetes says it twice of what is a resource of nothing.
            if name != "storage" {
                errors.invalid(&path, name.as_str(), "must be a standard resource type or fully qualified");
            }
            errors.invalid(&path, name.as_str(), "must be a standard resource for quota");
        }
        let Some(amount) = value.as_str().and_then(|text| Quantity::parse(text).ok()) else { continue };
        let whole = COUNTED.contains(&name.as_str()) || name.contains('/');
        if amount.nanos() < 0 {
            errors.invalid(&path, amount.canonical(), "must be greater than or equal to 0");
        } else if whole && !amount.is_whole() {
            errors.invalid(&path, amount.canonical(), "must be an integer");
        }
    }
}

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];

/// Whether a quota of `resource` can have a scope.
fn applies(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if SCOPES.contains(&scope) => resource == "pods" || compute.contains(&resource),
        _ => true,
    }
}

fn misapplied(spec: &Value, scope: &str) -> usize {
    entries(spec, "hard").filter(|(name, _)| is_standard(name) && !applies(scope, name)).count()
}

fn conflicts(scopes: &[&str]) -> usize {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    pairs.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))).count()
}

fn scopes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field("scopes");
    let mut say = |detail: &str| errors.invalid(&path, spec["scopes"].clone(), detail);
    let scopes: Vec<_> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            say("unsupported scope");
        }
        (0..misapplied(spec, scope)).for_each(|_| say("unsupported scope applied to resource"));
    }
    (0..conflicts(&scopes)).for_each(|_| say("conflicting scopes"));
}

fn selector(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let selector = path.field("scopeSelector");
    let path = selector.field("matchExpressions");
    let requirements = list(&spec["scopeSelector"], "matchExpressions");
    for requirement in requirements {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.field("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misapplied(spec, scope) {
            errors.invalid(&path, spec["scopeSelector"].clone(), "unsupported scope applied to resource");
        }
        let valued = ["PriorityClass", "VolumeAttributesClass"].contains(&scope);
        if SCOPES.contains(&scope) && !valued && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                 ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.field("operator"), operator, detail);
        }
        let (values, at) = (list(requirement, "values"), path.field("values"));
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&at, detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&at, values, detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&path.field("operator"), operator, "not a valid selector operator"),
        }
    }
    let scopes: Vec<_> = requirements.iter().map(|one| text(one, "scopeName")).collect();
    for _ in 0..conflicts(&scopes) {
        errors.invalid(&path, spec["scopes"].clone(), "conflicting scopes");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::json;

    #[test]
    fn what_is_refused() {
        let of = |spec| errors(&super::ROW, &json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(of(json!({"hard": {"cpu": "100m", "pods": "5", "count/jobs.batch": "1"}})), [""; 0]);
        for (spec, expected) in [
            (json!({"hard": {"pods": "500m"}}), "spec.hard[pods]: Invalid"),
            (json!({"hard": {"cpu": "-1"}}), "spec.hard[cpu]: Invalid"),
            (json!({"hard": {"pods": "1"}, "scopes": ["Some"]}), "spec.scopes: Invalid"),
            (json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}), "spec.scopes: Invalid"),
            (json!({"scopes": ["BestEffort", "NotBestEffort"]}), "spec.scopes: Invalid"),
            (
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}}),
                "spec.scopeSelector.matchExpressions.values: Required",
            ),
        ] {
            assert_eq!(of(spec.clone()), [expected], "{spec}");
        }
    }
}
