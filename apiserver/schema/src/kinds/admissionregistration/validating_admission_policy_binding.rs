//! ValidatingAdmissionPolicyBinding: where a policy holds, and with which parameters.

use super::conditions;
use super::mutating_admission_policy_binding::{PRINTER, defaults};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::list;
use serde_json::Value;
use std::collections::BTreeSet;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    rules: Rules { defaults, validate, warnings: super::warnings, printer: &PRINTER, ..super::RULES },
    ..Row::cluster(
        ["admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"],
        ["validatingadmissionpolicybindings", "validatingadmissionpolicybinding"],
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    )
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    conditions::binding(spec, &path, errors);
    actions(list(spec, "validationActions"), &path.field("validationActions"), errors);
}

/// What happens to requests that fail: each action once, and a refusal is not told twice.
fn actions(actions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().map(|one| one.as_str().unwrap_or_default()).enumerate() {
        errors.exactly_one_of(&path.index(index), action, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action) {
            errors.duplicate(&path.index(index), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and \
                      headers serves no purpose)";
        errors.invalid(path, actions, detail);
    }
    if seen.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    #[test]
    fn actions_are_told_apart() {
        let of = |actions: Value| {
            let spec = json!({"policyName": "p", "validationActions": actions});
            errors(&super::ROW, &json!({"metadata": {"name": "a"}, "spec": spec}))
        };
        assert_eq!(of(json!(["Deny", "Audit"])), [""; 0]);
        assert_eq!(of(json!([])), ["spec.validationActions: Required"]);
        assert_eq!(of(json!(["Deny", "Warn"])), ["spec.validationActions: Invalid"]);
        assert_eq!(of(json!(["Audit", "Audit"])), ["spec.validationActions[1]: Duplicate"]);
    }
}
