//! Which quotas an object belongs to: `spec.scopes` and `spec.scopeSelector` (KEP-564, KEP-2249, KEP-3751).

use crate::Kind;
use crate::amounts::Amounts;
use serde_json::Value;

/// What scopes ask of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Of a pod.
    pod: Option<Pod>,
    /// `VolumeAttributesClass` names of a claim.
    attributes: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    terminating: bool,
    best_effort: bool,
    priority: String,
    looks_elsewhere: bool,
}

impl Scopes {
    /// Of an object; objects of other kinds than pods and claims are in no scope.
    #[must_use]
    pub fn of(kind: Kind<'_>, object: &Value) -> Self {
        let spec = &object["spec"];
        match kind {
            ("", "pods") => Self {
                pod: Some(Pod {
                    terminating: is_terminating(object),
                    best_effort: is_best_effort(spec),
                    priority: spec["priorityClassName"].as_str().unwrap_or_default().to_owned(),
                    looks_elsewhere: looks_elsewhere(&spec["affinity"]),
                }),
                attributes: None,
            },
            ("", "persistentvolumeclaims") => {
                let status = &object["status"];
                let names = [
                    &spec["volumeAttributesClassName"],
                    &status["currentVolumeAttributesClassName"],
                    &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
                ];
                let mut names: Vec<String> = names
                    .iter()
                    .filter_map(|name| name.as_str())
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
                names.sort_unstable();
                names.dedup();
                Self { pod: None, attributes: Some(names) }
            }
            _ => Self::default(),
        }
    }

    /// Whether the object is in every scope of `quota`.
    #[must_use]
    pub fn fit(&self, quota: &Value) -> bool {
        let spec = &quota["spec"];
        let plain = spec["scopes"].as_array().into_iter().flatten();
        let mut plain = plain.map(|scope| (scope.as_str().unwrap_or_default(), "Exists", &Value::Null));
        let selectors = spec["scopeSelector"]["matchExpressions"].as_array().into_iter().flatten();
        let mut selectors = selectors.map(|one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default();
            (text("scopeName"), text("operator"), &one["values"])
        });
        plain.all(|scope| self.is_in(scope)) && selectors.all(|scope| self.is_in(scope))
    }

    fn is_in(&self, (scope, operator, values): (&str, &str, &Value)) -> bool {
        match (scope, &self.pod, &self.attributes) {
            ("Terminating", Some(pod), _) => pod.terminating,
            ("NotTerminating", Some(pod), _) => !pod.terminating,
            ("BestEffort", Some(pod), _) => pod.best_effort,
            ("NotBestEffort", Some(pod), _) => !pod.best_effort,
            ("CrossNamespacePodAffinity", Some(pod), _) => pod.looks_elsewhere,
            ("PriorityClass", Some(pod), _) => {
                let class = Some(pod.priority.as_str()).filter(|class| !class.is_empty());
                is_chosen(class, operator, values)
            }
            ("VolumeAttributesClass", _, Some(names)) if names.is_empty() => is_chosen(None, operator, values),
            ("VolumeAttributesClass", _, Some(names)) => {
                names.iter().any(|name| is_chosen(Some(name), operator, values))
            }
            _ => false,
        }
    }
}

/// A selector over one label that may be missing.
fn is_chosen(value: Option<&str>, operator: &str, values: &Value) -> bool {
    let listed = |value: &str| values.as_array().into_iter().flatten().any(|one| one == value);
    match operator {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "DoesNotExist" => value.is_none(),
        _ => value.is_some(),
    }
}

/// Whether a pod ends by itself.
pub(crate) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

/// No container asks for CPU or memory ("Pod Quality of Service Classes"); `spec` is a pod's.
#[must_use]
pub fn is_best_effort(spec: &Value) -> bool {
    let asks = |one: &Value| {
        ["requests", "limits"].iter().any(|kind| {
            let amounts = Amounts::of(&one["resources"][kind]).only(&["cpu", "memory"]).without_zeros();
            !amounts.is_empty()
        })
    };
    let lists = ["containers", "initContainers"].into_iter();
    let mut containers = lists.flat_map(|list| spec[list].as_array().into_iter().flatten());
    if spec["resources"].is_object() { !asks(spec) } else { !containers.any(asks) }
}

/// Whether a pod wants to be near, or far from, pods of other namespaces.
fn looks_elsewhere(affinity: &Value) -> bool {
    let names_others = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty()) || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |field: &str| affinity[kind][field].as_array().into_iter().flatten();
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution").map(|one| &one["podAffinityTerm"]);
        list("requiredDuringSchedulingIgnoredDuringExecution").chain(preferred).any(names_others)
    })
}
