//! MutatingAdmissionPolicyBinding: where a policy holds, and with which parameters.

use super::{conditions, matching};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::view::{object_mut, text};
use serde_json::Value;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    rules: Rules { defaults, validate, warnings: super::warnings, printer: &PRINTER, ..super::RULES },
    ..Row::cluster(
        ["admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding"],
        ["mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding"],
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    )
};

/// How bindings of both kinds are printed.
pub(super) static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("PolicyName", "The policy that it is about."),
        Column::text("ParamRef", "The policy's parameters."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        vec![name(it), text(spec, "policyName").into(), conditions::param_name(spec), age(it, now)]
    },
};

/// What bindings of both kinds leave out.
pub(super) fn defaults(it: &mut Value) {
    if let Some(spec) = object_mut(it, "spec") {
        matching::resources_defaults(spec, "matchResources");
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    conditions::binding(spec, &path, errors);
    matching::no_deletions(&spec["matchResources"], &path.field("matchResources"), errors);
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::errors;
    use serde_json::{Value, json};

    #[test]
    fn what_is_refused() {
        let of = |spec: Value| errors(&super::ROW, &json!({"metadata": {"name": "a"}, "spec": spec}));
        assert_eq!(of(json!({"policyName": "p"})), [""; 0]);
        assert_eq!(of(json!({})), ["spec.policyName: Required"]);
        let param = |reference: Value| of(json!({"policyName": "p", "paramRef": reference}));
        assert_eq!(param(json!({"name": "n", "parameterNotFoundAction": "Deny"})), [""; 0]);
        assert_eq!(param(json!({"parameterNotFoundAction": "Deny"})), ["spec.paramRef: Required"]);
        assert_eq!(param(json!({"name": "n"})), ["spec.paramRef.parameterNotFoundAction: Required"]);
        let both = json!({"name": "n", "selector": {}, "parameterNotFoundAction": "Allow"});
        assert_eq!(param(both), ["spec.paramRef.name: Forbidden", "spec.paramRef.selector: Forbidden"]);
    }
}
