//! Which claims a pod uses.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use skiff_client::Key;

/// A claim that one of a pod's volumes names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// The claim's name; it is in the pod's namespace.
    pub(super) claim: String,
    /// Whether the claim is to be made for the pod, and so must be its own.
    pub(super) own: bool,
}

/// The claim of one volume, if it has one.
fn of_volume(pod: &Pod, volume: &Volume) -> Option<Use> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some(Use { claim: source.claim_name.clone(), own: false });
    }
    volume.ephemeral.as_ref()?;
    Some(Use { claim: claim_name(pod, volume), own: true })
}

/// What the claim of an ephemeral volume is called.
pub(super) fn claim_name(pod: &Pod, volume: &Volume) -> String {
    format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)
}

/// The claims of `pod`.
pub(super) fn claims(pod: &Pod) -> Vec<Use> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| of_volume(pod, volume)).collect()
}

/// The keys of the claims of `pod`.
pub(super) fn keys(pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    claims(pod).iter().map(|used| Key::new(namespace, &used.claim)).collect()
}

/// Whether `claim` was made for `pod`.
pub(super) fn is_own(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let owner = crate::owned::controller(&claim.metadata);
    owner.is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// Whether `pod` uses `claim`, which is in its namespace.
pub(super) fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    claims(pod).iter().any(|used| used.claim == name && (!used.own || is_own(pod, claim)))
}

/// The node of `pod`; empty: none yet.
pub(super) fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}
