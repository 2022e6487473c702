//! Deletes jobs some time after they have finished (`ttlSecondsAfterFinished`), whoever ran them.

use crate::context::{Context, On, absent_is_none};
use crate::job::finished_at;
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams};
use skiff_client::{Cache, Key};
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let jobs = looking.over::<Job>();
    let (context, own) = (looking.context.clone(), looking.own.clone());
    looking.run(shutdown, move |key| reconcile(key, context.clone(), own.clone(), jobs.clone()).boxed()).await;
}

async fn reconcile(key: Key, context: Context, own: Own, jobs: Cache<Job>) -> Outcome {
    let job = jobs.get(&key.namespace, &key.name);
    let Some((job, left)) = job.and_then(|job| left(&job, Timestamp::now()).map(|left| (job, left))) else {
        return Ok(Again::OnChange);
    };
    if left.is_positive() {
        return Ok(Again::within(Some(left)));
    }
    let api: Api<Job> = context.api(&key.namespace);
    // What the cache shows may be old: the time may have been made longer since.
    let live = absent_is_none(api.get(&key.name).await).on(|| format!("get job {key}"))?;
    let over = live.filter(|live| self::left(live, Timestamp::now()).is_some_and(|left| !left.is_positive()));
    if over.is_some_and(|live| live.metadata.uid == job.metadata.uid) {
        let deleted = own.delete(&api, &key, &jobs, &*job, DeleteParams::foreground()).await;
        deleted.on(|| format!("delete finished job {key}"))?;
    }
    Ok(Again::OnChange)
}

/// What is left of the time of a job that has finished, if it has one and is not on its way out.
fn left(job: &Job, now: Timestamp) -> Option<SignedDuration> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let finished = finished_at(job).filter(|_| job.metadata.deletion_timestamp.is_none())?;
    Some(SignedDuration::from_secs(seconds.into()) - now.duration_since(finished))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_time_counts_from_the_end_whichever_it_was() {
        let end: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for kind in ["Complete", "Failed"] {
            let job = |ttl: Option<i32>, status: &str| -> Job {
                serde_json::from_value(json!({"spec": {"template": {}, "ttlSecondsAfterFinished": ttl}, "status":
                    {"conditions": [{"type": kind, "status": status, "lastTransitionTime": end.to_string()}]}}))
                .unwrap()
            };
            let at = |second| end + SignedDuration::from_secs(second);
            assert_eq!(left(&job(Some(30), "True"), at(10)), Some(SignedDuration::from_secs(20)));
            assert!(!left(&job(Some(0), "True"), at(0)).unwrap().is_positive());
            assert_eq!(left(&job(None, "True"), at(10)), None);
            assert_eq!(left(&job(Some(30), "False"), at(10)), None);
        }
    }
}
