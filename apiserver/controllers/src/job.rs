//! Runs pods until a number of them have succeeded.
//!
//! Guarantees: each pod counts once, whatever is interrupted; no more pods run than `parallelism` says; none is made for a job
//! that is over.

mod backoff; // how long it waits after a failure
mod indexes; // sets of indexes
mod look; // what there is
mod plan; // what it needs next
mod pod; // what its pods look like
mod policy; // what its policies say of failures and successes
mod stray; // pods whose job is gone are let go of
mod track; // each pod counts once
mod verdict; // whether the job is over
#[cfg(test)]
mod world; // random lives of jobs

pub(crate) use plan::{end_of, finished_at};
pub(crate) use pod::TRACKING;
pub(crate) use stray::run as run_strays;

use crate::claim::{Claim, concerned};
use crate::context::{Context, ControllerError, EventKind, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use crate::pods::{Pods, WRITES_AT_ONCE};
use backoff::Backoff;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use plan::Plan;
use pod::pod_of;
use serde_json::json;
use skiff_client::{Cache, Key};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
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
    pods: Pods,
    /// The failures of each job, with its uid. What is lost with the process is read from the pods.
    backoffs: Mutex<HashMap<Key, (Option<String>, Backoff)>>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (jobs, pods) = (looking.over::<Job>(), looking.context.caches.all::<Pod>());
    let all = jobs.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let pods = Pods { context: context.clone(), own: own.clone(), cache: pods };
    let keeper = Arc::new(Keeper { context, own, jobs, pods, backoffs: Mutex::default() });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let job = self.jobs.get(&key.namespace, &key.name);
        let Some(job) = job.filter(|job| is_ours(job) && !plan::is_finished(job)) else {
            self.failures().remove(&key);
            return Ok(Again::OnChange);
        };
        let claim = Claim { children: &self.pods.cache, own: &self.own, client: &self.context.client };
        let owned = claim.settle(&*job).await?;
        let known = self.failures().get(&key).filter(|(uid, _)| *uid == job.metadata.uid).map(|(_, known)| *known);
        let mut plan = plan::decide(&job, &owned, known, jiff::Timestamp::now());
        self.delete_all(&key, &job, &owned, &plan).await?;
        let new = plan.create.iter().map(|wanted| pod_of(&job, wanted)).collect::<Result<_, _>>()?;
        let (made, created) = self.pods.create_all(&key, &*job, new).await;
        plan.without(plan.create.len() - made);
        self.track(&key, &job, &plan).await?;
        created.map(|()| Again::within(plan.again))
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<Key, (Option<String>, Backoff)>> {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn delete_all(&self, key: &Key, job: &Job, owned: &[Arc<Pod>], plan: &Plan) -> Result<(), ControllerError> {
        let going = owned.iter().filter(|pod| plan.delete.contains(&pod.name_any()));
        let deletions = going.map(|pod| self.delete(key, job, pod, plan.uncounted)).collect::<Vec<_>>();
        let done: Vec<_> = stream::iter(deletions).buffer_unordered(WRITES_AT_ONCE).collect().await;
        done.into_iter().collect()
    }

    async fn delete(&self, key: &Key, job: &Job, pod: &Pod, uncounted: bool) -> Result<(), ControllerError> {
        let (name, api): (_, Api<Pod>) = (pod.name_any(), self.context.api(&key.namespace));
        if uncounted && pod::is_tracked(pod) {
            release(&self.context, pod).await?;
        }
        let gone = absent_is_none(api.delete(&name, &DeleteParams::default()).await.map(drop));
        if gone.on(|| format!("delete pod {name}"))?.is_some() {
            self.own.deleted(key, &self.pods.cache, pod);
            self.context.tell(job, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        Ok(())
    }

    /// Writes the status, lets go of the pods that it counts, and writes what follows from that.
    async fn track(&self, key: &Key, job: &Arc<Job>, plan: &Plan) -> Result<(), ControllerError> {
        let Some(job) = self.write_status(key, job, &plan.status).await? else { return Ok(()) };
        self.failures().insert(key.clone(), (job.metadata.uid.clone(), plan.backoff));
        for (kind, reason, message) in &plan.told {
            self.context.tell(&*job, *kind, reason, (*message).to_owned());
        }
        let (held, released) = self.release_all(key, plan).await;
        let (status, over) = track::settle(plan, job.status.clone().unwrap_or_default(), &held);
        if self.write_status(key, &job, &status).await?.is_some() && over {
            tell_end(&self.context, &job, &status, plan);
            self.failures().remove(key);
        }
        released
    }

    /// Returns the uids of those that the job still holds.
    async fn release_all(&self, key: &Key, plan: &Plan) -> (BTreeSet<String>, Result<(), ControllerError>) {
        let pods = plan.release.iter().filter_map(|(name, uid)| {
            let pod = self.pods.cache.get(&key.namespace, name);
            pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str())).map(|pod| (uid, pod))
        });
        let releases = pods.map(|(uid, pod)| async move { (uid, release(&self.context, &pod).await) });
        let releases = releases.collect::<Vec<_>>();
        let mut done = stream::iter(releases).buffer_unordered(WRITES_AT_ONCE);
        let mut held: BTreeSet<String> = plan.held.clone();
        for (_, uid) in &plan.release {
            held.remove(uid);
        }
        let mut outcome = Ok(());
        while let Some((uid, released)) = done.next().await {
            match released {
                Ok(Some(pod)) => self.own.wrote(key, &self.pods.cache, &pod),
                Ok(None) => {}
                Err(error) => {
                    held.insert(uid.clone());
                    outcome = outcome.and(Err(error));
                }
            }
        }
        (held, outcome)
    }

    /// The job as it is then; `None`: it is gone.
    async fn write_status(
        &self,
        key: &Key,
        job: &Arc<Job>,
        status: &JobStatus,
    ) -> Result<Option<Arc<Job>>, ControllerError> {
        if job.status.as_ref() == Some(status) {
            return Ok(Some(Arc::clone(job)));
        }
        // The version is a precondition: numbers that somebody else wrote meanwhile must not be overwritten.
        let wanted = Job { status: Some(status.clone()), ..Job::clone(job) };
        let api: Api<Job> = self.context.api(&key.namespace);
        Ok(self.own.replace_status(&api, key, &self.jobs, &wanted).await?.map(Arc::new))
    }
}

/// Takes the finalizer off a pod; `None`: it is gone.
async fn release(context: &Context, pod: &Pod) -> Result<Option<Pod>, ControllerError> {
    let api: Api<Pod> = context.api(&pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let patch = json!({"metadata": {"uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [TRACKING]}});
    let released = api.patch(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    absent_is_none(released).on(|| format!("remove the finalizer {TRACKING} of pod {name}"))
}

fn tell_end(context: &Context, job: &Job, status: &JobStatus, plan: &Plan) {
    let Some(end) = &plan.end else { return };
    if end.type_ != "Complete" {
        let (reason, message) = (end.reason.as_deref().unwrap_or("Failed"), end.message.clone().unwrap_or_default());
        return context.tell(job, EventKind::Warning, reason, message);
    }
    let completions = job.spec.as_ref().and_then(|spec| spec.completions);
    if completions.is_some_and(|most| status.succeeded.unwrap_or(0) > most) {
        let message = "Too many succeeded pods running after completion count reached".to_owned();
        context.tell(job, EventKind::Warning, "TooManySucceededPods", message);
    }
    context.tell(job, EventKind::Normal, "Completed", "Job completed".to_owned());
}
