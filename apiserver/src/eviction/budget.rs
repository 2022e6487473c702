//! What a disruption budget says of an eviction, in the words of Kubernetes. No I/O.

use crate::admission::matching::LabelSelector;
use crate::registry::object::{is_terminating, name_of};
use crate::status::Status;
use serde_json::{Value, json};

/// Evictions that the controller of budgets has not seen yet, at most (Kubernetes' `MaxDisruptedPodSize`).
const DISRUPTED_MAX: usize = 2000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Two budgets could contradict each other.
pub(super) const TOO_MANY: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or_default()
}

/// Whether nothing is disrupted any more when the pod goes.
pub(super) fn ignores(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending") || is_terminating(pod)
}

/// Whether the pod has yet to run.
pub(super) fn waits(pod: &Value) -> bool {
    phase(pod) == "Pending" && !is_terminating(pod)
}

/// Whether the budget is about a pod with these labels. One without selector is about none.
pub(super) fn chooses(budget: &Value, labels: &Value) -> bool {
    let selector = &budget["spec"]["selector"];
    selector.is_object() && LabelSelector::read(selector).selects(labels.as_object())
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}

fn number(budget: &Value, field: &str) -> i64 {
    budget["status"][field].as_i64().unwrap_or(0)
}

/// Whether an unready pod may go without being charged: it does not count as healthy.
pub(super) fn spares_unready(budget: &Value, pod: &Value) -> bool {
    if condition(pod, "Ready")["status"] == "True" {
        return false;
    }
    let (current, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (current >= desired && desired > 0)
}

fn refused(message: String) -> Status {
    let cause = json!({"reason": "DisruptionBudget", "message": message, "field": ""});
    Status::too_many(REFUSED.to_owned()).caused_by(vec![cause])
}

/// The controller has not looked at the budget, or at the pod, since it changed.
pub(super) fn not_yet(name: &str) -> Status {
    refused(format!("The disruption budget {name} is still being processed by the server.")).retry_after(10)
}

/// The budget after one more disruption, of `pod` at `time`.
///
/// # Errors
/// It allows none.
pub(super) fn charged(budget: &Value, pod: &str, time: &str) -> Result<Value, Status> {
    let name = name_of(budget);
    let forbidden = |why: &str| Err(Status::may_not(("policy", "poddisruptionbudget"), name, why));
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if number(budget, "observedGeneration") < generation {
        return Err(not_yet(name));
    }
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(refused(why_none(budget)));
    }
    let mut next = budget.clone();
    let status = &mut next["status"];
    status["disruptionsAllowed"] = (allowed - 1).into();
    status["disruptedPods"][pod] = time.into();
    if allowed == 1 {
        let observed = status["observedGeneration"].clone();
        let none = json!({"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": observed, "lastTransitionTime": time});
        set_condition(status, none);
    }
    Ok(next)
}

fn set_condition(status: &mut Value, condition: Value) {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    match conditions.iter_mut().find(|known| known["type"] == condition["type"]) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    status["conditions"] = conditions.into();
}

fn why_none(budget: &Value) -> String {
    let (name, condition) = (name_of(budget), condition(budget, "DisruptionAllowed"));
    let (current, desired) = (number(budget, "currentHealthy"), number(budget, "desiredHealthy"));
    let message = condition["message"].as_str().filter(|text| !text.is_empty() && condition["status"] == "False");
    let reason = condition["reason"].as_str().unwrap_or_default();
    let begin = format!("The disruption budget {name} does not allow evicting pods currently");
    match message {
        Some(message) if reason == "SyncFailed" => format!("{begin} because it failed sync: {message}"),
        _ if current <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
        }
        Some(message) => format!("{begin} ({reason}): {message}"),
        None => begin,
    }
}

/// The pod with the condition that says that it is evicted.
pub(super) fn marked(pod: &Value, time: &str) -> Value {
    let mut next = pod.clone();
    let (kind, reason, message) = ("DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting");
    let present = condition(pod, kind);
    let since = if present["status"] == "True" { present["lastTransitionTime"].clone() } else { time.into() };
    let target = json!({"type": kind, "status": "True", "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": since});
    set_condition(&mut next["status"], target);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, status: &Value) -> Value {
        let mut whole = json!({"metadata": {"name": "b", "generation": 2}, "spec": {},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2}});
        whole["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        whole
    }

    #[test]
    fn each_eviction_is_charged_until_nothing_is_left() {
        let one = charged(&budget(2, &json!({})), "p", "t").unwrap();
        assert_eq!(one["status"]["disruptionsAllowed"], 1);
        assert_eq!(one["status"]["disruptedPods"], json!({"p": "t"}));
        assert!(one["status"]["conditions"].is_null());
        let two = charged(&one, "q", "t").unwrap();
        assert_eq!(two["status"]["conditions"][0]["reason"], "InsufficientPods");
        let refusal = charged(&two, "r", "t").unwrap_err().value();
        assert_eq!((refusal["code"].as_i64(), refusal["reason"].as_str()), (Some(429), Some("TooManyRequests")));
        assert_eq!(refusal["details"]["causes"][0]["reason"], "DisruptionBudget");
    }

    #[test]
    fn a_refusal_says_why() {
        let why = |budget: Value| charged(&budget, "p", "t").unwrap_err().value()["details"].clone();
        let few = why(budget(0, &json!({"currentHealthy": 2})));
        assert_eq!(few["causes"][0]["message"], "The disruption budget b needs 2 healthy pods and has 2 currently");
        let failed = json!({"conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "m"}]});
        let text = "The disruption budget b does not allow evicting pods currently because it failed sync: m";
        assert_eq!(why(budget(0, &failed))["causes"][0]["message"], text);
        let early = why(budget(1, &json!({"observedGeneration": 1})));
        assert_eq!(early["causes"][0]["message"], "The disruption budget b is still being processed by the server.");
        assert_eq!(early["retryAfterSeconds"], 10);
    }

    #[test]
    fn unready_pods_go_when_enough_others_are_healthy() {
        let pod =
            |ready: &str| json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        assert!(spares_unready(&budget(0, &json!({})), &pod("False")));
        assert!(!spares_unready(&budget(0, &json!({})), &pod("True")));
        let short = budget(0, &json!({"currentHealthy": 1}));
        assert!(!spares_unready(&short, &pod("False")));
        let mut always = short;
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(spares_unready(&always, &pod("False")));
    }

    #[test]
    fn a_budget_without_selector_is_about_no_pod() {
        let labels = json!({"app": "a"});
        let of = |selector: Value| chooses(&json!({"spec": {"selector": selector}}), &labels);
        assert!(of(json!({})) && of(json!({"matchLabels": {"app": "a"}})));
        assert!(!of(Value::Null) && !of(json!({"matchLabels": {"app": "b"}})));
    }
}
