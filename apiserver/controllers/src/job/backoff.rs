//! How long a job waits before it replaces a pod that failed: 10 s, doubled with each failure in a row, at most 10 min. No I/O.

use crate::owned::has_ended;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// First and longest wait (Kubernetes' `DefaultJobPodFailureBackOff` and `MaxJobPodFailureBackOff`).
const FIRST_SECONDS: i64 = 10;
const MAX_SECONDS: i64 = 600;

/// The failures of a job's pods since one of them last succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: usize,
    last: Option<Timestamp>,
}

impl Backoff {
    /// After these pods ended too.
    pub(super) fn after(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let failures = || failed.iter().filter_map(|pod| finished_at(pod));
        match succeeded.iter().filter_map(|pod| finished_at(pod)).max() {
            None => Self { failures: self.failures + failed.len(), last: failures().max().or(self.last) },
            Some(success) => {
                let since = || failures().filter(|time| *time > success);
                Self { failures: since().count(), last: since().max() }
            }
        }
    }

    /// What is left of the wait.
    pub(super) fn left(self, now: Timestamp) -> Option<SignedDuration> {
        left(self.failures, self.last?, now)
    }
}

/// What is left of the wait after the last of `failures` in a row.
pub(super) fn left(failures: usize, last: Timestamp, now: Timestamp) -> Option<SignedDuration> {
    let doublings = u32::try_from(failures.checked_sub(1)?).unwrap_or(u32::MAX).min(10);
    let wait = SignedDuration::from_secs((FIRST_SECONDS << doublings).min(MAX_SECONDS));
    Some(wait - now.duration_since(last)).filter(SignedDuration::is_positive)
}

/// When a pod ended, as far as it shows: by its containers, by its readiness, by its deletion.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    by_containers(pod).or_else(|| by_readiness(pod)).or_else(|| by_deletion(pod)).or_else(|| {
        let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        made.filter(|_| has_ended(pod))
    })
}

fn by_containers(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let init = status.init_container_statuses.iter().flatten();
    let beside = init.filter(|one| sidecars.contains(&one.name.as_str()));
    let ends: Option<Vec<Timestamp>> = status.container_statuses.iter().flatten().chain(beside).map(ended).collect();
    ends?.into_iter().max()
}

fn ended(status: &ContainerStatus) -> Option<Timestamp> {
    status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
}

fn by_readiness(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "False")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// The deletion timestamp is when the grace period ends.
fn by_deletion(pod: &Pod) -> Option<Timestamp> {
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
    pod.metadata.deletion_timestamp.as_ref().map(|time| time.0 - grace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn pod(second: i64) -> Pod {
        serde_json::from_value(json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "finishedAt": at(second).to_string()}}}]}}))
        .unwrap()
    }

    #[test]
    fn it_doubles_with_each_failure_and_ends_with_a_success() {
        let failed = [pod(0), pod(3)];
        let two = Backoff::default().after(&[], &[&failed[0], &failed[1]]);
        assert_eq!(two.left(at(3)), Some(SignedDuration::from_secs(20)));
        assert_eq!(two.after(&[], &[]), two);
        assert_eq!(two.left(at(23)), None);
        let many = (0..20).fold(two, |sofar, _| sofar.after(&[], &[&failed[1]]));
        assert_eq!(many.left(at(3)), Some(SignedDuration::from_secs(600)));
        let (between, later) = (pod(1), pod(5));
        assert_eq!(many.after(&[&later], &[]), Backoff::default());
        assert_eq!(many.after(&[&between], &[&failed[0], &failed[1]]).left(at(3)), Some(SignedDuration::from_secs(10)));
    }

    #[test]
    fn a_pod_that_was_deleted_ended_before_its_grace() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"deletionTimestamp": at(30).to_string(),
            "deletionGracePeriodSeconds": 30}}))
        .unwrap();
        assert_eq!(finished_at(&pod), Some(at(0)));
    }
}
