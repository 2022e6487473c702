//! What the pods of a stateful set look like: names that stay, and volumes that are claims. No I/O.

use super::claims::names;
use crate::claim::ordinal_of;
use crate::history::plan::POD_LABEL;
use crate::owned::owner_reference;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use kube::ResourceExt;
use serde_json::{Value, json};

/// A pod's name as a label, so that a service can choose one pod.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// Its ordinal.
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in a pod's name.
pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    ordinal_of(pod.metadata.name.as_deref()?).map(|(_, ordinal)| ordinal)
}

/// A new pod of `set` with this ordinal, made of `template`, which the revision called `revision` keeps.
pub(super) fn pod_of(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut metadata = template.metadata.clone().unwrap_or_default();
    let name = format!("{}-{ordinal}", set.name_any());
    metadata.generate_name = Some(format!("{}-", set.name_any()));
    metadata.namespace = set.namespace();
    metadata.owner_references = Some(vec![owner_reference(set)]);
    let labels = metadata.labels.get_or_insert_default();
    labels.extend(identity(&name, ordinal));
    labels.insert(POD_LABEL.to_owned(), revision.to_owned());
    let mut spec = template.spec.clone().unwrap_or_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    spec.volumes = volumes(set, ordinal, spec.volumes.take().unwrap_or_default());
    metadata.name = Some(name);
    Pod { metadata, spec: Some(spec), status: None }
}

fn identity(name: &str, ordinal: i32) -> [(String, String); 2] {
    [(NAME_LABEL.to_owned(), name.to_owned()), (INDEX_LABEL.to_owned(), ordinal.to_string())]
}

/// The claims as volumes, and those of the template that are called otherwise.
fn volumes(set: &StatefulSet, ordinal: i32, others: Vec<Volume>) -> Option<Vec<Volume>> {
    let claims = names(set, ordinal);
    let is_claimed = |one: &Volume| claims.iter().any(|(volume, _)| *volume == one.name);
    let others: Vec<Volume> = others.into_iter().filter(|one| !is_claimed(one)).collect();
    let claimed = claims.iter().map(|(volume, claim)| Volume {
        name: volume.clone(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim.clone(), read_only: None }),
        ..Volume::default()
    });
    Some(claimed.chain(others).collect::<Vec<_>>()).filter(|all| !all.is_empty())
}

/// Whether a pod says who it is.
pub(super) fn has_identity(pod: &Pod) -> bool {
    pod.labels().get(NAME_LABEL) == Some(&pod.name_any())
}

/// What brings a pod that was adopted in line: its labels, and its volumes if they are not its claims.
pub(super) fn repair(set: &StatefulSet, pod: &Pod, mounted: bool) -> Value {
    let ordinal = ordinal(pod).unwrap_or_default();
    let labels: serde_json::Map<String, Value> =
        identity(&pod.name_any(), ordinal).into_iter().map(|(key, value)| (key, value.into())).collect();
    let mut patch = json!({"metadata": {"labels": labels}});
    if !mounted {
        let others = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        patch["spec"] = json!({"volumes": volumes(set, ordinal, others)});
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_name_and_claims() {
        let set: StatefulSet =
            serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"selector": {}, "serviceName": "nginx", "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [],
                    "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}}}))
            .unwrap();
        let template = set.spec.as_ref().unwrap().template.clone();
        let pod = json!(pod_of(&set, &template, "web-abc", 3));
        assert_eq!((&pod["metadata"]["name"], &pod["metadata"]["generateName"]), (&"web-3".into(), &"web-".into()));
        let labels = json!({"app": "web", NAME_LABEL: "web-3", INDEX_LABEL: "3", POD_LABEL: "web-abc"});
        assert_eq!(pod["metadata"]["labels"], labels);
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&"web-3".into(), &"nginx".into()));
        let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}});
        assert_eq!(pod["spec"]["volumes"], json!([claim, {"name": "tmp", "emptyDir": {}}]));
        let mut adopted = pod_of(&set, &template, "web-abc", 3);
        adopted.metadata.labels = None;
        assert!(!has_identity(&adopted));
        let wanted = json!({"metadata": {"labels": {NAME_LABEL: "web-3", INDEX_LABEL: "3"}}});
        assert_eq!(repair(&set, &adopted, true), wanted);
        adopted.spec.as_mut().unwrap().volumes = None;
        assert_eq!(repair(&set, &adopted, false)["spec"]["volumes"], json!([claim]));
    }
}
