//! What may be said about a request beside its object, whichever door it came through (`meta/v1` CreateOptions, UpdateOptions,
//! PatchOptions, DeleteOptions): checked here, worded as Kubernetes' `meta/v1/validation`.
//!
//! `asked.rs` lists all of it, with what each means to whom.

use crate::request::Run;
use serde_json::Value;
use skiff_schema::{FieldError, FieldErrorKind, FieldValidation};

/// The longest name of a field manager.
const MANAGER_BYTES_MAX: usize = 128;

/// `dryRun`: stages that are to be left out; there is one word for all of them.
pub(crate) fn run(stages: &[&str], errors: &mut Vec<FieldError>) -> Run {
    if stages.iter().any(|stage| *stage != "All") {
        errors.push(not_supported("dryRun", stages.into(), &["All"]));
    }
    if stages.is_empty() { Run::Real } else { Run::Dry }
}

/// `fieldValidation`: what becomes of unknown and duplicate fields.
pub(crate) fn field_validation(word: &str, errors: &mut Vec<FieldError>) -> FieldValidation {
    match word {
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        other => {
            errors.push(not_supported("fieldValidation", other.into(), &["", "Ignore", "Strict", "Warn"]));
            FieldValidation::Warn
        }
    }
}

/// `fieldManager`: who makes the change.
pub(crate) fn field_manager(name: &str, errors: &mut Vec<FieldError>) {
    if name.len() > MANAGER_BYTES_MAX {
        let detail = format!("may not be more than {MANAGER_BYTES_MAX} bytes");
        errors.push(error(FieldErrorKind::TooLong, "fieldManager", None, detail));
    }
    for (position, character) in name.char_indices().filter(|(_, character)| !is_printable(*character)) {
        let detail = format!("invalid character U+{:04X} (at position {position})", u32::from(character));
        errors.push(error(FieldErrorKind::Invalid, "fieldManager", Some(name.into()), detail));
    }
}

/// `fieldManager` of who applies: it must be said.
pub(crate) fn applier(name: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        let detail = "is required for apply patch".to_owned();
        errors.push(error(FieldErrorKind::Required, "fieldManager", None, detail));
    }
    field_manager(name, errors);
}

/// As Go's `unicode.IsPrint` has it: of the spaces only the common one.
fn is_printable(character: char) -> bool {
    match character {
        ' ' | '"' | '\'' | '\\' => true,
        character => !character.is_whitespace() && character.escape_debug().len() == 1,
    }
}

/// `force`: taking over other managers' fields, which only a server-side apply can.
pub(crate) fn force(given: bool, errors: &mut Vec<FieldError>) {
    if given {
        errors.push(forbidden("force", "may not be specified for non-apply patch"));
    }
}

pub(crate) fn forbidden(field: &str, detail: &str) -> FieldError {
    error(FieldErrorKind::Forbidden, field, None, detail.to_owned())
}

pub(crate) fn invalid(field: &str, value: Value, detail: &str) -> FieldError {
    error(FieldErrorKind::Invalid, field, Some(value), detail.to_owned())
}

pub(crate) fn not_supported(field: &str, value: Value, supported: &[&str]) -> FieldError {
    let quoted: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
    error(FieldErrorKind::NotSupported, field, Some(value), format!("supported values: {}", quoted.join(", ")))
}

fn error(kind: FieldErrorKind, field: &str, value: Option<Value>, detail: String) -> FieldError {
    FieldError { kind, field: field.to_owned(), value, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_have_short_printable_names() {
        let check = |name: &str| {
            let mut errors = Vec::new();
            field_manager(name, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(check("kubectl-client-side-apply \"é\""), [""; 0]);
        assert_eq!(
            check("a\u{7}b"),
            ["fieldManager: Invalid value: \"a\\u0007b\": invalid character U+0007 (at position 1)"]
        );
        assert_eq!(check("a\u{a0}").len(), 1);
        assert_eq!(check(&"x".repeat(129)), ["fieldManager: Too long: may not be more than 128 bytes"]);
    }

    #[test]
    fn there_is_one_kind_of_dry_run() {
        let mut errors = Vec::new();
        assert_eq!((run(&[], &mut errors), run(&["All"], &mut errors)), (Run::Real, Run::Dry));
        run(&["Some"], &mut errors);
        assert_eq!(errors[0].to_string(), "dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"");
    }
}
