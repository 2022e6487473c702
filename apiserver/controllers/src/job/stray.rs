//! Lets go of pods that carry a job's finalizer and have no job that would count them: it is gone, it is over, or it let go of
//! them. Otherwise they could never be deleted.

use super::pod::is_tracked;
use super::{is_ours, plan, release};
use crate::context::Context;
use crate::looking::{Again, Loop, Outcome, Own};
use crate::owned::controller;
use futures::FutureExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use skiff_client::{Cache, Change, Key};
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let caches = looking.context.caches.clone();
    let (jobs, pods) = (caches.all::<Job>(), caches.all::<Pod>());
    let known = jobs.clone();
    looking.when(&pods, move |change| {
        let stray = change.now.filter(|pod| is_stray(pod, &known));
        stray.map(|pod| Key::of(&pod.metadata)).into_iter().collect()
    });
    let all = pods.clone();
    looking.when(&jobs, move |change| ended(&change, &all));
    let (context, own) = (looking.context.clone(), looking.own.clone());
    looking
        .run(shutdown, move |key| reconcile(key, context.clone(), own.clone(), jobs.clone(), pods.clone()).boxed())
        .await;
}

/// The pods of a job that went or came to its end.
fn ended(change: &Change<'_, Job>, pods: &Cache<Pod>) -> Vec<Key> {
    if change.now.is_some_and(|job| !plan::is_finished(job)) {
        return Vec::new();
    }
    let own = pods.owned_by(change.meta().uid.as_deref().unwrap_or_default());
    own.iter().filter(|pod| is_tracked(pod)).map(|pod| Key::of(&pod.metadata)).collect()
}

/// Whether nobody will count the pod.
fn is_stray(pod: &Pod, jobs: &Cache<Job>) -> bool {
    if !is_tracked(pod) {
        return false;
    }
    let Some(owner) = controller(&pod.metadata) else { return true };
    if owner.kind != Job::kind(&()) || owner.api_version != Job::api_version(&()) {
        return false;
    }
    let job = jobs.get(pod.metadata.namespace.as_deref().unwrap_or_default(), &owner.name);
    match job.filter(|job| job.metadata.uid.as_ref() == Some(&owner.uid)) {
        None => true,
        Some(job) => is_ours(&job) && plan::is_finished(&job),
    }
}

async fn reconcile(key: Key, context: Context, own: Own, jobs: Cache<Job>, pods: Cache<Pod>) -> Outcome {
    let pod = pods.get(&key.namespace, &key.name);
    let Some(pod) = pod.filter(|pod| is_stray(pod, &jobs)) else { return Ok(Again::OnChange) };
    if let Some(released) = release(&context, &pod).await? {
        own.wrote(&key, &pods, &released);
    }
    Ok(Again::OnChange)
}
