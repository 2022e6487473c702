//! What a job needs next: pods to make, pods to stop, and its status. No I/O.
//!
//! ```text
//!  Running ──enough succeeded──► Complete ──ttl over──► removed
//!     └──too many failures, or too late──► Failed ──ttl over──► removed
//! ```

use crate::owned::{has_condition, is_active, is_ready, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The annotation and label that say which index a pod of an Indexed job works on.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// First and longest wait before a failed pod is replaced (Kubernetes: 10 s doubling to 10 min).
const BACKOFF_FIRST_SECONDS: i64 = 10;
const BACKOFF_MAX_SECONDS: i64 = 600;

/// What to do now.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decision {
    /// Pods to make; each with its index, if the job is Indexed.
    pub(crate) create: Vec<Option<i32>>,
    /// Names of pods to delete.
    pub(crate) delete: Vec<String>,
    pub(crate) status: JobStatus,
    /// When to look again though nothing happened.
    pub(crate) again: Option<SignedDuration>,
    /// The job finished long enough ago.
    pub(crate) remove_job: bool,
}

/// Decides for `job`, which owns `pods`.
pub(crate) fn decide(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Decision {
    let Some(spec) = &job.spec else { return Decision::default() };
    let tally = Tally::of(pods);
    let mut status = job.status.clone().unwrap_or_default();
    if let Some(finished) = finished_at(&status) {
        return after_finish(spec, status, &tally, finished, now);
    }
    let suspended = spec.suspend == Some(true);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(Time(now));
    }
    tally.write_to(&mut status, spec);
    if let Some((kind, reason, message)) = verdict(spec, &status, &tally, now) {
        return finish(status, &tally, kind, reason, message, now);
    }
    if suspended {
        set_condition(&mut status, "Suspended", "JobSuspended", "Job suspended", now);
        status.active = Some(0);
        return Decision { delete: names(&tally.active), status, ..Decision::default() };
    }
    running(spec, status, &tally, now)
}

struct Tally<'a> {
    active: Vec<&'a Pod>,
    succeeded: Vec<&'a Pod>,
    failed: Vec<&'a Pod>,
    restarts: i32,
}

impl<'a> Tally<'a> {
    fn of(pods: &'a [Arc<Pod>]) -> Self {
        let pods: Vec<&'a Pod> = pods.iter().map(AsRef::as_ref).collect();
        let with = |wanted: &str| pods.iter().copied().filter(|pod| phase(pod) == wanted).collect::<Vec<_>>();
        let active: Vec<_> = pods.iter().copied().filter(|pod| is_active(pod)).collect();
        let restarts = active
            .iter()
            .flat_map(|pod| pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()))
            .map(|container| container.restart_count)
            .sum();
        Self { active, succeeded: with("Succeeded"), failed: with("Failed"), restarts }
    }

    fn write_to(&self, status: &mut JobStatus, spec: &JobSpec) {
        status.active = Some(count(self.active.len()));
        status.ready = Some(count(self.active.iter().filter(|pod| is_ready(pod)).count()));
        status.failed = Some(count(self.failed.len()));
        let succeeded = if is_indexed(spec) { self.done_indexes(spec).len() } else { self.succeeded.len() };
        status.succeeded = Some(count(succeeded));
        if is_indexed(spec) {
            status.completed_indexes = Some(ranges(&self.done_indexes(spec)));
        }
    }

    fn done_indexes(&self, spec: &JobSpec) -> BTreeSet<i32> {
        let all = 0..spec.completions.unwrap_or(0);
        self.succeeded.iter().filter_map(|pod| index_of(pod)).filter(|index| all.contains(index)).collect()
    }

    fn last_failure(&self) -> Option<Timestamp> {
        let finished = |pod: &&Pod| {
            let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
            let ends =
                statuses.iter().filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
            ends.map(|time| time.0).max()
        };
        self.failed.iter().filter_map(finished).max()
    }
}

fn index_of(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX).and_then(|text| text.parse().ok())
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether the job is over, and how: condition, reason, message.
fn verdict(
    spec: &JobSpec,
    status: &JobStatus,
    tally: &Tally<'_>,
    now: Timestamp,
) -> Option<(&'static str, &'static str, String)> {
    let deadline = spec.active_deadline_seconds.zip(status.start_time.as_ref());
    if deadline.is_some_and(|(seconds, start)| now.duration_since(start.0) >= SignedDuration::from_secs(seconds)) {
        return Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline".to_owned()));
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if count(tally.failed.len()) > limit || tally.restarts > limit {
        return Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
    }
    let succeeded = status.succeeded.unwrap_or(0);
    let complete = match spec.completions {
        Some(completions) => succeeded >= completions,
        // Without a number of completions (a work queue) any success means done, once the others have ended too.
        None => succeeded > 0 && tally.active.is_empty(),
    };
    complete.then(|| ("Complete", "CompletionsReached", "Reached expected number of succeeded pods".to_owned()))
}

fn finish(
    mut status: JobStatus,
    tally: &Tally<'_>,
    kind: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Decision {
    set_condition(&mut status, kind, reason, &message, now);
    if kind == "Complete" {
        status.completion_time = Some(Time(now));
    }
    status.active = Some(0);
    status.ready = Some(0);
    Decision { delete: names(&tally.active), status, ..Decision::default() }
}

fn after_finish(spec: &JobSpec, status: JobStatus, tally: &Tally<'_>, finished: Timestamp, now: Timestamp) -> Decision {
    let left = spec
        .ttl_seconds_after_finished
        .map(|seconds| SignedDuration::from_secs(seconds.into()) - now.duration_since(finished));
    Decision {
        delete: names(&tally.active),
        status,
        again: left.filter(SignedDuration::is_positive),
        remove_job: left.is_some_and(|left| !left.is_positive()),
        ..Decision::default()
    }
}

fn running(spec: &JobSpec, status: JobStatus, tally: &Tally<'_>, now: Timestamp) -> Decision {
    let parallelism = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let succeeded = usize::try_from(status.succeeded.unwrap_or(0)).unwrap_or(0);
    let remaining = match spec.completions {
        Some(completions) => usize::try_from(completions).unwrap_or(0).saturating_sub(succeeded),
        None if succeeded > 0 => tally.active.len(),
        None => parallelism,
    };
    let wanted = parallelism.min(remaining);
    let again = deadline_left(spec, &status, now);
    let mut decision = Decision { status, again, ..Decision::default() };
    if tally.active.len() > wanted {
        let surplus = tally.active.len() - wanted;
        let mut youngest = tally.active.clone();
        youngest.sort_by_key(|pod| (is_ready(pod), has_condition(pod, "PodScheduled")));
        decision.delete = names(&youngest[..surplus]);
        return decision;
    }
    let missing = wanted - tally.active.len();
    match backoff_left(tally, now) {
        Some(wait) if missing > 0 => {
            decision.again = decision.again.map_or(Some(wait), |again| Some(again.min(wait)));
        }
        _ if is_indexed(spec) => decision.create = free_indexes(spec, tally).take(missing).map(Some).collect(),
        _ => decision.create = vec![None; missing],
    }
    decision
}

fn deadline_left(spec: &JobSpec, status: &JobStatus, now: Timestamp) -> Option<SignedDuration> {
    let (seconds, start) = spec.active_deadline_seconds.zip(status.start_time.as_ref())?;
    Some(SignedDuration::from_secs(seconds) - now.duration_since(start.0))
}

fn backoff_left(tally: &Tally<'_>, now: Timestamp) -> Option<SignedDuration> {
    let last = tally.last_failure()?;
    let doublings = u32::try_from(tally.failed.len().saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let wait = SignedDuration::from_secs((BACKOFF_FIRST_SECONDS << doublings).min(BACKOFF_MAX_SECONDS));
    Some(wait - now.duration_since(last)).filter(SignedDuration::is_positive)
}

fn free_indexes<'a>(spec: &JobSpec, tally: &'a Tally<'_>) -> impl Iterator<Item = i32> + use<'a> {
    let mut taken = tally.done_indexes(spec);
    taken.extend(tally.active.iter().filter_map(|pod| index_of(pod)));
    (0..spec.completions.unwrap_or(0)).filter(move |index| !taken.contains(index))
}

fn finished_at(status: &JobStatus) -> Option<Timestamp> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let end = conditions
        .iter()
        .find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True")?;
    Some(end.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

fn set_condition(status: &mut JobStatus, kind: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True") {
        return;
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

fn names(pods: &[&Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// `1,3-5,7`, as status.completedIndexes writes it.
fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let text = runs.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(spec: serde_json::Value) -> Job {
        let mut whole = json!({"metadata": {"name": "sum"}, "spec": {"template": {}}});
        let fields = whole["spec"].as_object_mut().unwrap();
        fields.extend(spec.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn pod(name: &str, phase: &str, index: Option<i32>) -> Arc<Pod> {
        let annotations = index.map(|index| json!({INDEX: index.to_string()})).unwrap_or(json!({}));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "annotations": annotations},
                "status": {"phase": phase, "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}]}
            }))
            .unwrap(),
        )
    }

    fn at(second: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
    }

    #[test]
    fn pods_are_made_up_to_the_parallelism_and_the_completions() {
        let job = job(json!({"completions": 3, "parallelism": 2}));
        assert_eq!(decide(&job, &[], at(0)).create.len(), 2);
        let pods = [pod("a", "Succeeded", None), pod("b", "Succeeded", None)];
        assert_eq!(decide(&job, &pods, at(0)).create.len(), 1);
    }

    #[test]
    fn enough_successes_complete_the_job() {
        let job = job(json!({"completions": 1, "parallelism": 1}));
        let done = decide(&job, &[pod("a", "Succeeded", None)], at(5)).status;
        assert_eq!(done.completion_time, Some(Time(at(5))));
        assert_eq!(done.conditions.unwrap()[0].type_, "Complete");
    }

    #[test]
    fn a_failed_pod_is_replaced_after_the_back_off_and_not_beyond_the_limit() {
        let mut job = job(json!({"completions": 1, "parallelism": 1, "backoffLimit": 1}));
        let early = decide(&job, &[pod("a", "Failed", None)], at(4));
        assert_eq!((early.create.len(), early.again), (0, Some(SignedDuration::from_secs(6))));
        assert_eq!(decide(&job, &[pod("a", "Failed", None)], at(10)).create.len(), 1);
        let over = decide(&job, &[pod("a", "Failed", None), pod("b", "Failed", None)], at(40));
        assert_eq!(over.status.conditions.as_ref().unwrap()[0].reason.as_deref(), Some("BackoffLimitExceeded"));
        job.status = Some(over.status);
        assert_eq!(decide(&job, &[], at(50)).create.len(), 0, "a finished job makes no pods");
    }

    #[test]
    fn an_indexed_job_fills_the_free_indexes() {
        let job = job(json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed"}));
        let pods = [pod("a", "Succeeded", Some(0)), pod("b", "Running", Some(2))];
        let decision = decide(&job, &pods, at(0));
        assert_eq!(decision.create, vec![Some(1)]);
        assert_eq!(decision.status.completed_indexes.as_deref(), Some("0"));
        assert_eq!(ranges(&BTreeSet::from([1, 3, 4, 5, 7])), "1,3-5,7");
    }

    #[test]
    fn a_finished_job_goes_after_its_time() {
        let mut job = job(json!({"completions": 1, "ttlSecondsAfterFinished": 30}));
        job.status = Some(decide(&job, &[pod("a", "Succeeded", None)], at(0)).status);
        assert_eq!(decide(&job, &[], at(10)).again, Some(SignedDuration::from_secs(20)));
        assert!(decide(&job, &[], at(30)).remove_job);
    }
}
