//! ValidatingAdmissionPolicy: expressions that requests must satisfy.

use super::{choice, conditions, matching};
use crate::custom::is_json_path;
use crate::kinds::{Change, METADATA, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::conditions as status_conditions;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{list, text};
use serde_json::Value;
use skiff_policy::Checker;
use std::collections::BTreeSet;

const GVK: [&str; 3] = ["admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    categories: &["api-extensions"],
    subresources: &[status(GVK)],
    rules: Rules {
        defaults: matching::policy_defaults,
        validate,
        warnings: super::warnings,
        printer: &PRINTER,
        status_keeps: METADATA,
        ..super::RULES
    },
    ..Row::cluster(
        GVK,
        ["validatingadmissionpolicies", "validatingadmissionpolicy"],
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::number("Validations", "How many expressions it has."),
        Column::text("ParamKind", "The kind of its parameters."),
        AGE,
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        vec![name(it), list(spec, "validations").len().into(), matching::param_kind(spec), age(it, now)]
    },
};

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (new, root) = (change.new, Path::Root);
    if change.part == "status" {
        return of_status(&new["status"], &root.field("status"), errors);
    }
    let (spec, path) = (&new["spec"], root.field("spec"));
    conditions::policy(spec, &path, errors);
    let mut checker = Checker::new(!spec["paramKind"].is_null(), !list(spec, "variables").is_empty());
    if !super::conditions_stand(change) {
        conditions::conditions(spec, &checker, &path, errors);
    }
    conditions::variables(spec, &mut checker, &path, errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    let (validations_path, annotations_path) = (path.field("validations"), path.field("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.required(&validations_path, detail);
        return errors.required(&annotations_path, detail);
    }
    for (index, one) in validations.iter().enumerate() {
        validation(one, &checker, &validations_path.index(index), errors);
    }
    audit(annotations, &checker, text(&new["metadata"], "name"), &annotations_path, errors);
}

/// Reasons of a refusal that a policy may give.
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

fn validation(one: &Value, checker: &Checker, path: &Path<'_>, errors: &mut Errors) {
    if let Some(text) = conditions::expression(one, "expression", "expression is not specified", path, errors) {
        conditions::compiled(checker.validation(text), "expression", text, path, errors);
    }
    let blank = |field: &str| !text(one, field).is_empty() && text(one, field).trim().is_empty();
    if blank("messageExpression") {
        let detail = "must be non-empty if specified";
        errors.invalid(&path.field("messageExpression"), text(one, "messageExpression"), detail);
    } else if !text(one, "messageExpression").is_empty() {
        let text = text(one, "messageExpression");
        conditions::compiled(checker.message(text), "messageExpression", text, path, errors);
    }
    let (message, at) = (text(one, "message"), path.field("message"));
    if blank("message") {
        errors.invalid(&at, message, "must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at, message, "must not contain line breaks");
    }
    choice(one, "reason", &REASONS, path, errors);
}

/// Most annotations that a policy may add to the audit log.
const ANNOTATIONS_MOST: usize = 20;
/// Longest expression of such an annotation's value, in bytes.
const VALUE_BYTES_MOST: usize = 5 << 10;

fn audit(annotations: &[Value], checker: &Checker, policy: &str, path: &Path<'_>, errors: &mut Errors) {
    if annotations.len() > ANNOTATIONS_MOST {
        errors.invalid(path, annotations, format!("must not have more than {ANNOTATIONS_MOST} auditAnnotations"));
    }
    let mut seen = BTreeSet::new();
    for (index, one) in annotations.iter().enumerate() {
        let (path, key) = (path.index(index), text(one, "key"));
        match policy {
            "" => errors.invalid(&path.field("key"), key, "requires metadata.name be non-empty"),
            policy => Format::QualifiedName.require(&format!("{policy}/{key}"), &path.field("key"), errors),
        }
        let detail = "valueExpression is not specified";
        match conditions::expression(one, "valueExpression", detail, &path, errors) {
            Some(text) if text.trim().len() > VALUE_BYTES_MOST => {
                let detail = format!("must not exceed {VALUE_BYTES_MOST} bytes in length");
                errors.required(&path.field("valueExpression"), &detail);
            }
            Some(text) => {
                conditions::compiled(checker.annotation(text.trim()), "valueExpression", text, &path, errors);
            }
            None => {}
        }
        if !seen.insert(key) {
            errors.duplicate(&path.field("key"), key);
        }
    }
}

fn of_status(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (checking, at) = (&status["typeChecking"], path.field("typeChecking"));
    let at = at.field("expressionWarnings");
    for (index, one) in list(checking, "expressionWarnings").iter().enumerate() {
        let path = at.index(index);
        if text(one, "warning").is_empty() {
            errors.required(&path.field("warning"), "");
        }
        let (field, path) = (text(one, "fieldRef").trim(), path.field("fieldRef"));
        if field.is_empty() {
            errors.required(&path, "");
        } else if !is_json_path(field) {
            errors.invalid(&path, field, "invalid JSONPath");
        }
    }
    status_conditions::check(list(status, "conditions"), &path.field("conditions"), errors);
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, part_errors, set};
    use serde_json::{Value, json};

    fn policy() -> Value {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        json!({"metadata": {"name": "a"}, "spec": {"matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "true"}]}})
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(errors(&super::ROW, &policy()), [""; 0]);
        let cases = [
            ("/matchConstraints", Value::Null, "matchConstraints: Required"),
            ("/matchConstraints/resourceRules", json!([]), "matchConstraints.resourceRules: Required"),
            ("/matchConstraints/matchPolicy", json!("x"), "matchConstraints.matchPolicy: NotSupported"),
            ("/validations/0/expression", json!(""), "validations[0].expression: Required"),
            ("/validations/0/message", json!("a\nb"), "validations[0].message: Invalid"),
            ("/validations/0/reason", json!("Gone"), "validations[0].reason: NotSupported"),
            ("/paramKind", json!({"apiVersion": "a/b/c", "kind": "K"}), "paramKind.apiVersion: Invalid"),
            ("/paramKind", json!({"apiVersion": "v1"}), "paramKind.kind: Required"),
            ("/variables", json!([{"name": "if", "expression": "1"}]), "variables[0].name: Invalid"),
            ("/auditAnnotations", json!([{"key": "-", "valueExpression": "'x'"}]), "auditAnnotations[0].key: Invalid"),
        ];
        for (at, value, expected) in cases {
            let mut object = policy();
            set(&mut object, &format!("/spec{at}"), value);
            assert_eq!(errors(&super::ROW, &object), [format!("spec.{expected}")], "{at}");
        }
    }

    #[test]
    fn warnings_in_the_status_name_fields() {
        let of = |field: &str| {
            let mut new = policy();
            new["status"] = json!({"typeChecking": {"expressionWarnings": [{"fieldRef": field, "warning": "w"}]}});
            part_errors(&super::ROW, &new, &policy(), Some("status"))
        };
        assert_eq!(of("spec.validations[0].expression"), [""; 0]);
        assert_eq!(of("spec.validations["), ["status.typeChecking.expressionWarnings[0].fieldRef: Invalid"]);
    }
}
