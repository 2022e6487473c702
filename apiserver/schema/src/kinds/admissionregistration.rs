//! The group `admissionregistration.k8s.io`: which webhooks and policies look at requests. Expressions are compiled when they are written.

mod conditions; // expressions that say when and what; parameters of policies
mod matching; // rules and selectors
mod mutating_admission_policy;
mod mutating_admission_policy_binding;
mod mutating_webhook_configuration;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
pub(super) mod webhooks; // what both configurations of webhooks have

use super::{Change, Row, Rules};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::update::equal;
use crate::view::text;
use serde_json::Value;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[
    &mutating_admission_policy::ROW,
    &mutating_admission_policy_binding::ROW,
    &mutating_webhook_configuration::ROW,
    &validating_admission_policy::ROW,
    &validating_admission_policy_binding::ROW,
    &validating_webhook_configuration::ROW,
];

/// What all of them add to their schemas. It is Kubernetes' answer for the whole group, so no kind says it for itself.
const RULES: Rules = Rules { free_finalizers: true, generation: true, unconditional_update: false, ..Rules::PLAIN };

/// The end of names that belong to files which kube-apiserver reads at its start (an alpha feature).
const RESERVED: &str = ".static.k8s.io";

/// What an author should know: that the name may be taken from the object.
fn warnings(change: &Change<'_>) -> Vec<String> {
    let reserved = change.is_whole() && text(&change.new["metadata"], "name").ends_with(RESERVED);
    let warning = format!(
        "metadata.name: names ending with {RESERVED:?} are reserved for static manifest-based configurations and cannot be managed via \
         the API"
    );
    reserved.then_some(warning).into_iter().collect()
}

/// Policies for what cannot be decided.
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];

/// A choice among `supported`; absent is fine, an empty text is no choice.
fn choice(holder: &Value, field: &str, supported: &[&str], path: &Path<'_>, errors: &mut Errors) {
    match &holder[field] {
        Value::Null => {}
        given => errors.exactly_one_of(&path.field(field), given.as_str().unwrap_or_default(), supported),
    }
}

/// Whether a policy's conditions and parameters are what they were: then they are not looked at again.
fn conditions_stand(change: &Change<'_>) -> bool {
    let same = |old: &Value, field: &str| equal(&change.new["spec"][field], &old["spec"][field]);
    change.old.is_some_and(|old| same(old, "paramKind") && same(old, "matchConditions"))
}
