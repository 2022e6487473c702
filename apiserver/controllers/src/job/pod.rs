//! What the pods of a job look like, and what they tell of themselves. No I/O.

use super::policy::Failure;
use crate::context::ControllerError;
use crate::owned::{owner_reference, random_suffix};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec};
use kube::ResourceExt;

/// The annotation and label that say which index a pod of an Indexed job works on.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Keeps a pod that ended until its job has counted it.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// How often pods of this index failed before, where each index has a back-off limit of its own.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// Tells a container of an Indexed job which index is its own.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Characters of a name before the five that are drawn.
const BASE_MAX: usize = 58;

/// How often pods of one index failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) counted: i32,
    pub(super) ignored: i32,
}

impl Failures {
    pub(super) fn all(self) -> i32 {
        self.counted.saturating_add(self.ignored)
    }

    /// After a pod with these before it failed in this way.
    pub(super) fn and(self, how: &Failure) -> Self {
        match how {
            Failure::Ignored => Self { ignored: self.ignored.saturating_add(1), ..self },
            _ => Self { counted: self.counted.saturating_add(1), ..self },
        }
    }
}

/// A pod that a job needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// One of this index, and how often others of it have failed, if that is kept.
    Index(i32, Option<Failures>),
}

/// The index that a pod works on.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX).and_then(|text| text.parse().ok()).filter(|index| *index >= 0)
}

/// How often pods of its index failed before it.
pub(super) fn failures(pod: &Pod) -> Failures {
    let number = |name| pod.annotations().get(name).and_then(|text| text.parse().ok()).filter(|number| *number >= 0);
    Failures { counted: number(FAILURES).unwrap_or(0), ignored: number(IGNORED).unwrap_or(0) }
}

/// Whether the job has not counted it yet.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

/// A new pod of `job`.
pub(super) fn pod_of(job: &Job, wanted: &Wanted) -> Result<Pod, ControllerError> {
    let name = job.name_any();
    let template = job.spec.as_ref().map(|spec| spec.template.clone());
    let template = template.ok_or_else(|| ControllerError::Malformed(format!("job {name}: no template")))?;
    let mut metadata = template.metadata.unwrap_or_default();
    let mut spec = template.spec;
    let mut base = format!("{}-", cut(&name, BASE_MAX - 1));
    if let Wanted::Index(index, failures) = wanted {
        let end = format!("-{index}-");
        base = format!("{}{end}", cut(&name, BASE_MAX - end.len()));
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), index.to_string());
        if let Some(failures) = failures {
            annotations.insert(FAILURES.to_owned(), failures.counted.to_string());
            if failures.ignored > 0 {
                annotations.insert(IGNORED.to_owned(), failures.ignored.to_string());
            }
        }
        metadata.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        if let Some(spec) = &mut spec {
            // The name by which the job's other pods find it below a headless service.
            spec.hostname = Some(format!("{name}-{index}"));
            tell_index(spec);
        }
    }
    let finalizers = metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    metadata.name = Some(format!("{base}{}", random_suffix()));
    metadata.generate_name = Some(base);
    metadata.namespace = job.namespace();
    metadata.owner_references = Some(vec![owner_reference(job)]);
    Ok(Pod { metadata, spec, status: None })
}

/// Names are ASCII.
fn cut(name: &str, most: usize) -> &str {
    name.get(..name.len().min(most)).unwrap_or(name)
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

    fn job(name: &str) -> Job {
        let containers = json!([{"name": "a"}, {"name": "b", "env": [{"name": VARIABLE, "value": "own"}]}]);
        let spec = json!({"containers": containers, "initContainers": [{"name": "i"}], "subdomain": "workers"});
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": "u"},
            "spec": {"completionMode": "Indexed", "template": {"spec": spec}}}))
        .unwrap()
    }

    /// Fault N29: a pod of an Indexed job is a host named by job and index, and its containers know the index.
    #[test]
    fn a_pod_of_an_indexed_job_knows_its_index() {
        let failures = Failures { counted: 2, ignored: 1 };
        let made = pod_of(&job("sum"), &Wanted::Index(3, Some(failures))).unwrap();
        assert_eq!((index_of(&made), super::failures(&made), is_tracked(&made)), (Some(3), failures, true));
        let pod = serde_json::to_value(made).unwrap();
        assert_eq!(pod["spec"]["hostname"], "sum-3");
        assert_eq!(pod["metadata"]["generateName"], "sum-3-");
        assert_eq!(pod["metadata"]["labels"][INDEX], "3");
        let told =
            json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": format!("metadata.labels['{INDEX}']")}}});
        assert_eq!(pod["spec"]["containers"][0]["env"], json!([told]));
        assert_eq!(pod["spec"]["initContainers"][0]["env"], json!([told]));
        assert_eq!(pod["spec"]["containers"][1]["env"], json!([{"name": VARIABLE, "value": "own"}]));
    }

    #[test]
    fn a_long_name_keeps_its_index_and_stays_a_label() {
        let pod = pod_of(&job(&"x".repeat(63)), &Wanted::Index(17, None)).unwrap();
        assert!(pod.metadata.generate_name.as_ref().unwrap().ends_with("x-17-"));
        assert_eq!(pod.name_any().len(), 63);
    }

    #[test]
    fn a_pod_without_index_has_no_host_name() {
        let pod = serde_json::to_value(pod_of(&job("sum"), &Wanted::Any).unwrap()).unwrap();
        assert!(pod["spec"].get("hostname").is_none(), "{pod}");
        assert!(pod["spec"]["containers"][0].get("env").is_none(), "{pod}");
    }
}
