//! Whether a job is over, and how: its conditions, in the words of Kubernetes. No I/O.

use super::look::Look;
use super::plan::deadline_left;
use super::policy::{self, Failure};
use crate::owned::phase;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How the job is about to end: what it was told before, then failures, then the success policy.
pub(super) fn verdict(look: &Look<'_>, start: Option<&Time>) -> Option<JobCondition> {
    if let Some(met) = true_one(&look.status, "SuccessCriteriaMet") {
        return Some(met.clone());
    }
    if let Some(target) = true_one(&look.status, "FailureTarget") {
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        return Some(condition("Failed", "True", &of(&target.reason), &of(&target.message), look.now));
    }
    failure(look, start)
        .map(|(reason, message)| condition("FailureTarget", "True", reason, &message, look.now))
        .or_else(|| {
            let indexed = look.indexed.as_ref()?;
            let met = policy::success(look.spec.success_policy.as_ref(), indexed.completions, &indexed.done)?;
            Some(condition("SuccessCriteriaMet", "True", "SuccessPolicy", &met, look.now))
        })
}

fn failure(look: &Look<'_>, start: Option<&Time>) -> Option<(&'static str, String)> {
    if look.spec.pod_failure_policy.is_some() {
        let failed = look.pods.iter().filter(|pod| look.is_failed(pod));
        for pod in failed {
            if let Failure::FailsJob(message) = look.failure(pod) {
                return Some(("PodFailurePolicy", message));
            }
        }
    }
    if look.failed > look.spec.backoff_limit.unwrap_or(6) || restarted_too_often(look) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned()));
    }
    if deadline_left(look.spec, start, look.now).is_some_and(|left| !left.is_positive()) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline".to_owned()));
    }
    let indexed = look.indexed.as_ref()?;
    let failed = indexed.failed.as_ref()?.total();
    if look.spec.max_failed_indexes.is_some_and(|most| failed > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", message.to_owned()));
    }
    let all = failed + indexed.done.total() >= indexed.completions;
    (failed > 0 && all).then(|| ("FailedIndexes", "Job has failed indexes".to_owned()))
}

/// Where containers are restarted in their pods, restarts are what fails.
fn restarted_too_often(look: &Look<'_>) -> bool {
    let policy = look.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let running = look.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
    let statuses = running.filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
    });
    let restarts: i32 = statuses.map(|status| status.restart_count).sum();
    restarts >= look.spec.backoff_limit.unwrap_or(6).max(1)
}

/// The job has succeeded often enough, and nothing runs any more.
pub(super) fn completed(look: &Look<'_>, active: usize) -> Option<JobCondition> {
    let enough = match look.spec.completions {
        Some(completions) => look.succeeded >= completions,
        None => look.succeeded > 0,
    };
    let message = "Reached expected number of succeeded pods";
    (enough && active == 0).then(|| condition("SuccessCriteriaMet", "True", "CompletionsReached", message, look.now))
}

/// The condition of this kind, if it is True.
pub(super) fn true_one<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == kind && one.status == "True")
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition; answers whether that changed anything. One that was never there is not added as False.
pub(super) fn ensure(
    conditions: &mut Vec<JobCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let new = || condition(kind, status, reason, message, now);
    match conditions.iter_mut().find(|one| one.type_ == kind) {
        Some(known)
            if known.status == status
                && known.reason.as_deref() == Some(reason)
                && known.message.as_deref() == Some(message) =>
        {
            false
        }
        Some(known) => {
            *known = new();
            true
        }
        None if status == "False" => false,
        None => {
            conditions.push(new());
            true
        }
    }
}
