//! A rule, as it is written.

use crate::FieldErrorKind;
use crate::view::{list, text};
use serde_json::{Value, json};

/// Where a schema has its rules.
pub(super) const KEY: &str = "x-kubernetes-validations";

/// One of `x-kubernetes-validations`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule<'a>(pub(super) &'a Value);

impl<'a> Rule<'a> {
    /// Those of a schema.
    pub(super) fn of(schema: &'a Value) -> impl ExactSizeIterator<Item = Self> {
        list(schema, KEY).iter().map(Self)
    }

    pub(super) fn rule(self) -> &'a str {
        text(self.0, "rule")
    }

    pub(super) fn message(self) -> &'a str {
        text(self.0, "message")
    }

    pub(super) fn message_expression(self) -> &'a str {
        text(self.0, "messageExpression")
    }

    pub(super) fn field_path(self) -> &'a str {
        text(self.0, "fieldPath")
    }

    pub(super) fn reason(self) -> Option<&'a str> {
        self.0["reason"].as_str()
    }

    /// Whether `oldSelf` is there always, with or without a value.
    pub(super) fn optional_old(self) -> Option<bool> {
        self.0["optionalOldSelf"].as_bool()
    }

    /// What kind of error a value that breaks it is.
    pub(super) fn error_kind(self) -> FieldErrorKind {
        match self.reason() {
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        }
    }

    /// How messages name it.
    pub(super) fn name(self) -> &'a str {
        if self.message().is_empty() { self.rule().trim() } else { self.message().trim() }
    }

    /// What is said when it is broken and no expression says it.
    pub(super) fn complaint(self) -> String {
        match self.message() {
            "" => format!("failed rule: {}", self.name()),
            message => message.trim().to_owned(),
        }
    }

    /// As Kubernetes shows it in errors: by the names that its program has.
    pub(super) fn shown(self) -> Value {
        json!({"Rule": self.rule(), "Message": self.message(), "MessageExpression": self.message_expression(),
            "Reason": self.0["reason"], "FieldPath": self.field_path(), "OptionalOldSelf": self.0["optionalOldSelf"]})
    }
}

/// Whether a schema, or one below it, has rules.
pub(super) fn any(schema: &Value) -> bool {
    Rule::of(schema).len() > 0
        || ["items", "additionalProperties"].iter().any(|key| schema[*key].is_object() && any(&schema[*key]))
        || schema["properties"].as_object().is_some_and(|properties| properties.values().any(any))
}
