//! How many pods of a budget may be disrupted now. No I/O.

use crate::owned::{has_ended, is_ready};
use crate::shares::{Round, count, resolve};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a pod that was evicted may take to be marked as deleted (Kubernetes' `DeletionTimeout`).
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);
/// How long a pod may say that it is about to go and stay (Kubernetes' `stalePodDisruptionTimeout`).
const STALE: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// How many pods there should be, and how many of them healthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) pods: i32,
    pub(super) healthy: i32,
}

/// Whether the budget is a share of what the owners of the pods want to have.
pub(super) fn needs_scale(spec: &PodDisruptionBudgetSpec) -> bool {
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// What is expected of `present` pods whose owners want `scale`.
pub(super) fn expected(spec: &PodDisruptionBudgetSpec, present: usize, scale: i32) -> Expected {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => Expected { pods: scale, healthy: (scale - resolve(most, scale, Round::Up)).max(0) },
        (None, Some(IntOrString::Int(least))) => Expected { pods: count(present), healthy: *least },
        (None, Some(least)) => Expected { pods: scale, healthy: resolve(least, scale, Round::Up) },
        (None, None) => Expected::default(),
    }
}

/// The status of `budget`, which chooses `pods`; when to look again; and the pods that were evicted and stay.
pub(super) fn status<'a>(
    budget: &PodDisruptionBudget,
    pods: &'a [Arc<Pod>],
    expected: Expected,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<SignedDuration>, Vec<&'a Arc<Pod>>) {
    let before = budget.status.clone().unwrap_or_default();
    let evicted = before.disrupted_pods.unwrap_or_default();
    let (mut kept, mut staying, mut again) = (BTreeMap::new(), Vec::new(), None::<SignedDuration>);
    let mut healthy = 0;
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let left = evicted.get(&pod.name_any()).map(|at| (at, at.0 + DELETION_TIMEOUT));
        match left {
            Some((at, until)) if until >= now => {
                kept.insert(pod.name_any(), at.clone());
                let wait = until.duration_since(now);
                again = Some(again.map_or(wait, |least| least.min(wait)));
            }
            Some(_) => staying.push(pod),
            None => {}
        }
        let leaves = left.is_some_and(|(_, until)| until > now);
        healthy += i32::from(!leaves && is_ready(pod));
    }
    // A budget without pods is safe until its first ones are seen.
    let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let observed = budget.metadata.generation;
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    let status = PodDisruptionBudgetStatus {
        conditions: Some(with(before.conditions, allowed > 0, reason, "", observed, now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        disrupted_pods: Some(kept).filter(|pods| !pods.is_empty()),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.pods),
        observed_generation: observed,
    };
    (status, again, staying)
}

/// The status when nothing could be found out: no disruption is allowed.
pub(super) fn fail_safe(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let observed = before.observed_generation;
    let conditions = with(before.conditions.clone(), false, "SyncFailed", why, observed, now);
    // These fields have to be there in every status.
    PodDisruptionBudgetStatus {
        conditions: Some(conditions),
        disruptions_allowed: Some(0),
        current_healthy: Some(before.current_healthy.unwrap_or(0)),
        desired_healthy: Some(before.desired_healthy.unwrap_or(0)),
        expected_pods: Some(before.expected_pods.unwrap_or(0)),
        ..before
    }
}

fn with(
    conditions: Option<Vec<Condition>>,
    allowed: bool,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = conditions.unwrap_or_default();
    let status = if allowed { "True" } else { "False" };
    let known = conditions.iter().find(|one| one.type_ == ALLOWED && one.status == status);
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
    };
    match conditions.iter_mut().find(|one| one.type_ == ALLOWED) {
        Some(place) => *place = new,
        None => conditions.push(new),
    }
    conditions
}

/// How long the pod may still say that it is about to go; `None`: it does not say so, or rightly.
pub(super) fn stale_in(pod: &Pod, now: Timestamp) -> Option<SignedDuration> {
    let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
    let target = |one: &&PodCondition| one.type_ == "DisruptionTarget" && one.status == "True";
    let condition = status.conditions.as_deref()?.iter().find(target)?;
    // A kubelet that ends a pod takes the time that it needs.
    let by_kubelet = condition.reason.as_deref() == Some("TerminationByKubelet");
    let since = condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    (!by_kubelet && !has_ended(pod)).then(|| (STALE - now.duration_since(since)).max(SignedDuration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
        let metadata = json!({"name": "b", "namespace": "n", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn pods(number: usize, ready: usize) -> Vec<Arc<Pod>> {
        let pod = |index: usize| {
            let status = if index < ready { "True" } else { "False" };
            json!({"metadata": {"name": format!("p{index}")}, "status": {"conditions": [{"type": "Ready", "status": status}]}})
        };
        (0..number).map(|index| Arc::new(serde_json::from_value(pod(index)).unwrap())).collect()
    }

    fn of(spec: Value, scale: i32) -> Expected {
        expected(budget(spec, json!({})).spec.as_ref().unwrap(), 4, scale)
    }

    #[test]
    fn budgets_are_numbers_or_shares() {
        assert_eq!(of(json!({"minAvailable": 3}), 10), Expected { pods: 4, healthy: 3 });
        assert_eq!(of(json!({"minAvailable": "30%"}), 5), Expected { pods: 5, healthy: 2 });
        assert_eq!(of(json!({"maxUnavailable": 2}), 10), Expected { pods: 10, healthy: 8 });
        assert_eq!(of(json!({"maxUnavailable": "30%"}), 5), Expected { pods: 5, healthy: 3 });
        assert_eq!(of(json!({"maxUnavailable": 9}), 5), Expected { pods: 5, healthy: 0 });
    }

    #[test]
    fn an_evicted_pod_does_not_count_until_it_stayed_too_long() {
        let evicted = json!({"disruptedPods": {"p0": at(0).to_string(), "gone": at(0).to_string()}});
        let three = Expected { pods: 3, healthy: 1 };
        let (pods, budget) = (pods(3, 3), budget(json!({}), evicted));
        let (early, again, staying) = status(&budget, &pods, three, at(20));
        assert_eq!((early.current_healthy, early.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!(early.disrupted_pods.unwrap().into_keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!((again, staying.len()), (Some(SignedDuration::from_secs(100)), 0));
        let (late, again, staying) = status(&budget, &pods, three, at(121));
        assert_eq!((late.disruptions_allowed, late.disrupted_pods, again), (Some(2), None, None));
        assert_eq!(staying[0].name_any(), "p0");
    }

    #[test]
    fn nothing_is_allowed_when_nothing_is_known() {
        let known = budget(json!({}), json!({"disruptionsAllowed": 2, "currentHealthy": 3, "observedGeneration": 2}));
        let failed = fail_safe(&known, "no", at(0));
        assert_eq!((failed.disruptions_allowed, failed.current_healthy), (Some(0), Some(3)));
        assert_eq!(failed.conditions.unwrap()[0].reason, "SyncFailed");
    }

    #[test]
    fn a_pod_that_stays_after_all_stops_saying_that_it_goes() {
        let pod = |reason: &str, phase: &str| -> Pod {
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": reason,
                "lastTransitionTime": at(0).to_string()});
            serde_json::from_value(json!({"status": {"phase": phase, "conditions": [condition]}})).unwrap()
        };
        assert_eq!(stale_in(&pod("EvictionByEvictionAPI", "Running"), at(20)), Some(SignedDuration::from_secs(100)));
        assert_eq!(stale_in(&pod("EvictionByEvictionAPI", "Running"), at(500)), Some(SignedDuration::ZERO));
        assert_eq!(stale_in(&pod("TerminationByKubelet", "Running"), at(500)), None);
        assert_eq!(stale_in(&pod("EvictionByEvictionAPI", "Failed"), at(500)), None);
    }

    proptest! {
        /// Whatever is evicted as long as it is allowed: enough healthy pods stay, and a status is stable.
        #[test]
        fn enough_pods_stay(number in 0_usize..20, ready in 0_usize..20, percent in 0_i32..=100, most in any::<bool>()) {
            let word = if most { "maxUnavailable" } else { "minAvailable" };
            let mut budget = budget(json!({word: format!("{percent}%")}), json!({}));
            let (pods, scale) = (pods(number, ready.min(number)), count(number));
            let wanted = expected(budget.spec.as_ref().unwrap(), pods.len(), scale);
            let first = status(&budget, &pods, wanted, at(0)).0;
            let (healthy, allowed) = (first.current_healthy.unwrap(), first.disruptions_allowed.unwrap());
            prop_assert!(allowed == 0 || healthy - allowed >= wanted.healthy);
            budget.status = Some(first.clone());
            prop_assert_eq!(status(&budget, &pods, wanted, at(9)).0, first);
        }
    }
}
