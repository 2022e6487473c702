//! What becomes of a write whose hook gives no answer.

use super::super::Attributes;
use super::super::policies::scene::Stage;
use super::hook::{FailurePolicy, Hook};
use crate::status::Status;
use skiff_schema::Resource;
use std::sync::Arc;

/// Why a hook gave no answer that counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// It was not reached, or said nothing that can be understood: its failure policy decides.
    Call(String),
    /// The write is refused whatever the policy says.
    Refused(Status),
}

impl Failure {
    pub(super) fn call(why: &str) -> Self {
        Self::Call(why.to_owned())
    }

    /// The refusal; nothing, if the policy of `hook` lets the write pass, which its audit record then says under `key`.
    pub(super) fn decide(self, hook: &Hook, seen: &Attributes<'_>, key: &str) -> Result<(), Status> {
        match (self, hook.failure_policy) {
            (Self::Refused(status), _) => Err(status),
            (Self::Call(why), FailurePolicy::Fail) => {
                tracing::warn!(hook = hook.name, why, "a webhook failed; the request is refused");
                Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
            }
            (Self::Call(why), FailurePolicy::Ignore) => {
                tracing::warn!(hook = hook.name, why, "a webhook failed; the request goes on without it");
                seen.request.annotate(key, hook.name.clone());
                Ok(())
            }
        }
    }
}

/// Whether `hook` is asked about this write, and if so in which version it wants the object.
///
/// # Errors
/// The namespace whose labels matter is not there, the store failed, or conditions cannot be evaluated and the policy is to fail.
pub(super) async fn wanted(
    hook: &Hook,
    seen: &Attributes<'_>,
    object: &serde_json::Value,
) -> Result<Option<Arc<Resource>>, Status> {
    if hook.spares(&seen.request.resource) {
        return Ok(None);
    }
    let Some(resource) = hook.matching.matched(seen, object).await? else { return Ok(None) };
    if hook.conditions.is_empty() {
        return Ok(Some(resource));
    }
    let stage = Stage::without_namespace(seen, object, &resource).await?;
    match stage.play(None, |scene| hook.conditions.hold(scene)) {
        Ok(true) => Ok(Some(resource)),
        Ok(false) => Ok(None),
        Err(why) => {
            tracing::warn!(
                hook = hook.name,
                why,
                "match conditions of a webhook cannot be decided; the request is refused"
            );
            Err(Status::forbidden(&seen.request.resource, seen.name, &why))
        }
    }
}
