//! Runs pods until a number of them have succeeded.

mod plan;

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, drive};
use crate::owned::{controller_uid, generated_name, owner_reference};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use plan::{Decision, INDEX};
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Ties a pod to its job by uid, whatever the job's own selector says.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let jobs: Api<Job> = Api::all(context.client.clone());
    let pods: Api<Pod> = Api::all(context.client.clone());
    let controller = Controller::new(jobs, watcher::Config::default()).owns(pods, watcher::Config::default());
    drive(controller, context, shutdown, reconcile).await;
}

async fn reconcile(seen: Arc<Job>, context: Arc<Context>) -> Result<Action, ControllerError> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let jobs: Api<Job> = context.api(&namespace);
    let pods: Api<Pod> = context.api(&namespace);
    let present = absent_is_none(jobs.get(&name).await).on(|| format!("get job {namespace}/{name}"))?;
    let Some(job) = present.filter(|job| job.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::await_change());
    };
    let uid = job.uid().unwrap_or_default();
    let selector = ListParams::default().labels(&format!("{UID_LABEL}={uid}"));
    let owned = pods.list(&selector).await.on(|| format!("list pods of job {namespace}/{name}"))?;
    let owned: Vec<Pod> = owned.into_iter().filter(|pod| controller_uid(&pod.metadata) == Some(&uid)).collect();
    let decision = plan::decide(&job, &owned, jiff::Timestamp::now());
    act(&context, &jobs, &pods, &job, decision).await
}

async fn act(
    context: &Context,
    jobs: &Api<Job>,
    pods: &Api<Pod>,
    job: &Job,
    decision: Decision,
) -> Result<Action, ControllerError> {
    let name = job.name_any();
    if decision.remove_job {
        let gone = jobs.delete(&name, &DeleteParams::background()).await.map(drop);
        absent_is_none(gone).on(|| format!("delete finished job {name}"))?;
        return Ok(Action::await_change());
    }
    for pod in &decision.delete {
        let gone = pods.delete(pod, &DeleteParams::default()).await.map(drop);
        absent_is_none(gone).on(|| format!("delete pod {pod}"))?;
        context.tell(job, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {pod}"));
    }
    for index in &decision.create {
        let pod = pod_of(job, *index)?;
        pods.create(&PostParams::default(), &pod).await.on(|| format!("create pod of job {name}"))?;
        context.tell(job, EventKind::Normal, "SuccessfulCreate", format!("Created pod: {}", pod.name_any()));
    }
    if job.status.as_ref() != Some(&decision.status) {
        tell_end(context, job, &decision);
        let patch = Patch::Merge(json!({"status": decision.status}));
        let written = jobs.patch_status(&name, &PatchParams::default(), &patch).await;
        absent_is_none(written).on(|| format!("write status of job {name}"))?;
    }
    Ok(decision.again.and_then(|wait| wait.try_into().ok()).map_or_else(Action::await_change, Action::requeue))
}

fn tell_end(context: &Context, job: &Job, decision: &Decision) {
    let end = decision
        .status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed"));
    match end {
        Some(end) if end.type_ == "Complete" => {
            context.tell(job, EventKind::Normal, "Completed", "Job completed".to_owned());
        }
        Some(end) => {
            let (reason, message) =
                (end.reason.as_deref().unwrap_or("Failed"), end.message.clone().unwrap_or_default());
            context.tell(job, EventKind::Warning, reason, message);
        }
        None => {}
    }
}

fn pod_of(job: &Job, index: Option<i32>) -> Result<Pod, ControllerError> {
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
        let variable =
            EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value: Some(index.to_string()), value_from: None };
        for container in spec.iter_mut().flat_map(|spec| spec.containers.iter_mut()) {
            container.env.get_or_insert_default().push(variable.clone());
        }
    }
    metadata.name = Some(generated_name(&base));
    metadata.generate_name = Some(format!("{base}-"));
    metadata.namespace = job.namespace();
    metadata.owner_references = Some(vec![owner_reference(job)]);
    Ok(Pod { metadata, spec, status: None })
}
