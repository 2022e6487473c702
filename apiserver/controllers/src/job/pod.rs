//! What the pods of a job look like. No I/O.

use super::plan::INDEX;
use crate::context::ControllerError;
use crate::owned::{generated_name, owner_reference};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec};
use kube::ResourceExt;

/// Ties a pod to its job by uid: the selector that the API server makes looks for it.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// Tells a container of an Indexed job which index is its own.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A new pod of `job`, for `index` if the job is Indexed.
pub(super) fn pod_of(job: &Job, index: Option<i32>) -> Result<Pod, ControllerError> {
    let name = job.name_any();
    let template = job.spec.as_ref().map(|spec| spec.template.clone());
    let template = template.ok_or_else(|| ControllerError::Malformed(format!("job {name}: no template")))?;
    let mut metadata = template.metadata.unwrap_or_default();
    let uid = job.uid().unwrap_or_default();
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in [(UID_LABEL, &uid), (NAME_LABEL, &name), ("controller-uid", &uid), ("job-name", &name)] {
        labels.insert(key.to_owned(), value.clone());
    }
    let mut spec = template.spec;
    let base = index.map_or_else(|| name.clone(), |index| format!("{name}-{index}"));
    if let Some(index) = index {
        metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        if let Some(spec) = &mut spec {
            // The name by which the job's other pods find it below a headless service.
            spec.hostname = Some(base.clone());
            tell_index(spec);
        }
    }
    metadata.name = Some(generated_name(&base));
    metadata.generate_name = Some(format!("{base}-"));
    metadata.namespace = job.namespace();
    metadata.owner_references = Some(vec![owner_reference(job)]);
    Ok(Pod { metadata, spec, status: None })
}

/// Gives each container the variable, read from the pod's label, unless it has one of that name.
fn tell_index(spec: &mut PodSpec) {
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    let variable = EnvVar { name: VARIABLE.to_owned(), value: None, value_from: Some(source) };
    let init = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        let variables = container.env.get_or_insert_default();
        if variables.iter().all(|present| present.name != VARIABLE) {
            variables.push(variable.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job() -> Job {
        let containers = json!([{"name": "a"}, {"name": "b", "env": [{"name": VARIABLE, "value": "own"}]}]);
        let spec = json!({"containers": containers, "initContainers": [{"name": "i"}], "subdomain": "workers"});
        serde_json::from_value(json!({"metadata": {"name": "sum", "namespace": "n", "uid": "u"},
            "spec": {"completionMode": "Indexed", "template": {"spec": spec}}}))
        .unwrap()
    }

    /// Fault N29: a pod of an Indexed job is a host named by job and index, and its containers know the index.
    #[test]
    fn a_pod_of_an_indexed_job_knows_its_index() {
        let pod = serde_json::to_value(pod_of(&job(), Some(3)).unwrap()).unwrap();
        assert_eq!(pod["spec"]["hostname"], "sum-3");
        assert_eq!(pod["metadata"]["generateName"], "sum-3-");
        assert_eq!(
            (&pod["metadata"]["labels"][INDEX], &pod["metadata"]["annotations"][INDEX]),
            (&"3".into(), &"3".into())
        );
        let told =
            json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}}});
        assert_eq!(pod["spec"]["containers"][0]["env"], json!([told]));
        assert_eq!(pod["spec"]["initContainers"][0]["env"], json!([told]));
        assert_eq!(pod["spec"]["containers"][1]["env"], json!([{"name": VARIABLE, "value": "own"}]));
    }

    #[test]
    fn a_pod_without_index_has_no_host_name() {
        let pod = serde_json::to_value(pod_of(&job(), None).unwrap()).unwrap();
        assert!(pod["spec"].get("hostname").is_none(), "{pod}");
        assert!(pod["spec"]["containers"][0].get("env").is_none(), "{pod}");
    }
}
