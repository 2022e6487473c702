//! MutatingAdmissionPolicy: expressions that change what requests write.

use super::{conditions, matching};
use crate::kinds::{Change, Row, Rules};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::view::{list, text};
use serde_json::Value;
use skiff_policy::Checker;

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    rules: Rules {
        defaults: matching::policy_defaults,
        validate,
        warnings: super::warnings,
        printer: &PRINTER,
        ..super::RULES
    },
    ..Row::cluster(
        ["admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy"],
        ["mutatingadmissionpolicies", "mutatingadmissionpolicy"],
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::number("Mutations", "How many changes it makes."),
        Column::text("ParamKind", "The kind of its parameters."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        vec![name(it), list(spec, "mutations").len().into(), matching::param_kind(spec), age(it, now)]
    },
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    conditions::policy(spec, &path, errors);
    matching::no_deletions(&spec["matchConstraints"], &path.field("matchConstraints"), errors);
    let mut checker = Checker::new(!spec["paramKind"].is_null(), true);
    if !super::conditions_stand(change) {
        conditions::conditions(spec, &checker, &path, errors);
    }
    conditions::variables(spec, &mut checker, &path, errors);
    let (mutations, at) = (list(spec, "mutations"), path.field("mutations"));
    if mutations.is_empty() {
        errors.required(&at, "mutations must contain at least one item");
    }
    mutations.iter().enumerate().for_each(|(index, one)| mutation(one, &checker, &at.index(index), errors));
    let reinvocation = text(spec, "reinvocationPolicy");
    errors.required_one_of(&path.field("reinvocationPolicy"), reinvocation, &["IfNeeded", "Never"]);
}

/// Ways to change an object, and the field of each.
const PATCHES: [(&str, &str); 2] = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];

fn mutation(one: &Value, checker: &Checker, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(one, "patchType");
    let known = PATCHES.map(|(kind, _)| kind);
    errors.required_one_of(&path.field("patchType"), kind, &known);
    if !known.contains(&kind) {
        return;
    }
    for (other, field) in PATCHES {
        let at = path.field(field);
        match (other == kind, one[field].is_null()) {
            (true, true) => errors.required(&at, &format!("must be specified when patchType is {kind}")),
            (true, false) => {
                if let Some(text) = conditions::expression(&one[field], "expression", "", &at, errors) {
                    let text = text.trim();
                    let problem = match kind {
                        "JSONPatch" => checker.patches(text),
                        _ => checker.configuration(text),
                    };
                    conditions::compiled(problem, "expression", text, &at, errors);
                }
            }
            (false, false) => {
                errors.invalid(&at, format!("{{{field}}}"), format!("must not be specified when patchType is {kind}"));
            }
            (false, true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set};
    use serde_json::{Value, json};

    #[test]
    fn what_is_refused() {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let patch = "[JSONPatch{op: 'remove', path: '/a'}]";
        let change = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": patch}});
        let policy = json!({"metadata": {"name": "a"}, "spec": {"matchConstraints": {"resourceRules": [rule]},
            "reinvocationPolicy": "Never", "mutations": [change]}});
        assert_eq!(errors(&super::ROW, &policy), [""; 0]);
        let cases = [
            ("/mutations", json!([]), "mutations: Required"),
            ("/mutations/0/patchType", json!("Merge"), "mutations[0].patchType: NotSupported"),
            ("/mutations/0/jsonPatch", Value::Null, "mutations[0].jsonPatch: Required"),
            ("/mutations/0/applyConfiguration", json!({}), "mutations[0].applyConfiguration: Invalid"),
            ("/reinvocationPolicy", Value::Null, "reinvocationPolicy: Required"),
            (
                "/matchConstraints/resourceRules/0/operations",
                json!(["DELETE"]),
                "matchConstraints.resourceRules.operations: NotSupported",
            ),
        ];
        for (at, value, expected) in cases {
            let mut object = policy.clone();
            set(&mut object, &format!("/spec{at}"), value);
            assert_eq!(errors(&super::ROW, &object), [format!("spec.{expected}")], "{at}");
        }
    }
}
