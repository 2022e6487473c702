//! What may not change: identity, and the fields that a kind fixes when it is made.

use super::errors::Errors;
use crate::path::Path;
use crate::view::{given, is_unset, list, list_mut, object_mut, text};
use serde_json::{Map, Value};

/// What is said of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// Name, namespace and uid; a `new` without them keeps those of `old`.
pub(crate) fn metadata(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::Root.field("metadata");
    for field in ["name", "namespace", "uid"] {
        let (after, before) = (text(&new["metadata"], field), text(&old["metadata"], field));
        if !after.is_empty() && after != before {
            errors.invalid(&path.field(field), after, IMMUTABLE);
        }
    }
}

/// Whether two values say the same, where absent, `null`, `""`, `[]` and `{}` are one.
pub(crate) fn equal(new: &Value, old: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        value => is_unset(value),
    };
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let keys = new.keys().chain(old.keys());
            keys.into_iter().all(|key| equal(field(new, key), field(old, key)))
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            new.iter().zip(old).all(|(new, old)| equal(new, old))
        }
        _ => new == old || is_empty(new) && is_empty(old),
    }
}

fn field<'a>(map: &'a Map<String, Value>, key: &str) -> &'a Value {
    map.get(key).unwrap_or(&Value::Null)
}

pub(crate) fn same(field: &str, new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !equal(&new[field], &old[field]) {
        errors.invalid(&path.field(field), new[field].clone(), IMMUTABLE);
    }
}

/// Once `immutable` is set it stays, and so does what it protects.
pub(crate) fn frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.forbidden(&Path::Root.field("immutable"), DETAIL);
    }
    for field in fields.iter().filter(|field| !equal(&new[**field], &old[**field])) {
        errors.forbidden(&Path::Root.field(field), DETAIL);
    }
}

const POD_DETAIL: &str = "pod updates may not change fields other than `spec.containers[*].image`, \
     `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), \
     `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn pod(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    if new == old {
        return;
    }
    for field in ["containers", "initContainers"] {
        if list(new, field).len() != list(old, field).len() {
            return errors.forbidden(&path.field(field), "pod updates may not add or remove containers");
        }
    }
    deadline(new, old, &path.field("activeDeadlineSeconds"), errors);
    tolerations(list(new, "tolerations"), list(old, "tolerations"), &path.field("tolerations"), errors);
    // What may change is taken from the old spec; everything else must then be equal.
    let mut rest = new.clone();
    take("activeDeadlineSeconds", &mut rest, old);
    take("tolerations", &mut rest, old);
    for field in ["containers", "initContainers"] {
        list_mut(&mut rest, field).iter_mut().zip(list(old, field)).for_each(|(new, old)| take("image", new, old));
    }
    if old["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0)
        && new["terminationGracePeriodSeconds"] == 1
    {
        take("terminationGracePeriodSeconds", &mut rest, old);
    }
    gates(&mut rest, old);
    if !equal(&rest, old) {
        let changed = changed(&rest, old, path);
        errors.forbidden(path, format!("{POD_DETAIL}; changed: {changed}"));
    }
}

/// Scheduling gates may go, never come.
fn gates(new: &mut Value, old: &Value) {
    let before = list(old, "schedulingGates");
    if list(new, "schedulingGates").iter().all(|gate| before.contains(gate)) {
        take("schedulingGates", new, old);
    }
}

/// Gives `new` the field of `old`, so that it may differ; does nothing to what is no object.
pub(crate) fn take(field: &str, new: &mut Value, old: &Value) {
    if let Some(map) = new.as_object_mut() {
        map.insert(field.to_owned(), old[field].clone());
    }
}

/// The fields of the spec that differ.
fn changed(new: &Value, old: &Value, path: &Path<'_>) -> String {
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    let mut names: Vec<_> = keys
        .filter(|key| !equal(&new[key.as_str()], &old[key.as_str()]))
        .map(|key| path.field(key).to_string())
        .collect();
    names.sort();
    names.dedup();
    names.join(", ")
}

/// A deadline may be set, or come closer.
fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let field = "activeDeadlineSeconds";
    match (new[field].as_i64(), old[field].as_i64()) {
        (None, Some(_)) => errors.invalid(path, Value::Null, "must not update from a positive integer to nil value"),
        (Some(after), Some(before)) if after > before => {
            errors.invalid(path, after, format!("must be less than or equal to previous value {before}"));
        }
        _ => {}
    }
}

fn tolerations(new: &[Value], old: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let seconds = "tolerationSeconds";
    let without = |toleration: &Value| {
        let mut bare = toleration.clone();
        if let Some(fields) = bare.as_object_mut() {
            fields.remove(seconds);
        }
        bare
    };
    let kept = |before: &Value| new.iter().any(|after| equal(&without(after), &without(before)));
    if !old.iter().all(kept) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// A service keeps its address as long as it has one.
pub(crate) fn service(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let has_address = |spec: &Value| text(spec, "type") != "ExternalName" && given(spec, "clusterIP");
    // An update that leaves the address out keeps it: the API server fills it in.
    if has_address(old) && has_address(new) && new["clusterIP"] != old["clusterIP"] {
        errors.invalid(&path.field("clusterIP"), new["clusterIP"].clone(), "may not change once set");
    }
    let balanced = |spec: &Value| text(spec, "type") == "LoadBalancer";
    if balanced(old) && balanced(new) && new["loadBalancerClass"] != old["loadBalancerClass"] {
        errors.invalid(&path.field("loadBalancerClass"), new["loadBalancerClass"].clone(), "may not change once set");
    }
}

pub(crate) fn job(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    const STAYS: [&str; 6] =
        ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    for field in STAYS {
        same(field, new, old, path, errors);
    }
    // An indexed job may grow or shrink, if its parallelism goes with it.
    let elastic = text(new, "completionMode") == "Indexed" && new["completions"] == new["parallelism"];
    if !elastic {
        same("completions", new, old, path, errors);
    }
}

/// The template of a job's pods stays; while the job rests, what its pods ask for may change, and where they go if none was ever there.
pub(crate) fn job_template(new: &Value, job: &Value, path: &Path<'_>, errors: &mut Errors) {
    const DIRECTIVES: [&str; 3] = ["nodeSelector", "tolerations", "schedulingGates"];
    let (new, mut old) = (&new["template"], job["spec"]["template"].clone());
    let rests = job["spec"]["suspend"] == true && job["status"]["startTime"].is_null();
    if !rests {
        if !equal(new, &old) {
            errors.invalid(&path.field("template"), new.clone(), IMMUTABLE);
        }
        return;
    }
    if let Some(before) = old.get_mut("spec").filter(|spec| spec.is_object()) {
        let wanted = &new["spec"];
        DIRECTIVES.iter().for_each(|field| take(field, before, wanted));
        let affinity = wanted["affinity"]["nodeAffinity"].clone();
        if let Some(rest) = object_mut(before, "affinity").and_then(Value::as_object_mut) {
            rest.insert("nodeAffinity".to_owned(), affinity);
            rest.retain(|_, part| !part.is_null());
        }
        for field in ["containers", "initContainers"] {
            for (before, after) in list_mut(before, field).iter_mut().zip(list(wanted, field)) {
                if text(before, "name") == text(after, "name") {
                    take("resources", before, after);
                }
            }
        }
    }
    if !equal(&new["spec"], &old["spec"]) {
        errors.invalid(&path.field("template.spec"), new["spec"].clone(), IMMUTABLE);
    }
}

/// A node's pod range and provider stay, once they are known.
pub(crate) fn node(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["podCIDR", "podCIDRs", "providerID"] {
        if given(old, field) && !equal(&new[field], &old[field]) {
            errors.forbidden(&path.field(field), "node updates may not change it except from \"\" to valid");
        }
    }
    if text(new, "externalID") != text(old, "externalID") {
        errors.forbidden(&path.field("externalID"), "may not be updated");
    }
}
