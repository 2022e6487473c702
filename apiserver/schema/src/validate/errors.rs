//! Collects what is wrong.

use crate::path::Path;
use crate::{FieldError, FieldErrorKind};
use serde_json::Value;

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    found: Vec<FieldError>,
    /// What is wrong and may stay, because it was so before.
    warnings: Vec<String>,
}

impl Errors {
    pub(crate) fn into_inner(self) -> Vec<FieldError> {
        self.found
    }

    /// Adds what is told and refuses nothing.
    pub(crate) fn warn(&mut self, warnings: Vec<String>) {
        self.warnings.extend(warnings);
    }

    /// What is told and refuses nothing.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What has been found so far.
    pub(crate) fn as_slice(&self) -> &[FieldError] {
        &self.found
    }

    /// Takes errors that were found elsewhere.
    pub(crate) fn extend(&mut self, errors: Vec<FieldError>) {
        self.found.extend(errors);
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How much is wrong.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    fn add(&mut self, kind: FieldErrorKind, path: &Path<'_>, value: Option<Value>, detail: impl Into<String>) {
        self.found.push(FieldError { kind, field: path.to_string(), value, detail: detail.into() });
    }

    pub(crate) fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.add(FieldErrorKind::Required, path, None, detail);
    }

    pub(crate) fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.add(FieldErrorKind::Invalid, path, Some(value.into()), detail);
    }

    pub(crate) fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.add(FieldErrorKind::Duplicate, path, Some(value.into()), "");
    }

    pub(crate) fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.add(FieldErrorKind::NotFound, path, Some(value.into()), "");
    }

    pub(crate) fn forbidden(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.add(FieldErrorKind::Forbidden, path, None, detail);
    }

    pub(crate) fn internal(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.add(FieldErrorKind::Internal, path, None, detail);
    }

    pub(crate) fn too_long(&mut self, path: &Path<'_>, most: usize) {
        self.add(FieldErrorKind::TooLong, path, None, format!("may not be more than {most} bytes"));
    }

    pub(crate) fn too_many(&mut self, path: &Path<'_>, count: usize, most: usize) {
        self.add(FieldErrorKind::TooMany, path, None, format!("{count}: must have at most {most} items"));
    }

    /// As [`Self::one_of`], where an absent value is no choice either.
    pub(crate) fn exactly_one_of(&mut self, path: &Path<'_>, value: &str, supported: &[&str]) {
        if !supported.contains(&value) {
            self.unsupported(path, value.into(), supported);
        }
    }

    /// Says that a value, of any form, is not one of `supported`.
    pub(crate) fn unsupported(&mut self, path: &Path<'_>, value: Value, supported: &[&str]) {
        let quoted: Vec<_> = supported.iter().map(|one| format!("{one:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.add(FieldErrorKind::NotSupported, path, Some(value), detail);
    }

    /// Refuses a value that is not one of `supported`; an absent one is left to other rules.
    pub(crate) fn one_of(&mut self, path: &Path<'_>, value: &str, supported: &[&str]) {
        if value.is_empty() || supported.contains(&value) {
            return;
        }
        self.unsupported(path, value.into(), supported);
    }

    /// As [`Self::one_of`], for a field that must be there.
    pub(crate) fn required_one_of(&mut self, path: &Path<'_>, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        }
        self.one_of(path, value, supported);
    }

    /// Refuses a number outside `least..=most`; an absent one is fine.
    pub(crate) fn in_range(&mut self, path: &Path<'_>, value: &Value, (least, most): (i64, i64)) {
        if let Some(number) = value.as_i64()
            && !(least..=most).contains(&number)
        {
            self.invalid(path, number, format!("must be between {least} and {most}, inclusive"));
        }
    }

    /// Refuses a negative number; an absent one is fine.
    pub(crate) fn not_negative(&mut self, path: &Path<'_>, value: &Value) {
        self.at_least(path, value, 0);
    }

    /// Refuses a number below `least`; an absent one is fine.
    pub(crate) fn at_least(&mut self, path: &Path<'_>, value: &Value, least: i64) {
        if let Some(number) = value.as_i64()
            && number < least
        {
            self.invalid(path, number, format!("must be greater than or equal to {least}"));
        }
    }
}
