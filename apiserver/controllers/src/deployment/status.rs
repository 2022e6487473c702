//! What a deployment's status says about its replica sets. No I/O.

use super::plan::limits;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::sync::Arc;

/// How a rollout goes.
const PROGRESSING: &str = "Progressing";
const PAUSED: &str = "DeploymentPaused";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// Pods cannot be made or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The replica set cannot be made.
pub(crate) const CREATE_ERROR: &str = "ReplicaSetCreateError";

/// A deployment with its sets.
pub(crate) struct Rollout<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The set of the present template.
    pub(crate) new: Option<&'a ReplicaSet>,
    /// Whether that was made just now.
    pub(crate) is_made: bool,
    pub(crate) all: &'a [Arc<ReplicaSet>],
}

/// How long a rollout may go without progress; `None`: for ever.
fn deadline(spec: &DeploymentSpec) -> Option<SignedDuration> {
    let seconds = spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

/// The conditions with what kept the new replica set from being made; `None`: nothing is said of the rollout.
pub(crate) fn creation_failed(
    deployment: &Deployment,
    message: String,
    now: Timestamp,
) -> Option<Vec<DeploymentCondition>> {
    deployment.spec.as_ref().and_then(deadline)?;
    let list = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = Conditions { list, now };
    conditions.set(PROGRESSING, "False", CREATE_ERROR, message);
    Some(conditions.list)
}

/// The status to write, and when it has to be looked at again (progress deadline).
pub(crate) fn status(rollout: &Rollout<'_>, now: Timestamp) -> (DeploymentStatus, Option<SignedDuration>) {
    let Rollout { deployment, new, all, .. } = rollout;
    let sum =
        |field: fn(&ReplicaSetStatus) -> i32| all.iter().filter_map(|set| set.status.as_ref()).map(field).sum::<i32>();
    let available = sum(|status| status.available_replicas.unwrap_or(0));
    let total = sum(|status| status.replicas);
    let updated = new.and_then(|set| set.status.as_ref()).map_or(0, |status| status.replicas);
    let target = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let before = deployment.status.clone().unwrap_or_default();
    let counts = Counts { target, total, updated, available };
    let mut conditions = Conditions { list: before.conditions.clone().unwrap_or_default(), now };
    let unavailable = deployment.spec.as_ref().map_or(0, |spec| limits(spec, target).1);
    conditions.set_available(available >= target - unavailable);
    let again = conditions.set_progress(rollout, &counts, progressed(&before, &counts));
    conditions.set_failure(rollout);
    let status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(total),
        updated_replicas: Some(updated),
        ready_replicas: Some(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: Some(available),
        unavailable_replicas: Some((total.max(target) - available).max(0)),
        terminating_replicas: Some(sum(|status| status.terminating_replicas.unwrap_or(0))),
        collision_count: before.collision_count,
        conditions: Some(conditions.list),
    };
    (status, again)
}

struct Counts {
    target: i32,
    total: i32,
    updated: i32,
    available: i32,
}

impl Counts {
    fn complete(&self) -> bool {
        self.updated == self.target && self.total == self.target && self.available == self.target
    }
}

/// Whether the rollout moved since the last status.
fn progressed(before: &DeploymentStatus, counts: &Counts) -> bool {
    let was = |field: Option<i32>| field.unwrap_or(0);
    counts.updated > was(before.updated_replicas)
        || counts.available > was(before.available_replicas)
        || counts.total - counts.updated < was(before.replicas) - was(before.updated_replicas)
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn set_available(&mut self, yes: bool) {
        let (status, reason, message) = if yes {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        self.set("Available", status, reason, message.to_owned());
    }

    /// How the rollout goes, and when that has to be looked at again. Without a deadline nothing is said of it.
    fn set_progress(&mut self, rollout: &Rollout<'_>, counts: &Counts, progressed: bool) -> Option<SignedDuration> {
        let spec = rollout.deployment.spec.as_ref()?;
        let deadline = deadline(spec)?;
        if spec.paused == Some(true) {
            if !self.says(TIMED_OUT) {
                self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned());
            }
            return None;
        }
        if self.says(PAUSED) {
            self.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
        }
        self.set_beginning(rollout);
        // A rollout that has ended stays so, whatever becomes of its pods.
        if self.says(AVAILABLE) && counts.total == counts.updated {
            return None;
        }
        let name = match rollout.new {
            Some(new) => format!("ReplicaSet \"{}\"", new.name_any()),
            None => format!("Deployment \"{}\"", rollout.deployment.name_any()),
        };
        if counts.complete() {
            self.set(PROGRESSING, "True", AVAILABLE, format!("{name} has successfully progressed."));
            return None;
        }
        if progressed {
            self.touch(PROGRESSING, "True", "ReplicaSetUpdated", format!("{name} is progressing."));
            return Some(deadline);
        }
        let last = self.find(PROGRESSING).and_then(|condition| condition.last_update_time.as_ref());
        let left = deadline - last.map(|time| self.now.duration_since(time.0))?;
        if left.is_positive() {
            return (!self.says(AVAILABLE) && !self.says(TIMED_OUT)).then_some(left);
        }
        if !self.says(AVAILABLE) {
            self.set(PROGRESSING, "False", TIMED_OUT, format!("{name} has timed out progressing."));
        }
        None
    }

    /// Says so when the rollout has its set.
    fn set_beginning(&mut self, rollout: &Rollout<'_>) {
        let Some(new) = rollout.new else { return };
        if rollout.is_made {
            let message = format!("Created new replica set \"{}\"", new.name_any());
            self.touch(PROGRESSING, "True", "NewReplicaSetCreated", message);
        } else if self.find(PROGRESSING).is_none() {
            let message = format!("Found new replica set \"{}\"", new.name_any());
            self.set(PROGRESSING, "True", "FoundNewReplicaSet", message);
        }
    }

    /// What keeps replica sets from making pods is said of their deployment: the new one's before the others'.
    fn set_failure(&mut self, rollout: &Rollout<'_>) {
        let all = rollout.new.into_iter().chain(rollout.all.iter().map(AsRef::as_ref));
        let conditions = all.flat_map(|set| set.status.iter().flat_map(|status| status.conditions.iter().flatten()));
        let failure = conditions.into_iter().find(|condition| condition.type_ == REPLICA_FAILURE);
        let failure = failure.map(|condition| DeploymentCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            last_transition_time: condition.last_transition_time.clone(),
            last_update_time: condition.last_transition_time.clone(),
        });
        if self.find(REPLICA_FAILURE) != failure.as_ref() {
            self.list.retain(|condition| condition.type_ != REPLICA_FAILURE);
            self.list.extend(failure);
            self.sort();
        }
    }

    /// Whether this is why the rollout is as it is.
    fn says(&self, reason: &str) -> bool {
        self.find(PROGRESSING).is_some_and(|condition| condition.reason.as_deref() == Some(reason))
    }

    fn sort(&mut self) {
        self.list.sort_by(|a, b| a.type_.cmp(&b.type_));
    }

    fn find(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets a condition; nothing changes if it says the same already.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let same = |condition: &DeploymentCondition| {
            condition.status == status
                && condition.reason.as_deref() == Some(reason)
                && condition.message.as_deref() == Some(message.as_str())
        };
        if !self.find(kind).is_some_and(same) {
            self.touch(kind, status, reason, message);
        }
    }

    /// Sets a condition and its time of update, even if it says the same.
    fn touch(&mut self, kind: &str, status: &str, reason: &str, message: String) {
        let unchanged = self.find(kind).filter(|condition| condition.status == status);
        let transition = unchanged.and_then(|condition| condition.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: transition.or(Some(Time(self.now))),
            last_update_time: Some(Time(self.now)),
        };
        self.list.retain(|condition| condition.type_ != kind);
        self.list.push(condition);
        self.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 3},
            "spec": {"replicas": 2, "selector": {}, "template": {}, "progressDeadlineSeconds": 60}
        }))
        .unwrap()
    }

    fn set(available: i32) -> Arc<ReplicaSet> {
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": "web-1"}, "spec": {"replicas": 2, "selector": {}},
            "status": {"replicas": 2, "readyReplicas": available, "availableReplicas": available}
        }))
        .unwrap();
        Arc::new(set)
    }

    fn reason(status: &DeploymentStatus, kind: &str) -> String {
        let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
        found.and_then(|condition| condition.reason.clone()).unwrap_or_default()
    }

    fn told(
        deployment: &Deployment,
        sets: &[Arc<ReplicaSet>],
        is_made: bool,
        at: i64,
    ) -> (DeploymentStatus, Option<SignedDuration>) {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let rollout = Rollout { deployment, new: sets.first().map(AsRef::as_ref), is_made, all: sets };
        status(&rollout, start + SignedDuration::from_secs(at))
    }

    #[test]
    fn a_rollout_progresses_then_times_out_or_completes() {
        let (mut web, sets) = (deployment(), [set(0)]);
        let (first, again) = told(&web, &sets, false, 0);
        assert_eq!(
            (reason(&first, "Progressing").as_str(), again),
            ("ReplicaSetUpdated", Some(SignedDuration::from_secs(60)))
        );
        web.status = Some(first);
        assert_eq!(told(&web, &sets, false, 20).1, Some(SignedDuration::from_secs(40)));
        let (late, _) = told(&web, &sets, false, 61);
        assert_eq!(reason(&late, "Progressing"), "ProgressDeadlineExceeded");
        web.status = Some(late);
        let sets = [set(2)];
        let (done, again) = told(&web, &sets, false, 62);
        assert_eq!((reason(&done, "Progressing").as_str(), again), ("NewReplicaSetAvailable", None));
        assert_eq!(reason(&done, "Available"), "MinimumReplicasAvailable");
        web.status = Some(done.clone());
        assert_eq!(told(&web, &sets, false, 99).0, done, "a settled deployment must not be written again");
        let (less, again) = told(&web, &[set(1)], false, 999);
        assert_eq!(
            (reason(&less, "Progressing").as_str(), again),
            ("NewReplicaSetAvailable", None),
            "a pod that fails later"
        );
    }

    #[test]
    fn a_rollout_begins_pauses_and_goes_on() {
        let mut web = deployment();
        let mut none = ReplicaSet::clone(&set(0));
        none.status = None;
        let sets = [Arc::new(none)];
        let (begun, again) = told(&web, &sets, true, 0);
        assert_eq!(
            (reason(&begun, "Progressing").as_str(), again),
            ("NewReplicaSetCreated", Some(SignedDuration::from_secs(60)))
        );
        assert_eq!(reason(&told(&web, &sets, false, 0).0, "Progressing"), "FoundNewReplicaSet");
        web.status = Some(begun);
        web.spec.as_mut().unwrap().paused = Some(true);
        let (paused, again) = told(&web, &sets, false, 100);
        assert_eq!((reason(&paused, "Progressing").as_str(), again), ("DeploymentPaused", None));
        web.status = Some(paused);
        web.spec.as_mut().unwrap().paused = None;
        let (resumed, again) = told(&web, &sets, false, 200);
        assert_eq!(
            (reason(&resumed, "Progressing").as_str(), again),
            ("DeploymentResumed", Some(SignedDuration::from_secs(60)))
        );
        web.spec.as_mut().unwrap().progress_deadline_seconds = Some(i32::MAX);
        web.status = None;
        assert_eq!(reason(&told(&web, &sets, true, 0).0, "Progressing"), "", "without a deadline nothing is said");
        assert_eq!(creation_failed(&web, "why".to_owned(), Timestamp::UNIX_EPOCH), None);
        let conditions = creation_failed(&deployment(), "why".to_owned(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(conditions[0].reason.as_deref(), Some(CREATE_ERROR));
    }

    #[test]
    fn failures_of_sets_are_told() {
        let mut failing = ReplicaSet::clone(&set(0));
        let condition =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
        let status = failing.status.as_mut().unwrap();
        status.conditions = serde_json::from_value(condition).unwrap();
        status.terminating_replicas = Some(3);
        let mut web = deployment();
        let (told_of, _) = told(&web, &[set(1), Arc::new(failing)], false, 0);
        assert_eq!(
            (reason(&told_of, "ReplicaFailure").as_str(), told_of.terminating_replicas),
            ("FailedCreate", Some(3))
        );
        web.status = Some(told_of);
        assert_eq!(reason(&told(&web, &[set(1)], false, 1).0, "ReplicaFailure"), "");
    }
}
