//! What makes pods: whether it has made them, and why not, down to the pods themselves.

mod batch; // jobs and cron jobs
mod sets; // deployments, replica sets, stateful sets, daemon sets

use crate::answer::{Answer, Finding};
use crate::facts::{Facts, Look};
use crate::look::{list, number, text};
use crate::pod;
use crate::words::{ago, clipped, sentence};
use crate::{Target, Workload, claims, paths};
use serde_json::Value;

/// So many pods are explained.
const PODS_MAX: usize = 3;

impl Workload {
    /// Group and plural.
    const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps/v1", "deployments"),
            Self::ReplicaSet => ("apps/v1", "replicasets"),
            Self::StatefulSet => ("apps/v1", "statefulsets"),
            Self::DaemonSet => ("apps/v1", "daemonsets"),
            Self::Job => ("batch/v1", "jobs"),
            Self::CronJob => ("batch/v1", "cronjobs"),
            Self::ReplicationController => ("", "replicationcontrollers"),
            Self::Claim => ("", "persistentvolumeclaims"),
        }
    }
}

/// Explains what makes pods.
pub(crate) fn explain(facts: &Facts, kind: Workload, target: &Target) -> Answer {
    let ((group, plural), word) = (kind.place(), target.kind.name());
    let about = format!("{word} {}/{}", target.namespace, target.name);
    let folder = if group.is_empty() {
        paths::within(&target.namespace, plural)
    } else {
        paths::of_group(group, &target.namespace, plural)
    };
    let object = match facts.get(&format!("{folder}/{}", target.name)) {
        Look::Is(object) => object,
        Look::Absent => return Answer::new(about, format!("There is no such {word}."), false),
        Look::Unknown => return Answer::new(about, "It could not be looked at.", false),
    };
    match kind {
        Workload::Deployment => sets::deployment(facts, object, about),
        Workload::ReplicaSet | Workload::ReplicationController => sets::replica_set(facts, object, about),
        Workload::StatefulSet => sets::stateful_set(facts, object, about),
        Workload::DaemonSet => sets::daemon_set(facts, object, about),
        Workload::Job => batch::job(facts, object, about),
        Workload::CronJob => batch::cron_job(facts, object, about),
        Workload::Claim => claim(facts, object, target, about),
    }
}

fn claim(facts: &Facts, object: &Value, target: &Target, about: String) -> Answer {
    let findings = claims::explain(facts, &target.namespace, &target.name, false);
    let phase = Some(text(object, "/status/phase")).filter(|phase| !phase.is_empty()).unwrap_or("Pending");
    Answer::new(about, format!("{phase}."), phase == "Bound").with(findings)
}

/// The pods that `owner` made.
fn pods_of<'a>(facts: &'a Facts, owner: &Value) -> Vec<&'a Value> {
    let all = facts.list(&paths::within(text(owner, "/metadata/namespace"), "pods")).unwrap_or_default().iter();
    all.filter(|pod| is_owned(pod, owner)).collect()
}

fn is_owned(object: &Value, owner: &Value) -> bool {
    let uid = text(owner, "/metadata/uid");
    !uid.is_empty() && list(object, "/metadata/ownerReferences").iter().any(|one| text(one, "/uid") == uid)
}

/// Why the first few of `pods` that are not well are not.
fn of_pods(facts: &Facts, pods: &[&Value]) -> Vec<Finding> {
    pods.iter().filter(|pod| !pod::is_well(pod)).take(PODS_MAX).flat_map(|pod| pod::causes(facts, pod)).collect()
}

/// Pods that could not even be made: quota, admission, rights.
fn refused(facts: &Facts, owner: &Value, about: &str) -> Option<Finding> {
    let events = pod::events_about(facts, owner);
    let event = events.iter().find(|event| text(event, "/reason") == "FailedCreate")?;
    let message = text(event, "/message");
    let age = ago(facts.now, pod::last_time(event));
    let times = pod::times(facts, event);
    let (reason, what, advice) = if message.contains("exceeded quota") {
        (
            "QuotaExceeded",
            "A quota of the namespace is used up",
            "Raise the quota, ask for less, or remove what holds it: kubectl describe quota.",
        )
    } else if message.contains("failed quota") {
        (
            "QuotaNeedsRequests",
            "A quota of the namespace wants every pod to say what it needs",
            "Give the containers requests and limits, or the namespace a LimitRange with defaults.",
        )
    } else if message.contains("PodSecurity") {
        (
            "PodSecurity",
            "The namespace's security level forbids such pods",
            "Change the pods' securityContext, or the namespace's label pod-security.kubernetes.io/enforce.",
        )
    } else if message.contains("serviceaccount") || message.contains("service account") {
        ("AccountMissing", "The pods' service account is not there", "Create the service account, or name another one.")
    } else {
        ("CannotCreatePods", "The API server refuses the pods", "Change what the refusal names.")
    };
    let said = message.strip_prefix("Error creating: ").unwrap_or(message);
    Some(
        Finding::new(reason, about, format!("{what}: {}", sentence(&clipped(said, 600))))
            .fact(format!("It was tried {times}, {age} ago for the last time."))
            .advice(advice),
    )
}

/// Whether the controller has seen what was last asked for.
fn unseen(object: &Value, about: &str) -> Option<Finding> {
    let (wanted, seen) =
        (number(object, "/metadata/generation")?, number(object, "/status/observedGeneration").unwrap_or(0));
    let cause =
        format!("Its controller has not looked at what was last asked for (generation {wanted}; it has seen {seen}).");
    (seen < wanted).then(|| {
        Finding::new("ControllerBehind", about, cause).advice("See whether the controllers run, and what they log.")
    })
}
