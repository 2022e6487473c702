//! Which pods a replica set must make or delete, and what its status says. No I/O.

use crate::context::ControllerError;
use crate::owned::{is_active, is_ready, phase, ready_since};
use crate::shares::count;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// At most this many pods are made in one reconciliation; the next one follows at once.
/// Kubernetes' burst for replica sets is 500: a runaway template should not flood the server.
const BURST_PODS_MAX: usize = 500;

/// The difference between what is wanted and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Difference {
    Create(usize),
    /// Names, in the order in which they should go.
    Delete(Vec<String>),
    Nothing,
}

/// The condition that says so when pods cannot be made or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Why the difference is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    reason: &'static str,
    message: String,
}

impl Failure {
    /// The failure of making up for `difference`.
    pub(crate) fn of(difference: &Difference, error: &ControllerError) -> Option<Self> {
        let reason = match difference {
            Difference::Create(_) => "FailedCreate",
            Difference::Delete(_) => "FailedDelete",
            Difference::Nothing => return None,
        };
        let message = match error {
            ControllerError::Api { source, .. } => skiff_client::sentence(source),
            error => skiff_client::sentence(error),
        };
        Some(Self { reason, message })
    }
}

/// What a set's pods are compared with it on.
pub(crate) struct Seen<'a> {
    pub(crate) set: &'a ReplicaSet,
    pub(crate) owned: &'a [Arc<Pod>],
    /// Its pods and those of its siblings: of two pods on a node the first to go is the one beside others.
    pub(crate) related: &'a dyn Fn() -> Vec<Arc<Pod>>,
    pub(crate) now: Timestamp,
}

/// Compares a set with the pods it owns.
pub(crate) fn difference(seen: &Seen<'_>) -> Difference {
    let wanted = wanted_replicas(seen.set);
    let mut active: Vec<&Pod> = seen.owned.iter().map(AsRef::as_ref).filter(|pod| is_active(pod)).collect();
    if active.len() < wanted {
        return Difference::Create((wanted - active.len()).min(BURST_PODS_MAX));
    }
    if active.len() == wanted {
        return Difference::Nothing;
    }
    let surplus = active.len() - wanted;
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    let related = (seen.related)();
    for node in related.iter().filter(|pod| is_active(pod)).filter_map(|pod| node_of(pod)) {
        *on_node.entry(node).or_default() += 1;
    }
    let beside = |pod: &Pod| node_of(pod).and_then(|node| on_node.get(node)).copied().unwrap_or(0);
    active.sort_by_cached_key(|pod| loss(pod, beside(pod), seen.now));
    Difference::Delete(active.iter().take(surplus).map(|pod| pod.name_any()).collect())
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// What is lost with a pod, as Kubernetes' ActivePodsWithRanks has it: how far it has come, what its deletion costs, how many
/// related ones are beside it, for how long it has been ready, how often it was restarted, how old it is. Times count by their
/// order of magnitude only, so that among pods that are about as old chance decides, and no node is emptied first; those that were
/// adopted last stay.
fn loss(pod: &Pod, beside: usize, now: Timestamp) -> impl Ord + use<> {
    let (assigned, progress, ready, cost, _) = worth(pod);
    let magnitude = |since: Option<Timestamp>| {
        since.map_or(0, |since| now.duration_since(since).as_nanos().max(1).unsigned_abs().ilog2())
    };
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let restarts = statuses.map(|status| status.restart_count).max().unwrap_or(0);
    let born = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let times = (magnitude(ready_since(pod)), Reverse(restarts), magnitude(born));
    (assigned, progress, ready, cost, Reverse(beside), times)
}

fn wanted_replicas(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

/// What is lost with a pod: unassigned before assigned, pending before running, unready before ready, low deletion cost
/// before high, young before old (the order of Kubernetes' ActivePods).
pub(crate) fn worth(pod: &Pod) -> (bool, u8, bool, i32, Reverse<Option<Timestamp>>) {
    let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let progress = match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let cost = pod.annotations().get("controller.kubernetes.io/pod-deletion-cost").and_then(|text| text.parse().ok());
    let born = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (assigned, progress, is_ready(pod), cost.unwrap_or(0), Reverse(born))
}

/// The status to write, and when availability has to be looked at again (minReadySeconds).
pub(crate) fn status(
    set: &ReplicaSet,
    owned: &[Arc<Pod>],
    failure: Option<Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<SignedDuration>) {
    let spec = set.spec.as_ref();
    let template_labels =
        spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let min_ready = SignedDuration::from_secs(spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0).into());
    let active: Vec<&Pod> = owned.iter().map(AsRef::as_ref).filter(|pod| is_active(pod)).collect();
    let waits: Vec<SignedDuration> =
        active.iter().filter_map(|pod| ready_since(pod)).map(|since| min_ready - now.duration_since(since)).collect();
    let fully_labeled =
        active.iter().filter(|pod| template_labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value)));
    let terminating = owned.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(fully_labeled.count())),
        ready_replicas: Some(count(waits.len())),
        available_replicas: Some(count(waits.iter().filter(|wait| !wait.is_positive()).count())),
        terminating_replicas: Some(count(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    };
    (status, waits.into_iter().filter(SignedDuration::is_positive).min())
}

/// The conditions with the failure in its place; one that is over goes, one that lasts keeps its first words.
fn conditions(set: &ReplicaSet, failure: Option<Failure>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut list = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let known = list.iter().any(|condition| condition.type_ == REPLICA_FAILURE);
    match failure {
        None => list.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(Failure { reason, message }) if !known => list.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
    }
    Some(list).filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(replicas: usize) -> ReplicaSet {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "selector": {}}}))
            .unwrap()
    }

    fn pod(name: &str, phase: &str, ready: &str) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
        }))
        .unwrap())
    }

    fn difference(set: &ReplicaSet, owned: &[Arc<Pod>]) -> Difference {
        let related = || owned.to_vec();
        super::difference(&Seen { set, owned, related: &related, now: "2026-01-02T00:00:00Z".parse().unwrap() })
    }

    /// Of pods that have come equally far those go that are beside others, then those that were restarted, then the young.
    #[test]
    fn crowded_and_restless_pods_go_first() {
        let with = |name: &str, node: &str, restarts: i32, born: &str| {
            let mut pod = Pod::clone(&pod(name, "Running", "True"));
            pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
            pod.metadata.creation_timestamp = Some(Time(born.parse().unwrap()));
            let status = json!([{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts}]);
            pod.status.as_mut().unwrap().container_statuses = serde_json::from_value(status).unwrap();
            Arc::new(pod)
        };
        let (old, young) = ("2025-01-01T00:00:00Z", "2026-01-01T23:59:00Z");
        let pods = [
            with("alone", "one", 9, young),
            with("beside", "two", 0, old),
            with("restless", "two", 3, old),
            with("young", "two", 0, young),
        ];
        let names = |names: &[&str]| Difference::Delete(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(difference(&set(1), &pods), names(&["restless", "young", "beside"]));
    }

    #[test]
    fn finished_pods_are_replaced_and_the_least_useful_go_first() {
        assert_eq!(difference(&set(1), &[pod("a", "Failed", "False")]), Difference::Create(1));
        let pods =
            [pod("ready", "Running", "True"), pod("pending", "Pending", "False"), pod("unready", "Running", "False")];
        assert_eq!(difference(&set(1), &pods), Difference::Delete(vec!["pending".into(), "unready".into()]));
    }

    #[test]
    fn a_pod_is_available_only_after_its_minimum_ready_time() {
        let mut set = set(1);
        set.spec.as_mut().unwrap().min_ready_seconds = Some(10);
        let pods = [pod("a", "Running", "True")];
        let at = |second: i64| "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second);
        let (early, again) = status(&set, &pods, None, at(4));
        assert_eq!((early.ready_replicas, early.available_replicas), (Some(1), Some(0)));
        assert_eq!(again, Some(SignedDuration::from_secs(6)));
        let (late, again) = status(&set, &pods, None, at(10));
        assert_eq!((late.available_replicas, again), (Some(1), None));
    }

    #[test]
    fn a_failure_shows_until_it_is_over() {
        let failure = |message: &str| Some(Failure { reason: "FailedCreate", message: message.to_owned() });
        let mut set = set(1);
        set.status = Some(status(&set, &[], failure("first"), Timestamp::UNIX_EPOCH).0);
        let later = status(&set, &[], failure("second"), Timestamp::now()).0;
        assert_eq!(Some(&later), set.status.as_ref(), "a failure that lasts is not written again and again");
        assert_eq!(later.conditions.unwrap()[0].message.as_deref(), Some("first"));
        assert_eq!(status(&set, &[], None, Timestamp::now()).0.conditions, None);
    }

    proptest! {
        #[test]
        fn the_difference_leads_to_what_is_wanted(wanted in 0_usize..20, phases in proptest::collection::vec(0_usize..4, 0..20)) {
            let names = ["Pending", "Running", "Succeeded", "Failed"];
            let pods: Vec<Arc<Pod>> = phases.iter().enumerate().map(|(n, &p)| pod(&n.to_string(), names[p], "True")).collect();
            let active = pods.iter().filter(|pod| is_active(pod)).count();
            let after = match difference(&set(wanted), &pods) {
                Difference::Create(more) => active + more,
                Difference::Delete(names) => active - names.len(),
                Difference::Nothing => active,
            };
            prop_assert_eq!(after, wanted);
        }
    }
}
