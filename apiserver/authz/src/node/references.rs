//! What a pod, or a volume, refers to that its node must be able to read.

use super::graph::Thing;
use crate::objects::text;
use serde_json::Value;

/// An object in the pod's own namespace.
pub(super) type Reference = (Thing, String);

/// Marks a pod that a kubelet has made of a file: it refers to nothing that its node could then read.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Volumes that name one secret, by the field of the volume and the path to the secret's name.
const SECRET_VOLUMES: [(&str, &[&str]); 9] = [
    ("secret", &["secretName"]),
    ("azureFile", &["secretName"]),
    ("cephfs", &["secretRef", "name"]),
    ("cinder", &["secretRef", "name"]),
    ("flexVolume", &["secretRef", "name"]),
    ("rbd", &["secretRef", "name"]),
    ("scaleIO", &["secretRef", "name"]),
    ("iscsi", &["secretRef", "name"]),
    ("storageos", &["secretRef", "name"]),
];

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, field| &value[*field])
}

/// Everything that the pod needs.
pub(super) fn of_pod(pod: &Value) -> Vec<Reference> {
    let (spec, mut found) = (&pod["spec"], Vec::new());
    if !pod["metadata"]["annotations"][MIRROR].is_null() {
        return found;
    }
    found.push((Thing::Account, text(spec, "serviceAccountName").to_owned()));
    found.extend(items(spec, "imagePullSecrets").map(|one| (Thing::Secret, text(one, "name").to_owned())));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        items(spec, list).for_each(|container| of_container(container, &mut found));
    }
    for volume in items(spec, "volumes") {
        of_pod_volume(text(&pod["metadata"], "name"), volume, &mut found);
    }
    of_devices(pod, &mut found);
    found.retain(|(_, name)| !name.is_empty());
    found.sort_unstable_by(|(a, name), (b, other)| (*a as u8, name).cmp(&(*b as u8, other)));
    found.dedup();
    found
}

fn of_container(container: &Value, found: &mut Vec<Reference>) {
    let name = |value: &Value| text(value, "name").to_owned();
    for from in items(container, "envFrom") {
        found.push((Thing::Secret, name(&from["secretRef"])));
        found.push((Thing::ConfigMap, name(&from["configMapRef"])));
    }
    for variable in items(container, "env") {
        let from = &variable["valueFrom"];
        found.push((Thing::Secret, name(&from["secretKeyRef"])));
        found.push((Thing::ConfigMap, name(&from["configMapKeyRef"])));
    }
}

fn of_pod_volume(pod: &str, volume: &Value, found: &mut Vec<Reference>) {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (field, path) in SECRET_VOLUMES {
        found.push((Thing::Secret, name(at(&volume[field], path))));
    }
    found.push((Thing::Secret, name(at(volume, &["csi", "nodePublishSecretRef", "name"]))));
    found.push((Thing::ConfigMap, name(&volume["configMap"]["name"])));
    for source in items(&volume["projected"], "sources") {
        found.push((Thing::Secret, name(&source["secret"]["name"])));
        found.push((Thing::ConfigMap, name(&source["configMap"]["name"])));
    }
    found.push((Thing::Claim, name(&volume["persistentVolumeClaim"]["claimName"])));
    if !volume["ephemeral"].is_null() {
        found.push((Thing::Claim, format!("{pod}-{}", text(volume, "name"))));
    }
}

/// A claim that is made of a template has its name in the pod's status.
fn of_devices(pod: &Value, found: &mut Vec<Reference>) {
    let statuses = || items(&pod["status"], "resourceClaimStatuses");
    for claim in items(&pod["spec"], "resourceClaims") {
        let named = text(claim, "resourceClaimName");
        let made = || statuses().find(|status| status["name"] == claim["name"]);
        let name = match named.is_empty() {
            false => named,
            true => made().map(|status| text(status, "resourceClaimName")).unwrap_or_default(),
        };
        found.push((Thing::ResourceClaim, name.to_owned()));
    }
    let extended = &pod["status"]["extendedResourceClaimStatus"];
    found.push((Thing::ResourceClaim, text(extended, "resourceClaimName").to_owned()));
}

/// Namespace and name of the secrets with which a node mounts a volume.
pub(super) fn of_volume(volume: &Value) -> Vec<(String, String)> {
    let (spec, mut found) = (&volume["spec"], Vec::new());
    let own = text(&spec["claimRef"], "namespace");
    let mut add = |namespace: &str, name: &str, otherwise: &str| {
        if !name.is_empty() {
            let namespace = if namespace.is_empty() { otherwise } else { namespace };
            found.push((namespace.to_owned(), name.to_owned()));
        }
    };
    let azure = &spec["azureFile"];
    add(text(azure, "secretNamespace"), text(azure, "secretName"), own);
    for source in ["cephfs", "flexVolume", "rbd", "scaleIO", "iscsi"] {
        let secret = &spec[source]["secretRef"];
        add(text(secret, "namespace"), text(secret, "name"), own);
    }
    for source in ["cinder", "storageos"] {
        let secret = &spec[source]["secretRef"];
        add(text(secret, "namespace"), text(secret, "name"), "");
    }
    for reference in ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
        let secret = &spec["csi"][reference];
        add(text(secret, "namespace"), text(secret, "name"), "");
    }
    found
}
