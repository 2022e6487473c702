//! What a deployment's status says about its replica sets. No I/O.

use super::plan::limits;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::sync::Arc;

/// The status to write for `deployment`, whose newest set is `new`, and when it has to be looked at again (progress
/// deadline).
pub(crate) fn status(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    all: &[Arc<ReplicaSet>],
    now: Timestamp,
) -> (DeploymentStatus, Option<SignedDuration>) {
    let sum = |field: fn(&ReplicaSet) -> i32| all.iter().map(|set| field(set)).sum::<i32>();
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let total = sum(|set| set.status.as_ref().map_or(0, |status| status.replicas));
    let updated = new.and_then(|set| set.status.as_ref()).map_or(0, |status| status.replicas);
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let target = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let before = deployment.status.clone().unwrap_or_default();
    let counts = Counts { target, total, updated, available };
    let mut conditions = Conditions { list: before.conditions.clone().unwrap_or_default(), now };
    let unavailable = deployment.spec.as_ref().map_or(0, |spec| limits(spec, target).1);
    conditions.set_available(available >= target - unavailable);
    let again = conditions.set_progress(deployment, new, &counts, progressed(&before, &counts));
    let status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(total),
        updated_replicas: Some(updated),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        unavailable_replicas: Some((total.max(target) - available).max(0)),
        terminating_replicas: None,
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

    fn set_progress(
        &mut self,
        deployment: &Deployment,
        new: Option<&ReplicaSet>,
        counts: &Counts,
        progressed: bool,
    ) -> Option<SignedDuration> {
        let spec = deployment.spec.as_ref()?;
        let set = new.map_or_else(|| deployment.name_any(), |new| new.name_any());
        if spec.paused == Some(true) {
            self.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".to_owned());
            return None;
        }
        if counts.complete() {
            let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
            self.set("Progressing", "True", "NewReplicaSetAvailable", message);
            return None;
        }
        let deadline = SignedDuration::from_secs(spec.progress_deadline_seconds.unwrap_or(600).into());
        let last =
            self.find("Progressing").filter(|condition| condition.reason.as_deref() == Some("ReplicaSetUpdated"));
        let since =
            last.and_then(|condition| condition.last_update_time.as_ref()).map(|time| self.now.duration_since(time.0));
        let timed_out = self
            .find("Progressing")
            .is_some_and(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"));
        match since {
            _ if progressed => {}
            Some(since) if since < deadline => return Some(deadline - since),
            None if !timed_out => {}
            _ => {
                let message = format!("ReplicaSet \"{set}\" has timed out progressing.");
                self.set("Progressing", "False", "ProgressDeadlineExceeded", message);
                return None;
            }
        }
        self.touch("Progressing", "True", "ReplicaSetUpdated", format!("ReplicaSet \"{set}\" is progressing."));
        Some(deadline)
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
        self.list.sort_by(|a, b| a.type_.cmp(&b.type_));
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

    #[test]
    fn a_rollout_progresses_then_times_out_or_completes() {
        let mut web = deployment();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let sets = [set(0)];
        let (first, again) = status(&web, sets.first().map(AsRef::as_ref), &sets, start);
        assert_eq!(
            (reason(&first, "Progressing").as_str(), again),
            ("ReplicaSetUpdated", Some(SignedDuration::from_secs(60)))
        );
        web.status = Some(first);
        let (late, _) = status(&web, sets.first().map(AsRef::as_ref), &sets, start + SignedDuration::from_secs(61));
        assert_eq!(reason(&late, "Progressing"), "ProgressDeadlineExceeded");
        web.status = Some(late);
        let sets = [set(2)];
        let (done, again) = status(&web, sets.first().map(AsRef::as_ref), &sets, start + SignedDuration::from_secs(62));
        assert_eq!((reason(&done, "Progressing").as_str(), again), ("NewReplicaSetAvailable", None));
        assert_eq!(reason(&done, "Available"), "MinimumReplicasAvailable");
        web.status = Some(done.clone());
        let (same, _) = status(&web, sets.first().map(AsRef::as_ref), &sets, start + SignedDuration::from_secs(99));
        assert_eq!(same, done, "a settled deployment must not be written again");
    }
}
