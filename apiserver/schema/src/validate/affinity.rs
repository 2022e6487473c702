//! Where a pod wants to be: affinity, anti-affinity, and how pods are spread.

use super::errors::Errors;
use super::meta;
use super::names::Format;
use super::node_selector;
use crate::path::Path;
use crate::view::{entries, given, list, text};
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `spec.affinity` and `spec.topologySpreadConstraints`.
pub(super) fn placement(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    affinity(&spec["affinity"], &path.field("affinity"), errors);
    spread(list(spec, "topologySpreadConstraints"), &path.field("topologySpreadConstraints"), errors);
}

fn affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    nodes(&affinity["nodeAffinity"], &path.field("nodeAffinity"), errors);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = path.field(kind);
        for (index, term) in list(&affinity[kind], REQUIRED).iter().enumerate() {
            pods(term, &path.field(REQUIRED).index(index), errors);
        }
        for (index, weighted) in list(&affinity[kind], PREFERRED).iter().enumerate() {
            let path = path.field(PREFERRED);
            let path = path.index(index);
            weight(weighted, &path, errors);
            pods(&weighted["podAffinityTerm"], &path.field("podAffinityTerm"), errors);
        }
    }
}

fn nodes(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    if affinity[REQUIRED].is_object() {
        node_selector::check(&affinity[REQUIRED], &path.field(REQUIRED), errors);
    }
    for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
        let path = path.field(PREFERRED);
        let path = path.index(index);
        weight(term, &path, errors);
        node_selector::term(&term["preference"], &path.field("preference"), errors);
    }
}

fn weight(weighted: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !(1..=100).contains(&weighted["weight"].as_i64().unwrap_or_default()) {
        errors.invalid(&path.field("weight"), weighted["weight"].clone(), "must be in the range 1-100");
    }
}

/// One term of an affinity to pods.
fn pods(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    meta::selector(&term["labelSelector"], &path.field("labelSelector"), errors);
    meta::selector(&term["namespaceSelector"], &path.field("namespaceSelector"), errors);
    for name in list(term, "namespaces") {
        Format::Label.require(name.as_str().unwrap_or_default(), &path.field("namespace"), errors);
    }
    label_keys(term, path, errors);
    if !given(term, "topologyKey") {
        errors.required(&path.field("topologyKey"), "can not be empty");
    }
    Format::QualifiedName.require(text(term, "topologyKey"), &path.field("topologyKey"), errors);
}

/// Keys whose values come from the pod itself (KEP-3633).
fn label_keys(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (keys, path) = (list(term, field), path.field(field));
        if !keys.is_empty() && !term["labelSelector"].is_object() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            Format::QualifiedName.require(key.as_str().unwrap_or_default(), &path.index(index), errors);
        }
    }
    let matched = path.field("matchLabelKeys");
    for (index, key) in list(term, "matchLabelKeys").iter().enumerate() {
        if list(term, "mismatchLabelKeys").contains(key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(&matched.index(index), key.clone(), detail);
        }
    }
}

fn spread(constraints: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        positive(&constraint["maxSkew"], &path.field("maxSkew"), errors);
        if !given(constraint, "topologyKey") {
            errors.required(&path.field("topologyKey"), "can not be empty");
        }
        let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        errors.exactly_one_of(&path.field("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let same = |other: &Value| (text(other, "topologyKey"), text(other, "whenUnsatisfiable")) == (key, action);
        if constraints.iter().skip(index + 1).any(same) {
            errors.duplicate(&path.field("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        domains(constraint, &path.field("minDomains"), errors);
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"].into_iter().filter(|it| !constraint[*it].is_null()) {
            errors.exactly_one_of(&path.field(policy), text(constraint, policy), &["Honor", "Ignore"]);
        }
        spread_keys(constraint, &path, errors);
        meta::selector(&constraint["labelSelector"], &path.field("labelSelector"), errors);
    }
}

fn positive(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if value.as_i64().unwrap_or_default() < 1 {
        errors.invalid(path, value.clone(), "must be greater than zero");
    }
}

fn domains(constraint: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (least, action) = (&constraint["minDomains"], text(constraint, "whenUnsatisfiable"));
    if least.is_null() {
        return;
    }
    positive(least, path, errors);
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(path, least.clone(), detail);
    }
}

/// As [`label_keys`], and no key twice: the selector must not name it too.
fn spread_keys(constraint: &Value, path: &Path<'_>, errors: &mut Errors) {
    label_keys(constraint, path, errors);
    let selector = &constraint["labelSelector"];
    let of_expressions = list(selector, "matchExpressions").iter().map(|one| text(one, "key"));
    let named: Vec<&str> =
        entries(selector, "matchLabels").map(|(key, _)| key.as_str()).chain(of_expressions).collect();
    let keys = path.field("matchLabelKeys");
    for (index, key) in list(constraint, "matchLabelKeys").iter().enumerate() {
        if named.contains(&key.as_str().unwrap_or_default()) {
            errors.invalid(&keys.index(index), key.clone(), "exists in both matchLabelKeys and labelSelector");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(spec: &Value) -> Vec<String> {
        let mut errors = Errors::default();
        placement(spec, &Path::Root.field("spec"), &mut errors);
        errors.into_inner().iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn terms_and_weights_are_looked_at() {
        let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}});
        let with = |term: &Value, weight: i64| json!({"affinity": {"podAffinity": {PREFERRED: [{"weight": weight, "podAffinityTerm": term}]}}});
        assert_eq!(errors(&with(&term, 1)), [""; 0]);
        let at = format!("spec.affinity.podAffinity.{PREFERRED}[0]");
        assert_eq!(errors(&with(&term, 101)), [format!("{at}.weight")]);
        let nowhere = json!({"matchLabelKeys": ["a"]});
        let term = format!("{at}.podAffinityTerm");
        let key = format!("{term}.topologyKey");
        assert_eq!(errors(&with(&nowhere, 1)), [format!("{term}.matchLabelKeys"), key.clone(), key]);
    }

    #[test]
    fn constraints_are_looked_at() {
        let with = |change: Value| {
            let mut one = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
            json_patch::merge(&mut one, &change);
            json!({"topologySpreadConstraints": [one]})
        };
        assert_eq!(errors(&with(json!({"minDomains": 2, "nodeTaintsPolicy": "Honor"}))), [""; 0]);
        for (change, field) in [
            (json!({"maxSkew": 0}), "maxSkew"),
            (json!({"topologyKey": ""}), "topologyKey"),
            (json!({"whenUnsatisfiable": "x"}), "whenUnsatisfiable"),
            (json!({"minDomains": 0}), "minDomains"),
            (json!({"minDomains": 1, "whenUnsatisfiable": "ScheduleAnyway"}), "minDomains"),
            (json!({"nodeAffinityPolicy": "x"}), "nodeAffinityPolicy"),
            (json!({"matchLabelKeys": ["a"]}), "matchLabelKeys"),
        ] {
            assert_eq!(errors(&with(change)), [format!("spec.topologySpreadConstraints[0].{field}")]);
        }
        let twice = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
        let twice = json!({"topologySpreadConstraints": [twice, twice]});
        assert_eq!(errors(&twice), ["spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}"]);
    }
}
