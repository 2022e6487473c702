//! The labels and annotations that tie sandboxes and containers to pods.
//!
//! A restarted kubelet knows its pods by nothing else, so these are the names that the real kubelet uses and that
//! crictl, containerd and CRI-O read. Ours in addition: `skiff.dev/node` says which kubelet may remove a sandbox.

use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Label: `metadata.name` of the pod.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: `metadata.namespace` of the pod.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: `metadata.uid` of the pod.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name in the pod.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Label: the node whose kubelet made the sandbox; no other kubelet removes it.
pub(crate) const NODE: &str = "skiff.dev/node";
/// Annotation: how often the container had been started before.
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: see [`hash`].
pub(crate) const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: the host's file behind the termination message.
pub(crate) const TERMINATION_FILE: &str = "skiff.dev/termination-message-file";
/// Annotation: the sandbox a container was created in, which a CRI container status does not say.
pub(crate) const SANDBOX: &str = "skiff.dev/sandbox";

/// The labels of a pod's sandbox.
pub(crate) fn of_pod(pod: &Pod, node: &str) -> HashMap<String, String> {
    let meta = &pod.metadata;
    let mut labels: HashMap<_, _> = meta.labels.clone().unwrap_or_default().into_iter().collect();
    for (key, value) in [
        (POD_NAME, meta.name.as_deref()),
        (POD_NAMESPACE, meta.namespace.as_deref()),
        (POD_UID, meta.uid.as_deref()),
        (NODE, Some(node)),
    ] {
        labels.insert(key.to_owned(), value.unwrap_or_default().to_owned());
    }
    labels
}

/// The labels of one of its containers.
pub(crate) fn of_container(pod: &Pod, node: &str, container: &str) -> HashMap<String, String> {
    let meta = &pod.metadata;
    let value = |text: &Option<String>| text.clone().unwrap_or_default();
    HashMap::from([
        (POD_NAME.to_owned(), value(&meta.name)),
        (POD_NAMESPACE.to_owned(), value(&meta.namespace)),
        (POD_UID.to_owned(), value(&meta.uid)),
        (NODE.to_owned(), node.to_owned()),
        (CONTAINER_NAME.to_owned(), container.to_owned()),
    ])
}

/// Which definition a container was made from. Of the mutable fields only the image makes it another container, as in
/// Kubernetes since 1.31 (KEP-1287 lets resources change in place), so that a newer API server that fills in more
/// defaults restarts nothing.
pub(crate) fn hash(container: &Container) -> String {
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex::encode(&hasher.finalize()[..4])
}

/// One value of a CRI map.
pub(crate) fn get<'a>(map: &'a HashMap<String, String>, key: &str) -> Option<&'a str> {
    map.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// A sorted copy, for the few places that want a stable order.
pub(crate) fn sorted(map: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (&String, &String)> {
    map.into_iter().flatten()
}
