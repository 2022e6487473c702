//! Runs pods until a number of them have succeeded.

mod plan; // what it needs next
mod pod; // what its pods look like

use crate::claim::Claims;
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none, drive};
use crate::owned::selector_text;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use plan::Decision;
use pod::pod_of;
use serde_json::json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let jobs: Api<Job> = Api::all(context.client.clone());
    let pods: Api<Pod> = Api::all(context.client.clone());
    let controller = Controller::new(jobs, watcher::Config::default());
    let claims = Claims::new(controller.store());
    let concerned = claims.clone();
    let controller = controller.watches(pods, watcher::Config::default(), move |pod| concerned.concerned(&pod));
    drive(controller, context, shutdown, move |seen, context| reconcile(seen, context, claims.clone())).await;
}

async fn reconcile(seen: Arc<Job>, context: Arc<Context>, claims: Claims<Job>) -> Result<Action, ControllerError> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let jobs: Api<Job> = context.api(&namespace);
    let pods: Api<Pod> = context.api(&namespace);
    let present = absent_is_none(jobs.get(&name).await).on(|| format!("get job {namespace}/{name}"))?;
    let Some(job) = present.filter(|job| job.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::await_change());
    };
    let selector = job.spec.as_ref().and_then(|spec| selector_text(spec.selector.as_ref()?));
    let selector = selector.filter(|text| !text.is_empty());
    let selector =
        selector.ok_or_else(|| ControllerError::Malformed(format!("job {namespace}/{name}: no usable selector")))?;
    let selected = pods.list(&ListParams::default().labels(&selector)).await;
    let selected = selected.on(|| format!("list pods of job {namespace}/{name}"))?;
    let owned = claims.settle(&pods, &job, selected.items).await?;
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
