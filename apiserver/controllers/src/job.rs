//! Runs pods until a number of them have succeeded.

mod plan; // what it needs next
mod pod; // what its pods look like

use crate::claim::{Claim, concerned};
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use plan::Decision;
use pod::pod_of;
use serde_json::json;
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Who looks after jobs that name nobody else (`managedBy`, KEP-4368).
const OURSELVES: &str = "kubernetes.io/job-controller";

fn is_ours(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_none_or(|manager| manager == OURSELVES)
}

struct Keeper {
    context: Context,
    own: Own,
    jobs: Cache<Job>,
    pods: Cache<Pod>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (jobs, pods) = (looking.over::<Job>(), looking.context.caches.all::<Pod>());
    let all = jobs.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    let keeper = Arc::new(Keeper { context: looking.context.clone(), own: looking.own.clone(), jobs, pods });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let job = self.jobs.get(&key.namespace, &key.name);
        let Some(job) = job.filter(|job| is_ours(job) && job.metadata.deletion_timestamp.is_none()) else {
            return Ok(Again::OnChange);
        };
        let claim = Claim { children: &self.pods, own: &self.own, client: &self.context.client };
        let owned = claim.settle(&*job).await?;
        let decision = plan::decide(&job, &owned, jiff::Timestamp::now());
        if decision.remove_job {
            return self.remove(&key, &job).await;
        }
        self.act(&key, &job, &owned, &decision).await?;
        self.write_status(&key, &job, &decision).await?;
        Ok(Again::within(decision.again))
    }

    async fn remove(&self, key: &Key, job: &Job) -> Outcome {
        let api: Api<Job> = self.context.api(&key.namespace);
        let gone = api.delete(&key.name, &DeleteParams::background()).await.map(drop);
        absent_is_none(gone).on(|| format!("delete finished job {key}"))?;
        self.own.deleted(key, &self.jobs, job);
        Ok(Again::OnChange)
    }

    async fn act(&self, key: &Key, job: &Job, owned: &[Arc<Pod>], decision: &Decision) -> Result<(), ControllerError> {
        let api: Api<Pod> = self.context.api(&key.namespace);
        for pod in owned.iter().filter(|pod| decision.delete.contains(&pod.name_any())) {
            let name = pod.name_any();
            let gone = api.delete(&name, &DeleteParams::default()).await.map(drop);
            absent_is_none(gone).on(|| format!("delete pod {name}"))?;
            self.own.deleted(key, &self.pods, &**pod);
            self.context.tell(job, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        for index in &decision.create {
            let made = api.create(&PostParams::default(), &pod_of(job, *index)?).await;
            let made = made.on(|| format!("create pod of job {key}"))?;
            self.own.wrote(key, &self.pods, &made);
            let message = format!("Created pod: {}", made.name_any());
            self.context.tell(job, EventKind::Normal, "SuccessfulCreate", message);
        }
        Ok(())
    }

    async fn write_status(&self, key: &Key, job: &Job, decision: &Decision) -> Result<(), ControllerError> {
        if job.status.as_ref() == Some(&decision.status) {
            return Ok(());
        }
        tell_end(&self.context, job, decision);
        let patch = Patch::Merge(json!({"status": decision.status}));
        let api: Api<Job> = self.context.api(&key.namespace);
        let written = absent_is_none(api.patch_status(&key.name, &PatchParams::default(), &patch).await);
        if let Some(written) = written.on(|| format!("write status of job {key}"))? {
            self.own.wrote(key, &self.jobs, &written);
        }
        Ok(())
    }
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
