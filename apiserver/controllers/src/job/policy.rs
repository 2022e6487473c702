//! What a job's pod failure policy says of a failed pod, and its success policy of the indexes that succeeded. No I/O.

use super::indexes::Indexes;
use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

/// What follows from the failure of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts.
    Counts,
    /// It is as if the pod had never been.
    Ignored,
    /// Its index fails without another try.
    FailsIndex,
    /// The job fails, for this reason.
    FailsJob(String),
}

/// What the first rule that matches says of `pod`.
pub(super) fn failure(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Failure {
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let Some(matched) = matched(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Failure::Ignored,
            "FailIndex" => Failure::FailsIndex,
            "FailJob" => Failure::FailsJob(format!("{matched} matching {} rule at index {at}", rule.action)),
            "Count" => Failure::Counts,
            _ => continue,
        };
    }
    Failure::Counts
}

/// What of the pod the rule meets, in the words of Kubernetes.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    if let Some(codes) = &rule.on_exit_codes {
        let of = |list: &Option<Vec<ContainerStatus>>| list.iter().flatten().find_map(|one| exited(one, codes));
        let (container, code) = of(&status.container_statuses).or_else(|| of(&status.init_container_statuses))?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let met = conditions.find(|is| {
        patterns
            .iter()
            .any(|pattern| pattern.type_ == is.type_ && pattern.status.as_deref().unwrap_or("True") == is.status)
    })?;
    Some(format!("Pod {name} has condition {}", met.type_))
}

fn exited(status: &ContainerStatus, codes: &PodFailurePolicyOnExitCodesRequirement) -> Option<(String, i32)> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let named = codes.container_name.as_ref().is_none_or(|name| *name == status.name);
    let meets = match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    };
    (named && code != 0 && meets).then(|| (status.name.clone(), code))
}

/// The message of the first rule that the indexes which succeeded meet.
pub(super) fn success(policy: Option<&SuccessPolicy>, completions: i32, done: &Indexes) -> Option<String> {
    if done.is_empty() {
        return None;
    }
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    let met = rules.iter().position(|rule| match (&rule.succeeded_indexes, rule.succeeded_count) {
        (Some(text), count) => {
            let wanted = Indexes::parse(text, completions);
            let shared = wanted.shared(done);
            !wanted.is_empty() && (shared == wanted.total() || count.is_some_and(|count| shared >= count))
        }
        (None, Some(count)) => done.total() >= count,
        (None, None) => false,
    });
    met.map(|at| format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(rules: Value, pod: &Value) -> Failure {
        let policy: PodFailurePolicy = serde_json::from_value(json!({ "rules": rules })).unwrap();
        failure(Some(&policy), &serde_json::from_value(pod.clone()).unwrap())
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let exited = |name: &str, code: i32| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}})
        };
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "containerStatuses": [exited("a", 0), exited("b", 42)],
            "conditions": [{"type": "DisruptionTarget", "status": "True"}]}});
        let codes = |action: &str, operator: &str, values: Value| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disrupted = |action: &str| json!({"action": action, "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let fails = "Container b for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        assert_eq!(
            of(json!([codes("Ignore", "In", json!([1])), codes("FailJob", "In", json!([42]))]), &pod),
            Failure::FailsJob(fails.to_owned())
        );
        assert_eq!(of(json!([codes("Ignore", "NotIn", json!([42]))]), &pod), Failure::Counts, "code 0 is no failure");
        assert_eq!(of(json!([disrupted("Ignore"), codes("FailJob", "In", json!([42]))]), &pod), Failure::Ignored);
        assert_eq!(of(json!([disrupted("FailIndex")]), &pod), Failure::FailsIndex);
        let words = "Pod n/p has condition DisruptionTarget matching FailJob rule at index 0";
        assert_eq!(of(json!([disrupted("FailJob")]), &pod), Failure::FailsJob(words.to_owned()));
    }

    #[test]
    fn some_indexes_or_a_number_of_them_suffice() {
        let of = |rules: Value, done: &str| {
            let policy: SuccessPolicy = serde_json::from_value(json!({ "rules": rules })).unwrap();
            success(Some(&policy), 10, &Indexes::parse(done, 10))
        };
        let rules = json!([{"succeededIndexes": "0,2-4"}, {"succeededCount": 5}]);
        assert_eq!(of(rules.clone(), "0,2-4"), Some("Matched rules at index 0".into()));
        assert_eq!(of(rules.clone(), "5-9"), Some("Matched rules at index 1".into()));
        assert_eq!(of(rules, "0,2,3"), None);
        assert_eq!(
            of(json!([{"succeededIndexes": "0-4", "succeededCount": 2}]), "1,3"),
            Some("Matched rules at index 0".into())
        );
        assert_eq!(of(json!([{"succeededCount": 1}]), ""), None);
    }
}
