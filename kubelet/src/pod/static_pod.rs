//! Static pods: those that a file on the node describes, and their mirrors at the API server. Pure.
//!
//! A static pod's uid is made from node, file and text, so that a changed file is another pod and a restarted kubelet knows its own.
//! The API server shows a mirror, with a uid of its own, which names the static pod's uid in an annotation (Kubernetes, "Static Pods").

use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Annotation of mirrors: the uid of the static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation: where a pod comes from.
const SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: the static pod's uid.
const HASH: &str = "kubernetes.io/config.hash";
/// What [`SOURCE`] says of files.
const FILE: &str = "file";

/// Reads the file `file` of the node `node`.
///
/// # Errors
/// It is no pod; the sentence says why.
pub(super) fn read(text: &str, file: &str, node: &str) -> Result<Pod, String> {
    let value: Value = serde_norway::from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    let (kind, version) = (value["kind"].as_str(), value["apiVersion"].as_str());
    if (kind, version) != (Some("Pod"), Some("v1")) {
        return Err("expected apiVersion v1 and kind Pod".to_owned());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| format!("not a pod: {error}"))?;
    let name = pod.metadata.name.clone().filter(|name| !name.is_empty()).ok_or("metadata.name is missing")?;
    let spec = pod.spec.as_mut().filter(|spec| !spec.containers.is_empty()).ok_or("spec.containers is missing")?;
    spec.node_name = Some(node.to_owned());
    if spec.priority.is_none() {
        spec.priority = priority(spec.priority_class_name.as_deref());
    }
    // Nothing but its file takes a static pod away.
    let all = Toleration { effect: Some("NoExecute".into()), operator: Some("Exists".into()), ..Toleration::default() };
    spec.tolerations.get_or_insert_default().push(all);
    let uid = hex::encode(&Sha256::digest(format!("{node}\n{file}\n{text}"))[..16]);
    let meta = &mut pod.metadata;
    meta.name = Some(format!("{name}-{node}"));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.extend([(SOURCE.to_owned(), FILE.to_owned()), (HASH.to_owned(), uid.clone())]);
    annotations.remove(MIRROR);
    meta.uid = Some(uid);
    meta.owner_references = None;
    pod.status = None;
    Ok(pod)
}

/// The numbers of the classes that there always are; of others only the API server knows.
fn priority(class: Option<&str>) -> Option<i32> {
    match class {
        Some("system-node-critical") => Some(2_000_001_000),
        Some("system-cluster-critical") => Some(2_000_000_000),
        _ => None,
    }
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether `pod` comes from a file.
pub(super) fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some(FILE)
}

/// Whether `pod` is the mirror of a static pod, and of which by its uid.
pub(super) fn mirrored(pod: &Pod) -> Option<&str> {
    annotation(pod, MIRROR)
}

/// Where a pod comes from is not the API's to say: an annotation there could be anybody's.
pub(super) fn claims_a_file(pod: &Pod) -> bool {
    annotation(pod, SOURCE).is_some() && mirrored(pod).is_none()
}

/// Takes that claim away.
pub(super) fn disclaim(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove(SOURCE);
    }
}

/// The mirror of the static pod `pod`, owned by the node `node` with uid `node_uid`.
pub(super) fn mirror(pod: &Pod, node: &str, node_uid: &str) -> Pod {
    let mut mirror = pod.clone();
    let uid = mirror.metadata.uid.take().unwrap_or_default();
    mirror.metadata.resource_version = None;
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.to_owned(), uid);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: node_uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x}]}\n";

    #[test]
    fn a_file_becomes_a_pod_of_the_node() {
        let pod = read(TEXT, "web.yaml", "n1").unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert!(is_static(&pod) && mirrored(&pod).is_none());
        let again = read(TEXT, "web.yaml", "n1").unwrap();
        assert_eq!(pod.metadata.uid, again.metadata.uid);
        let changed = read(&TEXT.replace("x}", "y}"), "web.yaml", "n1").unwrap();
        assert_ne!(pod.metadata.uid, changed.metadata.uid);
    }

    #[test]
    fn a_mirror_names_its_pod_and_its_node() {
        let pod = read(TEXT, "web.yaml", "n1").unwrap();
        let mirror = mirror(&pod, "n1", "node-uid");
        assert_eq!(mirrored(&mirror), pod.metadata.uid.as_deref());
        assert_eq!(mirror.metadata.uid, None);
        assert_eq!(mirror.metadata.owner_references.as_ref().unwrap()[0].uid, "node-uid");
        assert!(!claims_a_file(&mirror));
    }

    #[test]
    fn a_pod_of_the_api_is_no_static_pod_whatever_it_says() {
        let mut pod = read(TEXT, "web.yaml", "n1").unwrap();
        assert!(claims_a_file(&pod));
        disclaim(&mut pod);
        assert!(!is_static(&pod));
    }

    #[test]
    fn what_is_no_pod_is_told() {
        for (text, why) in [
            ("a: [", "not YAML"),
            ("kind: Pod", "expected apiVersion"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}", "spec.containers"),
            ("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a}]}", "metadata.name"),
        ] {
            let said = read(text, "f", "n").unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
