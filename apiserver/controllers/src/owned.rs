//! Owner references, pod readiness: the words that several controllers share.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use rand::Rng;
use skiff_client::Key;

/// Letters that Kubernetes uses in generated names: no vowels, so no words; no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random letters.
pub(crate) fn random_suffix() -> String {
    let mut random = rand::rng();
    (0..5).map(|_| char::from(NAME_ALPHABET[random.random_range(0..NAME_ALPHABET.len())])).collect()
}

/// `base-` and five random letters.
pub(crate) fn generated_name(base: &str) -> String {
    let suffix = random_suffix();
    // A label value (job-name, hostname) takes 63 characters.
    let base = base.get(..base.len().min(57)).unwrap_or(base);
    format!("{base}-{suffix}")
}

/// The owner that manages the object, if any.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// A reference that makes `owner` the managing owner.
pub(crate) fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The name of the managing owner, if it is of this kind.
pub(crate) fn key_of_controller(metadata: &ObjectMeta, kind: &str) -> Option<Key> {
    let owner = controller(metadata).filter(|owner| owner.kind == kind)?;
    Some(Key::new(metadata.namespace.as_deref().unwrap_or_default(), &owner.name))
}

/// Whether the pod's condition `kind` is True.
pub(crate) fn has_condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Whether the pod serves.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    has_condition(pod, "Ready")
}

/// Since when the pod has been ready, if it is.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// How much longer a pod has to stay ready until it counts as available; `None`: it is not ready.
pub(crate) fn available_in(pod: &Pod, min_ready: SignedDuration, now: Timestamp) -> Option<SignedDuration> {
    if !is_ready(pod) {
        return None;
    }
    // A pod that does not say since when is available only where nothing is waited for.
    let since = ready_since(pod).unwrap_or(now);
    Some((min_ready - now.duration_since(since)).max(SignedDuration::ZERO))
}

/// Whether the pod has been ready for as long as `min_ready`.
pub(crate) fn is_available(pod: &Pod, min_ready: SignedDuration, now: Timestamp) -> bool {
    available_in(pod, min_ready, now).is_some_and(|left| left.is_zero())
}

/// Whether the pod is being deleted.
pub(crate) fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// `Pending`, `Running`, `Succeeded`, `Failed`; empty before the first status.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod has succeeded or failed: its containers will not run again.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_going(pod) && !has_ended(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_stay_labels() {
        let name = generated_name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
    }
}
